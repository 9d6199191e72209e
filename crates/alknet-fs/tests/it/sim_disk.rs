//! A disk in memory that loses what was not synced, fails when told to, and tells what was done to it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    ops::Range,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use alknet_fs::content::disk::{About, Disk, DiskFile, OpenFile};

const PAGE: usize = 4096;

/// What is done to it, in words: the operation and the file's name. Reads are not counted.
pub type Trace = Vec<String>;

#[derive(Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    folders: BTreeMap<PathBuf, Folder>,
    /// Whether files share bytes.
    reflinks: bool,
    trace: Trace,
    fails: Option<Fails>,
}

/// Which operation fails, and how; or all from there on.
#[derive(Debug, Clone, Copy)]
struct Fails {
    at: usize,
    kind: io::ErrorKind,
    ever_after: bool,
}

#[derive(Debug, Clone, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Folder {
    now: BTreeMap<OsString, Entry>,
    synced: BTreeMap<OsString, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(u64),
    Folder,
}

/// Numbers that look random: xorshift.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(2)
    }
}

impl SimDisk {
    pub fn new(root: &Path) -> Self {
        let disk = Self::default();
        disk.lock().folders.insert(root.to_owned(), Folder::default());
        disk
    }
    pub fn with_reflinks(self) -> Self {
        self.lock().reflinks = true;
        self
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    pub fn trace(&self) -> Trace {
        self.lock().trace.clone()
    }
    /// Operation number `at`, from now on, fails once.
    pub fn fail(&self, at: usize, kind: io::ErrorKind) {
        let mut state = self.lock();
        let at = state.trace.len() + at;
        state.fails = Some(Fails { at, kind, ever_after: false });
    }
    /// Nothing is done any more from operation number `at` on, counted from now.
    pub fn die(&self, at: usize) {
        let mut state = self.lock();
        let at = state.trace.len() + at;
        state.fails = Some(Fails { at, kind: io::ErrorKind::Other, ever_after: true });
    }
    /// Nothing fails any more. Answers whether something did.
    pub fn heal(&self) -> bool {
        let mut state = self.lock();
        let fails = state.fails.take();
        fails.is_some_and(|fails| fails.at < state.trace.len())
    }
    /// The disk after a power cut: each page and each name that was not synced is there, or not.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let (mut random, state) = (Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), self.lock());
        let files = state.files.iter().map(|(id, file)| (*id, file.cut(&mut random))).collect();
        let folders = state.folders.iter().map(|(path, folder)| (path.clone(), folder.cut(&mut random)));
        let folders: BTreeMap<PathBuf, Folder> = folders.collect();
        // A folder whose name is lost is lost.
        let is_named = |path: &PathBuf| {
            let named =
                path.parent().zip(path.file_name()).and_then(|(parent, name)| folders.get(parent)?.now.get(name));
            named.is_some() || path.parent().is_none_or(|parent| !folders.contains_key(parent))
        };
        let folders =
            folders.iter().filter(|(path, _)| is_named(path)).map(|(path, folder)| (path.clone(), folder.clone()));
        let state = State { files, folders: folders.collect(), reflinks: state.reflinks, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }
    /// The disk after the process alone died: all is there.
    pub fn after_death(&self) -> Self {
        let state = self.lock();
        let state = State {
            files: state.files.clone(),
            folders: state.folders.clone(),
            reflinks: state.reflinks,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }
    /// All files below a folder.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let state = self.lock();
        let below = state.folders.iter().filter(|(path, _)| path.starts_with(folder));
        below
            .flat_map(|(path, names)| {
                let files = names.now.iter().filter(|(_, entry)| matches!(entry, Entry::File(_)));
                files.map(|(name, _)| path.join(name)).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl File {
    fn cut(&self, random: &mut Random) -> Self {
        let length = if random.coin() { self.now.len() } else { self.synced.len() };
        let mut bytes = self.synced.clone();
        bytes.resize(length, 0);
        for at in (0..length).step_by(PAGE) {
            let end = (at + PAGE).min(length).min(self.now.len());
            if at < end && random.coin() {
                bytes[at..end].copy_from_slice(&self.now[at..end]);
            }
        }
        Self { now: bytes.clone(), synced: bytes }
    }
}

impl Folder {
    fn cut(&self, random: &mut Random) -> Self {
        let mut names = self.synced.clone();
        for (name, entry) in &self.now {
            if self.synced.get(name) != Some(entry) && random.coin() {
                names.insert(name.clone(), *entry);
            }
        }
        for name in self.synced.keys() {
            if !self.now.contains_key(name) && random.coin() {
                names.remove(name);
            }
        }
        Self { now: names.clone(), synced: names }
    }
}

impl State {
    fn begin(&mut self, what: &str, path: &Path) -> io::Result<()> {
        let number = self.trace.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.trace.push(format!("{what} {name}"));
        match self.fails {
            Some(Fails { at, kind, ever_after }) if number == at || (ever_after && number > at) => Err(kind.into()),
            _ => Ok(()),
        }
    }
    fn entry(&mut self, path: &Path) -> io::Result<(&mut Folder, OsString)> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::NotFound)?;
        Ok((self.folders.get_mut(parent).ok_or(io::ErrorKind::NotFound)?, name.to_owned()))
    }
    fn find(&mut self, path: &Path) -> io::Result<u64> {
        let (folder, name) = self.entry(path)?;
        match folder.now.get(&name) {
            Some(Entry::File(id)) => Ok(*id),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<OpenFile> {
        let mut state = self.lock();
        state.begin("create", path)?;
        let id = state.files.last_key_value().map_or(0, |(id, _)| id + 1);
        let (folder, name) = state.entry(path)?;
        if folder.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.now.insert(name, Entry::File(id));
        state.files.insert(id, File::default());
        Ok(Arc::new(SimFile { state: self.state.clone(), id, path: path.to_owned() }))
    }
    fn open(&self, path: &Path, _write: bool) -> io::Result<OpenFile> {
        let id = self.lock().find(path)?;
        Ok(Arc::new(SimFile { state: self.state.clone(), id, path: path.to_owned() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin("rename to", to)?;
        let id = state.find(from)?;
        let (folder, name) = state.entry(to)?;
        folder.now.insert(name, Entry::File(id));
        let (folder, name) = state.entry(from)?;
        folder.now.remove(&name);
        Ok(())
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin("unlink", path)?;
        state.find(path)?;
        let (folder, name) = state.entry(path)?;
        folder.now.remove(&name);
        Ok(())
    }
    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.lock();
        state.begin("make folder", path)?;
        let (folder, name) = state.entry(path)?;
        let is_new = folder.now.insert(name, Entry::Folder).is_none();
        state.folders.entry(path.to_owned()).or_default();
        Ok(is_new)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin("sync folder", path)?;
        let folder = state.folders.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        folder.synced = folder.now.clone();
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.lock();
        let folder = state.folders.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(folder.now.keys().cloned().collect())
    }
    fn about(&self, path: &Path) -> io::Result<About> {
        match self.lock().folders.get(path) {
            Some(_) => Ok(About { device: 1, modified: SystemTime::now() }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    id: u64,
    path: PathBuf,
}

impl SimFile {
    fn change<T>(&self, what: &str, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        state.begin(what, &self.path)?;
        Ok(act(state.files.get_mut(&self.id).unwrap()))
    }
    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().files[&self.id].now.clone()
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock().unwrap();
        let bytes = &state.files[&self.id].now;
        let rest = &bytes[(offset as usize).min(bytes.len())..];
        // Never all at once, as a disk may.
        let count = rest.len().min(buffer.len()).min(100_000);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change("write", |file| {
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            file.now.resize(file.now.len().max(end), 0);
            file.now[start..end].copy_from_slice(bytes);
        })
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.change("set size of", |file| file.now.resize(bytes as usize, 0))
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.change("sync", |file| file.synced = file.now.clone())
    }
    fn seal(&self) -> io::Result<()> {
        self.change("seal", |_| ())
    }
    fn hint_written(&self, _range: Range<u64>) {}
    fn share_from(&self, base: &dyn DiskFile) -> io::Result<()> {
        if !self.state.lock().unwrap().reflinks {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut bytes = vec![0; base.size()? as usize];
        let mut at = 0;
        while at < bytes.len() {
            at += base.read_at(&mut bytes[at..], at as u64)?;
        }
        self.change("share", |file| file.now = bytes)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
