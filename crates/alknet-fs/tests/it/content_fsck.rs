//! Each thing that can be wrong is named, and what can be put right is.

use std::{fs, os::unix::fs::PermissionsExt};

use alknet_fs::{
    ContentHash,
    content::{Check, Finding, Found},
    limits::GROUP_BYTES,
    rows::inode,
};
use tokio::sync::mpsc;

use crate::{
    content_files::{Node, flip, pattern},
    fixture,
};

const GROUP: usize = GROUP_BYTES as usize;
const SHALLOW: Check = Check { deep: false, repair: false };
const DEEP: Check = Check { deep: true, repair: false };
const REPAIR: Check = Check { deep: true, repair: true };

async fn check(node: &Node, how: Check) -> Vec<Found> {
    let (sender, mut receiver) = mpsc::channel(1);
    let content = node.content.clone();
    let task = tokio::spawn(async move { content.check(how, sender).await });
    let mut found = Vec::new();
    while let Some(finding) = receiver.recv().await {
        found.push(finding);
    }
    task.await.unwrap().unwrap();
    found
}

fn unrepaired(finding: Finding) -> Vec<Found> {
    vec![Found { finding, repaired: false }]
}

fn repaired(finding: Finding) -> Vec<Found> {
    vec![Found { finding, repaired: true }]
}

/// A node with content of each class, one of which is referred to.
async fn node() -> (Node, ContentHash) {
    let node = Node::new().await;
    let bytes = pattern(70 * GROUP + 1);
    let blob = node.stored(&bytes).await;
    let small = node.stored(b"small").await;
    node.stored(&pattern(3 * GROUP)).await;
    let refer = move |sql: &rusqlite::Connection| {
        let bucket = fixture::bucket(sql);
        let on = fixture::on(bucket, fixture::branch(sql, bucket, "main", None));
        inode::write(sql, on, &fixture::file(2, 1, Some(blob), 70 * GROUP_BYTES + 1))?;
        inode::write(sql, on, &fixture::file(3, 2, Some(blob), 70 * GROUP_BYTES + 1))?;
        inode::write(sql, on, &fixture::file(4, 3, Some(small), 5))
    };
    node.change(refer).await;
    for how in [SHALLOW, DEEP, REPAIR] {
        assert_eq!(check(&node, how).await, []);
    }
    (node, ContentHash::of(&bytes))
}

fn file(node: &Node, hash: ContentHash, outboard: bool) -> std::path::PathBuf {
    let is_it = |path: &&std::path::PathBuf| {
        let text = path.to_string_lossy();
        text.contains(&hash.to_string()) && text.ends_with(".obao") == outboard
    };
    node.blob_files().iter().find(is_it).unwrap().clone()
}

#[tokio::test]
async fn damaged_content_is_named_and_stays_damaged() {
    // BLOB-43
    let (node, hash) = node().await;
    let data = file(&node, hash, false);
    flip(&data, 5 * GROUP_BYTES, 0);
    let flipped = Finding::Damaged { hash, why: "group 5 of its file does not have its hash".into() };
    assert_eq!(check(&node, SHALLOW).await, [], "it does not read");
    assert_eq!(check(&node, DEEP).await, unrepaired(flipped.clone()));
    assert_eq!(check(&node, REPAIR).await, unrepaired(flipped));
    // As if it had not been set aside.
    node.change(|sql| sql.execute("UPDATE fs_blob SET state = 0", [])).await;
    fs::OpenOptions::new().write(true).open(&data).unwrap().set_len(9).unwrap();
    let short = Finding::Damaged { hash, why: format!("its file has 9 bytes instead of {}", 70 * GROUP + 1) };
    assert_eq!(check(&node, SHALLOW).await, unrepaired(short));
    fs::remove_file(&data).unwrap();
    let missing = Finding::Damaged { hash, why: "its file is missing".into() };
    assert_eq!(check(&node, REPAIR).await, unrepaired(missing));
    node.change(|sql| sql.execute("UPDATE fs_blob SET bytes = X'736D616C6D' WHERE class = 0", [])).await;
    let inline =
        Finding::Damaged { hash: ContentHash::of(b"small"), why: "group 0 of its file does not have its hash".into() };
    assert_eq!(check(&node, SHALLOW).await.last(), unrepaired(inline).last());
}

#[tokio::test]
async fn an_outboard_is_made_anew_from_content_that_is_whole_and_only_then() {
    // BLOB-43, BLOB-44
    let (node, hash) = node().await;
    let (data, outboard) = (file(&node, hash, false), file(&node, hash, true));
    let right = fs::read(&outboard).unwrap();
    let swapped = {
        let mut bytes = right.clone();
        let last = bytes.len() - 64;
        bytes[last..].rotate_left(32);
        bytes
    };
    let short = right[..right.len() - 64].to_vec();
    let flipped_leaf = [&[right[0] ^ 1], &right[1..]].concat();
    for (wrong, shows_shallow) in
        [(None, true), (Some(short), true), (Some(swapped), false), (Some(flipped_leaf), false)]
    {
        fs::set_permissions(&outboard, fs::Permissions::from_mode(0o600)).unwrap();
        match wrong {
            None => fs::remove_file(&outboard).unwrap(),
            Some(bytes) => fs::write(&outboard, bytes).unwrap(),
        }
        assert_eq!(check(&node, SHALLOW).await.len(), usize::from(shows_shallow));
        assert_eq!(check(&node, DEEP).await, unrepaired(Finding::Outboard { hash }));
        assert_eq!(check(&node, REPAIR).await, repaired(Finding::Outboard { hash }));
        assert!(fs::read(&outboard).unwrap() == right);
        assert_eq!(check(&node, DEEP).await, []);
    }
    fs::remove_file(&outboard).unwrap();
    flip(&data, 0, 0);
    assert!(matches!(&check(&node, REPAIR).await[..], [Found { finding: Finding::Damaged { .. }, repaired: false }]));
    assert!(!outboard.exists(), "nothing proves what is not whole");
    assert!(node.spool_files().is_empty());
}

#[tokio::test]
async fn counts_are_put_right() {
    // BLOB-43, BLOB-44
    let (node, hash) = node().await;
    node.change(|sql| sql.execute("UPDATE fs_blob SET refs = 7 WHERE refs = 2", [])).await;
    let finding = |of_branch, stored| Finding::References { hash, of_branch, stored, counted: 2 };
    assert_eq!(check(&node, SHALLOW).await, unrepaired(finding(false, 7)));
    assert_eq!(check(&node, Check { repair: true, ..SHALLOW }).await, repaired(finding(false, 7)));
    node.change(|sql| sql.execute("UPDATE fs_ref SET count = 1 WHERE count = 2", [])).await;
    assert_eq!(check(&node, REPAIR).await, repaired(finding(true, 1)));
    node.change(|sql| sql.execute("DELETE FROM fs_ref", [])).await;
    node.change(|sql| sql.execute("UPDATE fs_blob SET refs = 0, zero_since_ms = 1, state = 1 WHERE refs = 2", []))
        .await;
    let found = check(&node, REPAIR).await;
    assert!(found.iter().all(|found| found.repaired) && found.len() == 3, "{found:?}");
    assert_eq!(check(&node, DEEP).await, []);
    let state = "SELECT state, refs, zero_since_ms FROM fs_blob WHERE size > 1000000";
    let row = node.change(|sql| sql.query_row(state, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))).await;
    assert_eq!(row, (0i64, 2i64, None::<i64>), "what is referred to lives");
}

#[tokio::test]
async fn files_that_no_row_names_and_strange_ones_are_told_apart() {
    // BLOB-43, BLOB-44
    let (node, _) = node().await;
    let orphan = node.content.store(pattern(9 * GROUP).into()).await.unwrap();
    assert_eq!(check(&node, REPAIR).await, [], "it may still be linked");
    let hash = orphan.hash();
    std::mem::forget(orphan);
    let node = node.restart().await;
    let folder = node.root().join("blobs");
    fs::write(folder.join("what\nis"), "").unwrap();
    fs::write(file(&node, hash, false).with_file_name("this"), "").unwrap();
    let text = |path: std::path::PathBuf| path.strip_prefix(node.root()).unwrap().to_string_lossy().into_owned();
    let orphans = [text(file(&node, hash, false)), text(file(&node, hash, true))];
    let found = check(&node, DEEP).await;
    assert_eq!(found.len(), 4, "{found:?}");
    for orphan in orphans {
        assert!(found.contains(&Found { finding: Finding::Orphan { file: orphan }, repaired: false }));
    }
    let strange = Finding::Strange { file: "blobs/what\\nis".into() };
    assert!(found.contains(&Found { finding: strange.clone(), repaired: false }));
    assert!(!strange.to_string().contains(char::is_control));
    let found = check(&node, REPAIR).await;
    assert_eq!(found.iter().filter(|found| found.repaired).count(), 2);
    assert_eq!(check(&node, REPAIR).await.len(), 2, "what is not ours stays");
}

#[tokio::test]
async fn versions_that_name_unknown_content_are_told_and_a_check_that_nobody_hears_ends() {
    // BLOB-43, BLOB-48
    let (node, _) = node().await;
    node.change(|sql| sql.execute("UPDATE fs_ref SET count = 9 WHERE count = 1", [])).await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    assert_eq!(node.content.check(REPAIR, sender).await.unwrap(), 0);
    assert_eq!(check(&node, Check { repair: true, ..SHALLOW }).await.len(), 1, "it repaired nothing");
    node.change(|sql| sql.execute("DELETE FROM fs_blob WHERE refs = 2", [])).await;
    let found = check(&node, DEEP).await;
    assert!(matches!(&found[..], [Found { finding: Finding::Unknown { .. }, .. }, ..]), "{found:?}");
}

#[tokio::test]
async fn content_that_comes_again_takes_the_place_of_what_was_found_damaged() {
    // BLOB-45
    let (node, hash) = node().await;
    let bytes = pattern(70 * GROUP + 1);
    let damaged = node.stored(&bytes).await;
    flip(&file(&node, hash, false), 5 * GROUP_BYTES, 0);
    assert_eq!(node.stored(&bytes).await, damaged, "nobody knows yet");
    assert_eq!(check(&node, REPAIR).await.len(), 1);
    let reader = node.content.reader(damaged, "a").await.unwrap();
    assert!(reader.read_at(0, 5 * GROUP).await.unwrap() == bytes[..5 * GROUP]);
    assert!(reader.read_at(5 * GROUP_BYTES, 1).await.is_err());
    drop(reader);
    let whole = node.stored(&bytes).await;
    assert_ne!(whole, damaged);
    for blob in [whole, damaged] {
        let reader = node.content.reader(blob, "a").await.unwrap();
        assert!(reader.read_at(0, usize::MAX).await.unwrap() == bytes);
    }
    assert_eq!(check(&node, DEEP).await, [], "it is there again");
    node.change(|sql| sql.execute("DELETE FROM fs_inode", [])).await;
    check(&node, REPAIR).await;
    node.change(|sql| sql.execute("UPDATE fs_blob SET zero_since_ms = 1", [])).await;
    node.content.collect(std::time::Duration::ZERO, false).await.unwrap();
    assert!(node.blob_files().is_empty(), "both go");
}

#[tokio::test]
async fn content_that_was_set_aside_is_read_as_far_as_it_is_whole_and_comes_back_when_all_of_it_is() {
    // BLOB-47
    let (node, hash) = node().await;
    let bytes = pattern(70 * GROUP + 1);
    let blob = node.stored(&bytes).await;
    let state = async || {
        let query = "SELECT state FROM fs_blob WHERE size > 1000000";
        node.change(move |sql| sql.query_row(query, [], |row| row.get::<_, i64>(0))).await
    };
    let (data, outboard) = (file(&node, hash, false), file(&node, hash, true));
    let shallow_repair = Check { repair: true, ..SHALLOW };
    flip(&data, 5 * GROUP_BYTES, 0);
    assert_eq!(check(&node, REPAIR).await.len(), 1);
    assert_eq!(state().await, 3);
    let reader = node.content.reader(blob, "a").await.unwrap();
    assert!(reader.read_at(6 * GROUP_BYTES, usize::MAX).await.unwrap() == bytes[6 * GROUP..]);
    assert!(reader.read_at(5 * GROUP_BYTES, 1).await.is_err());
    let flipped = Finding::Damaged { hash, why: "group 5 of its file does not have its hash".into() };
    assert_eq!(check(&node, SHALLOW).await, unrepaired(flipped.clone()), "what is known to be damaged is always named");
    assert_eq!(check(&node, shallow_repair).await, unrepaired(flipped));
    assert_eq!(state().await, 3);
    flip(&data, 5 * GROUP_BYTES, 0);
    assert_eq!(check(&node, DEEP).await, []);
    assert_eq!(state().await, 3, "who only looks changes nothing");
    assert_eq!(check(&node, shallow_repair).await, []);
    assert_eq!(state().await, 0);
    assert_eq!(node.stored(&bytes).await, blob, "it is shared again");
    // As when the folder of content was not mounted, and at last without one of the two.
    let away = |path: &std::path::Path| path.with_file_name("away");
    for is_outboard_back in [true, false] {
        fs::rename(&data, away(&data)).unwrap();
        let missing = Finding::Damaged { hash, why: "its file is missing".into() };
        assert!(check(&node, shallow_repair).await.contains(&unrepaired(missing)[0]));
        assert!(node.content.reader(blob, "a").await.is_err());
        fs::rename(away(&data), &data).unwrap();
        if !is_outboard_back {
            fs::remove_file(&outboard).unwrap();
            assert_eq!(check(&node, SHALLOW).await, unrepaired(Finding::Outboard { hash }));
            assert_eq!(check(&node, shallow_repair).await, repaired(Finding::Outboard { hash }));
        } else {
            assert!(node.content.reader(blob, "a").await.unwrap().read_at(0, usize::MAX).await.unwrap() == bytes);
            assert_eq!(check(&node, shallow_repair).await, []);
        }
        assert_eq!(state().await, 0);
    }
}
