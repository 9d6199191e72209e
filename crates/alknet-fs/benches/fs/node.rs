//! A node's files without its doors: the database and the file system in one folder, used by the owner.

use std::{path::Path, sync::Arc};

use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, Permit, Sessions};
use alknet_fs::{
    Address, Body, BranchName, BucketName, Change, Committed, FileSystem, FileSystemConfig, FsPath, OpenWrite, Place,
    Placed, Put, ReadHandle, Right, Terms, Tree, View, When, WriteSession,
};
use alknet_store::{Durability, Roles, Store};
use bytes::Bytes;
use tokio::runtime::Runtime;

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _event: AuditEvent) {}
}

pub struct Node {
    pub runtime: Runtime,
    pub store: Store,
    pub fs: FileSystem,
}

impl Node {
    /// Opens what is in a folder; new in an empty one.
    pub fn open(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let store = Store::open(&folder.join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
        let config = FileSystemConfig::new(folder.to_owned());
        let fs = runtime.block_on(FileSystem::open(&store, Authorizer::new(Arc::new(Silent)), None, config)).unwrap();
        Self { runtime, store, fs }
    }
    /// As [`Self::open`] in an empty folder, with a bucket.
    pub fn with_bucket(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let node = Self::open(folder);
        let permit = node.permit(Right::Admin);
        node.runtime.block_on(node.tree().create_bucket(&permit, &bucket(), Terms::default())).unwrap();
        node
    }
    pub fn tree(&self) -> &Tree {
        self.fs.tree()
    }
    pub fn permit(&self, right: Right) -> Permit {
        let identity = Some(Arc::new(Identity::owner("me")));
        let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        self.fs.access().permit(&caller, "fs/bench", right, Place { bucket: &bucket(), branch: None }).unwrap()
    }
    pub async fn change(&self, branch: &BranchName, changes: Vec<Change>, durability: Durability) -> Committed {
        let permit = self.permit(Right::Write);
        self.tree().change(&permit, (&bucket(), branch), changes, Some(durability)).await.unwrap()
    }
    /// Stores a small file of `main`.
    pub async fn put(&self, at: FsPath, content: impl Into<Bytes>, durability: Durability) -> Committed {
        let body = Body::Placed(Placed::inline(content).unwrap());
        self.change(&BranchName::main(), vec![Change::Put(Put { parents: true, ..Put::new(at, body) })], durability)
            .await
    }
    /// Writes a file of `main` as one who gets its bytes piece by piece.
    pub async fn write(&self, at: &FsPath, pieces: impl Iterator<Item = Bytes>, durability: Durability) {
        let session =
            self.create(at, OpenWrite { parents: true, durability: Some(durability), ..OpenWrite::default() });
        let session = session.await;
        for piece in pieces {
            session.append(piece).await.unwrap();
        }
        session.commit().await.unwrap();
    }
    pub async fn create(&self, at: &FsPath, how: OpenWrite) -> WriteSession {
        self.fs.create(&self.permit(Right::Write), &address(at), how).await.unwrap()
    }
    /// Opens a file of `main`.
    pub async fn read(&self, at: &FsPath) -> ReadHandle {
        self.fs.open_file(&self.permit(Right::Read), &address(at)).await.unwrap()
    }
    pub fn view(&self, branch: &BranchName) -> View {
        let permit = self.permit(Right::Read);
        self.runtime.block_on(self.tree().view_of(&permit, &bucket(), branch, &When::Now)).unwrap()
    }
    pub fn close(self) {
        let Self { runtime, store, fs } = self;
        runtime.block_on(fs.close());
        drop(fs);
        store.close();
    }
}

pub fn bucket() -> BucketName {
    "bench".parse().unwrap()
}
pub fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}
pub fn path(text: &str) -> FsPath {
    FsPath::parse(text.as_bytes()).unwrap()
}
fn address(at: &FsPath) -> Address {
    Address { node: None, bucket: bucket(), branch: None, when: When::Now, path: at.clone() }
}
