//! Writing over content that is there: only what changed is hashed, and the result is as if all of it were.

use std::{fs, path::PathBuf};

use alknet_fs::{ContentHash, Damage, FsError, limits::GROUP_BYTES};
use bao_tree::{BlockSize, io::outboard::PostOrderMemOutboard};
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    content_files::{Node, begins_with, flip, pattern},
    content_steps::{Step, run, steps},
};

const GROUP: usize = GROUP_BYTES as usize;

fn file_of(node: &Node, hash: &ContentHash, ending: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let text = path.to_string_lossy();
        text.contains(&begins_with(hash)) && text.ends_with(".obao") == (ending == ".obao")
    };
    node.blob_files().into_iter().find(is_it).unwrap()
}

fn sizes() -> impl Strategy<Value = usize> {
    let edges = (1usize..20, -2i64..3).prop_map(|(groups, off)| (groups as i64 * GROUP as i64 + off) as usize);
    prop_oneof![edges, 1usize..400_000, Just(64 * GROUP), Just(65 * GROUP + 1)]
}

#[test]
fn writes_over_content_end_as_if_all_of_it_were_written_anew() {
    // BLOB-05, BLOB-06, BLOB-07
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(Node::new());
    let one = |(size, steps): (usize, Vec<Step>)| {
        runtime.block_on(write_over_and_compare(&node, size, &steps));
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(70)).run(&(sizes(), steps()), one).unwrap();
}

async fn write_over_and_compare(node: &Node, size: usize, steps: &[Step]) {
    let before = pattern(size);
    let blob = node.stored(&before).await;
    let reader = node.content.reader(blob, "a").await.unwrap();
    let (mut spool, mut model) = (node.content.spool_over(reader.clone()), before.clone());
    run(&mut spool, &mut model, steps);
    let sealed = node.content.seal(spool).await.unwrap();
    assert_eq!((sealed.hash(), sealed.size()), (ContentHash::of(&model), model.len() as u64));
    let placed = node.content.place(sealed).await.unwrap();
    assert!(node.spool_files().is_empty());
    if model.len() > GROUP {
        let oracle = PostOrderMemOutboard::create(&model, BlockSize::from_chunk_log(4));
        assert_eq!(fs::read(file_of(node, &placed.hash(), ".obao")).unwrap(), oracle.data);
        assert_eq!(fs::read(file_of(node, &placed.hash(), "")).unwrap(), model);
    }
    drop(placed);
    assert_eq!(reader.read_at(0, size).await.unwrap(), before, "the base is what it was");
}

#[tokio::test]
async fn damage_below_a_write_is_found_and_not_given_a_new_hash() {
    // BLOB-22
    let node = Node::new().await;
    let before = pattern(9 * GROUP);
    let blob = node.stored(&before).await;
    let data = file_of(&node, &ContentHash::of(&before), "");
    flip(&data, 4 * GROUP_BYTES + 9, 2);
    let over = async |offset: u64, bytes: Vec<u8>| {
        let mut spool = node.content.spool_over(node.content.reader(blob, "/a").await.unwrap());
        spool.write_at(offset, bytes.into()).unwrap();
        node.content.seal(spool).await
    };
    let error = over(4 * GROUP_BYTES + 100, vec![1; 50]).await.unwrap_err();
    assert!(matches!(error, FsError::Damaged { why: Damage::Flipped { group: 4 }, .. }), "{error}");
    over(4 * GROUP_BYTES, vec![1; GROUP]).await.unwrap();
    // Damage in a group that is kept is kept, and found there.
    let sealed = over(0, vec![1; 10]).await.unwrap();
    let id = node.link(node.content.place(sealed).await.unwrap()).await.unwrap();
    let reader = node.content.reader(id, "/b").await.unwrap();
    assert_eq!(reader.read_at(0, GROUP).await.unwrap()[..10], [1; 10]);
    let error = reader.read_at(4 * GROUP_BYTES, 1).await.unwrap_err();
    assert!(matches!(error, FsError::Damaged { why: Damage::Flipped { group: 4 }, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_outboard_makes_no_new_hash() {
    // BLOB-22
    let node = Node::new().await;
    let before = pattern(9 * GROUP);
    let blob = node.stored(&before).await;
    flip(&file_of(&node, &ContentHash::of(&before), ".obao"), 70, 2);
    let mut spool = node.content.spool_over(node.content.reader(blob, "/a").await.unwrap());
    spool.write_at(8 * GROUP_BYTES, Bytes::from(vec![0; GROUP])).unwrap();
    let error = node.content.seal(spool).await.unwrap_err();
    assert!(matches!(error, FsError::Damaged { why: Damage::Outboard, .. }), "{error}");
}
