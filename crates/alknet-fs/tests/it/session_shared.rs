use std::time::Duration;

use alknet_fs::{
    Change, Create, Errno, FileSystemConfig, FsError, Kept, OpenWrite, RemoveHow, RenameHow, Right, SharedFile, Start,
};

use crate::world::{World, address, errno, noise, path};

async fn open(world: &World, at: &str, how: Option<OpenWrite>) -> Result<SharedFile, FsError> {
    let at = address(at);
    let right = if how.is_some() { Right::Write } else { Right::Read };
    world.fs.open_shared(&world.permit_at(right, &at), &at, how).await
}

fn writing() -> Option<OpenWrite> {
    Some(OpenWrite { start: Start::Existing, create: Create::IfAbsent, ..OpenWrite::default() })
}

/// A world in which nothing is published for being idle.
async fn patient() -> World {
    let never = |folder| FileSystemConfig { shared_idle: Duration::from_secs(3600), ..FileSystemConfig::new(folder) };
    World::new().await.restart_with(never).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_all_who_have_it_open_see_and_others_when_the_last_closes() {
    // SESS-14, SESS-18
    let world = patient().await;
    world.put("proj/a", "old").await.unwrap();
    let (writer, other) =
        (open(&world, "proj/a", writing()).await.unwrap(), open(&world, "proj/a", writing()).await.unwrap());
    let reader = open(&world, "proj/a", None).await.unwrap();
    writer.write_at(0, "new".into()).await.unwrap();
    assert_eq!(other.append("er".into()).await.unwrap(), 3);
    for file in [&writer, &other, &reader] {
        assert_eq!(file.read_at(0, 100).await.unwrap(), "newer");
        assert_eq!(file.size().await.unwrap(), 5);
    }
    assert_eq!(errno(reader.write_at(0, "x".into()).await), Errno::Perm);
    assert_eq!(world.get("proj/a").await.unwrap(), "old");
    assert_eq!(writer.close().await.unwrap(), None);
    assert_eq!(other.close().await.unwrap(), None);
    let closed = reader.close().await.unwrap().unwrap();
    assert!(matches!(closed.kept, Kept::Version(_)));
    assert_eq!(world.get("proj/a").await.unwrap(), "newer");
    assert_eq!(world.fs.handles().count(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_synced_is_a_version() {
    // SESS-14
    let world = patient().await;
    let file = open(&world, "proj/a", writing()).await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), "", "a file that is made is there at once");
    file.write_at(0, noise(1, 50_000).into()).await.unwrap();
    assert!(file.sync().await.unwrap().is_some());
    assert!(file.sync().await.unwrap().is_none(), "there is nothing new");
    file.append("more".into()).await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), noise(1, 50_000));
    assert_eq!(&file.read_at(50_000, 9).await.unwrap()[..], b"more");
    drop(file);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_writes_to_for_a_while_becomes_a_version() {
    // SESS-14
    let soon = |folder| FileSystemConfig { shared_idle: Duration::from_millis(50), ..FileSystemConfig::new(folder) };
    let world = World::new().await.restart_with(soon).await;
    let file = open(&world, "proj/a", writing()).await.unwrap();
    file.write_at(0, "x".into()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while world.get("proj/a").await.unwrap() != "x" {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    file.append("y".into()).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), "xy");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_and_ending_the_node_publish_too() {
    // SESS-14
    let world = patient().await;
    let dropped = open(&world, "proj/a", writing()).await.unwrap();
    dropped.write_at(0, "dropped".into()).await.unwrap();
    drop(dropped);
    let left_open = open(&world, "proj/b", writing()).await.unwrap();
    left_open.write_at(0, "left open".into()).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.get("proj/a").await.unwrap(), "dropped");
    assert_eq!(world.get("proj/b").await.unwrap(), "left open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_file_is_the_same_file_whatever_becomes_of_its_name() {
    // SESS-30, SESS-31
    let world = patient().await;
    let file = open(&world, "proj/a", writing()).await.unwrap();
    file.write_at(0, "one".into()).await.unwrap();
    world.change(Change::Rename { from: path("a"), to: path("b"), how: RenameHow::Replace }).await;
    file.sync().await.unwrap().unwrap();
    assert_eq!(world.get("proj/b").await.unwrap(), "one");
    let same = open(&world, "proj/b", None).await.unwrap();
    file.append(" two".into()).await.unwrap();
    assert_eq!(same.read_at(0, 9).await.unwrap(), "one two");
    world.change(Change::Remove { at: path("b"), how: RemoveHow::File }).await;
    assert_eq!(file.sync().await.unwrap(), None, "it has no name");
    file.append(" three".into()).await.unwrap();
    assert_eq!(same.read_at(0, 99).await.unwrap(), "one two three");
    drop(same);
    assert_eq!(file.close().await.unwrap(), None);
    assert_eq!(errno(world.get("proj/b").await), Errno::NoEnt);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_file_is_opened_as_posix_says() {
    // SESS-12
    let world = patient().await;
    let how = |create, start| Some(OpenWrite { start, create, ..OpenWrite::default() });
    assert_eq!(errno(open(&world, "proj/a", None).await.map(drop)), Errno::NoEnt);
    assert_eq!(errno(open(&world, "proj/a", how(Create::Never, Start::Existing)).await.map(drop)), Errno::NoEnt);
    let first = open(&world, "proj/a", how(Create::Exclusive, Start::Empty)).await.unwrap();
    assert_eq!(errno(open(&world, "proj/a", how(Create::Exclusive, Start::Empty)).await.map(drop)), Errno::Exist);
    first.write_at(0, "content".into()).await.unwrap();
    let cut = open(&world, "proj/a", how(Create::IfAbsent, Start::Empty)).await.unwrap();
    assert_eq!(first.size().await.unwrap(), 0, "it was cut for all");
    drop((first, cut));
    world.end().await;
}
