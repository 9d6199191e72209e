//! Sends entries to a branch: asks first which content is there, and sends only the rest.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    os::unix::ffi::OsStrExt,
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
    io::{AsyncRead, ReadBuf},
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
    steady::{Stamp, Steady},
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
        /// When it was so.
        stamp: Stamp,
    },
    /// It is in a file of the disk, and nothing there is as long: it is read once, when it is sent.
    Unread {
        /// Where.
        place: PathBuf,
    },
    /// It comes in pieces from a thread that reads an archive.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

const OTHER_NAME: &str = "it is another name of what was left out";

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its content was sent.
    Sent,
    /// Its content was there, and was named again.
    Linked,
    /// It was there as it is.
    Unchanged,
    /// Something of its name was there, and stays.
    Kept,
}

impl Outcome {
    /// The word for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Linked => "linked",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
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
    /// Folders whose mode and time are set at the end, unless they are so already and nothing came into them.
    folders: BTreeMap<FsPath, (Entry, bool)>,
    /// What could not be read: other names of it do not come either.
    missing: HashSet<FsPath>,
    /// The newest commit.
    newest: Option<Committed>,
    left_out: LeftOut,
}

/// A file that could not be read, or changed while it was.
pub struct Lost {
    /// Which entry it was to be.
    pub path: FsPath,
    /// Where it lies.
    pub place: PathBuf,
    /// Why.
    pub why: String,
    /// Whether it went away meanwhile.
    pub is_gone: bool,
}

impl Lost {
    /// What an error of the disk means for an entry.
    pub fn of(path: &FsPath, place: PathBuf, error: &io::Error) -> Self {
        Self { path: path.clone(), place, why: error.to_string(), is_gone: error.kind() == io::ErrorKind::NotFound }
    }
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
    pub fn new(how: Sending<'r, 'a>) -> Self {
        Self {
            how,
            waiting: Vec::new(),
            waiting_bytes: 0,
            folders: BTreeMap::new(),
            missing: HashSet::new(),
            newest: None,
            left_out: LeftOut::default(),
        }
    }

    /// How it is sent.
    pub const fn how(&self) -> &Sending<'r, 'a> {
        &self.how
    }

    /// Says that an entry is there: as it is, or another that stays.
    pub fn is_there(&mut self, entry: &Entry, outcome: Outcome) -> Result<(), Failure> {
        match entry.what {
            What::File { size } => {
                self.how.done.file();
                self.how.done.bytes(size);
                if outcome == Outcome::Kept {
                    self.how.done.kept();
                }
                (self.how.tell)(&entry.path, outcome, size)?;
            }
            // What comes into it may make it newer.
            What::Folder if self.how.keep == Keep::Everything && !self.how.only_new => {
                self.folders.insert(entry.path.clone(), (entry.clone(), false));
            }
            _ => {}
        }
        Ok(())
    }

    /// Leaves a file out that could not be read.
    pub fn lost(&mut self, lost: Lost) {
        // One that went away is as one that went before anybody looked, unless it alone was meant.
        if !lost.is_gone || lost.path == FsPath::ROOT {
            self.left_out.fail(lost.place.as_os_str().as_bytes(), lost.why);
        }
        self.missing.insert(lost.path);
    }

    /// Whether it is another name of what could not be read.
    fn is_missing(&self, entry: &Entry) -> bool {
        matches!(&entry.what, What::HardLink { to, .. } if self.missing.contains(to))
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
            self.left_out.add(&relative(&entry.path), OTHER_NAME);
            return Ok(());
        }
        if self.is_missing(&entry) {
            self.left_out.fail(&relative(&entry.path), OTHER_NAME);
            return Ok(());
        }
        self.changes_folders_of(&entry.path);
        if entry.what == What::Folder && self.how.keep == Keep::Everything {
            // Its own content would make it newer again.
            self.folders.insert(entry.path.clone(), (entry.clone(), true));
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

    /// The folders above are to be set again, also those that are as they should be.
    fn changes_folders_of(&mut self, path: &FsPath) {
        let above = |path: &FsPath| path.split_last().map(|(above, _)| above);
        let mut folder = above(path);
        while let Some(at) = folder {
            if let Some((_, is_due)) = self.folders.get_mut(&at) {
                *is_due = true;
            }
            folder = above(&at);
        }
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
        let folders = std::mem::take(&mut self.folders).into_values().rev();
        for (entry, _) in folders.filter(|(_, is_due)| *is_due) {
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
                (What::File { .. }, Content::File { place, hash, size, stamp }) => {
                    uploads.push((entry, place, Some((hash, size, stamp))));
                    continue;
                }
                (What::File { .. }, Content::Unread { place }) => {
                    uploads.push((entry, place, None));
                    continue;
                }
                (What::File { .. }, Content::None | Content::Pieces(_)) => continue,
            };
            entries.push((self.write_one(&entry, new)?, entry));
        }
        // First what hard links of the same batch may lead to.
        let jobs = self.how.jobs;
        let this = &*self;
        let uploaded: Vec<Result<Committed, Lost>> = stream::iter(uploads)
            .map(|(entry, place, hashed)| async move { this.upload(entry, place, hashed).await })
            .buffer_unordered(jobs)
            .try_collect()
            .await?;
        for uploaded in uploaded {
            match uploaded {
                Ok(committed) => self.note(committed),
                Err(lost) => self.lost(lost),
            }
        }
        let (missing, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, entry)| self.is_missing(entry));
        for (_, entry) in missing {
            self.left_out.fail(&relative(&entry.path), OTHER_NAME);
        }
        self.write_many(entries.into_iter().map(|(one, _)| one).collect()).await?;
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

    /// Sends a file of the disk as it was at one moment; one that was hashed, from where an upload that was cut left off.
    async fn upload(
        &self,
        mut entry: Entry,
        place: PathBuf,
        hashed: Option<(ContentHash, u64, Stamp)>,
    ) -> Result<Result<Committed, Lost>, Failure> {
        let mut file = match Steady::open(&place, hashed.map(|(_, size, stamp)| (stamp, size))) {
            Ok(file) => file,
            Err(error) => return Ok(Err(Lost::of(&entry.path, place, &error))),
        };
        let size = hashed.map_or(file.stamp().size, |(_, size, _)| size);
        entry.mtime_ns = file.stamp().mtime_ns;
        let resume = hashed.filter(|_| self.how.resume).map(|(hash, size, _)| ResumeUpload { size, hash });
        let ticket: ByteTicket = self.how.remote.call("fs/write", &self.write_file(&entry, resume)?).await?;
        let offset = ticket.offset.unwrap_or_default();
        file.skip(offset).map_err(|error| Failure::from(error).while_doing(shown(&place)))?;
        self.how.done.bytes(offset);
        let mut bytes = Counted { inner: file, done: self.how.done.clone() };
        // It was hashed when it was looked whether it is there. Of the rest of a file that is not known.
        let known = hashed.map(|(hash, ..)| hash).filter(|_| offset == 0);
        let committed = match self.how.remote.upload(&ticket, &mut bytes, known).await {
            Ok(committed) => committed,
            Err(failure) => {
                let trouble = bytes.inner.trouble.take();
                let lost = |why| Lost { path: entry.path.clone(), place: place.clone(), why, is_gone: false };
                return trouble.map_or_else(|| Err(failure.while_doing(shown(&place))), |why| Ok(Err(lost(why))));
            }
        };
        self.how.done.file();
        (self.how.tell)(&entry.path, Outcome::Sent, size)?;
        Ok(Ok(committed))
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
