//! A file as a mount has it open: once, for all who have it open on this node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alknet_core::Permit;
use bytes::Bytes;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    begin::{self, begin},
    close::Closed,
    how::{Create, OpenWrite, Start},
    write::{WriteSession, no},
};
use crate::{
    access::{Access, Pass, Place, Right},
    address::{Address, When},
    error::{Errno, FsError},
    file_system::FileSystem,
    ids::{BranchId, Ino},
    limits::MAX_IDLE_PUBLISH_BYTES,
    path::FsPath,
};

/// The files that are open in this way.
#[derive(Clone, Default)]
pub(crate) struct OpenFiles(Arc<Mutex<HashMap<Key, Entry>>>);

type Key = (BranchId, Ino);

struct Entry {
    file: Arc<OpenFile>,
    openers: usize,
}

/// A file that is open, whoever opened it.
struct OpenFile {
    file_system: FileSystem,
    key: Key,
    state: AsyncMutex<State>,
}

struct State {
    /// Written to by all; `None`: the branch was removed.
    session: Option<WriteSession>,
    last_write: Instant,
    /// Somebody waits for the writing to pause.
    is_watched: bool,
    /// Why what was written could not be published while nobody asked; the next who asks is told.
    failed: Option<FsError>,
}

/// An open file: what is written to it is seen at once by all who have it open in this way, and becomes a version when the last of
/// them closes it, when nobody writes for a while, and when it is synced.
pub struct SharedFile {
    open: Option<Arc<OpenFile>>,
    path: FsPath,
    pass: Pass,
    op: Arc<str>,
    reads: bool,
    writes: bool,
}

impl OpenFiles {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Each change of the map is one call on it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The file, with one opener more.
    fn enter(&self, file_system: &FileSystem, key: Key, session: WriteSession) -> Arc<OpenFile> {
        let mut files = self.lock();
        let entry = files.entry(key).or_insert_with(|| {
            let state = State { session: Some(session), last_write: Instant::now(), is_watched: false, failed: None };
            let file = OpenFile { file_system: file_system.clone(), key, state: AsyncMutex::new(state) };
            Entry { file: Arc::new(file), openers: 0 }
        });
        entry.openers += 1;
        entry.file.clone()
    }
    /// One opener less. Answers whether that was the last.
    fn leave(&self, key: Key) -> bool {
        let mut files = self.lock();
        let Some(entry) = files.get_mut(&key) else { return false };
        entry.openers -= 1;
        entry.openers == 0
    }
    /// Takes a file out that nobody has opened again. Answers whether that is so.
    fn forget(&self, key: Key) -> bool {
        let mut files = self.lock();
        let is_unused = files.get(&key).is_some_and(|entry| entry.openers == 0);
        if is_unused {
            files.remove(&key);
        }
        is_unused
    }
}

/// Opens a file; `how` to write it, too. A file that is made is there at once, empty.
pub(crate) async fn open_shared(
    file_system: &FileSystem,
    permit: &Permit,
    at: &Address,
    how: Option<OpenWrite>,
) -> Result<SharedFile, FsError> {
    if at.when != When::Now {
        return Err(no(Errno::ReadOnly, &at.path));
    }
    let names = (at.bucket.clone(), at.branch_or_main());
    let place = Place { bucket: &names.0, branch: Some(&names.1) };
    let right = if how.is_some() { Right::Write } else { Right::Read };
    let pass = Pass::of(permit, right, place)?;
    let reads = Access::sees(permit.identity().map(AsRef::as_ref), place);
    if let Some(how) = &how {
        make(file_system, permit, at, how).await?;
    }
    let op: Arc<str> = permit.action().into();
    let session = begin::edit(file_system, (pass.clone(), op.clone()), &names, &at.path).await?;
    let key = session.key().ok_or_else(|| no(Errno::Stale, &at.path))?;
    let open = file_system.open_files().enter(file_system, key, session);
    let writes = how.is_some();
    let file = SharedFile { open: Some(open), path: at.path.clone(), pass, op, reads, writes };
    if how.is_some_and(|how| how.start == Start::Empty && how.create != Create::Exclusive) {
        file.set_size(0).await?;
    }
    Ok(file)
}

/// Makes the file if it may be made and is not there.
async fn make(file_system: &FileSystem, permit: &Permit, at: &Address, how: &OpenWrite) -> Result<(), FsError> {
    if how.create == Create::Never {
        return Ok(());
    }
    let new = OpenWrite { start: Start::Empty, create: Create::Exclusive, ..how.clone() };
    let made = match begin(file_system, permit, at, new).await {
        Ok(session) => session.commit().await.map(|_| ()),
        Err(error) => Err(error),
    };
    match made {
        Err(FsError::At { errno: Errno::Exist, .. }) if how.create == Create::IfAbsent => Ok(()),
        made => made,
    }
}

impl SharedFile {
    /// Reads what is there by now: at most `count` bytes, fewer only at the end.
    ///
    /// # Errors
    /// `Stale` once the branch was removed, and `Perm` for somebody who may not read it.
    pub async fn read_at(&self, offset: u64, count: usize) -> Result<Bytes, FsError> {
        if !self.reads {
            return Err(no(Errno::Perm, &self.path));
        }
        let state = self.file()?.state.lock().await;
        self.session(&state)?.look_at(offset, count).await
    }

    /// Writes bytes. What lies between the end and `offset` becomes zeros.
    ///
    /// # Errors
    /// As [`WriteSession::write_at`]; `Perm` where the file was opened to be read.
    pub async fn write_at(&self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        let state = self.to_write().await?;
        self.session(&state)?.write_at(offset, bytes).await
    }

    /// Writes bytes at the end, wherever that is by now. Answers where it was.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub async fn append(&self, bytes: Bytes) -> Result<u64, FsError> {
        let state = self.to_write().await?;
        self.session(&state)?.append(bytes).await
    }

    /// Cuts the content, or extends it with zeros.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub async fn set_size(&self, bytes: u64) -> Result<(), FsError> {
        let state = self.to_write().await?;
        self.session(&state)?.set_size(bytes).await
    }

    /// How long it is by now, in bytes.
    pub async fn size(&self) -> Result<u64, FsError> {
        let state = self.file()?.state.lock().await;
        self.session(&state)?.size().await
    }

    /// Makes what was written a version and answers once that is kept. `None`: there was nothing to keep.
    ///
    /// # Errors
    /// As [`WriteSession::commit`], also of an attempt that nobody had asked for. What was written is lost then.
    pub async fn sync(&self) -> Result<Option<Closed>, FsError> {
        self.pass.rights().check()?;
        let file = self.file()?.clone();
        let task = async move { file.publish(&mut *file.state.lock().await).await };
        let task = self.file()?.file_system.spawn(task);
        task.await.map_err(|_| no(Errno::Io, &self.path))?
    }

    /// Closes it. The last one who does makes what was written a version, and answers once that is kept. Dropping it does the same,
    /// without an answer.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn close(mut self) -> Result<Option<Closed>, FsError> {
        let Some(file) = self.open.take() else { return Ok(None) };
        let task = file.file_system.clone().spawn(file.leave());
        task.await.map_err(|_| no(Errno::Io, &self.path))?
    }

    fn file(&self) -> Result<&Arc<OpenFile>, FsError> {
        self.open.as_ref().ok_or_else(|| no(Errno::Stale, &self.path))
    }

    fn session<'a>(&self, state: &'a State) -> Result<&'a WriteSession, FsError> {
        self.pass.rights().check()?;
        let session = state.session.as_ref().filter(|session| !session.handle.is_gone());
        session.ok_or_else(|| no(Errno::Stale, &self.path))
    }

    /// What is written from now on is written in this one's name.
    async fn to_write(&self) -> Result<tokio::sync::MutexGuard<'_, State>, FsError> {
        if !self.writes {
            return Err(no(Errno::Perm, &self.path));
        }
        let file = self.file()?;
        let mut state = file.state.lock().await;
        state.last_write = Instant::now();
        if let Some(session) = &mut state.session {
            session.pass = self.pass.clone();
            session.op = self.op.clone();
        }
        if !state.is_watched {
            state.is_watched = true;
            let (idle, stop) = (file.file_system.shared_idle(), file.file_system.stopping());
            file.file_system.spawn(file.clone().publish_when_idle(idle, stop));
        }
        Ok(state)
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        if let Some(file) = self.open.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            file.file_system.clone().spawn(file.leave());
        }
    }
}

impl OpenFile {
    async fn leave(self: Arc<Self>) -> Result<Option<Closed>, FsError> {
        if !self.file_system.open_files().leave(self.key) {
            return Ok(None);
        }
        // Whoever opens it meanwhile finds it here, with what is not published yet.
        let mut state = self.state.lock().await;
        let published = self.publish(&mut state).await;
        if self.file_system.open_files().forget(self.key) {
            state.session = None;
        }
        published
    }

    /// Makes what was written a version, unless the file has no name any more.
    async fn publish(&self, state: &mut State) -> Result<Option<Closed>, FsError> {
        if let Some(failed) = state.failed.take() {
            return Err(failed);
        }
        let Some(session) = state.session.take() else { return Ok(None) };
        match Self::is_worth(&session).await {
            Ok(true) => {}
            other => {
                state.session = Some(session);
                return other.map(|_| None);
            }
        }
        let (again, closed) = (session.again(), session.commit().await);
        state.session = begin::edit_again(&self.file_system, again).await.ok();
        closed.map(Some)
    }

    /// What a file without a name holds is for those who have it open.
    async fn is_worth(session: &WriteSession) -> Result<bool, FsError> {
        Ok(session.is_changed().await? && session.is_linked().await?)
    }

    async fn publish_when_idle(self: Arc<Self>, idle: Duration, stop: CancellationToken) {
        loop {
            let until = self.state.lock().await.last_write + idle;
            let stopped = stop.run_until_cancelled(tokio::time::sleep_until(until)).await.is_none();
            let mut state = self.state.lock().await;
            if !stopped && state.last_write + idle > Instant::now() {
                continue;
            }
            state.is_watched = false;
            let size = match &state.session {
                Some(session) => session.size().await.unwrap_or(u64::MAX),
                None => return,
            };
            if (stopped || size <= MAX_IDLE_PUBLISH_BYTES)
                && let Err(error) = self.publish(&mut state).await
            {
                tracing::warn!(%error, "what was written to an open file could not be kept");
                state.failed = Some(error);
            }
            return;
        }
    }
}
