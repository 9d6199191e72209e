//! Which content belongs to a copy of the database, and where it is found.

use std::fs;

use alknet_fs::{
    ContentHash,
    content::{
        Check,
        copying::{CopiedDatabase, CopiedFile},
    },
    limits::GROUP_BYTES,
};
use tokio::sync::mpsc;

use crate::content_files::{Node, TASK, flip, pattern};

const GROUP: usize = GROUP_BYTES as usize;

async fn repair(node: &Node) {
    let (sender, _heard) = mpsc::channel(100);
    node.content.check(Check { deep: true, repair: true }, sender).await.unwrap();
}

/// What a copy of the database, made now, names.
async fn named(node: &Node) -> Vec<CopiedFile> {
    let path = node.root().join("copy");
    node.store.backup_to(&TASK, &path).await.unwrap();
    let copied = CopiedDatabase::open(&path).unwrap();
    fs::remove_file(path).unwrap();
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let some = copied.files(after.as_ref()).unwrap();
        let Some(last) = some.last() else { return all };
        after = Some(last.clone());
        all.extend(some);
    }
}

#[tokio::test]
async fn content_that_was_set_aside_belongs_to_a_copy_until_equal_content_comes() {
    // BLOB-62
    let node = Node::new().await;
    let (bytes, other) = (pattern(9 * GROUP), pattern(5 * GROUP));
    let hash = ContentHash::of(&bytes);
    let damaged = node.stored(&bytes).await;
    node.stored(&other).await;
    let before = named(&node).await;
    assert_eq!(before.len(), 2);
    let file = before.iter().find(|file| file.hash() == hash).unwrap();
    let (data, away) = (file.path(node.root()), node.root().join("away"));
    flip(&data, 3 * GROUP_BYTES, 0);
    repair(&node).await;
    assert_eq!(named(&node).await, before);
    let reader = node.content.by_hash(&TASK, hash).await.unwrap().unwrap();
    assert!(reader.read_at(0, 3 * GROUP).await.unwrap() == bytes[..3 * GROUP]);
    assert!(reader.read_at(3 * GROUP_BYTES, 1).await.is_err());
    fs::rename(&data, &away).unwrap();
    assert!(node.content.by_hash(&TASK, hash).await.is_err(), "it is damaged, not gone");
    fs::rename(&away, &data).unwrap();
    let whole = node.stored(&bytes).await;
    assert_ne!(whole, damaged);
    let after = named(&node).await;
    assert!(after.len() == 2 && !after.contains(file), "the equal one is copied, once: {after:?}");
    let reader = node.content.by_hash(&TASK, hash).await.unwrap().unwrap();
    assert!(reader.read_at(0, usize::MAX).await.unwrap() == bytes);
    assert!(node.content.by_hash(&TASK, ContentHash::of(b"none")).await.unwrap().is_none());
}
