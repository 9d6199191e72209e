//! A folder of content on the real disk, beside a store.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use alknet_core::{Maintenance, Sessions};
use alknet_fs::{BlobId, Content, ContentHash, FsError, Placed, rows};
use alknet_store::{Durability, Noted, Rights, Roles, Store, Tables};
use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::fixture::{self, NOW_MS};

pub const TASK: Maintenance = Maintenance::of("test");

pub struct Node {
    pub folder: TempDir,
    pub store: Store,
    pub content: Content,
}

impl Node {
    pub async fn new() -> Self {
        let (folder, _path, store) = fixture::store();
        let content = Content::open(store.tables(), folder.path()).await.unwrap();
        Self { folder, store, content }
    }
    pub fn tables(&self) -> Tables {
        self.store.tables()
    }
    pub fn root(&self) -> &Path {
        self.folder.path()
    }
    /// Links in a change of its own, and settles it.
    pub async fn link(&self, placed: Placed) -> Option<BlobId> {
        let ours = placed.clone();
        let change = move |sql: &Connection, _: &mut Noted<'_>| -> Result<_, FsError> { Ok(ours.link(sql, NOW_MS)?) };
        let outcome = self.tables().change(&Rights::maintenance(&TASK), Durability::Strict, change).await;
        placed.settle(&outcome);
        outcome.unwrap()
    }
    /// Does something to the rows, in a change of its own.
    pub async fn change<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        let change = |sql: &Connection, _: &mut Noted<'_>| -> Result<T, FsError> { Ok(body(sql)?) };
        self.tables().change(&Rights::maintenance(&TASK), Durability::Lazy, change).await.unwrap()
    }
    /// Stores bytes and links them.
    pub async fn stored(&self, bytes: &[u8]) -> BlobId {
        self.link(self.content.store(Bytes::copy_from_slice(bytes)).await.unwrap()).await.unwrap()
    }
    /// The same node, started again.
    pub async fn restart(self) -> Self {
        let Self { folder, store, content } = self;
        drop(content);
        store.close();
        let store = Store::open(&folder.path().join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
        let content = Content::open(store.tables(), folder.path()).await.unwrap();
        let uploads = store.tables().read(|sql| Ok::<_, FsError>(rows::upload::ids(sql)?)).await.unwrap();
        content.clean_spool(uploads).await.unwrap();
        Self { folder, store, content }
    }
    pub fn spool_files(&self) -> Vec<PathBuf> {
        files(&self.root().join("spool"))
    }
    pub fn blob_files(&self) -> Vec<PathBuf> {
        files(&self.root().join("blobs"))
    }
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..251u8).cycle().take(length).collect()
}

/// What the file of a blob is called.
pub fn begins_with(hash: &ContentHash) -> String {
    let text = hash.to_string();
    format!("{}/{text}.", &text[..2])
}

/// Flips a bit of a stored file.
pub fn flip(path: &Path, at: u64, bit: u8) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}
