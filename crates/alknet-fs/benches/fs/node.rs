//! A node's files without its doors: the database, the trees and the content in one folder, used by the owner.

use std::{path::Path, sync::Arc};

use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, Permit, Sessions};
use alknet_fs::{
    Access, BranchName, BucketName, Change, Committed, Content, FsPath, Handles, Place, Right, Terms, Tree, View, When,
};
use alknet_store::{Durability, Roles, Store};
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
