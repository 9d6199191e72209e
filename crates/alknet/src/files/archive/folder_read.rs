//! Reads a folder of the disk: names in order, nothing followed.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    iter::Peekable,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    vec,
};

use alknet_fs::{EntryName, FsPath, Names};
use rustix::{
    fs::{getxattr, listxattr},
    io::Errno,
};

use super::{ArchiveError, LeftOut};
use crate::files::entry::{Entry, What, Xattrs, xattrs_fit};

/// Goes through a folder: first itself, then what is in it, folders before their contents, in the order of what a bucket compares names
/// by. Of what it takes for one, folders are gone through as one, and else the first counts.
///
/// Memory grows with the folders on the way down, and with the files that have several names.
pub struct Walk {
    root: Option<PathBuf>,
    names: Names,
    open: Vec<Open>,
    linked: HashMap<(u64, u64), FsPath>,
}

/// An entry that was found.
pub struct Walked {
    /// What it is.
    pub entry: Entry,
    /// Where it lies.
    pub place: PathBuf,
    /// How many names it has.
    pub names: u64,
}

struct Open {
    /// Several where the bucket takes their names for one.
    folders: Vec<PathBuf>,
    path: FsPath,
    found: Peekable<vec::IntoIter<Found>>,
}

/// A name in one of the folders.
struct Found {
    folder: usize,
    name: OsString,
}

/// Folders that are gone through as one, with what is in them.
#[derive(Default)]
struct Folders {
    folders: Vec<PathBuf>,
    found: Vec<Found>,
}

impl Folders {
    /// Adds what is in this folder, all of it or nothing.
    fn add(&mut self, folder: PathBuf) -> io::Result<()> {
        let names: io::Result<Vec<_>> =
            fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let at = self.folders.len();
        self.found.extend(names?.into_iter().map(|name| Found { folder: at, name }));
        self.folders.push(folder);
        Ok(())
    }
}

impl Walk {
    /// Begins at this folder, for a bucket that compares names so.
    pub fn new(root: &Path, names: Names) -> Self {
        Self { root: Some(root.to_owned()), names, open: Vec::new(), linked: HashMap::new() }
    }

    /// The next entry.
    pub fn next(&mut self, left_out: &mut LeftOut) -> Result<Option<Walked>, ArchiveError> {
        if let Some(root) = self.root.take() {
            let metadata = fs::metadata(&root).map_err(ArchiveError::disk(&root))?;
            let entry = described(FsPath::ROOT, What::Folder, &metadata, &root, left_out)?;
            let mut folders = Folders::default();
            folders.add(root.clone()).map_err(ArchiveError::disk(&root))?;
            self.enter(folders, FsPath::ROOT);
            return Ok(Some(Walked { entry, place: root, names: 1 }));
        }
        loop {
            let Some(open) = self.open.last_mut() else { return Ok(None) };
            let Some(Found { folder, name }) = open.found.next() else {
                self.open.pop();
                continue;
            };
            let place = open.folders[folder].join(&name);
            let path = EntryName::parse(name.as_bytes()).and_then(|name| open.path.join(name));
            let Ok(path) = path else {
                left_out.add(place.as_os_str().as_bytes(), "its path is too long");
                continue;
            };
            if is_part(name.as_bytes()) {
                left_out.add(place.as_os_str().as_bytes(), "it is what a transfer that was cut has left");
                continue;
            }
            let metadata = match fs::symlink_metadata(&place) {
                Ok(metadata) => metadata,
                // It went away since its folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    left_out.fail(place.as_os_str().as_bytes(), error.to_string());
                    continue;
                }
            };
            match self.found(path, place, &metadata, left_out) {
                Ok(None) => {}
                // One that cannot be read does not keep the others from coming.
                Err(ArchiveError::Disk { path, source }) => {
                    // Another name of it may be tried.
                    self.linked.remove(&(metadata.dev(), metadata.ino()));
                    if source.kind() != io::ErrorKind::NotFound {
                        left_out.fail(path.as_os_str().as_bytes(), source.to_string());
                    }
                }
                found => return found,
            }
        }
    }

    /// What was found here; `None` where it is nothing that is taken.
    fn found(
        &mut self,
        path: FsPath,
        place: PathBuf,
        metadata: &Metadata,
        left_out: &mut LeftOut,
    ) -> Result<Option<Walked>, ArchiveError> {
        let what = match self.what(&path, &place, metadata)? {
            Ok(what) => what,
            Err(why) => {
                left_out.add(place.as_os_str().as_bytes(), why);
                return Ok(None);
            }
        };
        let entry = described(path, what, metadata, &place, left_out)?;
        let is_folder = entry.what == What::Folder;
        let mut folders = Folders::default();
        if is_folder {
            folders.add(place.clone()).map_err(ArchiveError::disk(&place))?;
        }
        while let Some(alike) = self.alike(&entry.path) {
            if !is_folder || !fs::symlink_metadata(&alike).is_ok_and(|metadata| metadata.is_dir()) {
                let why = "the bucket takes its name for one that came: the first one counts";
                left_out.add(alike.as_os_str().as_bytes(), why);
            } else if let Err(error) = folders.add(alike.clone())
                && error.kind() != io::ErrorKind::NotFound
            {
                left_out.fail(alike.as_os_str().as_bytes(), error.to_string());
            }
        }
        if is_folder {
            self.enter(folders, entry.path.clone());
        }
        Ok(Some(Walked { entry, place, names: metadata.nlink() }))
    }

    /// The next that the bucket takes for the same as this one.
    fn alike(&mut self, path: &FsPath) -> Option<PathBuf> {
        let (_, name) = path.split_last()?;
        let open = self.open.last_mut()?;
        let key = self.names.key(name.as_bytes());
        let found = open.found.next_if(|found| self.names.key(found.name.as_bytes()) == key)?;
        Some(open.folders[found.folder].join(found.name))
    }

    fn enter(&mut self, folders: Folders, path: FsPath) {
        let Folders { folders, mut found } = folders;
        match self.names {
            Names::Bytes => found.sort_unstable_by(|one, other| one.name.cmp(&other.name)),
            names => found.sort_by_cached_key(|found| {
                (names.key(found.name.as_bytes()).into_owned(), found.name.clone(), found.folder)
            }),
        }
        self.open.push(Open { folders, path, found: found.into_iter().peekable() });
    }

    fn what(
        &mut self,
        path: &FsPath,
        place: &Path,
        metadata: &Metadata,
    ) -> Result<Result<What, &'static str>, ArchiveError> {
        if metadata.is_file() && metadata.nlink() > 1 {
            let first = self.linked.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.clone());
            if first != path {
                return Ok(Ok(What::HardLink { to: first.clone(), size: metadata.len() }));
            }
        }
        what_of(place, metadata)
    }
}

/// Whether a name is that of a file on its way here.
fn is_part(name: &[u8]) -> bool {
    name.starts_with(b".alknet-") && name.ends_with(b".part")
}

fn what_of(place: &Path, metadata: &Metadata) -> Result<Result<What, &'static str>, ArchiveError> {
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        Ok(What::Folder)
    } else if kind.is_file() {
        Ok(What::File { size: metadata.len() })
    } else if kind.is_symlink() {
        let target = fs::read_link(place).map_err(ArchiveError::disk(place))?;
        Ok(What::Symlink { target: target.into_os_string().into_vec() })
    } else if kind.is_socket() {
        Err("it is a socket")
    } else if kind.is_fifo() {
        Err("it is a pipe")
    } else {
        Err("it is a device")
    })
}

/// A single entry of the disk, under this path; a symbolic link as what it leads to where `follow` says so.
pub fn read_entry(
    place: &Path,
    path: FsPath,
    follow: bool,
    left_out: &mut LeftOut,
) -> Result<Option<Entry>, ArchiveError> {
    let metadata = if follow { fs::metadata(place) } else { fs::symlink_metadata(place) };
    let metadata = metadata.map_err(ArchiveError::disk(place))?;
    match what_of(place, &metadata)? {
        Ok(what) => Ok(Some(described(path, what, &metadata, place, left_out)?)),
        Err(why) => {
            left_out.add(place.as_os_str().as_bytes(), why);
            Ok(None)
        }
    }
}

fn described(
    path: FsPath,
    what: What,
    metadata: &Metadata,
    place: &Path,
    left_out: &mut LeftOut,
) -> Result<Entry, ArchiveError> {
    let mut xattrs = match what {
        // Linux lets users put none on links, and those of the system are not ours.
        What::Symlink { .. } | What::HardLink { .. } => Xattrs::new(),
        What::Folder | What::File { .. } => read_xattrs(place).map_err(ArchiveError::disk(place))?,
    };
    if !xattrs_fit(&xattrs) {
        left_out.add(place.as_os_str().as_bytes(), "its extended attributes are too large");
        xattrs.clear();
    }
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Ok(Entry { path, what, mode: (metadata.mode() & 0o7777) as u16, mtime_ns, xattrs })
}

/// The attributes that users put on a file: those whose name begins with `user.`.
fn read_xattrs(place: &Path) -> io::Result<Xattrs> {
    let names = match all_of(|buffer| listxattr(place, buffer)) {
        // The file system knows none.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Xattrs::new()),
        names => names?,
    };
    let mut xattrs = Xattrs::new();
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        match all_of(|buffer| getxattr(place, OsStr::from_bytes(name), buffer)) {
            Ok(value) => drop(xattrs.insert(name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(xattrs)
}

/// Largest list of names and largest value that Linux gives, in bytes.
const MAX_XATTR_BYTES: usize = 64 * 1024;

fn all_of(read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; MAX_XATTR_BYTES];
    let length = read(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
