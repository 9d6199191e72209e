//! A folder of content on the real disk, beside a store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alknet_core::Maintenance;
use alknet_fs::{BlobId, Content, ContentHash, FsError, Placed};
use alknet_store::{Durability, Rights, Store, Tables};
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
        let change = move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<_, FsError> {
            Ok(ours.link(sql, NOW_MS)?)
        };
        let outcome = self.tables().change(&Rights::maintenance(&TASK), Durability::Strict, change).await;
        placed.settle(&outcome);
        outcome.unwrap()
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
