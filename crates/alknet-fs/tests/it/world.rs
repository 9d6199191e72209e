//! A file system in a folder of its own, with an owner who may do everything.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, Permit, Sessions};
use alknet_fs::{
    Address, BranchId, BranchName, BucketName, Change, Closed, FileSystem, FileSystemConfig, FsError, FsPath,
    OpenWrite, Place, Right, Terms, WriteSession, rows::branch::Mode,
};
use alknet_store::{Clock, Roles, Store};
use bytes::Bytes;
use tempfile::TempDir;

pub struct World {
    pub folder: Folder,
    pub store: Store,
    pub fs: FileSystem,
}

/// A folder that goes with the last clone of this, if it was made here.
#[derive(Clone)]
pub struct Folder(PathBuf, #[allow(dead_code, reason = "it goes with this")] Option<Arc<TempDir>>);

impl Folder {
    pub fn new(folder: TempDir) -> Self {
        Self(folder.path().to_owned(), Some(Arc::new(folder)))
    }
    pub fn of_others(folder: &Path) -> Self {
        Self(folder.to_owned(), None)
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

struct NoAudit;
impl AuditLog for NoAudit {
    fn record(&self, _: AuditEvent) {}
}

/// The bytes of a new database: quicker to copy than to make.
fn template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alknet.db");
        Store::open(&path, Roles::default(), Sessions::default()).unwrap().close();
        std::fs::read(path).unwrap()
    })
}

impl World {
    /// With a bucket `proj`.
    pub async fn new() -> Self {
        let world = Self::empty().await;
        world.bucket("proj", Terms::default()).await;
        world
    }
    pub async fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("alknet.db"), template()).unwrap();
        Self::open(Folder::new(folder)).await
    }
    /// What an earlier one left in a folder.
    pub async fn open(folder: Folder) -> Self {
        Self::open_with(folder, FileSystemConfig::new).await
    }
    pub async fn open_with(folder: Folder, config: impl FnOnce(PathBuf) -> FileSystemConfig) -> Self {
        let path = folder.path().join("alknet.db");
        let store = Store::open(&path, Roles::default(), Sessions::default()).unwrap();
        Self::of(folder, store, config).await
    }
    /// What an earlier one left in a folder, by a clock that the test sets, in nanoseconds since 1970.
    pub async fn by_clock(folder: Folder, at: Arc<AtomicU64>) -> Self {
        Self::by_clock_with(folder, at, FileSystemConfig::new).await
    }
    pub async fn by_clock_with(
        folder: Folder,
        at: Arc<AtomicU64>,
        config: impl FnOnce(PathBuf) -> FileSystemConfig,
    ) -> Self {
        let path = folder.path().join("alknet.db");
        let clock = Clock::precise(move || Duration::from_nanos(at.load(Ordering::Relaxed)));
        let store = Store::open_with_clock(&path, Roles::default(), Sessions::default(), clock).unwrap();
        Self::of(folder, store, config).await
    }
    async fn of(folder: Folder, store: Store, config: impl FnOnce(PathBuf) -> FileSystemConfig) -> Self {
        let config = config(folder.path().to_owned());
        let fs = FileSystem::open(&store, Authorizer::new(Arc::new(NoAudit)), None, config).await.unwrap();
        Self { folder, store, fs }
    }
    pub async fn restart(self) -> Self {
        self.restart_with(FileSystemConfig::new).await
    }
    /// With another configuration.
    pub async fn restart_with(self, config: impl FnOnce(PathBuf) -> FileSystemConfig) -> Self {
        let folder = self.folder.clone();
        self.end().await;
        Self::open_with(folder, config).await
    }
    pub async fn end(self) {
        self.fs.close().await;
        self.store.close();
    }

    pub fn permit(&self, right: Right, bucket: &str, branch: Option<&str>) -> Permit {
        self.permit_of(&Identity::owner("ann"), right, bucket, branch)
    }
    pub fn permit_of(&self, who: &Identity, right: Right, bucket: &str, branch: Option<&str>) -> Permit {
        let caller =
            Caller { identity: Some(Arc::new(who.clone())), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        let (bucket, branch): (BucketName, Option<BranchName>) =
            (bucket.parse().unwrap(), branch.map(|branch| branch.parse().unwrap()));
        let place = Place { bucket: &bucket, branch: branch.as_ref() };
        self.fs.access().permit(&caller, "fs/test", right, place).unwrap()
    }
    /// Whatever the address needs.
    pub fn permit_at(&self, right: Right, at: &Address) -> Permit {
        self.permit(right, at.bucket.as_str(), Some(at.branch_or_main().as_str()))
    }

    pub async fn bucket(&self, name: &str, terms: Terms) {
        let permit = self.permit(Right::Admin, name, None);
        self.fs.tree().create_bucket(&permit, &name.parse().unwrap(), terms).await.unwrap();
    }
    /// A change of `proj`.
    pub async fn change(&self, change: Change) {
        let permit = self.permit(Right::Write, "proj", Some("main"));
        let (bucket, branch) = ("proj".parse().unwrap(), "main".parse().unwrap());
        self.fs.tree().change(&permit, (&bucket, &branch), vec![change], None).await.unwrap();
    }
    /// A branch of `proj`, made from `main` as it is.
    pub async fn branch(&self, name: &str) {
        self.branch_as(name, Mode::Pinned).await;
    }
    /// The same, pinned or following; gives its number.
    pub async fn branch_as(&self, name: &str, mode: Mode) -> BranchId {
        let at = address("proj");
        let view = self.fs.tree().view(&self.permit_at(Right::Read, &at), &at).await.unwrap();
        let permit = self.permit(Right::Branch, "proj", Some(name));
        self.fs.tree().create_branch(&permit, &name.parse().unwrap(), &view, mode).await.unwrap();
        let at = address(&format!("proj:{name}"));
        self.fs.tree().view(&self.permit_at(Right::Read, &at), &at).await.unwrap().branch_id()
    }
    pub async fn begin(&self, at: &str, how: OpenWrite) -> Result<WriteSession, FsError> {
        let at = address(at);
        self.fs.create(&self.permit_at(Right::Write, &at), &at, how).await
    }
    pub async fn put(&self, at: &str, bytes: impl Into<Bytes>) -> Result<Closed, FsError> {
        let session = self.begin(at, OpenWrite::default()).await?;
        session.write_at(0, bytes.into()).await?;
        session.commit().await
    }
    pub async fn get(&self, at: &str) -> Result<Bytes, FsError> {
        let at = address(at);
        let file = self.fs.open_file(&self.permit_at(Right::Read, &at), &at).await?;
        file.read_at(0, usize::MAX).await
    }
    /// What lies in the spool.
    pub fn spool(&self) -> Vec<PathBuf> {
        files_below(&self.folder.path().join("spool"))
    }
    pub fn blobs(&self) -> Vec<PathBuf> {
        files_below(&self.folder.path().join("blobs"))
    }
    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(tokio::time::Instant::now() < deadline, "it never came to pass that {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

pub fn address(text: &str) -> Address {
    Address::parse(text.as_bytes(), 1_800_000_000_000_000_000).unwrap()
}

pub fn path(text: &str) -> FsPath {
    FsPath::parse(text.as_bytes()).unwrap()
}

/// Bytes without a pattern, different for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What POSIX would answer, of a refusal.
pub fn errno<T: std::fmt::Debug>(outcome: Result<T, FsError>) -> alknet_fs::Errno {
    match outcome {
        Err(FsError::At { errno, .. }) => errno,
        other => panic!("{other:?} is no refusal of the file system's"),
    }
}
