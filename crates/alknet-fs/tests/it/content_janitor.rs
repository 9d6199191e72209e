//! What a process that died has left is gone after the next start; what somebody still needs is not.

use std::{fs, time::Duration};

use alknet_fs::{BlobId, ContentHash, content::Swept, limits::GROUP_BYTES, rows::upload};
use bytes::Bytes;

use crate::{
    content_files::{Node, pattern},
    fixture,
};

const GROUP: usize = GROUP_BYTES as usize;

async fn whole(node: &Node, blob: BlobId) -> Bytes {
    node.content.reader(blob, "a").await.unwrap().read_at(0, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn files_that_no_row_names_go_once_their_start_is_over() {
    // BLOB-41, BLOB-42
    let node = Node::new().await;
    let kept = node.stored(&pattern(2 * GROUP)).await;
    let orphan = node.content.store(pattern(3 * GROUP).into()).await.unwrap();
    assert_eq!(node.content.sweep().await.unwrap().removed, 0, "it may still be linked");
    assert_eq!(node.blob_files().len(), 4);
    // The process dies here: nothing is dropped.
    std::mem::forget(orphan);
    let strange = node.blob_files()[0].with_file_name("notes.txt");
    fs::write(&strange, "mine").unwrap();
    let node = node.restart().await;
    assert_eq!(node.content.sweep().await.unwrap().removed, 2);
    assert_eq!(node.blob_files().len(), 3);
    assert!(strange.exists(), "what is not ours stays");
    assert_eq!(whole(&node, kept).await, pattern(2 * GROUP));
}

#[tokio::test]
async fn folders_that_did_not_change_are_passed_over_unless_the_clock_went_back() {
    // BLOB-42
    let node = Node::new().await;
    node.stored(&pattern(2 * GROUP)).await;
    let age = |node: &Node| {
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(100_000);
        let shard = node.blob_files()[0].parent().unwrap().to_owned();
        fs::File::open(shard).unwrap().set_modified(long_ago).unwrap();
    };
    assert_eq!(node.content.sweep().await.unwrap().folders, 1);
    assert_eq!(node.content.sweep().await.unwrap().folders, 1, "it changed since");
    age(&node);
    assert_eq!(node.content.sweep().await.unwrap(), Swept::default());
    let far = "UPDATE fs_meta SET value = 4000000000000 WHERE key = 'content_swept_ms'";
    assert_eq!(node.change(move |sql| sql.execute(far, [])).await, 1);
    assert_eq!(node.content.sweep().await.unwrap().folders, 1);
}

#[tokio::test]
async fn an_upload_with_a_row_goes_on_after_a_restart_and_others_are_gone() {
    // BLOB-40
    let node = Node::new().await;
    let bytes = pattern(5 * GROUP + 3);
    let (kept, lost) = ([1; 16], [2; 16]);
    let row = upload::UploadRow {
        id: kept,
        bucket: node.change(|sql| Ok(fixture::bucket(sql))).await,
        branch: node.change(|sql| Ok(fixture::branch(sql, sql_bucket(sql), "main", None))).await,
        path: b"a".to_vec(),
        hash: ContentHash::of(&bytes),
        size: bytes.len() as u64,
        actor: "ann".into(),
        made_ms: 1,
        touched_ms: 1,
    };
    node.change(move |sql| upload::insert(sql, &row)).await;
    for id in [kept, lost] {
        let mut spool = node.content.upload(id).await.unwrap();
        spool.write_at(0, Bytes::copy_from_slice(&bytes[..3 * GROUP])).unwrap();
        spool.sync().unwrap();
    }
    let mut passing = node.content.spool();
    passing.write_at(0, Bytes::copy_from_slice(&bytes)).unwrap();
    std::mem::forget(passing);
    fs::write(node.root().join("spool/notes.txt"), "mine").unwrap();
    assert_eq!(node.spool_files().len(), 5);
    let node = node.restart().await;
    assert_eq!(node.spool_files().len(), 2, "{:?}", node.spool_files());
    let mut spool = node.content.upload(kept).await.unwrap();
    assert_eq!(spool.size(), 3 * GROUP_BYTES);
    spool.write_at(3 * GROUP_BYTES, Bytes::copy_from_slice(&bytes[3 * GROUP..])).unwrap();
    let sealed = node.content.seal(spool).await.unwrap();
    assert_eq!(sealed.hash(), ContentHash::of(&bytes));
    drop(sealed);
    assert_eq!(node.spool_files().len(), 1, "what was sealed is like any other write");
    let mut spool = node.content.upload(lost).await.unwrap();
    spool.write_at(0, Bytes::from_static(b"x")).unwrap();
    spool.give_up();
    assert_eq!(node.spool_files().len(), 1);
}

fn sql_bucket(sql: &rusqlite::Connection) -> alknet_fs::BucketId {
    alknet_fs::rows::bucket::find(sql, &"proj".parse().unwrap()).unwrap().unwrap().id
}
