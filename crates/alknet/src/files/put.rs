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
    FsPath,
    operations::{AttributesView, BranchRef, EntryKind, EntryView, Have, HaveOutput, InodeNumber},
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
    entry::{Entry, What, relative, shown},
    hashing::hash_file,
    limits::{MAX_KEPT_BYTES, ONE_READING_BYTES, PIECE_BYTES, WAITING_ENTRIES, WAITING_PIECES},
    progress::Done,
    remote::{Pages, Remote, path_of},
    send::{Content, Sender, Sending, Sent},
};
use crate::failure::{Failure, Kind};

/// Puts one file at the path that is sent to.
pub async fn file(how: Sending<'_, '_>, place: &Path) -> Result<Sent, Failure> {
    let mut left_out = LeftOut::default();
    let Some(entry) = read_entry(place, FsPath::ROOT, true, &mut left_out)? else {
        let why = left_out.shown.pop().map_or("it is no file", |(_, why)| why);
        return Err(Failure::failed(format_args!("{}: {why}", shown(place)))
            .hint("`COMMAND | alknet fs put - ADDR` puts what a command writes"));
    };
    let mut sender = Sender::new(how);
    let is_kept = sender.how().only_new && sender.how().remote.look(&sender.how().to, false).await?.is_some();
    if is_kept {
        sender.unchanged(&entry)?;
    } else {
        let (entry, content) = Reading::of(sender.how()).content(entry, place.to_owned()).await?;
        sender.take(entry, content).await?;
    }
    let mut sent = sender.finish().await?;
    sent.left_out.extend(left_out);
    Ok(sent)
}

/// Puts what is at and below a folder at and below the path that is sent to.
pub async fn tree(how: Sending<'_, '_>, root: &Path) -> Result<Sent, Failure> {
    let mut known = Known::of(&how).await?;
    let (entries, mut waiting) = mpsc::channel(WAITING_ENTRIES);
    let start = root.to_owned();
    let walking = spawn_blocking(move || walk(&start, &entries));
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let waiting = stream::poll_fn(move |context| waiting.poll_recv(context));
    let reading = &Reading::of(&how);
    let mut hashed = waiting
        .map(|found: Walked| async move {
            let (entry, content) = reading.content(found.entry, found.place).await?;
            Ok::<_, Failure>((entry, content, found.names))
        })
        .buffered(threads * 2);
    let mut sender = Sender::new(how);
    while let Some(next) = hashed.next().await {
        let (entry, content, names) = next?;
        let there = known.at(&entry.path).await?;
        known.note(&entry, names, there.as_ref());
        if known.has(&entry, &content, there.as_ref(), sender.how()) {
            sender.unchanged(&entry)?;
        } else {
            sender.take(entry, content).await?;
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
    let (items, mut waiting) = mpsc::channel::<(Entry, Content)>(WAITING_PIECES);
    let (ended, end) = oneshot::channel();
    let reading = move || {
        let outcome = open().and_then(|mut source| {
            let (mut left_out, mut misplaced, mut came) = (LeftOut::default(), LeftOut::default(), Came::default());
            source.each(&mut left_out, &mut |entry, content| match came.note(&entry) {
                Ok(()) => hand_over(entry, content, &items),
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
        let (mut walk, mut left_out) = (Walk::new(&root), LeftOut::default());
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

fn walk(root: &Path, entries: &mpsc::Sender<Walked>) -> Result<LeftOut, ArchiveError> {
    let (mut walk, mut left_out) = (Walk::new(root), LeftOut::default());
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

    async fn content(&self, entry: Entry, place: PathBuf) -> Result<(Entry, Content), Failure> {
        let What::File { size } = entry.what else { return Ok((entry, Content::None)) };
        // Beside what the disk takes for it, a second reading counts; the wire is slower than both.
        if self.remote.is_local() && ONE_READING_BYTES.contains(&size) && !self.is_as_long(size).await? {
            return Ok((entry, Content::Unread { place }));
        }
        let (here, done) = (place.clone(), self.done.clone());
        let hashed = spawn_blocking(move || hash_file(&here, &done)).await??;
        let entry = Entry { what: What::File { size: hashed.size }, ..entry };
        Ok(match hashed.kept {
            Some(bytes) => (entry, Content::Kept { bytes, hash: hashed.hash }),
            None => (entry, Content::File { place, hash: hashed.hash, size: hashed.size }),
        })
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

/// Whether an entry is there as it is.
fn is_there(entry: &Entry, content: &Content, there: &EntryView, keep: Keep) -> bool {
    let Some(attributes) = &there.attributes else { return false };
    let same_content = match (&entry.what, there.kind, content) {
        // With everything, its time is to be set.
        (What::Folder, EntryKind::Folder, _) => return keep == Keep::Permissions,
        (What::File { .. }, EntryKind::File, Content::Kept { hash, .. } | Content::File { hash, .. }) => {
            attributes.hash == Some(*hash)
        }
        (What::Symlink { target }, EntryKind::Symlink, _) => {
            attributes.target.as_ref().is_some_and(|there| there.0 == *target)
        }
        _ => false,
    };
    let same_rest = match keep {
        Keep::Permissions => there.kind == EntryKind::Symlink || attributes.mode & 0o777 == entry.mode & 0o777,
        Keep::Everything => {
            attributes.mode == entry.mode && attributes.mtime.0 == entry.mtime_ns && entry.xattrs.is_empty()
        }
    };
    same_content && same_rest
}

/// What is there already, read beside the walk, since both are in the same order.
struct Known<'r, 'a> {
    exists: bool,
    /// Of files that have several names here: what they are there.
    linked: HashMap<FsPath, InodeNumber>,
    pages: Option<Pages<'r, 'a>>,
    page: VecDeque<(FsPath, EntryView)>,
}

impl<'r, 'a> Known<'r, 'a> {
    async fn of(how: &Sending<'r, 'a>) -> Result<Self, Failure> {
        let mut known = Self {
            exists: true,
            linked: HashMap::new(),
            pages: Some(how.remote.pages(&how.to, true)),
            page: VecDeque::new(),
        };
        match known.fill().await {
            Ok(()) => Ok(known),
            Err(failure) if failure.kind() == Kind::NotFound => Ok(Self { exists: false, pages: None, ..known }),
            Err(failure) => Err(failure),
        }
    }

    /// Notes what a file is there that has several names here.
    fn note(&mut self, entry: &Entry, names: u64, there: Option<&EntryView>) {
        if let (What::File { .. }, true, Some(there)) = (&entry.what, names > 1, there)
            && let (EntryKind::File, Some(attributes)) = (there.kind, &there.attributes)
        {
            self.linked.insert(entry.path.clone(), attributes.ino);
        }
    }

    /// Whether an entry is there and stays as it is.
    fn has(&self, entry: &Entry, content: &Content, there: Option<&EntryView>, how: &Sending<'_, '_>) -> bool {
        // A list does not have the folder itself.
        if entry.path == FsPath::ROOT {
            return self.exists && (how.keep == Keep::Permissions || how.only_new);
        }
        let Some(there) = there else { return false };
        match &entry.what {
            // What lies in it may be new.
            What::Folder if how.only_new && there.kind == EntryKind::Folder => true,
            What::Folder => is_there(entry, content, there, how.keep),
            _ if how.only_new => true,
            What::HardLink { to, .. } => {
                let is_same = |attributes: &AttributesView| self.linked.get(to) == Some(&attributes.ino);
                there.kind == EntryKind::File && there.attributes.as_ref().is_some_and(is_same)
            }
            What::File { .. } | What::Symlink { .. } => is_there(entry, content, there, how.keep),
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let Some(pages) = &mut self.pages else { return Ok(()) };
        match pages.next().await? {
            None => self.pages = None,
            Some(entries) => {
                for entry in entries {
                    self.page.push_back((path_of(&entry)?, entry));
                }
            }
        }
        Ok(())
    }

    async fn at(&mut self, path: &FsPath) -> Result<Option<EntryView>, Failure> {
        loop {
            while self.page.front().is_some_and(|(there, _)| there < path) {
                self.page.pop_front();
            }
            if self.page.is_empty() && self.pages.is_some() {
                self.fill().await?;
                continue;
            }
            return Ok(match self.page.front() {
                Some((there, _)) if there == path => self.page.pop_front().map(|(_, entry)| entry),
                _ => None,
            });
        }
    }
}
