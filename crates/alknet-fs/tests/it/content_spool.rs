//! Writing content, in any order, up to its place on the disk.

use std::{fs, path::PathBuf};

use alknet_fs::{Content, ContentHash, Errno, FsError, Placed, Spool, limits::GROUP_BYTES};
use bao_tree::{BlockSize, io::outboard::PostOrderMemOutboard};
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    content_files::{Node, begins_with, pattern},
    content_steps::{Step, run, steps},
};

const GROUP: usize = GROUP_BYTES as usize;

async fn place(content: &Content, spool: Spool) -> Placed {
    content.place(content.seal(spool).await.unwrap()).await.unwrap()
}

#[test]
fn writes_in_any_order_end_as_the_same_bytes_hash_and_outboard() {
    // BLOB-01, BLOB-03, BLOB-05, BLOB-06
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(Node::new());
    let one = |steps: Vec<Step>| {
        runtime.block_on(write_and_compare(&node, &steps));
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(150)).run(&steps(), one).unwrap();
}

async fn write_and_compare(node: &Node, steps: &[Step]) {
    let (mut spool, mut model) = (node.content.spool(), Vec::new());
    run(&mut spool, &mut model, steps);
    let placed = place(&node.content, spool).await;
    assert_eq!((placed.hash(), placed.size()), (ContentHash::of(&model), model.len() as u64));
    assert_eq!(node.spool_files(), Vec::<PathBuf>::new());
    let found = node.blob_files();
    if model.len() <= GROUP {
        assert!(found.is_empty(), "{found:?}");
        return;
    }
    let [data, outboard] = found.try_into().unwrap();
    assert!(data.to_string_lossy().contains(&begins_with(&placed.hash())));
    assert_eq!(fs::read(data).unwrap(), model);
    let oracle = PostOrderMemOutboard::create(&model, BlockSize::from_chunk_log(4));
    assert_eq!(fs::read(outboard).unwrap(), oracle.data);
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing_at_any_stage() {
    // BLOB-14
    let node = Node::new().await;
    let bytes = || Bytes::from(pattern(5 * GROUP));
    let mut spool = node.content.spool();
    spool.write_at(0, bytes()).unwrap();
    assert_eq!(node.spool_files().len(), 2);
    drop(spool);
    assert!(node.spool_files().is_empty());
    let mut spool = node.content.spool();
    spool.write_at(0, bytes()).unwrap();
    let sealed = node.content.seal(spool).await.unwrap();
    assert_eq!((node.spool_files().len(), node.blob_files().len()), (2, 0));
    drop(sealed);
    assert!(node.spool_files().is_empty());
    let placed = node.content.store(bytes()).await.unwrap();
    assert_eq!((node.spool_files().len(), node.blob_files().len()), (0, 2));
    drop(placed);
    assert!(node.blob_files().is_empty());
}

#[tokio::test]
async fn of_equal_content_one_file_stays() {
    // BLOB-11, BLOB-12
    let node = Node::new().await;
    let bytes = Bytes::from(pattern(3 * GROUP));
    let first = node.content.store(bytes.clone()).await.unwrap();
    let second = node.content.store(bytes).await.unwrap();
    assert_eq!(node.blob_files().len(), 4, "each does the same work");
    let id = node.link(first).await.unwrap();
    let kept = node.blob_files();
    assert_eq!(kept.len(), 4);
    assert_eq!(node.link(second).await, Some(id));
    let left = node.blob_files();
    assert_eq!(left, kept[..2], "the spare is gone, the older one is there");
}

#[tokio::test]
async fn small_content_is_in_the_database_and_empty_content_nowhere() {
    // BLOB-01
    let node = Node::new().await;
    let small = node.link(Placed::inline(pattern(GROUP)).unwrap()).await.unwrap();
    let tables = node.tables();
    let held = tables.read(move |sql| -> Result<_, FsError> { Ok(alknet_fs::rows::blob::bytes(sql, small)?) });
    assert_eq!(held.await.unwrap(), Some(pattern(GROUP)));
    assert!(Placed::inline(pattern(GROUP + 1)).is_none());
    assert_eq!(node.link(Placed::inline(Bytes::new()).unwrap()).await, None);
    assert!(node.blob_files().is_empty());
}

#[tokio::test]
async fn content_that_nothing_can_count_is_refused_and_the_spool_goes_on() {
    // BLOB-52
    let node = Node::new().await;
    let mut spool = node.content.spool();
    for offset in [u64::MAX, i64::MAX as u64] {
        let error = spool.write_at(offset, Bytes::from_static(b"x")).unwrap_err();
        assert!(matches!(error, FsError::At { errno: Errno::TooBig, .. }), "{error}");
    }
    assert!(spool.set_size(u64::MAX).is_err());
    spool.write_at(0, Bytes::from_static(b"still")).unwrap();
    assert_eq!(place(&node.content, spool).await.hash(), ContentHash::of(b"still"));
}
