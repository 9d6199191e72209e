//! A node's files without its doors: the database, the trees and the content in one folder, used by the owner.

use std::{path::Path, sync::Arc};

use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, Permit, Sessions};
use alknet_fs::{
    Access, BlobReader, Body, BranchName, BucketName, Change, Committed, Content, FsError, FsPath, Handles, Place,
    Placed, Put, Right, Spool, Terms, Tree, View, When, rows::blob,
};
use alknet_store::{Durability, Roles, Store};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::runtime::Runtime;

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _event: AuditEvent) {}
}

pub struct Node {
    pub runtime: Runtime,
    pub store: Store,
    pub tree: Tree,
    pub content: Content,
    access: Access,
}

impl Node {
    /// Opens what is in a folder; new in an empty one.
    pub fn open(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let store = Store::open(&folder.join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
        let content = runtime.block_on(Content::open(store.tables(), folder)).unwrap();
        let tree = Tree::new(store.tables(), 0, Handles::default());
        Self { runtime, store, tree, content, access: Access::new(Authorizer::new(Arc::new(Silent))) }
    }
    /// As [`Self::open`] in an empty folder, with a bucket.
    pub fn with_bucket(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let node = Self::open(folder);
        let permit = node.permit(Right::Admin);
        node.runtime.block_on(node.tree.create_bucket(&permit, &bucket(), Terms::default())).unwrap();
        node
    }
    pub fn permit(&self, right: Right) -> Permit {
        let identity = Some(Arc::new(Identity::owner("me")));
        let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        self.access.permit(&caller, "fs/bench", right, Place { bucket: &bucket(), branch: None }).unwrap()
    }
    pub async fn change(&self, branch: &BranchName, changes: Vec<Change>, durability: Durability) -> Committed {
        let permit = self.permit(Right::Write);
        self.tree.change(&permit, (&bucket(), branch), changes, Some(durability)).await.unwrap()
    }
    pub async fn put(&self, at: FsPath, content: Placed, durability: Durability) -> Committed {
        let put = Put { parents: true, ..Put::new(at, Body::Placed(content)) };
        self.change(&BranchName::main(), vec![Change::Put(put)], durability).await
    }
    /// Writes a file as one who has its bytes piece by piece.
    pub fn write(&self, at: FsPath, pieces: impl Iterator<Item = Bytes>, durability: Durability) {
        let (mut spool, mut offset) = (self.content.spool(), 0);
        for piece in pieces {
            let length = piece.len() as u64;
            spool.write_at(offset, piece).unwrap();
            offset += length;
        }
        self.close_write(at, spool, durability);
    }
    pub fn close_write(&self, at: FsPath, spool: Spool, durability: Durability) {
        self.runtime.block_on(async {
            let sealed = self.content.seal(spool).await.unwrap();
            let placed = self.content.place(sealed).await.unwrap();
            self.put(at, placed, durability).await;
        });
    }
    /// Opens the content of a file.
    pub async fn reader(&self, view: &View, at: &FsPath) -> BlobReader {
        let hash = view.stat(at, true).await.unwrap().hash.unwrap();
        let find = move |sql: &Connection| -> Result<_, FsError> { Ok(blob::live(sql, &hash)?.unwrap().id) };
        let blob = self.tree.tables().read(find).await.unwrap();
        self.content.reader(blob, at.to_string()).await.unwrap()
    }
    pub fn view(&self, branch: &BranchName) -> View {
        let permit = self.permit(Right::Read);
        self.runtime.block_on(self.tree.view_of(&permit, &bucket(), branch, &When::Now)).unwrap()
    }
    pub fn close(self) {
        let Self { runtime, store, tree, content, .. } = self;
        drop((tree, content));
        store.close();
        drop(runtime);
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
