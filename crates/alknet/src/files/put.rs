//! Puts files, trees and archives of this machine on a branch.

use std::{
    collections::VecDeque,
    io::{self, Read},
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use alknet_fs::{
    FsPath,
    operations::{Committed, EntryKind, EntryView},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    archive::{ArchiveError, Keep, LeftOut, Source, Walk, read_entry},
    entry::{Entry, What},
    hashing::hash_file,
    limits::{MAX_KEPT_BYTES, PIECE_BYTES, WAITING_ENTRIES, WAITING_PIECES},
    remote::{Pages, path_of},
    send::{Content, Sender, Sending},
};
use crate::failure::{Failure, Kind};

/// What putting came to.
pub struct Put {
    /// The newest commit, if anything was changed.
    pub newest: Option<Committed>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Puts one file at the path that is sent to.
pub async fn file(how: Sending<'_, '_>, place: &Path) -> Result<Put, Failure> {
    let mut left_out = LeftOut::default();
    let entry = read_entry(place, FsPath::ROOT, true, &mut left_out)?;
    let mut sender = Sender::new(how);
    if let Some(entry) = entry {
        let here = place.to_owned();
        let hashed = spawn_blocking(move || hash_file(&here)).await??;
        let entry = Entry { what: What::File { size: hashed.size }, ..entry };
        let content = match hashed.kept {
            Some(bytes) => Content::Kept { bytes, hash: hashed.hash },
            None => Content::File { place: place.to_owned(), hash: hashed.hash, size: hashed.size },
        };
        sender.take(entry, content).await?;
    }
    Ok(Put { newest: sender.finish().await?, left_out })
}

/// Puts what is at and below a folder at and below the path that is sent to.
pub async fn tree(how: Sending<'_, '_>, root: &Path) -> Result<Put, Failure> {
    let mut known = Known::of(&how).await?;
    let (entries, mut waiting) = mpsc::channel(WAITING_ENTRIES);
    let start = root.to_owned();
    let walking = spawn_blocking(move || walk(&start, &entries));
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let waiting = stream::poll_fn(move |context| waiting.poll_recv(context));
    let mut hashed = waiting.map(|(entry, place)| with_content(entry, place)).buffered(threads * 2);
    let mut sender = Sender::new(how);
    while let Some(next) = hashed.next().await {
        let (entry, content) = next?;
        let there = known.at(&entry.path).await?;
        // A list does not have the folder itself.
        let is_top = entry.path == FsPath::ROOT && known.exists && sender.how().keep == Keep::Permissions;
        if is_top || there.is_some_and(|there| is_there(&entry, &content, &there, sender.how().keep)) {
            sender.unchanged(&entry)?;
        } else {
            sender.take(entry, content).await?;
        }
    }
    let left_out = walking.await??;
    Ok(Put { newest: sender.finish().await?, left_out })
}

/// Puts the entries of an archive below the path that is sent to. `open` runs in the thread that then reads it.
pub async fn archive<S: Source>(
    how: Sending<'_, '_>,
    open: impl FnOnce() -> Result<S, ArchiveError> + Send + 'static,
) -> Result<Put, Failure> {
    let (items, mut waiting) = mpsc::channel::<(Entry, Content)>(WAITING_PIECES);
    let (ended, end) = oneshot::channel();
    let reading = move || {
        let outcome = open().and_then(|mut source| {
            let mut left_out = LeftOut::default();
            source.each(&mut left_out, &mut |entry, content| hand_over(entry, content, &items))?;
            Ok(left_out)
        });
        let _ = ended.send(outcome);
    };
    // Not one of the runtime's own: it waits for the wire.
    thread::Builder::new().name("archive".to_owned()).spawn(reading)?;
    let mut sender = Sender::new(how);
    while let Some((entry, content)) = waiting.recv().await {
        sender.take(entry, content).await?;
    }
    let left_out = end.await.map_err(|_| Failure::failed("the thread that read the archive is gone"))??;
    Ok(Put { newest: sender.finish().await?, left_out })
}

/// Counts what is below a folder, for the time that is left.
pub async fn count(root: &Path) -> (u64, u64) {
    let root = root.to_owned();
    let counting = spawn_blocking(move || {
        let (mut walk, mut left_out) = (Walk::new(&root), LeftOut::default());
        let (mut files, mut bytes) = (0, 0);
        while let Ok(Some((entry, _))) = walk.next(&mut left_out) {
            if let What::File { size } = entry.what {
                files += 1;
                bytes += size;
            }
        }
        (files, bytes)
    });
    counting.await.unwrap_or_default()
}

fn walk(root: &Path, entries: &mpsc::Sender<(Entry, PathBuf)>) -> Result<LeftOut, ArchiveError> {
    let (mut walk, mut left_out) = (Walk::new(root), LeftOut::default());
    while let Some(found) = walk.next(&mut left_out)? {
        // Whoever took them has failed, and says why.
        if entries.blocking_send(found).is_err() {
            break;
        }
    }
    Ok(left_out)
}

async fn with_content(entry: Entry, place: PathBuf) -> Result<(Entry, Content), Failure> {
    if !matches!(entry.what, What::File { .. }) {
        return Ok((entry, Content::None));
    }
    let here = place.clone();
    let hashed = spawn_blocking(move || hash_file(&here)).await??;
    let entry = Entry { what: What::File { size: hashed.size }, ..entry };
    Ok(match hashed.kept {
        Some(bytes) => (entry, Content::Kept { bytes, hash: hashed.hash }),
        None => (entry, Content::File { place, hash: hashed.hash, size: hashed.size }),
    })
}

/// Hands an entry of an archive to the one who sends: small files whole, others in pieces.
fn hand_over(entry: Entry, content: &mut dyn Read, items: &mpsc::Sender<(Entry, Content)>) -> Result<(), ArchiveError> {
    let What::File { size } = entry.what else {
        return items.blocking_send((entry, Content::None)).map_err(|_| ArchiveError::Stopped);
    };
    let path = entry.path.clone();
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "it has another length than the archive says");
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
    let mut left = size;
    while left > 0 {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        match content.read(&mut piece) {
            Ok(0) => {
                // The upload is not to end as if it were whole.
                let _ = pieces.blocking_send(Err(short()));
                return Err(ArchiveError::content(&path)(short()));
            }
            Ok(read) => {
                piece.truncate(read);
                left -= read as u64;
                pieces.blocking_send(Ok(Bytes::from(piece))).map_err(|_| ArchiveError::Stopped)?;
            }
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(ArchiveError::content(&path)(error));
            }
        }
    }
    Ok(())
}

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
    pages: Option<Pages<'r, 'a>>,
    page: VecDeque<(FsPath, EntryView)>,
}

impl<'r, 'a> Known<'r, 'a> {
    async fn of(how: &Sending<'r, 'a>) -> Result<Self, Failure> {
        let mut known = Self { exists: true, pages: Some(how.remote.pages(&how.to, true)), page: VecDeque::new() };
        match known.fill().await {
            Ok(()) => Ok(known),
            Err(failure) if failure.kind() == Kind::NotFound => {
                Ok(Self { exists: false, pages: None, page: VecDeque::new() })
            }
            Err(failure) => Err(failure),
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
