//! Puts files, trees and archives of this machine on a branch.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use alknet_fs::{
    FsPath, Names,
    operations::{AttributesView, BranchRef, EntryKind, EntryView, Have, HaveOutput, InodeNumber, StatView},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    archive::{ArchiveError, Keep, LeftOut, Source, Walk, Walked, read_entry},
    came::Came,
    entry::{Entry, What, Xattrs, relative, shown},
    hashing::hash_file,
    limits::{MAX_KEPT_BYTES, ONE_READING_BYTES, PIECE_BYTES, WAITING_ENTRIES, WAITING_PIECES},
    progress::Done,
    remote::{Pages, Remote, path_of},
    send::{Content, Lost, Outcome, Sender, Sending, Sent, below},
};
use crate::failure::{Failure, Kind};

/// Puts one file at the path that is sent to.
pub async fn file(how: Sending<'_, '_>, place: &Path) -> Result<Sent, Failure> {
    let mut left_out = LeftOut::default();
    let Some(entry) = read_entry(place, FsPath::ROOT, true, &mut left_out)? else {
        let why = left_out.shown.pop().map_or("it is no file".into(), |(_, why)| why);
        return Err(Failure::failed(format_args!("{}: {why}", shown(place)))
            .hint("`COMMAND | alknet fs put - ADDR` puts what a command writes"));
    };
    let mut sender = Sender::new(how);
    let there = match sender.how().remote.look(&sender.how().to, false).await {
        // Who may only write does not see.
        Err(failure) if failure.kind() == Kind::Denied && !sender.how().only_new => None,
        there => there?.map(There::from),
    };
    if sender.how().only_new && there.is_some() {
        sender.is_there(&entry, Outcome::Kept)?;
    } else {
        let failed = |lost: Lost| Failure::failed(format_args!("{}: {}", shown(&lost.place), lost.why));
        let read = Reading::of(sender.how()).content(entry, place.to_owned()).await?;
        let (entry, content) = read.map_err(failed)?;
        if there.is_some_and(|there| there.has(&entry, &content, sender.how().keep)) {
            sender.is_there(&entry, Outcome::Unchanged)?;
        } else {
            sender.take(entry, content).await?;
        }
    }
    let mut sent = sender.finish().await?;
    if let Some((_, why)) = sent.left_out.failures.pop() {
        return Err(Failure::failed(format_args!("{}: {why}", shown(place))));
    }
    sent.left_out.extend(left_out);
    Ok(sent)
}

/// Puts what is at and below a folder at and below the path that is sent to.
pub async fn tree(how: Sending<'_, '_>, root: &Path) -> Result<Sent, Failure> {
    let names = how.remote.names(&how.to.branch).await?;
    let mut known = Known::of(&how, names).await?;
    let (entries, mut waiting) = mpsc::channel(WAITING_ENTRIES);
    let start = root.to_owned();
    let walking = spawn_blocking(move || walk(&start, names, &entries));
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let waiting = stream::poll_fn(move |context| waiting.poll_recv(context));
    let reading = &Reading::of(&how);
    let mut hashed = waiting
        .map(|found: Walked| async move {
            let read = reading.content(found.entry, found.place).await?;
            Ok::<_, Failure>(read.map(|(entry, content)| (entry, content, found.names)))
        })
        .buffered(threads * 2);
    let mut sender = Sender::new(how);
    while let Some(next) = hashed.next().await {
        let (entry, content, names) = match next? {
            Ok(read) => read,
            Err(lost) => {
                sender.lost(lost);
                continue;
            }
        };
        let there = known.at(&entry, sender.how()).await?;
        known.note(&entry, names, there.as_ref());
        match known.has(&entry, &content, there.as_ref(), sender.how()) {
            Some(outcome) => sender.is_there(&entry, outcome)?,
            None => sender.take(entry, content).await?,
        }
    }
    let left_out = walking.await??;
    let mut sent = sender.finish().await?;
    sent.left_out.extend(left_out);
    Ok(sent)
}

/// Puts the entries of an archive below the path that is sent to. `open` runs in the thread that then reads it.
pub async fn archive<S: Source>(
    how: Sending<'_, '_>,
    open: impl FnOnce() -> Result<S, ArchiveError> + Send + 'static,
) -> Result<Sent, Failure> {
    let names = how.remote.names(&how.to.branch).await?;
    let (items, mut waiting) = mpsc::channel::<(Entry, Content)>(WAITING_PIECES);
    let (ended, end) = oneshot::channel();
    let reading = move || {
        let outcome = open().and_then(|mut source| {
            let (mut left_out, mut misplaced, mut came) = (LeftOut::default(), LeftOut::default(), Came::new(names));
            source.each(&mut left_out, &mut |entry, content| match came.note(&entry) {
                Ok(again) => {
                    if again {
                        misplaced.add(
                            &relative(&entry.path),
                            "the bucket takes its name for one that came: the last one counts",
                        );
                    }
                    hand_over(entry, content, &items)
                }
                Err(why) => {
                    misplaced.add(&relative(&entry.path), why);
                    Ok(())
                }
            })?;
            left_out.extend(misplaced);
            Ok(left_out)
        });
        let _ = ended.send(outcome);
    };
    // Not one of the runtime's own: it waits for the wire.
    thread::Builder::new().name("archive".to_owned()).spawn(reading)?;
    let mut sender = Sender::new(how);
    let mut taken = Ok(());
    while taken.is_ok()
        && let Some((entry, content)) = waiting.recv().await
    {
        taken = sender.take(entry, content).await;
    }
    // Whoever reads has nobody to hand over to any more.
    drop(waiting);
    let left_out = end.await.map_err(|_| Failure::failed("the thread that read the archive is gone"))?;
    // Where both failed, why the archive could not be read is the cause.
    let left_out = match (left_out, taken) {
        (Err(ArchiveError::Stopped), Err(failure)) => return Err(failure),
        (Err(error), _) => return Err(error.into()),
        (Ok(_), Err(failure)) => return Err(failure),
        (Ok(left_out), Ok(())) => left_out,
    };
    let mut sent = sender.finish().await?;
    sent.left_out.extend(left_out);
    Ok(sent)
}

/// Counts what is below a folder, for the time that is left.
pub async fn count(root: &Path) -> (u64, u64) {
    let root = root.to_owned();
    let counting = spawn_blocking(move || {
        let (mut walk, mut left_out) = (Walk::new(&root, Names::Bytes), LeftOut::default());
        let (mut files, mut bytes) = (0, 0);
        while let Ok(Some(found)) = walk.next(&mut left_out) {
            if let What::File { size } = found.entry.what {
                files += 1;
                bytes += size;
            }
        }
        (files, bytes)
    });
    counting.await.unwrap_or_default()
}

fn walk(root: &Path, names: Names, entries: &mpsc::Sender<Walked>) -> Result<LeftOut, ArchiveError> {
    let (mut walk, mut left_out) = (Walk::new(root, names), LeftOut::default());
    while let Some(found) = walk.next(&mut left_out)? {
        // Whoever took them has failed, and says why.
        if entries.blocking_send(found).is_err() {
            break;
        }
    }
    Ok(left_out)
}

/// Reads files to see whether they are there.
struct Reading<'r, 'a> {
    remote: &'r Remote<'a>,
    branch: BranchRef,
    done: Arc<Done>,
}

impl<'r, 'a> Reading<'r, 'a> {
    fn of(how: &Sending<'r, 'a>) -> Self {
        Self { remote: how.remote, branch: how.to.branch.clone(), done: how.done.clone() }
    }

    async fn content(&self, entry: Entry, place: PathBuf) -> Result<Result<(Entry, Content), Lost>, Failure> {
        let What::File { size } = entry.what else { return Ok(Ok((entry, Content::None))) };
        // Beside what the disk takes for it, a second reading counts; the wire is slower than both.
        if self.remote.is_local() && ONE_READING_BYTES.contains(&size) && !self.is_as_long(size).await? {
            return Ok(Ok((entry, Content::Unread { place })));
        }
        let (here, done) = (place.clone(), self.done.clone());
        let hashed = match spawn_blocking(move || hash_file(&here, &done)).await? {
            Err(ArchiveError::Disk { source, .. }) => return Ok(Err(Lost::of(&entry.path, place, &source))),
            hashed => hashed?,
        };
        let (hash, size, stamp) = (hashed.hash, hashed.size, hashed.stamp);
        let entry = Entry { what: What::File { size }, mtime_ns: stamp.mtime_ns, ..entry };
        Ok(Ok(match hashed.kept {
            Some(bytes) => (entry, Content::Kept { bytes, hash }),
            None => (entry, Content::File { place, hash, size, stamp }),
        }))
    }

    /// Whether something in the bucket is so long.
    async fn is_as_long(&self, size: u64) -> Result<bool, Failure> {
        let input = Have { bucket: self.branch.clone(), hashes: Vec::new(), sizes: vec![size] };
        let HaveOutput { sizes, .. } = self.remote.call("fs/have", &input).await?;
        Ok(!sizes.is_empty())
    }
}

/// Hands an entry of an archive to the one who sends: small files whole, others in pieces.
fn hand_over(entry: Entry, content: &mut dyn Read, items: &mpsc::Sender<(Entry, Content)>) -> Result<(), ArchiveError> {
    let What::File { size } = entry.what else {
        return items.blocking_send((entry, Content::None)).map_err(|_| ArchiveError::Stopped);
    };
    let path = entry.path.clone();
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, OTHER_LENGTH);
    if size <= MAX_KEPT_BYTES {
        let mut bytes = Vec::new();
        content.take(MAX_KEPT_BYTES + 1).read_to_end(&mut bytes).map_err(ArchiveError::content(&path))?;
        if bytes.len() as u64 != size {
            return Err(ArchiveError::content(&path)(short()));
        }
        let hash = alknet_fs::ContentHash::of(&bytes);
        return items.blocking_send((entry, Content::Kept { bytes, hash })).map_err(|_| ArchiveError::Stopped);
    }
    let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
    items.blocking_send((entry, Content::Pieces(waiting))).map_err(|_| ArchiveError::Stopped)?;
    let sent = send_pieces(size, content, &pieces);
    if let Err(Piece::Bad(error)) = sent {
        // The upload is not to end as if it were whole.
        let _ = pieces.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        return Err(ArchiveError::content(&path)(error));
    }
    sent.map_err(|_| ArchiveError::Stopped)
}

/// Why a piece did not go on.
enum Piece {
    Bad(io::Error),
    Unwanted,
}

/// The content of an entry, in pieces. The last leaves only when the content has ended well: its checksum comes at its very end.
fn send_pieces(size: u64, content: &mut dyn Read, pieces: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), Piece> {
    let other_length = || Piece::Bad(io::Error::new(io::ErrorKind::UnexpectedEof, OTHER_LENGTH));
    let mut left = size;
    while left > 0 {
        let length = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
        let mut piece = Vec::with_capacity(length);
        content.take(length as u64).read_to_end(&mut piece).map_err(Piece::Bad)?;
        if piece.len() < length {
            return Err(other_length());
        }
        left -= length as u64;
        if left == 0 && content.read(&mut [0]).map_err(Piece::Bad)? != 0 {
            return Err(other_length());
        }
        pieces.blocking_send(Ok(Bytes::from(piece))).map_err(|_| Piece::Unwanted)?;
    }
    Ok(())
}

const OTHER_LENGTH: &str = "it has another length than the archive says";

/// What is there of the name of an entry.
struct There {
    kind: EntryKind,
    attributes: Option<AttributesView>,
    /// Where they are known.
    xattrs: Option<Xattrs>,
}

impl From<StatView> for There {
    fn from(found: StatView) -> Self {
        let xattrs = found.xattrs.into_iter().map(|xattr| (xattr.name.0, xattr.value.0)).collect();
        Self { kind: found.kind, attributes: Some(found.attributes), xattrs: Some(xattrs) }
    }
}

impl There {
    /// Whether an entry is there as it is.
    fn has(&self, entry: &Entry, content: &Content, keep: Keep) -> bool {
        let same_xattrs = self.xattrs.as_ref().map_or(entry.xattrs.is_empty(), |there| *there == entry.xattrs);
        let has = |attributes| is_same(entry, content, self.kind, attributes, keep);
        self.attributes.as_ref().is_some_and(has) && (keep == Keep::Permissions || same_xattrs)
    }
}

fn is_same(entry: &Entry, content: &Content, kind: EntryKind, attributes: &AttributesView, keep: Keep) -> bool {
    let same_content = match (&entry.what, kind, content) {
        (What::Folder, EntryKind::Folder, _) if keep == Keep::Permissions => return true,
        (What::Folder, EntryKind::Folder, _) => true,
        (What::File { .. }, EntryKind::File, Content::Kept { hash, .. } | Content::File { hash, .. }) => {
            attributes.hash == Some(*hash)
        }
        (What::Symlink { target }, EntryKind::Symlink, _) => {
            attributes.target.as_ref().is_some_and(|there| there.0 == *target)
        }
        _ => false,
    };
    let same_rest = match keep {
        Keep::Permissions => kind == EntryKind::Symlink || attributes.mode & 0o777 == entry.mode & 0o777,
        Keep::Everything => attributes.mode == entry.mode && attributes.mtime.0 == entry.mtime_ns,
    };
    same_content && same_rest
}

/// What is there already, read beside the walk, since both are in the same order.
struct Known<'r, 'a> {
    exists: bool,
    /// Of files that have several names here: what they are there.
    linked: HashMap<FsPath, InodeNumber>,
    pages: Option<Pages<'r, 'a>>,
    names: Names,
    /// By what their paths are compared by.
    page: VecDeque<(Vec<u8>, EntryView)>,
}

impl<'r, 'a> Known<'r, 'a> {
    async fn of(how: &Sending<'r, 'a>, names: Names) -> Result<Self, Failure> {
        let mut known = Self {
            exists: true,
            linked: HashMap::new(),
            pages: Some(how.remote.pages(&how.to, true)),
            names,
            page: VecDeque::new(),
        };
        match known.fill().await {
            Ok(()) => Ok(known),
            Err(failure) if failure.kind() == Kind::NotFound => Ok(Self { exists: false, pages: None, ..known }),
            Err(failure) => Err(failure),
        }
    }

    /// Notes what a file is there that has several names here.
    fn note(&mut self, entry: &Entry, names: u64, there: Option<&There>) {
        if let (What::File { .. }, true, Some(there)) = (&entry.what, names > 1, there)
            && let (EntryKind::File, Some(attributes)) = (there.kind, &there.attributes)
        {
            self.linked.insert(entry.path.clone(), attributes.ino);
        }
    }

    /// What becomes of an entry that stays as it is there; `None` where it is to be sent.
    fn has(&self, entry: &Entry, content: &Content, there: Option<&There>, how: &Sending<'_, '_>) -> Option<Outcome> {
        if entry.path == FsPath::ROOT && self.exists && (how.keep == Keep::Permissions || how.only_new) {
            return Some(Outcome::Unchanged);
        }
        let there = there?;
        let is_same = match &entry.what {
            // What lies in it may be new.
            What::Folder if how.only_new && there.kind == EntryKind::Folder => true,
            What::HardLink { to, .. } => {
                let is_same = |attributes: &AttributesView| self.linked.get(to) == Some(&attributes.ino);
                there.kind == EntryKind::File && there.attributes.as_ref().is_some_and(is_same)
            }
            What::Folder | What::File { .. } | What::Symlink { .. } => there.has(entry, content, how.keep),
        };
        match entry.what {
            _ if is_same => Some(Outcome::Unchanged),
            What::Folder => None,
            _ => how.only_new.then_some(Outcome::Kept),
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let Some(pages) = &mut self.pages else { return Ok(()) };
        match pages.next().await? {
            None => self.pages = None,
            Some(entries) => {
                for entry in entries {
                    self.page.push_back((self.names.path_key(&path_of(&entry)?), entry));
                }
            }
        }
        Ok(())
    }

    /// What is there of this name.
    async fn at(&mut self, entry: &Entry, how: &Sending<'_, '_>) -> Result<Option<There>, Failure> {
        let wants_all = how.keep == Keep::Everything && !how.only_new && self.exists;
        if entry.path == FsPath::ROOT {
            // A list does not have the folder itself.
            return if wants_all { Ok(how.remote.look(&how.to, false).await?.map(There::from)) } else { Ok(None) };
        }
        let Some(view) = self.listed(&entry.path).await? else { return Ok(None) };
        let there = There { kind: view.kind, attributes: view.attributes, xattrs: None };
        // Nor has it extended attributes.
        if wants_all && !entry.xattrs.is_empty() {
            let spot = how.to.at(below(&how.to.path, &entry.path)?);
            return Ok(how.remote.look(&spot, false).await?.map(There::from));
        }
        Ok(Some(there))
    }

    async fn listed(&mut self, path: &FsPath) -> Result<Option<EntryView>, Failure> {
        let path = self.names.path_key(path);
        loop {
            while self.page.front().is_some_and(|(there, _)| *there < path) {
                self.page.pop_front();
            }
            if self.page.is_empty() && self.pages.is_some() {
                self.fill().await?;
                continue;
            }
            return Ok(match self.page.front() {
                Some((there, _)) if *there == path => self.page.pop_front().map(|(_, entry)| entry),
                _ => None,
            });
        }
    }
}
