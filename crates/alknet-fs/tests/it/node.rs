//! A node's trees in a real database, by a clock that the test sets, as the owner of the node.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, Permit, Sessions};
use alknet_fs::{
    Access, Address, Attributes, Body, BranchName, BucketName, Change, Committed, EntryName, Errno, Expect, FileSystem,
    FileSystemConfig, FsError, FsPath, Handles, Place, Placed, Put, RemoveHow, Right, Terms, Tree, View,
};
use alknet_store::{Clock, Roles, Store};
use tempfile::TempDir;

/// Nobody reads what was decided.
struct Unread;
impl AuditLog for Unread {
    fn record(&self, _event: AuditEvent) {}
}

pub struct Node {
    _folder: TempDir,
    pub path: PathBuf,
    store: Store,
    pub tree: Tree,
    access: Access,
    clock_ns: Arc<AtomicU64>,
    /// The files, where somebody writes them by sessions.
    pub files: Option<FileSystem>,
}

/// The clock at the start: an hour that no test comes back to.
pub const BEGIN_NS: u64 = 1_800_000_000_000_000_000;

fn open(path: &std::path::Path, clock_ns: &Arc<AtomicU64>) -> Store {
    let at = clock_ns.clone();
    let clock = Clock::precise(move || Duration::from_nanos(at.load(Ordering::Relaxed)));
    Store::open_with_clock(path, Roles::default(), Sessions::default(), clock).unwrap()
}

impl Node {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alknet.db");
        let clock_ns = Arc::new(AtomicU64::new(BEGIN_NS));
        let store = open(&path, &clock_ns);
        let tree = Tree::new(store.tables(), 0, Handles::default());
        let access = Access::new(Authorizer::new(Arc::new(Unread)));
        Self { _folder: folder, path, store, tree, access, clock_ns, files: None }
    }
    /// With files that can be written by sessions.
    pub async fn with_files() -> Self {
        let mut node = Self::new();
        node.open_files().await;
        node
    }
    async fn open_files(&mut self) {
        let folder = self.path.parent().unwrap().to_owned();
        // Nothing becomes a version because a test is slow.
        let config = FileSystemConfig { shared_idle: Duration::from_secs(3600), ..FileSystemConfig::new(folder) };
        let authorizer = Authorizer::new(Arc::new(Unread));
        let files = FileSystem::open(&self.store, authorizer, None, config).await.unwrap();
        self.tree = files.tree().clone();
        self.files = Some(files);
    }
    /// As [`Self::restart`], with the files.
    pub async fn restart_with_files(&mut self) {
        self.close_files().await;
        self.open_files().await;
    }
    /// As [`Self::restart`]: from now on nobody works in the background.
    pub async fn close_files(&mut self) {
        self.files.take().unwrap().close().await;
        self.restart();
    }
    /// With a bucket `proj`.
    pub async fn with_bucket() -> Self {
        let node = Self::new();
        node.create_bucket(Terms::default()).await.unwrap();
        node
    }
    /// Closes the database and opens it again.
    pub fn restart(&mut self) {
        self.store.close();
        self.store = open(&self.path, &self.clock_ns);
        self.tree = Tree::new(self.store.tables(), 0, Handles::default());
    }
    pub fn set_clock(&self, ns: u64) {
        self.clock_ns.store(ns, Ordering::Relaxed);
    }
    pub fn now(&self) -> i64 {
        i64::try_from(self.clock_ns.load(Ordering::Relaxed)).unwrap()
    }
    /// Lets a second pass.
    pub fn tick(&self) -> i64 {
        i64::try_from(self.clock_ns.fetch_add(1_000_000_000, Ordering::Relaxed) + 1_000_000_000).unwrap()
    }
    pub fn permit_of(&self, who: Identity, op: &str, right: Right, branch: Option<&str>) -> Permit {
        let caller = Caller { identity: Some(Arc::new(who)), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        let branch = branch.map(|branch| branch.parse().unwrap());
        self.access.permit(&caller, op, right, Place { bucket: &proj(), branch: branch.as_ref() }).unwrap()
    }
    pub fn permit(&self, right: Right, branch: Option<&str>) -> Permit {
        self.permit_of(Identity::owner("me"), "fs/test", right, branch)
    }
    pub async fn create_bucket(&self, terms: Terms) -> Result<Committed, FsError> {
        self.tree.create_bucket(&self.permit(Right::Admin, None), &proj(), terms).await
    }
    pub async fn change(&self, branch: &str, changes: Vec<Change>) -> Result<Committed, FsError> {
        let permit = self.permit(Right::Write, Some(branch));
        self.tree.change(&permit, (&proj(), &branch.parse().unwrap()), changes, None).await
    }
    pub async fn main(&self, change: Change) -> Result<Committed, FsError> {
        self.change("main", vec![change]).await
    }
    pub async fn view(&self, address: &str) -> Result<View, FsError> {
        let at = Address::parse(address.as_bytes(), i64::try_from(self.clock_ns.load(Ordering::Relaxed)).unwrap());
        let at = at.unwrap();
        let permit = self.permit(Right::Read, Some(at.branch_or_main().as_str()));
        self.tree.view(&permit, &at).await
    }
    /// As [`Self::view`] with the path of the address.
    pub async fn stat(&self, address: &str) -> Result<Attributes, FsError> {
        let at = Address::parse(address.as_bytes(), 0).unwrap();
        self.view(address).await?.stat(&at.path, false).await
    }
    pub async fn names(&self, address: &str) -> Result<Vec<String>, FsError> {
        let at = Address::parse(address.as_bytes(), 0).unwrap();
        let page = self.view(address).await?.list(&at.path, None, 1000, true).await?;
        Ok(page.entries.iter().map(|entry| entry.name.to_string()).collect())
    }
}

pub fn proj() -> BucketName {
    "proj".parse().unwrap()
}
pub fn main_branch() -> BranchName {
    BranchName::main()
}
pub fn path(text: &str) -> FsPath {
    FsPath::parse(text.as_bytes()).unwrap()
}
pub fn name(text: &str) -> EntryName {
    EntryName::parse(text.as_bytes()).unwrap()
}
pub fn mkdir(at: &str) -> Change {
    Change::MakeFolder { at: path(at), mode: 0o755, parents: false }
}
pub fn bytes(content: &str) -> Body {
    Body::Placed(Placed::inline(content.to_owned()).unwrap())
}
pub fn put(at: &str, content: &str) -> Change {
    Change::Put(Put::new(path(at), bytes(content)))
}
pub fn put_if(at: &str, content: &str, expect: Expect) -> Change {
    Change::Put(Put { expect, ..Put::new(path(at), bytes(content)) })
}
pub fn remove(at: &str, how: RemoveHow) -> Change {
    Change::Remove { at: path(at), how }
}

/// What POSIX would answer to something that was refused.
pub fn errno<T: std::fmt::Debug>(outcome: Result<T, FsError>) -> Errno {
    match outcome {
        Err(FsError::At { errno, .. }) => errno,
        other => panic!("not refused by the file system: {other:?}"),
    }
}
