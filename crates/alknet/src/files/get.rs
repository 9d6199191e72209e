//! Gets files and trees of a branch to this machine, or into an archive.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Cursor, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use alknet_call::ByteTicket;
use alknet_fs::{
    ContentHash, FsPath,
    operations::{AttributesView, EntryKind, EntryView, InlineContent, InodeNumber, ReadFile, ReadInline, StatView},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::{fs::OFlags, process::geteuid};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    address::Spot,
    archive::{ArchiveError, FolderSink, Keep, LeftOut, Sink},
    entry::{Entry, What, Xattrs, shown},
    hashing::hash_file,
    limits::{MAX_KEPT_BYTES, PIECE_BYTES, SMALL_AT_ONCE, WAITING_PIECES},
    progress::Done,
    remote::{Remote, path_of},
    send::{Content, Outcome, Tell, below},
};
use crate::failure::Failure;

/// What is got from where, and how.
pub struct Getting<'r, 'a> {
    /// From which node.
    pub remote: &'r Remote<'a>,
    /// What.
    pub from: Spot,
    /// What is kept besides content.
    pub keep: Keep,
    /// Large files at the same time.
    pub jobs: usize,
    /// Counts.
    pub done: Arc<Done>,
    /// Who is told of each file.
    pub tell: Tell,
}

impl Getting<'_, '_> {
    fn spot(&self, path: &FsPath) -> Result<Spot, Failure> {
        Ok(self.from.at(below(&self.from.path, path)?))
    }

    /// What the file system knows of an entry, with its attributes where everything is kept.
    ///
    /// Gives also how many names it has, where that was asked for.
    async fn entry(&self, path: FsPath, kind: EntryKind, attributes: &AttributesView) -> Result<(Entry, u32), Failure> {
        let (mut xattrs, mut names) = (Xattrs::new(), 1);
        // Lists have neither.
        if self.keep == Keep::Everything && kind != EntryKind::Symlink {
            let found = self.remote.stat(&self.spot(&path)?, false).await?;
            names = found.attributes.nlink.unwrap_or(1);
            xattrs.extend(found.xattrs.into_iter().map(|xattr| (xattr.name.0, xattr.value.0)));
        }
        let what = match kind {
            EntryKind::Folder => What::Folder,
            EntryKind::File => What::File { size: attributes.size },
            EntryKind::Symlink => What::Symlink { target: attributes.target.clone().unwrap_or_default().0 },
        };
        Ok((Entry { path, what, mode: attributes.mode, mtime_ns: attributes.mtime.0, xattrs }, names))
    }

    /// An entry of a list, with its attributes and how many names it has.
    async fn described(&self, view: EntryView) -> Result<(Entry, AttributesView, u32), Failure> {
        let missing = || Failure::failed("the node lists an entry without its attributes");
        let attributes = view.attributes.clone().ok_or_else(missing)?;
        let (entry, names) = self.entry(path_of(&view)?, view.kind, &attributes).await?;
        Ok((entry, attributes, names))
    }

    /// The bytes of a small file, held against their hash.
    async fn small(&self, path: &FsPath) -> Result<Vec<u8>, Failure> {
        let spot = self.spot(path)?;
        let input = ReadInline {
            bucket: spot.branch.clone(),
            path: spot.octets(),
            when: spot.when.clone(),
            offset: 0,
            length: MAX_KEPT_BYTES,
        };
        let read: InlineContent = self.remote.call("fs/read.inline", &input).await?;
        let bytes = read.content.0;
        if read.size != bytes.len() as u64 || ContentHash::of(&bytes) != read.hash {
            return Err(Failure::failed(format_args!("{spot}: what came is not what its hash says")));
        }
        self.done.bytes(bytes.len() as u64);
        self.done.moved(bytes.len() as u64);
        Ok(bytes)
    }

    /// Fetches a file from this byte on.
    async fn large(&self, path: &FsPath, offset: u64, out: impl AsyncWrite + Unpin) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        let input = ReadFile {
            bucket: spot.branch.clone(),
            path: spot.octets(),
            when: spot.when.clone(),
            offset,
            length: None,
        };
        let ticket: ByteTicket = self.remote.call("fs/read", &input).await?;
        let mut out = tokio_util::io::InspectWriter::new(out, |bytes: &[u8]| {
            self.done.bytes(bytes.len() as u64);
            self.done.moved(bytes.len() as u64);
        });
        self.remote.download(&ticket, &mut out).await.map(drop)
    }
}

/// Gets one file to a place of this machine: the version that was found, whatever becomes of it meanwhile.
pub async fn file(mut how: Getting<'_, '_>, found: &StatView, place: &Path) -> Result<LeftOut, Failure> {
    how.from.when = Some(found.seq.to_string());
    let (folder, name) = (place.parent().unwrap_or(Path::new("/")), place.file_name());
    let name = name.ok_or_else(|| Failure::usage(format_args!("{} names no file", shown(place))))?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let here = FsPath::parse(name.as_bytes()).map_err(Failure::usage)?;
    let into = Folder::open(folder, how.keep)?;
    let attributes = &found.attributes;
    let xattrs = found.xattrs.iter().map(|xattr| (xattr.name.0.clone(), xattr.value.0.clone())).collect();
    let what = What::File { size: attributes.size };
    let entry = Entry { path: here, what, mode: attributes.mode, mtime_ns: attributes.mtime.0, xattrs };
    let wanted = Wanted { entry, from: FsPath::ROOT, hash: found.attributes.hash };
    fetch(&how, &into, &Semaphore::new(1), wanted).await?;
    into.finish()
}

/// Gets what is at and below a folder to a folder of this machine.
pub async fn tree(mut how: Getting<'_, '_>, found: &StatView, root: &Path) -> Result<LeftOut, Failure> {
    how.from.when = Some(found.seq.to_string());
    let how = &how;
    let folder = Folder::open(root, how.keep)?;
    let into = &folder;
    let (top, _) = how.entry(FsPath::ROOT, EntryKind::Folder, &found.attributes).await?;
    into.put(&top)?;
    let large = &Semaphore::new(how.jobs);
    let (mut links, mut first) = (Vec::new(), HashMap::new());
    let mut pages = how.remote.pages(&how.from, true);
    while let Some(page) = pages.next().await? {
        let mut files = Vec::new();
        let mut entries = stream::iter(page).map(|view| how.described(view)).buffered(SMALL_AT_ONCE);
        while let Some(next) = entries.next().await {
            let (entry, attributes, names) = next?;
            match (&entry.what, linked(&mut first, &entry.path, attributes.ino, names)) {
                (What::File { .. }, Some(to)) => links.push((entry, to)),
                (What::File { .. }, None) => files.push((entry, attributes.hash)),
                _ => into.put(&entry)?,
            }
        }
        let fetched = stream::iter(files).map(|(entry, hash)| async move {
            let from = entry.path.clone();
            fetch(how, into, large, Wanted { entry, from, hash }).await
        });
        fetched.buffer_unordered(SMALL_AT_ONCE.max(how.jobs)).try_collect::<Vec<()>>().await?;
    }
    for (entry, to) in links {
        let What::File { size } = entry.what else { continue };
        let entry = Entry { what: What::HardLink { to, size }, ..entry };
        into.put(&entry)?;
        how.done.file();
        how.done.bytes(size);
        (how.tell)(&entry.path, Outcome::Linked, size)?;
    }
    folder.finish()
}

/// Puts what is at and below a folder into an archive, in order.
pub async fn archive<S: Sink + 'static>(
    mut how: Getting<'_, '_>,
    found: &StatView,
    open: impl FnOnce() -> Result<S, ArchiveError> + Send + 'static,
) -> Result<LeftOut, Failure> {
    how.from.when = Some(found.seq.to_string());
    let how = &how;
    let (items, waiting) = mpsc::channel(WAITING_PIECES);
    let (opened, wants) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let writing = move || {
        let outcome = open().and_then(|sink| {
            let _ = opened.send(sink.wants_content_of_links());
            write_all(Box::new(sink), waiting)
        });
        let _ = ended.send(outcome);
    };
    thread::Builder::new().name("archive".to_owned()).spawn(writing)?;
    let wants = wants.await.unwrap_or_default();
    let sent = send_all(how, found, wants, items).await;
    let left_out = end.await.map_err(|_| Failure::failed("the thread that wrote the archive is gone"))?;
    // Where both failed, why the archive could not be written is the cause.
    match (left_out, sent) {
        (Err(ArchiveError::Stopped), Err(failure)) => Err(failure),
        (Err(error), _) => Err(error.into()),
        (Ok(_), Err(failure)) => Err(failure),
        (Ok(left_out), Ok(())) => Ok(left_out),
    }
}

/// An entry on its way into an archive; `None` says that all came.
type Item = Option<(Entry, Content)>;

async fn send_all(
    how: &Getting<'_, '_>,
    found: &StatView,
    wants: bool,
    items: mpsc::Sender<Item>,
) -> Result<(), Failure> {
    let gone = |_| Failure::failed("the archive takes no more");
    let (top, _) = how.entry(FsPath::ROOT, EntryKind::Folder, &found.attributes).await?;
    items.send(Some((top, Content::None))).await.map_err(gone)?;
    let mut first = HashMap::new();
    let mut pages = how.remote.pages(&how.from, true);
    while let Some(page) = pages.next().await? {
        let entries = stream::iter(page).map(|view| how.described(view)).buffered(SMALL_AT_ONCE);
        let linked = entries.map(|next| {
            next.map(|(entry, attributes, names)| {
                let to = linked(&mut first, &entry.path, attributes.ino, names);
                (entry, attributes, to)
            })
        });
        let mut read = linked
            .map(|next| async move {
                let (mut entry, attributes, to) = next?;
                let is_file = matches!(entry.what, What::File { .. });
                let has_content = is_file && (to.is_none() || wants);
                if let (Some(to), true) = (to, is_file) {
                    entry.what = What::HardLink { to, size: attributes.size };
                }
                let small = has_content && attributes.size <= MAX_KEPT_BYTES;
                let bytes = if small { Some(how.small(&entry.path).await?) } else { None };
                Ok::<_, Failure>((entry, attributes, has_content, bytes))
            })
            .buffered(SMALL_AT_ONCE);
        while let Some(next) = read.next().await {
            let (entry, attributes, has_content, bytes) = next?;
            let (path, size) = (entry.path.clone(), attributes.size);
            match (has_content, bytes) {
                (false, _) => items.send(Some((entry, Content::None))).await.map_err(gone)?,
                (true, Some(bytes)) => {
                    let hash = attributes.hash.unwrap_or_else(|| ContentHash::of(&bytes));
                    items.send(Some((entry, Content::Kept { bytes, hash }))).await.map_err(gone)?;
                }
                (true, None) => {
                    let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
                    items.send(Some((entry, Content::Pieces(waiting)))).await.map_err(gone)?;
                    in_pieces(how, &path, pieces).await?;
                }
            }
            if has_content {
                how.done.file();
                (how.tell)(&path, Outcome::Sent, size)?;
            }
        }
    }
    items.send(None).await.map_err(gone)
}

/// Fetches a large file and hands it over in pieces.
async fn in_pieces(
    how: &Getting<'_, '_>,
    path: &FsPath,
    pieces: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Failure> {
    let (near, far) = tokio::io::duplex(PIECE_BYTES * 2);
    let fetch = how.large(path, 0, near);
    let hand_over = async {
        // When nobody takes it any more, it goes, and the fetch ends.
        let mut far = far;
        loop {
            let mut piece = bytes::BytesMut::with_capacity(PIECE_BYTES);
            if far.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            if pieces.send(Ok(piece.freeze())).await.is_err() {
                return Ok::<(), Failure>(());
            }
        }
    };
    let (fetched, handed) = tokio::join!(fetch, hand_over);
    if let Err(failure) = fetched {
        let _ = pieces.send(Err(io::Error::other(failure.to_string()))).await;
        return Err(failure);
    }
    handed
}

/// The thread that writes an archive.
fn write_all(mut sink: Box<dyn Sink>, mut waiting: mpsc::Receiver<Item>) -> Result<LeftOut, ArchiveError> {
    while let Some(item) = waiting.blocking_recv() {
        match item {
            None => return sink.finish(),
            Some((entry, Content::Kept { bytes, .. })) => sink.put(&entry, &mut Cursor::new(bytes))?,
            Some((entry, Content::Pieces(pieces))) => sink.put(&entry, &mut Pieces { pieces, rest: Bytes::new() })?,
            Some((entry, Content::None | Content::File { .. } | Content::Unread { .. })) => {
                sink.put(&entry, &mut io::empty())?
            }
        }
    }
    // Whoever sent has failed, and says why.
    Err(ArchiveError::Stopped)
}

struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.rest = piece?,
            }
        }
        let length = buf.len().min(self.rest.len());
        buf[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// The first name of a file that was named before.
fn linked(first: &mut HashMap<InodeNumber, FsPath>, path: &FsPath, ino: InodeNumber, names: u32) -> Option<FsPath> {
    if names < 2 {
        return None;
    }
    let first = first.entry(ino).or_insert_with(|| path.clone());
    (first != path).then(|| first.clone())
}

/// A file that is to come.
struct Wanted {
    /// How and where it is to be.
    entry: Entry,
    /// Where it is, from what is got.
    from: FsPath,
    hash: Option<ContentHash>,
}

/// Fetches a file unless it is there, and goes on with one that was cut.
async fn fetch(how: &Getting<'_, '_>, into: &Folder, large: &Semaphore, wanted: Wanted) -> Result<(), Failure> {
    let Wanted { entry, from, hash } = wanted;
    let What::File { size } = entry.what else { return Ok(()) };
    // Each file has one, the empty ones too.
    let hash = hash.ok_or_else(|| Failure::failed("the node lists a file without its hash"))?;
    let placed = into.sink().place(&entry.path);
    let place = match placed {
        Ok(place) => place,
        Err(error) => return into.leave_out(&entry, error),
    };
    let told = |outcome| {
        how.done.file();
        (how.tell)(&from, outcome, size)
    };
    if is_there(&place, size, hash, &how.done).await {
        how.done.bytes(size);
        into.sink().settle(&entry, &place)?;
        return told(Outcome::Unchanged);
    }
    let part = part_of(&place, hash);
    if size <= MAX_KEPT_BYTES {
        let bytes = how.small(&from).await?;
        let size = bytes.len() as u64;
        let filled = into.sink().put(&Entry { what: What::File { size }, ..entry.clone() }, &mut bytes.as_slice());
        return match filled {
            Ok(()) => told(Outcome::Sent),
            Err(error) => into.leave_out(&entry, error),
        };
    }
    // Closing is no concern: the permits outlive everybody who takes one.
    let _permit = large.acquire().await;
    // What it is called meanwhile is nobody's concern.
    let shown = shown(&place);
    let failed = |error: io::Error| Failure::from(error).while_doing(format_args!("cannot write {shown}"));
    let mode = u32::from(entry.mode) & 0o777 | 0o600;
    let file = match open_part(&part, mode) {
        Ok(file) => tokio::fs::File::from_std(file),
        Err(error) => return into.leave_out(&entry, ArchiveError::Disk { path: place, source: error }),
    };
    let began = file.metadata().await.map_err(failed)?.len();
    // One that is as long may be whole, and lack only its name.
    let is_whole = began == size && is_there(&part, size, hash, &how.done).await;
    let offset = if is_whole || began < size { began } else { 0 };
    how.done.bytes(offset);
    if !is_whole {
        file.set_len(offset).await.map_err(failed)?;
        how.large(&from, offset, file.try_clone().await.map_err(failed)?).await?;
    }
    if !is_whole && offset > 0 && !is_there(&part, size, hash, &how.done).await {
        // What was there before was not the beginning of it.
        file.set_len(0).await.map_err(failed)?;
        how.large(&from, 0, file.try_clone().await.map_err(failed)?).await?;
    }
    let file = file.into_std().await;
    into.sink().finish_file(&file, &entry, &part, &place)?;
    told(Outcome::Sent)
}

/// Whether a file is there with this content.
async fn is_there(place: &Path, size: u64, hash: ContentHash, done: &Arc<Done>) -> bool {
    let is_same_size =
        tokio::fs::symlink_metadata(place).await.is_ok_and(|found| found.is_file() && found.len() == size);
    if !is_same_size {
        return false;
    }
    let (place, done) = (place.to_owned(), done.clone());
    spawn_blocking(move || hash_file(&place, &done).is_ok_and(|found| found.hash == hash)).await.unwrap_or_default()
}

/// What a file is called until it is whole: the same each time, so that the same command goes on, and another for each file.
fn part_of(place: &Path, hash: ContentHash) -> PathBuf {
    let name = place.file_name().unwrap_or_default().as_bytes();
    let hash = hash.to_string();
    let mark = ContentHash::of(&[name, b"/", hash.as_bytes()].concat()).to_string();
    place.with_file_name(format!(".alknet-{}.part", &mark[..32]))
}

/// Opens what there is of a file, to go on with it. What somebody may have put in its place is not followed, nor gone on with.
fn open_part(part: &Path, mode: u32) -> io::Result<File> {
    let unfollowed = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.append(true).mode(mode).custom_flags(unfollowed.bits().cast_signed());
    match options.open(part) {
        Ok(file) => {
            let found = file.metadata()?;
            if found.is_file() && found.nlink() == 1 && found.uid() == geteuid().as_raw() {
                return Ok(file);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return options.create_new(true).open(part),
        Err(_) => {}
    }
    fs::remove_file(part)?;
    options.create_new(true).open(part)
}

/// A folder of this machine that several write into.
struct Folder(Mutex<FolderSink>);

impl Folder {
    fn open(root: &Path, keep: Keep) -> Result<Self, Failure> {
        Ok(Self(Mutex::new(FolderSink::new(root, keep)?)))
    }
    /// The folder while one works on it.
    fn sink(&self) -> MutexGuard<'_, FolderSink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let put = self.sink().put(entry, &mut io::empty());
        put.or_else(|error| self.leave_out(entry, error))
    }
    /// Leaves an entry out that this machine has no place for; any other error is one.
    fn leave_out(&self, entry: &Entry, error: ArchiveError) -> Result<(), Failure> {
        Ok(self.sink().leave_out(entry, error)?)
    }
    fn finish(self) -> Result<LeftOut, Failure> {
        Ok(Box::new(self.0.into_inner().unwrap_or_else(PoisonError::into_inner)).finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_is_written_through_what_somebody_put_in_the_place_of_a_part() {
        // ARCH-51
        let folder = tempfile::tempdir().unwrap();
        let (part, victim) = (folder.path().join("part"), folder.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        let plant: [&dyn Fn(); 3] =
            [&|| symlink(&victim, &part).unwrap(), &|| symlink("nowhere", &part).unwrap(), &|| {
                fs::hard_link(&victim, &part).unwrap()
            }];
        for plant in plant {
            plant();
            open_part(&part, 0o600).unwrap().write_all(b"evil").unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"kept");
            assert!(!folder.path().join("nowhere").exists());
            assert_eq!(fs::read(&part).unwrap(), b"evil");
            open_part(&part, 0o600).unwrap().write_all(b", more").unwrap();
            assert_eq!(fs::read(&part).unwrap(), b"evil, more", "one's own is gone on with");
            fs::remove_file(&part).unwrap();
        }
    }

    #[test]
    fn equal_content_beside_each_other_has_parts_of_its_own() {
        let hash = ContentHash::of(b"x");
        let (one, other) = (part_of(Path::new("/d/a"), hash), part_of(Path::new("/d/b"), hash));
        assert_ne!(one, other);
        assert_eq!(one, part_of(Path::new("/d/a"), hash));
        assert_ne!(one, part_of(Path::new("/d/a"), ContentHash::of(b"y")));
    }
}
