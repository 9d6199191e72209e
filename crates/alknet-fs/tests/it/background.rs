use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_fs::{FileSystemConfig, Policy, Right, Terms};

use crate::world::{Folder, World, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_bucket_held_goes_in_the_background() {
    // SESS-60
    let soon = |folder| FileSystemConfig { gc_grace: Duration::from_millis(100), ..FileSystemConfig::new(folder) };
    let world = World::new().await.restart_with(soon).await;
    world.bucket("other", Terms::default()).await;
    for number in 0..4 {
        world.put(&format!("proj/{number}"), noise(number, 40_000)).await.unwrap();
    }
    world.put("other/0", noise(0, 40_000)).await.unwrap();
    assert_eq!(world.blobs().len(), 8);
    let admin = world.permit(Right::Admin, "proj", None);
    world.fs.tree().remove_bucket(&admin, &"proj".parse().unwrap(), true).await.unwrap();
    world.until("only what is referred to is left", |world| world.blobs().len() == 2).await;
    assert_eq!(world.get("other/0").await.unwrap(), noise(0, 40_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_row_names_are_gone_after_a_start() {
    // SESS-60
    let world = World::new().await;
    world.put("proj/a", noise(1, 40_000)).await.unwrap();
    std::mem::forget(world.fs.content().store(noise(2, 40_000).into()).await.unwrap());
    assert_eq!(world.blobs().len(), 4);
    let world = world.restart().await;
    world.until("only what a row names is left", |world| world.blobs().len() == 2).await;
    assert_eq!(world.get("proj/a").await.unwrap(), noise(1, 40_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bucket_forgets_what_it_no_longer_keeps_whatever_fails_in_another() {
    // HIST-44
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000_000));
    let folder = Folder::new(tempfile::tempdir().unwrap());
    let world = World::by_clock(folder.clone(), clock.clone()).await;
    let terms = |policy: &str| Terms { policy: Policy::parse(policy).unwrap(), ..Terms::default() };
    // The first in the order of their names is the one in which nothing can go.
    world.bucket("broken", terms(r#"{"retention":"1s"}"#)).await;
    world.bucket("forever", Terms::default()).await;
    world.bucket("short", terms(r#"{"retention":"1s"}"#)).await;
    let sql = rusqlite::Connection::open(folder.path().join("alknet.db")).unwrap();
    sql.busy_timeout(Duration::from_secs(5)).unwrap();
    let versions = |bucket: &str| -> i64 {
        let text = "SELECT count(*) FROM fs_inode AS inode JOIN fs_branch AS branch ON branch.id = inode.branch
                    JOIN fs_bucket AS bucket ON bucket.id = branch.bucket WHERE bucket.name = ?1 AND inode.kind = 1";
        sql.query_row(text, [bucket], |row| row.get(0)).unwrap()
    };
    let write = async |world: &World| {
        for bucket in ["broken", "forever", "short"] {
            for size in 1..4 {
                world.put(&format!("{bucket}/a"), noise(size, 10)).await.unwrap();
            }
        }
        clock.fetch_add(3_600_000_000_000, Ordering::Relaxed);
    };
    write(&world).await;
    world.end().await;
    let world = World::by_clock(folder.clone(), clock.clone()).await;
    world.until("the first pass leaves only the newest", |_| versions("short") == 1).await;
    assert_eq!(versions("broken"), 1);
    sql.execute_batch(
        "CREATE TRIGGER no_more BEFORE DELETE ON fs_inode WHEN OLD.branch IN (SELECT branch.id FROM fs_branch AS branch
           JOIN fs_bucket AS bucket ON bucket.id = branch.bucket WHERE bucket.name = 'broken')
         BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END",
    )
    .unwrap();
    write(&world).await;
    world.until("a later pass leaves only the newest", |_| versions("short") == 1).await;
    assert_eq!((versions("broken"), versions("forever")), (4, 6));
    assert_eq!(world.get("short/a").await.unwrap(), noise(3, 10));
    world.end().await;
}
