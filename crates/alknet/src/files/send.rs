//! Sends entries to a branch: asks first which content is there, and sends only the rest.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, SeekFrom},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use alknet_call::ByteTicket;
use alknet_fs::{
    ContentHash, FsPath,
    operations::{
        Base64, Committed, Expect, Have, HaveOutput, NewEntry, Octets, ResumeUpload, Timestamp, WriteFile, WriteMany,
        WriteOne, Xattr,
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    io::{AsyncRead, AsyncSeekExt, ReadBuf},
    sync::mpsc,
};
use tokio_util::io::StreamReader;

use super::{
    address::Spot,
    archive::{Keep, LeftOut},
    entry::{Entry, What, Xattrs, relative, shown},
    limits::{MAX_BYTES_AT_ONCE, MAX_UNASKED_BYTES, MAX_WRITTEN_AT_ONCE, WRITTEN_ENTRY_BYTES},
    progress::Done,
    remote::Remote,
};
use crate::failure::Failure;

/// The content of a file on its way.
#[derive(Debug)]
pub enum Content {
    /// It has none: a folder or a link.
    None,
    /// It is small, and was read.
    Kept {
        /// All of it.
        bytes: Vec<u8>,
        /// Its hash.
        hash: ContentHash,
    },
    /// It is in a file of the disk, and was hashed.
    File {
        /// Where.
        place: PathBuf,
        /// Its hash.
        hash: ContentHash,
        /// Its length, in bytes.
        size: u64,
    },
    /// It is in a file of the disk, and nothing there is as long: it is read once, when it is sent.
    Unread {
        /// Where.
        place: PathBuf,
    },
    /// It comes in pieces from a thread that reads an archive.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its content was sent.
    Sent,
    /// Its content was there, and was named again.
    Linked,
    /// It was there as it is.
    Unchanged,
}

impl Outcome {
    /// The word for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Linked => "linked",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Who is told of each file.
pub type Tell = Box<dyn Fn(&FsPath, Outcome, u64) -> Result<(), Failure> + Send + Sync>;

/// What is sent where, and how.
pub struct Sending<'r, 'a> {
    /// To which node.
    pub remote: &'r Remote<'a>,
    /// Below which entry.
    pub to: Spot,
    /// What is kept besides content.
    pub keep: Keep,
    /// Uploads at the same time.
    pub jobs: usize,
    /// Whether a file that is there stays.
    pub only_new: bool,
    /// Whether an upload that was cut can be gone on with.
    pub resume: bool,
    /// Counts.
    pub done: Arc<Done>,
    /// Who is told of each file.
    pub tell: Tell,
}

/// Gathers entries and sends them.
pub struct Sender<'r, 'a> {
    how: Sending<'r, 'a>,
    waiting: Vec<(Entry, Content)>,
    waiting_bytes: usize,
    /// Folders whose mode and time are set at the end.
    folders: BTreeMap<FsPath, Entry>,
    /// The newest commit.
    newest: Option<Committed>,
    left_out: LeftOut,
}

/// What sending came to.
#[derive(Default)]
pub struct Sent {
    /// The newest commit, if anything was changed.
    pub newest: Option<Committed>,
    /// What was left out.
    pub left_out: LeftOut,
}

impl<'r, 'a> Sender<'r, 'a> {
    /// Begins.
    pub const fn new(how: Sending<'r, 'a>) -> Self {
        Self {
            how,
            waiting: Vec::new(),
            waiting_bytes: 0,
            folders: BTreeMap::new(),
            newest: None,
            left_out: LeftOut { count: 0, shown: Vec::new() },
        }
    }

    /// How it is sent.
    pub const fn how(&self) -> &Sending<'r, 'a> {
        &self.how
    }

    /// Says that an entry is there as it is.
    pub fn unchanged(&self, entry: &Entry) -> Result<(), Failure> {
        if let What::File { size } = entry.what {
            self.how.done.file();
            self.how.done.bytes(size);
            (self.how.tell)(&entry.path, Outcome::Unchanged, size)?;
        }
        Ok(())
    }

    /// Takes the next entry. One whose path would be too long is left out.
    pub async fn take(&mut self, entry: Entry, content: Content) -> Result<(), Failure> {
        let Ok(at) = below(&self.how.to.path, &entry.path) else {
            self.left_out.add(&relative(&entry.path), "its path is too long there");
            return Ok(());
        };
        if let What::HardLink { to, .. } = &entry.what
            && below(&self.how.to.path, to).is_err()
        {
            self.left_out.add(&relative(&entry.path), "it is another name of what was left out");
            return Ok(());
        }
        if entry.what == What::Folder && self.how.keep == Keep::Everything {
            // Its own content would make it newer again.
            self.folders.insert(entry.path.clone(), entry.clone());
        }
        if let Content::Pieces(pieces) = content {
            self.flush().await?;
            return self.upload_pieces(&entry, pieces).await;
        }
        let own = self.weight(&at, &entry, &content)?;
        if self.waiting.len() == MAX_WRITTEN_AT_ONCE || self.waiting_bytes + own > MAX_BYTES_AT_ONCE {
            self.flush().await?;
        }
        self.waiting_bytes += own;
        self.waiting.push((entry, content));
        Ok(())
    }

    /// How many bytes of JSON an entry is when it is written.
    fn weight(&self, at: &FsPath, entry: &Entry, content: &Content) -> Result<usize, Failure> {
        let text = |bytes: &[u8]| Ok::<_, Failure>(serde_json::to_vec(&Octets::from(bytes))?.len());
        let named = match &entry.what {
            What::Symlink { target } => text(target)?,
            // It is of the same length at most, or the entry is refused.
            What::HardLink { to, .. } => {
                text(&to.to_bytes())? + serde_json::to_vec(&Octets::from(&self.how.to.path))?.len()
            }
            What::Folder | What::File { .. } => 0,
        };
        let xattrs = if entry.xattrs.is_empty() { 0 } else { serde_json::to_vec(&written(&entry.xattrs))?.len() };
        let kept = if let Content::Kept { bytes, .. } = content { bytes.len().div_ceil(3) * 4 } else { 0 };
        Ok(WRITTEN_ENTRY_BYTES + text(&at.to_bytes())? + named + xattrs + kept)
    }

    /// Sends what waits, and then the modes and times of the folders.
    pub async fn finish(mut self) -> Result<Sent, Failure> {
        self.flush().await?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        // The innermost first, so that none makes another newer.
        for entry in std::mem::take(&mut self.folders).into_values().rev() {
            let own = self.weight(&below(&self.how.to.path, &entry.path)?, &entry, &Content::None)?;
            if entries.len() == MAX_WRITTEN_AT_ONCE || bytes + own > MAX_BYTES_AT_ONCE {
                self.write_many(std::mem::take(&mut entries)).await?;
                bytes = 0;
            }
            bytes += own;
            entries.push(self.write_one(&entry, NewEntry::Folder {})?);
        }
        self.write_many(entries).await?;
        Ok(Sent { newest: self.newest, left_out: self.left_out })
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let have = self.have(&waiting).await?;
        let (mut entries, mut uploads, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, content) in waiting {
            let new = match (&entry.what, content) {
                (What::Folder, _) => NewEntry::Folder {},
                (What::Symlink { target }, _) => NewEntry::Symlink(Octets::from(target.as_slice())),
                (What::HardLink { to, .. }, _) => NewEntry::Link(self.octets(to)?),
                (What::File { size }, Content::Kept { hash, .. } | Content::File { hash, .. })
                    if have.contains(&hash) =>
                {
                    told.push((entry.path.clone(), Outcome::Linked, *size, 0));
                    NewEntry::Hash(hash)
                }
                (What::File { size }, Content::Kept { bytes, .. }) => {
                    told.push((entry.path.clone(), Outcome::Sent, *size, bytes.len() as u64));
                    NewEntry::Content(Base64(bytes))
                }
                (What::File { .. }, Content::File { place, hash, size }) => {
                    uploads.push((entry, place, Some(hash), size));
                    continue;
                }
                (What::File { size }, Content::Unread { place }) => {
                    let size = *size;
                    uploads.push((entry, place, None, size));
                    continue;
                }
                (What::File { .. }, Content::None | Content::Pieces(_)) => continue,
            };
            entries.push(self.write_one(&entry, new)?);
        }
        // First what hard links of the same batch may lead to.
        let jobs = self.how.jobs;
        let this = &*self;
        let uploaded: Vec<Committed> = stream::iter(uploads)
            .map(|(entry, place, hash, size)| async move { this.upload(&entry, place, hash, size).await })
            .buffer_unordered(jobs)
            .try_collect()
            .await?;
        for committed in uploaded {
            self.note(committed);
        }
        self.write_many(entries).await?;
        for (path, outcome, size, moved) in told {
            self.how.done.file();
            self.how.done.bytes(size);
            self.how.done.moved(moved);
            (self.how.tell)(&path, outcome, size)?;
        }
        Ok(())
    }

    /// Asks which content is there.
    async fn have(&self, waiting: &[(Entry, Content)]) -> Result<HashSet<ContentHash>, Failure> {
        let worth = |content: &Content| match content {
            Content::Kept { bytes, hash } if bytes.len() > MAX_UNASKED_BYTES => Some(*hash),
            Content::File { hash, .. } => Some(*hash),
            _ => None,
        };
        let mut hashes: Vec<_> = waiting.iter().filter_map(|(_, content)| worth(content)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(HashSet::new());
        }
        let input = Have { bucket: self.how.to.branch.clone(), hashes, sizes: Vec::new() };
        let HaveOutput { have, .. } = self.how.remote.call("fs/have", &input).await?;
        Ok(have.into_iter().collect())
    }

    async fn write_many(&mut self, entries: Vec<WriteOne>) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        let (bucket, beneath) = (self.how.to.branch.clone(), Some(self.beneath()));
        let input = WriteMany { bucket, entries, parents: true, beneath };
        let committed = self.how.remote.call("fs/write.many", &input).await?;
        self.note(committed);
        Ok(())
    }

    fn note(&mut self, committed: Committed) {
        if self.newest.as_ref().is_none_or(|newest| newest.seq < committed.seq) {
            self.newest = Some(committed);
        }
    }

    fn write_one(&self, entry: &Entry, new: NewEntry) -> Result<WriteOne, Failure> {
        let (mode, mtime, xattrs) = self.kept(entry);
        let expect = (self.how.only_new && entry.what != What::Folder).then_some(Expect::Absent);
        Ok(WriteOne { path: self.octets(&entry.path)?, entry: new, mode, mtime, xattrs, expect })
    }

    /// What is kept of an entry besides its content.
    fn kept(&self, entry: &Entry) -> (Option<u16>, Option<Timestamp>, Option<Vec<Xattr>>) {
        match (&entry.what, self.how.keep) {
            // They are those of the file.
            (What::HardLink { .. }, _) => (None, None, None),
            (_, Keep::Everything) => (Some(entry.mode), Some(Timestamp(entry.mtime_ns)), Some(written(&entry.xattrs))),
            (What::Symlink { .. }, Keep::Permissions) => (None, None, None),
            (_, Keep::Permissions) => (Some(entry.mode & 0o777), None, None),
        }
    }

    /// What all of it stays below, whatever links are on the branch.
    fn beneath(&self) -> Octets {
        Octets::from(&self.how.to.path)
    }

    fn octets(&self, path: &FsPath) -> Result<Octets, Failure> {
        Ok(Octets::from(&below(&self.how.to.path, path)?))
    }

    fn write_file(&self, entry: &Entry, resume: Option<ResumeUpload>) -> Result<WriteFile, Failure> {
        let (mode, mtime, xattrs) = self.kept(entry);
        let expect = self.how.only_new.then_some(Expect::Absent);
        let (bucket, path) = (self.how.to.branch.clone(), self.octets(&entry.path)?);
        let beneath = Some(self.beneath());
        Ok(WriteFile { bucket, path, mode, mtime, xattrs, parents: true, expect, beneath, resume })
    }

    /// Sends a file of the disk; one that was hashed, from where an upload that was cut left off.
    async fn upload(
        &self,
        entry: &Entry,
        place: PathBuf,
        hash: Option<ContentHash>,
        size: u64,
    ) -> Result<Committed, Failure> {
        let resume = hash.filter(|_| self.how.resume).map(|hash| ResumeUpload { size, hash });
        let ticket: ByteTicket = self.how.remote.call("fs/write", &self.write_file(entry, resume)?).await?;
        let shown = shown(&place);
        let failed = |error: io::Error| Failure::from(error).while_doing(&shown);
        let mut file = tokio::fs::File::open(&place).await.map_err(failed)?;
        let offset = ticket.offset.unwrap_or_default();
        file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
        self.how.done.bytes(offset);
        let mut bytes = Counted { inner: file, done: self.how.done.clone() };
        // It was hashed when it was looked whether it is there. Of the rest of a file that is not known.
        let known = hash.filter(|_| offset == 0);
        let committed = self.how.remote.upload(&ticket, &mut bytes, known).await?;
        self.how.done.file();
        (self.how.tell)(&entry.path, Outcome::Sent, size)?;
        Ok(committed)
    }

    /// Sends what comes in pieces.
    async fn upload_pieces(&mut self, entry: &Entry, pieces: mpsc::Receiver<io::Result<Bytes>>) -> Result<(), Failure> {
        let ticket: ByteTicket = self.how.remote.call("fs/write", &self.write_file(entry, None)?).await?;
        let pieces = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
        let mut bytes = Counted { inner: StreamReader::new(Box::pin(pieces)), done: self.how.done.clone() };
        let committed = self.how.remote.upload(&ticket, &mut bytes, None).await?;
        self.note(committed);
        self.how.done.file();
        let size = if let What::File { size } = entry.what { size } else { 0 };
        (self.how.tell)(&entry.path, Outcome::Sent, size)
    }
}

/// A path below another.
pub fn below(folder: &FsPath, path: &FsPath) -> Result<FsPath, Failure> {
    let names = path.names().iter().cloned();
    names.into_iter().try_fold(folder.clone(), |path, name| path.join(name)).map_err(Failure::usage)
}

fn written(xattrs: &Xattrs) -> Vec<Xattr> {
    let octets = |bytes: &Vec<u8>| Octets::from(bytes.as_slice());
    xattrs.iter().map(|(name, value)| Xattr { name: octets(name), value: octets(value) }).collect()
}

/// Counts bytes as they are read.
struct Counted<R> {
    inner: R,
    done: Arc<Done>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buf);
        let read = (buf.filled().len() - before) as u64;
        self.done.bytes(read);
        self.done.moved(read);
        polled
    }
}
