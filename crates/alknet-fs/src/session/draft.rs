//! What a session has written so far: its spool, and what that takes of the quota. Everything here waits for the disk.

use alknet_store::Tables;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    quota::{Allowance, Standing, UsedUp},
    uploads::Entered,
};
use crate::{
    content::{Sealed, Spool},
    error::{Errno, FsError},
    ids::BucketId,
    limits::MAX_CONTENT_BYTES,
    path::FsPath,
    rows::{
        bucket,
        upload::{self, UploadId},
    },
};

const WRITE: &str = "cannot write";

/// The content of a session that is not a version yet.
pub(crate) struct Draft {
    spool: Spool,
    allowance: Allowance,
    bucket: BucketId,
    tables: Tables,
    /// How many commits there were when the bucket's row was last looked at.
    commits: watch::Receiver<u64>,
    /// As the session's user knows it.
    path: FsPath,
    is_changed: bool,
    is_broken: bool,
    /// Of an upload that can be resumed: nobody else has it open while the spool is there.
    upload: Option<Entered>,
}

impl Draft {
    /// Begins one, with what the spool holds already.
    pub fn new(spool: Spool, allowance: Allowance, bucket: BucketId, tables: Tables, path: FsPath) -> Self {
        let commits = tables.watch();
        Self { spool, allowance, bucket, tables, commits, path, is_changed: false, is_broken: false, upload: None }
    }

    /// Begins one whose content is announced, and promised to it.
    pub fn of_upload(
        spool: Spool,
        allowance: Allowance,
        bucket: BucketId,
        tables: Tables,
        path: FsPath,
        upload: Entered,
    ) -> Self {
        Self { upload: Some(upload), ..Self::new(spool, allowance, bucket, tables, path) }
    }

    /// Lets go of it; of an upload, too, nothing stays but its row. Answers that upload, to be held until the row is gone.
    pub fn give_up(self) -> Option<Entered> {
        self.spool.give_up();
        self.upload
    }

    /// The number of the upload that it is of.
    pub fn upload(&self) -> Option<UploadId> {
        self.upload.as_ref().map(Entered::id)
    }

    /// How long the content is by now.
    pub const fn size(&self) -> u64 {
        self.spool.size()
    }
    /// The upload that it is of; to be held until it has ended.
    pub fn take_upload(&mut self) -> Option<Entered> {
        self.upload.take()
    }
    /// Whether anything was written, or cut off.
    pub const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Writes bytes. What lies between the end and `offset` becomes zeros.
    pub fn write_at(&mut self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| self.no(Errno::TooBig))?;
        self.grow(self.size().max(end))?;
        self.touch(|spool| spool.write_at(offset, bytes))
    }

    /// Writes bytes at the end. Answers where that was.
    pub fn append(&mut self, bytes: Bytes) -> Result<u64, FsError> {
        let offset = self.size();
        self.write_at(offset, bytes).map(|()| offset)
    }

    /// Cuts the content, or extends it with zeros.
    pub fn set_size(&mut self, size: u64) -> Result<(), FsError> {
        if size == self.size() {
            return Ok(());
        }
        let before = self.size();
        if size > before {
            self.grow(size)?;
        }
        self.touch(|spool| spool.set_size(size))?;
        // Less is never refused.
        if self.upload.is_none() { self.hold(size).or(Ok(())) } else { Ok(()) }
    }

    /// Reads what is there by now. Answers how much; less than asked for only at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        if self.is_broken {
            return Err(self.no(Errno::Io));
        }
        self.spool.read_at(offset, buffer).map_err(|error| self.named(error))
    }

    /// Ends the writing. The allowance is to be dropped with the commit.
    ///
    /// # Errors
    /// Fails with the disk. Nothing of it can be gone on with then.
    pub fn seal(self) -> Result<(Sealed, Allowance), FsError> {
        if self.is_broken {
            return Err(self.no(Errno::Io));
        }
        let path = self.path;
        let sealed = self.spool.seal().map_err(|error| error.about(path.to_string()))?;
        Ok((sealed, self.allowance))
    }

    /// Takes so much of the quota, or says that it is used up.
    fn grow(&mut self, size: u64) -> Result<(), FsError> {
        let most = self.upload.as_ref().map_or(MAX_CONTENT_BYTES, |upload| upload.announced().size);
        if size > most {
            return Err(self.no(Errno::TooBig));
        }
        if self.upload.is_some() {
            return Ok(());
        }
        // What others have committed meanwhile counts, and what they have given back.
        let is_news = self.allowance.is_bounded() && self.commits.has_changed().unwrap_or(true);
        if is_news || self.hold(size).is_err() {
            self.commits.mark_unchanged();
            let bucket = self.bucket;
            let standing = self.tables.read_here(move |sql| standing(sql, bucket))?;
            self.allowance.learn(standing.ok_or_else(|| self.no(Errno::Stale))?);
            self.hold(size).map_err(|UsedUp| self.no(Errno::Quota))?;
        }
        Ok(())
    }

    fn hold(&mut self, size: u64) -> Result<(), UsedUp> {
        let files = self.allowance.files();
        self.allowance.hold(size, files)
    }

    fn touch(&mut self, act: impl FnOnce(&mut Spool) -> Result<(), FsError>) -> Result<(), FsError> {
        if self.is_broken {
            return Err(self.no(Errno::Io));
        }
        let done = act(&mut self.spool).map_err(|error| self.named(error));
        // After an error of the disk nobody knows what is there.
        self.is_broken |= done.is_err();
        self.is_changed = true;
        done
    }

    fn no(&self, errno: Errno) -> FsError {
        FsError::At { errno, what: WRITE, path: self.path.to_string() }
    }
    fn named(&self, error: FsError) -> FsError {
        // The spool's own name is nobody's business.
        error.about(self.path.to_string())
    }
}

/// What a bucket holds and may hold; `None`: it was removed.
pub(crate) fn standing(sql: &rusqlite::Connection, id: BucketId) -> Result<Option<Standing>, FsError> {
    let Some(row) = bucket::get(sql, id)? else { return Ok(None) };
    Ok(Some(Standing::of(&row, upload::promised(sql, id)?)))
}
