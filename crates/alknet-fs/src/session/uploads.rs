//! Uploads that can be resumed: by their sender, after a cut, and after a restart of the node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alknet_core::{Maintenance, Permit};
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    begin::{Prepared, prepare},
    draft::{self, Draft},
    how::{OpenWrite, Start},
    quota::Allowance,
    write::{Shared, WeakShared, WriteSession, no},
};
use crate::{
    access::Pass,
    address::Address,
    error::{Errno, FsError},
    failpoints::step,
    file_system::{FileSystem, WeakFileSystem},
    hash::ContentHash,
    ids::{BranchId, BucketId},
    limits::{FORSAKEN_AT_ONCE, MAX_UPLOADS_PER_ACTOR, UPLOAD_HANDOVER_TIMEOUT, UPLOAD_LOOK_INTERVALS},
    path::FsPath,
    rows::upload::{self, UploadId, UploadRow},
};

/// What an upload says that it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Length of the whole content, in bytes.
    pub size: u64,
    /// BLAKE3 of the whole content.
    pub hash: ContentHash,
}

/// The uploads whose spools are open.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Arc<Table>);

#[derive(Default)]
struct Table {
    open: Mutex<HashMap<UploadId, Option<WeakShared>>>,
    /// One was closed.
    closed: Notify,
}

/// An upload that somebody has open, until this is dropped; after its spool.
pub(crate) struct Entered {
    uploads: Uploads,
    id: UploadId,
    announced: Announced,
}

impl Entered {
    pub const fn id(&self) -> UploadId {
        self.id
    }
    pub const fn announced(&self) -> Announced {
        self.announced
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.uploads.open().remove(&self.id);
        self.uploads.0.closed.notify_waiters();
    }
}

/// What is found of an upload that somebody wants.
enum Turn {
    Free(Entered),
    /// Somebody has it; with a session that it can be taken from, or not.
    Taken(Option<Shared>),
}

impl Uploads {
    fn open(&self) -> MutexGuard<'_, HashMap<UploadId, Option<WeakShared>>> {
        // Each change of the map is one call on it.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn turn(&self, id: UploadId, announced: Announced) -> Turn {
        let mut open = self.open();
        match open.get(&id) {
            Some(held) => Turn::Taken(held.as_ref().and_then(WeakShared::upgrade)),
            None => {
                open.insert(id, None);
                Turn::Free(Entered { uploads: self.clone(), id, announced })
            }
        }
    }
    /// Says from which session the upload can be taken over.
    fn note(&self, id: UploadId, shared: &Shared) {
        if let Some(held) = self.open().get_mut(&id) {
            *held = Some(shared.downgrade());
        }
    }
}

/// Begins an upload, or goes on with one of the same sender, path and content.
pub(crate) async fn resume(
    file_system: &FileSystem,
    permit: &Permit,
    at: &Address,
    how: OpenWrite,
    announced: Announced,
) -> Result<WriteSession, FsError> {
    if how.start != Start::Empty {
        return Err(no(Errno::Inval, &at.path));
    }
    let Prepared { pass, shows, opened, handle, allowance, .. } = prepare(file_system, permit, at, &how).await?;
    let on = (opened.bucket.0, opened.branch.0);
    let wanted = Wanted { on, path: at.path.clone(), announced, actor: pass.actor().to_string() };
    let (draft, received) = match enter(file_system, &pass, &wanted, &allowance).await? {
        Ok(draft) => {
            let received = draft.size();
            (draft, received)
        }
        Err(entered) => {
            let spool = file_system.content().upload(entered.id).await;
            let mut spool = spool.map_err(|error| error.about(at.path.to_string()))?;
            if spool.size() > announced.size {
                // It was never this upload's.
                spool = blocking(move || spool.set_size(0).map(|()| spool), &at.path).await?;
            }
            let received = spool.size();
            let tables = file_system.tree().tables().clone();
            (Draft::of_upload(spool, allowance, on.0, tables, at.path.clone(), entered), received)
        }
    };
    let id = draft.upload();
    let draft = Shared::new(draft);
    if let Some(id) = id {
        file_system.uploads().note(id, &draft);
    }
    let (file_system, op) = (file_system.clone(), permit.action().into());
    Ok(WriteSession { file_system, pass, handle, opened, how, op, shows, received, expected: None, draft })
}

/// Finds or makes the row of an upload, and takes its turn: from the session that has it open, or as who opens it.
async fn enter(
    file_system: &FileSystem,
    pass: &Pass,
    wanted: &Wanted,
    allowance: &Allowance,
) -> Result<Result<Draft, Entered>, FsError> {
    let tables = file_system.tree().tables();
    let deadline = Instant::now() + UPLOAD_HANDOVER_TIMEOUT;
    loop {
        let (id, now_ms, asked) = (random_id()?, tables.clock().now_ms(), allowance.another());
        let find = {
            let wanted = wanted.clone();
            move |sql: &Connection, _: &mut Noted<'_>| wanted.find(sql, id, now_ms, &asked)
        };
        let id = tables.change(pass.rights(), Durability::Lazy, find).await?;
        let entered = match take_turn(file_system, (id, wanted.announced), &wanted.path, deadline).await? {
            Ok(draft) => return Ok(Ok(draft)),
            Err(entered) => entered,
        };
        // It may have ended while it was waited for: then another one begins.
        let look = move |sql: &Connection| -> Result<_, FsError> { Ok(upload::get(sql, &id)?.is_some()) };
        if tables.read(look).await? {
            return Ok(Err(entered));
        }
        if Instant::now() >= deadline {
            return Err(no(Errno::Again, &wanted.path));
        }
    }
}

/// The upload from the session that has it open, or the right to open it.
async fn take_turn(
    file_system: &FileSystem,
    (id, announced): (UploadId, Announced),
    path: &FsPath,
    deadline: Instant,
) -> Result<Result<Draft, Entered>, FsError> {
    let uploads = file_system.uploads();
    loop {
        let closed = uploads.0.closed.notified();
        tokio::pin!(closed);
        closed.as_mut().enable();
        match uploads.turn(id, announced) {
            Turn::Free(entered) => return Ok(Err(entered)),
            Turn::Taken(Some(session)) => {
                // Its sender is here, so that one is nobody's any more. A write of its own is waited for.
                if let Some(draft) = blocking(move || Ok(session.take()), path).await? {
                    return Ok(Ok(draft));
                }
            }
            Turn::Taken(None) => {}
        }
        // It is being closed, or put away.
        if tokio::time::timeout_at(deadline, closed).await.is_err() {
            return Err(no(Errno::Again, path));
        }
    }
}

/// An upload that somebody wants to begin or go on with.
#[derive(Clone)]
struct Wanted {
    on: (BucketId, BranchId),
    path: FsPath,
    announced: Announced,
    actor: String,
}

impl Wanted {
    /// Its number: that of its row, which is made with `id` if there is none.
    fn find(self, sql: &Connection, id: UploadId, now_ms: u64, asked: &Allowance) -> Result<UploadId, FsError> {
        let path = self.path.to_bytes();
        let rows = upload::of_actor(sql, &self.actor)?;
        if let Some(row) = rows.iter().find(|row| self.is(row, &path)) {
            upload::touch(sql, &row.id, now_ms)?;
            return Ok(row.id);
        }
        if rows.len() >= MAX_UPLOADS_PER_ACTOR {
            return Err(no(Errno::Again, &self.path));
        }
        let Announced { size, hash } = self.announced;
        if let Some(standing) = draft::standing(sql, self.on.0)? {
            asked.learn(standing);
            asked.admits(size).map_err(|_| no(Errno::Quota, &self.path))?;
        }
        let (bucket, branch) = self.on;
        let actor = self.actor;
        let row = UploadRow { id, bucket, branch, path, hash, size, actor, made_ms: now_ms, touched_ms: now_ms };
        upload::insert(sql, &row)?;
        if let Some(standing) = draft::standing(sql, bucket)? {
            asked.learn(standing);
        }
        Ok(id)
    }

    fn is(&self, row: &UploadRow, path: &[u8]) -> bool {
        (row.bucket, row.branch) == self.on
            && row.path == path
            && (row.size, row.hash) == (self.announced.size, self.announced.hash)
    }
}

fn random_id() -> Result<UploadId, FsError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        tracing::error!(%error, "no random numbers");
        FsError::At { errno: Errno::Io, what: "cannot begin", path: "an upload".to_owned() }
    })?;
    Ok(id)
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, FsError> + Send + 'static,
    path: &FsPath,
) -> Result<T, FsError> {
    tokio::task::spawn_blocking(act).await.map_err(|_| no(Errno::Io, path))?
}

/// Ends an upload whose content went, or could go nowhere: its row goes.
pub(super) async fn forget(file_system: &FileSystem, id: UploadId) -> Result<(), FsError> {
    let rights = Rights::maintenance(&TASK);
    let forget = move |sql: &Connection, _: &mut Noted<'_>| -> Result<(), FsError> {
        upload::remove(sql, &id)?;
        Ok(())
    };
    file_system.tree().tables().change(&rights, Durability::Lazy, forget).await
}

const TASK: Maintenance = Maintenance::of("fs-uploads");

/// Removes uploads whose senders stay away for longer than `lifetime`, until it is stopped.
pub(crate) async fn keep_forsaking(file_system: WeakFileSystem, lifetime: Duration, stop: CancellationToken) {
    let interval = (lifetime / UPLOAD_LOOK_INTERVALS.0).clamp(UPLOAD_LOOK_INTERVALS.1, UPLOAD_LOOK_INTERVALS.2);
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let Some(file_system) = file_system.upgrade() else { return };
        if let Err(error) = forsake(&file_system, lifetime).await {
            tracing::warn!(%error, "uploads whose senders stay away could not be removed; it is tried again");
        }
    }
}

async fn forsake(file_system: &FileSystem, lifetime: Duration) -> Result<(), FsError> {
    let tables = file_system.tree().tables();
    let now_ms = tables.clock().now_ms();
    let before_ms = now_ms.saturating_sub(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
    let read =
        move |sql: &Connection| -> Result<_, FsError> { Ok(upload::forsaken(sql, before_ms, FORSAKEN_AT_ONCE)?) };
    for row in tables.read(read).await? {
        step("upload.away");
        let announced = Announced { size: row.size, hash: row.hash };
        match file_system.uploads().turn(row.id, announced) {
            Turn::Free(entered) => {
                // The sender may have come back since, and been cut off again.
                let (rights, id) = (Rights::maintenance(&TASK), row.id);
                let forsake =
                    move |sql: &Connection, _: &mut Noted<'_>| Ok::<_, FsError>(upload::forsake(sql, &id, before_ms)?);
                if tables.change(&rights, Durability::Lazy, forsake).await? {
                    let spool = file_system.content().upload(id).await?;
                    let give_up = move || {
                        spool.give_up();
                        Ok(())
                    };
                    blocking(give_up, &FsPath::ROOT).await?;
                }
                drop(entered);
            }
            Turn::Taken(_) => {
                let (rights, id) = (Rights::maintenance(&TASK), row.id);
                let touch =
                    move |sql: &Connection, _: &mut Noted<'_>| Ok::<_, FsError>(upload::touch(sql, &id, now_ms)?);
                tables.change(&rights, Durability::Lazy, touch).await?;
            }
        }
    }
    Ok(())
}
