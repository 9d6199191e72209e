//! A write that nobody sees before it is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::{
    Handle,
    begin::Again,
    close::{self, Closed},
    draft::Draft,
    how::OpenWrite,
    opened::Opened,
    uploads::{self, Announced},
};
use crate::{
    access::Pass,
    error::{Errno, FsError},
    file_system::FileSystem,
    ids::{BranchId, Ino},
    path::FsPath,
};

/// An open write of one file. Others see the old version until it is closed; without that, nothing of it was ever there.
///
/// Its methods may be called at the same time; each takes effect as a whole. Dropping a future of theirs may, or may not, take
/// the effect back, except where it says otherwise.
pub struct WriteSession {
    pub(super) file_system: FileSystem,
    pub(super) pass: Pass,
    pub(super) handle: Handle,
    pub(super) opened: Opened,
    pub(super) how: OpenWrite,
    pub(super) op: Arc<str>,
    /// Whether its user may see what it holds.
    pub(super) shows: bool,
    /// Bytes that were there when it began, of an upload that goes on.
    pub(super) received: u64,
    /// What it must hold when it is closed.
    pub(super) expected: Option<Announced>,
    pub(super) draft: Shared,
}

/// What is written so far, until it is closed.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Option<Draft>>>);

/// The same, for who does not keep it.
pub(super) struct WeakShared(Weak<Mutex<Option<Draft>>>);

impl WeakShared {
    pub fn upgrade(&self) -> Option<Shared> {
        self.0.upgrade().map(Shared)
    }
}

impl Shared {
    pub fn new(draft: Draft) -> Self {
        Self(Arc::new(Mutex::new(Some(draft))))
    }
    /// A draft that panicked halfway is broken: its spool says so itself, or its hash does.
    fn lock(&self) -> MutexGuard<'_, Option<Draft>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn take(&self) -> Option<Draft> {
        self.lock().take()
    }
    pub fn downgrade(&self) -> WeakShared {
        WeakShared(Arc::downgrade(&self.0))
    }
    /// Does something with it, off the async threads.
    async fn with<T: Send + 'static>(
        &self,
        path: &FsPath,
        act: impl FnOnce(&mut Draft) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        let shared = self.clone();
        let done = tokio::task::spawn_blocking(move || shared.lock().as_mut().map(act)).await;
        // Somebody else goes on with the upload.
        done.map_err(|_| no(Errno::Io, path))?.unwrap_or_else(|| Err(no(Errno::Stale, path)))
    }
}

impl WriteSession {
    /// Closing it is refused where it holds something else than this.
    pub const fn must_be(&mut self, expected: Announced) {
        self.expected = Some(expected);
    }

    /// Writes bytes. What lies between the end and `offset` becomes zeros.
    ///
    /// # Errors
    /// `Quota` when the bucket's is used up: what was written before stays, and can be closed. After an error of the disk the
    /// session can only be given up.
    pub async fn write_at(&self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        self.check()?;
        self.draft.with(&self.opened.path, move |draft| draft.write_at(offset, bytes)).await
    }

    /// Writes bytes at the end. Answers where that was.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub async fn append(&self, bytes: Bytes) -> Result<u64, FsError> {
        self.check()?;
        self.draft.with(&self.opened.path, move |draft| draft.append(bytes)).await
    }

    /// Cuts the content, or extends it with zeros.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub async fn set_size(&self, bytes: u64) -> Result<(), FsError> {
        self.check()?;
        self.draft.with(&self.opened.path, move |draft| draft.set_size(bytes)).await
    }

    /// Reads what the file will hold if it is closed now: at most `count` bytes, fewer only at the end.
    ///
    /// # Errors
    /// `Perm` when the session began with content that its user may not read.
    pub async fn read_at(&self, offset: u64, count: usize) -> Result<Bytes, FsError> {
        self.check()?;
        if !self.shows {
            return Err(no(Errno::Perm, &self.opened.path));
        }
        self.look_at(offset, count).await
    }

    /// As [`Self::read_at`], for whom may read it.
    pub(super) async fn look_at(&self, offset: u64, count: usize) -> Result<Bytes, FsError> {
        let read = move |draft: &mut Draft| {
            let rest = usize::try_from(draft.size().saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut buffer = vec![0; count.min(rest)];
            let read = draft.read_at(offset, &mut buffer)?;
            buffer.truncate(read);
            Ok(buffer.into())
        };
        self.draft.with(&self.opened.path, read).await
    }

    /// Whether anything was written.
    pub(super) async fn is_changed(&self) -> Result<bool, FsError> {
        self.draft.with(&self.opened.path, |draft| Ok(draft.is_changed())).await
    }
    /// Whether the file that it edits has a name.
    pub(super) async fn is_linked(&self) -> Result<bool, FsError> {
        let opened = self.opened.clone();
        self.file_system.tree().tables().read(move |sql| opened.is_linked(sql)).await
    }
    /// The file that it edits.
    pub(super) fn key(&self) -> Option<(BranchId, Ino)> {
        self.opened.began.base.map(|base| (self.opened.branch.0, base.ino))
    }
    /// What it takes to edit the same file again.
    pub(super) fn again(&self) -> Again {
        Again { pass: self.pass.clone(), op: self.op.clone(), opened: self.opened.clone() }
    }

    /// How long the file will be if it is closed now, in bytes.
    pub async fn size(&self) -> Result<u64, FsError> {
        self.check()?;
        self.draft.with(&self.opened.path, |draft| Ok(draft.size())).await
    }

    /// Sets the permission bits that the file will have.
    pub const fn set_mode(&mut self, mode: u16) {
        self.how.mode = Some(mode);
    }

    /// Sets when the content will count as changed, in nanoseconds since 1970.
    pub const fn set_mtime(&mut self, ns: i64) {
        self.how.mtime_ns = Some(ns);
    }

    /// The path that it was opened with.
    pub const fn path(&self) -> &FsPath {
        &self.opened.path
    }

    /// Makes what was written a version of the file and answers once that is kept. Goes on to the end, even if the future is dropped.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote meanwhile and the bucket, or the opening, does not allow that; `Stale` when the branch
    /// was removed. Nothing of the session is kept then. Only after [`alknet_store::StoreError::Unknown`] nobody knows.
    pub async fn commit(self) -> Result<Closed, FsError> {
        self.check()?;
        let path = self.opened.path.clone();
        let close = self.file_system.clone().spawn(close::close(self));
        close.await.unwrap_or_else(|_| Err(no(Errno::Io, &path)))
    }

    /// How many bytes were there when it began: of an upload that goes on, those that were received before.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Gives it up: nothing of it was ever there. So does dropping it, but for an upload, which then waits for its sender.
    ///
    /// # Errors
    /// Fails with the database, of an upload; it goes with time then.
    pub async fn abort(self) -> Result<(), FsError> {
        let (file_system, draft) = (self.file_system.clone(), self.draft.clone());
        drop(self);
        let given_up = tokio::task::spawn_blocking(move || draft.take().and_then(Draft::give_up)).await;
        match given_up.ok().flatten() {
            Some(upload) => uploads::forget(&file_system, upload.id()).await,
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), FsError> {
        self.pass.rights().check()?;
        if self.handle.is_gone() { Err(no(Errno::Stale, &self.opened.path)) } else { Ok(()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last one takes the spool's file away, which waits for the disk.
        if Arc::strong_count(&self.0) == 1
            && let Some(draft) = self.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(draft));
        }
    }
}

pub(super) fn no(errno: Errno, path: &FsPath) -> FsError {
    FsError::At { errno, what: "cannot write", path: path.to_string() }
}
