//! The file system as doors hold it: its parts, what runs in the background, and the order in which it ends.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use alknet_core::{Authorizer, Maintenance, Permit};
use alknet_store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Access,
    address::Address,
    content::{Content, ContentError, Swept},
    error::FsError,
    history::History,
    hooks::{self, Courier},
    limits::{DEFAULT_GC_GRACE, DEFAULT_SHARED_IDLE, DEFAULT_UPLOAD_LIFETIME, REAP_DELAY},
    rows::{branch, bucket, upload},
    session::{
        self, Allowances, Announced, Handles, OpenFiles, OpenWrite, ReadHandle, SharedFile, Uploads, WriteSession,
    },
    tree::{Tree, Witness},
};

/// Where the file system lies, and how it behaves.
#[derive(Debug, Clone)]
pub struct FileSystemConfig {
    /// The folder of `spool/` and `blobs/`, which must be on one disk.
    pub folder: PathBuf,
    /// This node's number among those that keep the same buckets.
    pub replica: u16,
    /// How long content stays that nothing refers to.
    pub gc_grace: Duration,
    /// How long an upload that can be resumed waits for its sender.
    pub upload_lifetime: Duration,
    /// How long nobody writes to a file that a mount has open before what was written becomes a version.
    pub shared_idle: Duration,
}

impl FileSystemConfig {
    /// Files in this folder, with everything else as it usually is.
    pub const fn new(folder: PathBuf) -> Self {
        let (gc_grace, upload_lifetime) = (DEFAULT_GC_GRACE, DEFAULT_UPLOAD_LIFETIME);
        Self { folder, replica: 0, gc_grace, upload_lifetime, shared_idle: DEFAULT_SHARED_IDLE }
    }
}

/// The files of a node. Clones share them.
#[derive(Clone)]
pub struct FileSystem(Arc<Inner>);

/// The same, for what runs in the background as long as somebody else holds it.
#[derive(Clone)]
pub(crate) struct WeakFileSystem(Weak<Inner>);

impl WeakFileSystem {
    pub fn upgrade(&self) -> Option<FileSystem> {
        self.0.upgrade().map(FileSystem)
    }
}

struct Inner {
    access: Access,
    tree: Tree,
    content: Content,
    allowances: Allowances,
    uploads: Uploads,
    open_files: OpenFiles,
    shared_idle: Duration,
    /// Ends what runs in the background.
    stop: CancellationToken,
    /// Who carries what webhooks are told, once somebody does.
    courier: OnceLock<Arc<dyn Courier>>,
    /// What must have ended before the store is closed.
    tasks: TaskTracker,
}

/// Why there is no file system.
#[derive(Debug, thiserror::Error)]
pub enum FsOpenError {
    /// Its content cannot be used.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// What an earlier process left in the spool cannot be taken away.
    #[error("cannot clean the spool: {0}")]
    Spool(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl FileSystem {
    /// Opens the files of a node: quickly, whatever there is of them. What an earlier process left half written is gone afterwards.
    /// `witness` hears of each commit.
    ///
    /// # Errors
    /// Fails when the folders cannot be used, and with the database.
    pub async fn open(
        store: &Store,
        authorizer: Authorizer,
        witness: Option<Arc<dyn Witness>>,
        config: FileSystemConfig,
    ) -> Result<Self, FsOpenError> {
        let tables = store.tables();
        let content = Content::open(tables.clone(), &config.folder).await?;
        let uploads = tables.read(|sql| -> Result<_, StoreError> { Ok(upload::ids(sql)?) }).await?;
        content.clean_spool(uploads).await.map_err(FsOpenError::Spool)?;
        let tree = Tree::new(tables, config.replica, Handles::default());
        let tree = match witness {
            Some(witness) => tree.witnessed_by(witness),
            None => tree,
        };
        let inner = Inner {
            access: Access::new(authorizer),
            tree,
            content,
            allowances: Allowances::default(),
            uploads: Uploads::default(),
            open_files: OpenFiles::default(),
            shared_idle: config.shared_idle,
            stop: CancellationToken::new(),
            courier: OnceLock::new(),
            tasks: TaskTracker::new(),
        };
        let opened = Self(Arc::new(inner));
        let (weak, stop) = (WeakFileSystem(Arc::downgrade(&opened.0)), opened.0.stop.clone());
        opened.spawn(session::keep_forsaking(weak, config.upload_lifetime, stop.clone()));
        let (content, tree) = (opened.0.content.clone(), opened.0.tree.clone());
        opened.spawn(keep_content(content, config.gc_grace, stop.clone()));
        opened.spawn(History::new(tree.clone()).keep_forgetting(stop.clone()));
        opened.spawn(History::new(tree.clone()).keep_flattening(stop.clone()));
        opened.spawn(keep_reaping(tree, stop));
        Ok(opened)
    }

    /// From now on hooks are told of commits, in the background. The first courier stays.
    pub fn keep_hooks(&self, courier: Arc<dyn Courier>) {
        if self.0.courier.set(courier.clone()).is_ok() {
            let (tables, access) = (self.tree().tables().clone(), self.access().clone());
            self.spawn(hooks::keep(tables, access, courier, self.stopping()));
        }
    }
    /// Who carries what webhooks are told; `None`: nobody does.
    pub(crate) fn courier(&self) -> Option<&Arc<dyn Courier>> {
        self.0.courier.get()
    }

    /// The one gate for files.
    pub fn access(&self) -> &Access {
        &self.0.access
    }
    /// What is where.
    pub fn tree(&self) -> &Tree {
        &self.0.tree
    }
    /// The bytes.
    pub fn content(&self) -> &Content {
        &self.0.content
    }
    /// What is open.
    pub fn handles(&self) -> &Handles {
        self.0.tree.handles()
    }

    /// Opens a file to be written; nobody sees anything of it before it is closed.
    ///
    /// # Errors
    /// Fails when the path leads to no place for a file, when the quota has no room for another file, and when the permit is not for
    /// writing on that branch as it is now.
    pub async fn create(&self, permit: &Permit, at: &Address, how: OpenWrite) -> Result<WriteSession, FsError> {
        session::begin(self, permit, at, how).await
    }

    /// Begins an upload that can be resumed, or goes on with one of the same sender to the same path and of the same content:
    /// [`WriteSession::received`] says from where. A session of it that is still open ends.
    ///
    /// # Errors
    /// As [`Self::create`]; `Again` when the sender has too many uploads that wait for the rest.
    pub async fn resume(
        &self,
        permit: &Permit,
        at: &Address,
        how: OpenWrite,
        announced: Announced,
    ) -> Result<WriteSession, FsError> {
        session::resume(self, permit, at, how, announced).await
    }

    /// Opens a file to be read as the address says: the version that is there, to the end.
    ///
    /// # Errors
    /// Fails when there is no such file, and when the permit is not for reading that branch.
    pub async fn open_file(&self, permit: &Permit, at: &Address) -> Result<ReadHandle, FsError> {
        session::open_to_read(self, permit, at).await
    }

    /// Opens a file as a mount does: what is written to it is seen at once by all who have it open in this way. `how` to write it, too;
    /// a file that is made is there at once, empty.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::open_file`].
    pub async fn open_shared(
        &self,
        permit: &Permit,
        at: &Address,
        how: Option<OpenWrite>,
    ) -> Result<SharedFile, FsError> {
        session::open_shared(self, permit, at, how).await
    }

    /// Ends everything that is under way: sessions whose closing has begun are closed, the others are given up. Nothing must be
    /// asked of it afterwards; the store may then be closed.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(crate) fn open_files(&self) -> &OpenFiles {
        &self.0.open_files
    }
    pub(crate) fn shared_idle(&self) -> Duration {
        self.0.shared_idle
    }
    /// Cancelled when it ends.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }
    pub(crate) fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }
    pub(crate) fn allowances(&self) -> &Allowances {
        &self.0.allowances
    }

    /// Does something to its end, whoever still waits for it.
    pub(crate) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.tasks.spawn(task)
    }
}

/// Takes away, in the background, what an earlier process left in the place of content, and then what nothing refers to any more.
async fn keep_content(content: Content, grace: Duration, stop: CancellationToken) {
    match stop.run_until_cancelled(content.sweep()).await {
        Some(Ok(Swept { removed: 0, .. })) => {}
        Some(Ok(Swept { removed, .. })) => tracing::info!(removed, "removed files that an earlier start left"),
        Some(Err(error)) => tracing::warn!(%error, "what an earlier start left is looked for again at the next one"),
        None => return,
    }
    content.keep_collecting(grace, stop).await;
}

/// Takes the rows of removed branches and buckets away, in the background, after commits.
async fn keep_reaping(tree: Tree, stop: CancellationToken) {
    let task = Maintenance::of("fs-reaper");
    let mut commits = tree.tables().watch();
    let reaping = async {
        loop {
            commits.mark_unchanged();
            if is_any_removed(&tree).await {
                match tree.reap(&task).await {
                    Ok(true) => continue,
                    // Somebody still looks at it. This commit is no news.
                    Ok(false) => commits.mark_unchanged(),
                    Err(error) => tracing::warn!(%error, "rows of what was removed could not go; it is tried again"),
                }
            }
            let more = async {
                tokio::select! {
                    changed = commits.changed() => changed.is_ok(),
                    // Somebody who looked at it does so no more.
                    () = tree.handles().unused() => true,
                }
            };
            if !more.await {
                return;
            }
            tokio::time::sleep(REAP_DELAY).await;
        }
    };
    tokio::select! { () = reaping => {}, () = stop.cancelled() => {} }
}

async fn is_any_removed(tree: &Tree) -> bool {
    let read = |sql: &rusqlite::Connection| -> Result<bool, StoreError> {
        Ok(!branch::doomed(sql, 1)?.is_empty() || bucket::doomed(sql)?.is_some())
    };
    tree.tables().read(read).await.unwrap_or(false)
}
