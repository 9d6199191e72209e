//! What can be wrong with the rows of trees is named, and counts are put right.

use std::os::unix::fs::FileExt;

use alknet_core::Maintenance;
use alknet_fs::{FoundWrong, FsError, Wrong, content::Check, rows::branch::Mode};
use alknet_store::{Durability, Rights};
use tokio::sync::mpsc;

use crate::node::{Node, mkdir, put};

const SHALLOW: Check = Check { deep: false, repair: false };
const DEEP: Check = Check { deep: true, repair: false };
const REPAIR: Check = Check { deep: true, repair: true };

async fn check(node: &Node, how: Check) -> Vec<FoundWrong> {
    let (sender, mut receiver) = mpsc::channel(100);
    node.tree.check(how, &sender).await.unwrap();
    drop(sender);
    let mut found = Vec::new();
    while let Some(one) = receiver.recv().await {
        found.push(one);
    }
    found
}

async fn damage(node: &Node, text: &'static str) {
    let change = move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<(), FsError> {
        Ok(sql.execute_batch(text)?)
    };
    let rights = Rights::maintenance(&Maintenance::of("test"));
    node.tree.tables().change(&rights, Durability::Strict, change).await.unwrap();
}

/// A tree with folders, a file and a branch that changed something.
async fn node() -> Node {
    let node = Node::with_bucket().await;
    for change in [mkdir("/a"), mkdir("/a/b"), put("/a/b/f", "content"), mkdir("/c"), put("/c/g", "content")] {
        node.main(change).await.unwrap();
    }
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    node.change("dev", vec![put("/c/h", "more")]).await.unwrap();
    for how in [SHALLOW, DEEP, REPAIR] {
        assert_eq!(check(&node, how).await, []);
    }
    node
}

fn names(found: &[FoundWrong]) -> Vec<String> {
    found.iter().map(|found| found.wrong.to_string()).collect()
}

#[tokio::test]
async fn counts_that_are_wrong_are_named_and_put_right() {
    // BLOB-46
    let node = node().await;
    damage(&node, "UPDATE fs_bucket SET used_bytes = used_bytes + 5, used_files = used_files - 2").await;
    let found = check(&node, SHALLOW).await;
    assert_eq!(
        names(&found),
        [
            "the bucket proj holds 18 bytes, which are counted as 23",
            "the bucket proj holds 6 files, which are counted as 4",
        ]
    );
    let repaired = check(&node, REPAIR).await;
    assert!(repaired.len() == 2 && repaired.iter().all(|found| found.repaired), "{repaired:?}");
    assert_eq!(check(&node, SHALLOW).await, []);
}

#[tokio::test]
async fn names_that_lead_nowhere_and_folders_out_of_place_are_named() {
    // BLOB-46
    let wrong = async |text| {
        let node = node().await;
        damage(&node, text).await;
        let found = check(&node, REPAIR).await;
        assert_eq!(names(&check(&node, REPAIR).await), names(&found), "a repair changes nothing of it");
        found.into_iter().map(|found| found.wrong).collect::<Vec<_>>()
    };
    // Without what is counted: that would be wrong, too.
    let lost = wrong("UPDATE fs_inode SET ino = ino + 1000 WHERE kind = 2 AND ino = (SELECT ino FROM fs_dent WHERE name = CAST('c' AS BLOB))").await;
    assert!(matches!(&lost[..], [Wrong::NoInode { .. }]), "{lost:?}");
    assert_eq!(lost[0].to_string(), "proj:main, c in folder 1 stands for nothing that is known");
    let twice = wrong(
        "INSERT INTO fs_dent (branch, dir, name, seq, ino, kind, made)
         SELECT branch, dir, CAST('again' AS BLOB), seq, ino, kind, 0 FROM fs_dent WHERE name = CAST('c' AS BLOB)",
    );
    let twice = twice.await;
    assert!(matches!(&twice[..], [Wrong::Places { .. }, Wrong::Places { .. }]), "{twice:?}");
    let round = wrong(
        "UPDATE fs_dent SET dir = (SELECT ino FROM fs_dent WHERE name = CAST('b' AS BLOB)) WHERE name = CAST('a' AS BLOB)",
    );
    let round = round.await;
    assert!(matches!(&round[..], [Wrong::Loop { .. }, Wrong::Loop { .. }]), "{round:?}");
}

#[tokio::test]
async fn what_is_wrong_on_any_branch_is_named_with_it() {
    // BLOB-46
    let node = node().await;
    damage(
        &node,
        "UPDATE fs_inode SET ino = ino + 1000 WHERE ino = (SELECT ino FROM fs_dent WHERE name = CAST('h' AS BLOB))",
    )
    .await;
    let found = names(&check(&node, SHALLOW).await);
    assert!(
        matches!(&found[..], [only] if only.starts_with("proj:dev, h in folder") && only.ends_with("stands for nothing that is known")),
        "{found:?}"
    );
}

#[tokio::test]
async fn counts_are_put_right_while_others_write() {
    // BLOB-46
    let node = node().await;
    let writer = async |which: usize| {
        for at in 0..12 {
            node.main(put(&format!("/c/{which}-{at}"), &"x".repeat(at + which))).await.unwrap();
        }
    };
    let repairer = async {
        for _ in 0..12 {
            damage(&node, "UPDATE fs_bucket SET used_bytes = used_bytes + 5, used_files = used_files + 1").await;
            check(&node, Check { repair: true, ..SHALLOW }).await;
        }
    };
    tokio::join!(repairer, writer(0), writer(1), writer(2), writer(3));
    assert_eq!(check(&node, SHALLOW).await, [], "what was written between counting and correcting is counted");
}

#[tokio::test]
async fn a_check_that_nobody_hears_repairs_nothing() {
    // BLOB-48
    let node = node().await;
    damage(&node, "UPDATE fs_bucket SET used_bytes = used_bytes + 5").await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    node.tree.check(REPAIR, &sender).await.unwrap();
    assert_eq!(check(&node, SHALLOW).await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_the_pages_of_a_table_is_named() {
    // BLOB-46
    let mut node = node().await;
    // All of it is in the file, and nobody has read it yet.
    node.restart();
    let place = node.tree.tables().read_here(|sql| -> Result<(u32, u32), FsError> {
        let text =
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = 'fs_conflict'";
        Ok(sql.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    });
    let (page, bytes) = place.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&node.path).unwrap();
    file.write_all_at(&vec![0; bytes as usize], u64::from(page - 1) * u64::from(bytes)).unwrap();
    assert_eq!(check(&node, SHALLOW).await, []);
    let found = check(&node, DEEP).await;
    assert!(matches!(&found[..], [FoundWrong { wrong: Wrong::Table { table: "fs_conflict", .. }, .. }]), "{found:?}");
}
