//! Content: bytes known by their BLAKE3 hash, each range of which can be proven. Small ones are in the database, others in files of
//! their own, which are complete and synced before a row names them. The rules are in `docs/spec/fs-content.md`.

pub mod copying;
pub mod disk;
mod extents;
mod feeder;
mod files;
mod folders;
mod fsck;
pub mod fuzzing;
mod gc;
#[allow(dead_code, reason = "the collector, the janitor and fsck come to use all of it")]
mod generation;
mod hasher;
mod janitor;
mod leases;
mod outboard;
mod over;
mod placed;
mod pool;
mod proof;
mod reader;
mod rehash;
mod sealed;
mod spool;
mod spool_file;
mod syncer;
mod unproven;
mod uploads;

use std::{fmt, io, path::Path, sync::Arc, time::SystemTime};

use alknet_core::{Maintenance, PermitError};
use alknet_store::{StoreError, Tables};
use bytes::Bytes;

use self::{
    disk::{Disk, RealDisk},
    folders::Folders,
    generation::Generations,
    leases::Leases,
    pool::Pool,
    syncer::Syncer,
};
pub use self::{
    folders::BadFolders,
    fsck::{Check, Finding, Found},
    gc::Collected,
    hasher::hash_tree,
    janitor::Swept,
    placed::Placed,
    proof::{prove, prove_outboard},
    reader::BlobReader,
    sealed::Sealed,
    spool::Spool,
};
use crate::{error::FsError, rows::upload::UploadId};

const TASK: Maintenance = Maintenance::of("fs-content");

/// The content of this node.
#[derive(Clone)]
pub struct Content(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    folders: Folders,
    tables: Tables,
    generations: Generations,
    hashing: Arc<Pool>,
    syncer: Syncer,
    leases: Arc<Leases>,
    /// When it was opened.
    began: SystemTime,
}

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Its folders cannot be used.
    #[error(transparent)]
    Folders(#[from] BadFolders),
    /// No thread can be started.
    #[error("cannot start the threads that hash: {0}")]
    Threads(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Never: the node does this on its own behalf.
    #[error(transparent)]
    Denied(#[from] PermitError),
}

impl From<rusqlite::Error> for ContentError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Content {
    /// Opens what lies in `spool/` and `blobs/` of this folder, and makes them where they are missing. Nothing is read of either.
    ///
    /// # Errors
    /// Fails when the two are on different file systems, and with the disk and the database.
    pub async fn open(tables: Tables, folder: &Path) -> Result<Self, ContentError> {
        Self::open_on(Arc::new(RealDisk), tables, folder).await
    }

    /// As [`Self::open`], on another disk.
    ///
    /// # Errors
    /// As there.
    pub async fn open_on(disk: Arc<dyn Disk>, tables: Tables, folder: &Path) -> Result<Self, ContentError> {
        let began = SystemTime::now();
        let (on, folder) = (disk.clone(), folder.to_owned());
        let folders = blocking(move || Folders::open(&*on, &folder)).await?;
        let generations = Generations::begin(&tables).await?;
        let hashing = Arc::new(Pool::start().map_err(ContentError::Threads)?);
        let (syncer, leases) = (Syncer::new(), Arc::default());
        Ok(Self(Arc::new(Inner { disk, folders, tables, generations, hashing, syncer, leases, began })))
    }

    /// Begins to write something new.
    pub fn spool(&self) -> Spool {
        Spool::new(self.0.clone())
    }

    /// Begins to write over content that is there. Nothing of it is copied before something is written.
    pub fn spool_over(&self, base: BlobReader) -> Spool {
        Spool::over(self.0.clone(), base)
    }

    /// Opens the spool of an upload that has a row, or makes it: with what it held when it was last dropped, or the node ended, as far
    /// as the disk has kept it. Which of it is right, the hash tells in the end.
    ///
    /// # Errors
    /// Fails with the disk.
    pub async fn upload(&self, id: UploadId) -> Result<Spool, FsError> {
        let inner = self.0.clone();
        blocking(move || Spool::upload(inner, id)).await
    }

    /// Ends a write: see [`Spool::seal`]. Cancelled, it leaves nothing.
    ///
    /// # Errors
    /// As [`Spool::seal`].
    pub async fn seal(&self, spool: Spool) -> Result<Sealed, FsError> {
        blocking(move || spool.seal()).await
    }

    /// Puts sealed content on the disk for good. Nothing names it yet. Cancelled, it leaves nothing.
    ///
    /// # Errors
    /// Fails with the disk, and leaves nothing.
    pub async fn place(&self, sealed: Sealed) -> Result<Placed, FsError> {
        blocking(move || sealed.place()).await
    }

    /// Stores bytes that are there already: [`Self::spool`], [`Self::seal`] and [`Self::place`] in one.
    ///
    /// # Errors
    /// As those.
    pub async fn store(&self, bytes: Bytes) -> Result<Placed, FsError> {
        if let Some(placed) = Placed::inline(bytes.clone()) {
            return Ok(placed);
        }
        let mut spool = self.spool();
        blocking(move || {
            spool.write_at(0, bytes)?;
            spool.seal()?.place()
        })
        .await
    }
}

/// Runs what waits for the disk off the async threads. It runs to its end though nobody waits for it any more.
async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(body).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("disk", &self.0.disk).field("folders", &self.0.folders).finish_non_exhaustive()
    }
}
