use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::Maintenance;
use alknet_fs::{
    Errno, FileSystemConfig, FsError, Policy, Right, Seq, Terms, When,
    events::{PathFilter, WatchError, Watcher},
    history::History,
};

use crate::world::{Folder, World, address, noise};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_which_nothing_is_left_go_and_times_and_watchers_stay_right() {
    // HIST-45, FS-64
    const SECOND: u64 = 1_000_000_000;
    let began = 1_800_000_000 * SECOND;
    let clock = Arc::new(AtomicU64::new(began));
    let folder = Folder::new(tempfile::tempdir().unwrap());
    let world = World::by_clock(folder.clone(), clock.clone()).await;
    let terms = Terms { policy: Policy::parse(r#"{"retention":"1s"}"#).unwrap(), ..Terms::default() };
    world.bucket("short", Terms::default()).await;
    for size in 1..=5 {
        world.put("short/a", noise(size, 10)).await.unwrap();
        clock.fetch_add(SECOND, Ordering::Relaxed);
    }
    let (short, permit) = ("short".parse().unwrap(), world.permit(Right::Branch, "short", Some("main")));
    let at = address("short/");
    let second = When::Seq(Seq::new(2).unwrap());
    world
        .fs
        .tree()
        .create_snapshot(&permit, (&short, &at.branch_or_main()), &"s".parse().unwrap(), &second)
        .await
        .unwrap();
    let admin = world.permit(Right::Admin, "short", None);
    world.fs.tree().set_bucket(&admin, &short, move |set| *set = terms).await.unwrap();
    clock.fetch_add(3600 * SECOND, Ordering::Relaxed);
    world.put("short/b", noise(6, 10)).await.unwrap();
    clock.fetch_add(3600 * SECOND, Ordering::Relaxed);
    world.put("short/c", noise(7, 10)).await.unwrap();
    let sql = rusqlite::Connection::open(folder.path().join("alknet.db")).unwrap();
    sql.busy_timeout(Duration::from_secs(5)).unwrap();
    let commits = || -> Vec<u64> {
        let mut all = sql.prepare("SELECT seq FROM fs_commit ORDER BY seq").unwrap();
        all.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|seq| seq.unwrap().unsigned_abs()).collect()
    };
    // The first made the bucket, the snapshot is of the second, the third ended that, and of the sixth is what is there.
    while History::new(world.fs.tree().clone()).forget(&Maintenance::of("test"), &short).await.unwrap() > 0 {}
    assert_eq!(commits(), [1, 2, 3, 6, 7, 8]);
    let read = world.permit(Right::Read, "short", Some("main"));
    let view = async |when: When| world.fs.tree().view_of(&read, &short, &at.branch_or_main(), &when).await;
    let of_second = |second: u64| When::Time(i64::try_from(began + second * SECOND).unwrap());
    assert_eq!(view(of_second(0)).await.unwrap().bound().get(), 2, "when the snapshot was the newest");
    for second in [1, 2, 3, 4] {
        let Err(FsError::At { errno, path, .. }) = view(of_second(second)).await.map(|_| ()) else {
            panic!("{second}")
        };
        // HIST-46
        assert_eq!((errno, path.contains("older than what is kept")), (Errno::NoEnt, true), "{second}: {path}");
    }
    assert_eq!(view(of_second(3605)).await.unwrap().bound().get(), 7);
    let branch = view(When::Now).await.unwrap().branch_id();
    let watch = |after| Watcher::new(world.store.tables(), branch, PathFilter::default(), Seq::new(after));
    for after in [0, 2, 6] {
        let Err(WatchError::Trimmed { oldest }) = watch(after).await else { panic!("after {after}") };
        assert_eq!(oldest.get(), 8, "what the seventh changed can no longer be told");
    }
    let heard = watch(7).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(heard.commit.seq.get(), 8);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_removed_branch_go_once_nobody_looks_at_it_also_where_nothing_else_happens() {
    // SESS-60
    let world = World::new().await;
    world.branch("dev").await;
    world.put("proj:dev/a", noise(1, 100)).await.unwrap();
    let (proj, dev) = ("proj".parse().unwrap(), "dev".parse().unwrap());
    let read = world.permit(Right::Read, "proj", Some("dev"));
    let view = world.fs.tree().view_of(&read, &proj, &dev, &When::Now).await.unwrap();
    let branch = world.permit(Right::Branch, "proj", Some("dev"));
    world.fs.tree().remove_branch(&branch, &proj, &dev).await.unwrap();
    let sql = rusqlite::Connection::open(world.folder.path().join("alknet.db")).unwrap();
    let rows = || sql.query_row("SELECT count(*) FROM fs_inode", [], |row| row.get::<_, i64>(0)).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((rows(), view.list(&address("proj/").path, None, 9, false).await.unwrap().entries.len()), (1, 1));
    drop(view);
    world.until("its rows are gone", |_| rows() == 0).await;
    world.end().await;
}
