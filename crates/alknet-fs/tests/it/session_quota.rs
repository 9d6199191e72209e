use alknet_fs::{Create, Errno, OpenWrite, Right, Start, Terms};
use bytes::Bytes;

use crate::world::{World, errno, noise};

async fn world(quota_bytes: Option<u64>, quota_files: Option<u64>) -> World {
    let world = World::empty().await;
    world.bucket("proj", Terms { quota_bytes, quota_files, ..Terms::default() }).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_hears_of_the_quota_while_writing_and_what_fits_can_be_closed() {
    // SESS-40, FS-07
    let world = world(Some(100_000), None).await;
    let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    session.write_at(0, noise(1, 60_000).into()).await.unwrap();
    assert_eq!(errno(session.write_at(60_000, noise(2, 40_001).into()).await), Errno::Quota);
    assert_eq!(errno(session.set_size(100_001).await), Errno::Quota);
    assert_eq!(session.size().await.unwrap(), 60_000, "a refused write wrote nothing");
    let other = world.begin("proj/b", OpenWrite::default()).await.unwrap();
    assert_eq!(errno(other.write_at(0, noise(3, 50_000).into()).await), Errno::Quota, "what is under way counts");
    session.set_size(50_000).await.unwrap();
    other.write_at(0, noise(3, 50_000).into()).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(errno(other.write_at(50_000, "x".into()).await), Errno::Quota, "and what was committed");
    other.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), noise(1, 50_000));
    assert_eq!(world.get("proj/b").await.unwrap(), noise(3, 50_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_or_set_anew_is_free_again_at_once() {
    // SESS-41
    let world = world(Some(1000), None).await;
    let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    let mine = world.begin("proj/b", OpenWrite::default()).await.unwrap();
    session.write_at(0, noise(1, 1000).into()).await.unwrap();
    assert_eq!(errno(mine.write_at(0, "x".into()).await), Errno::Quota);
    session.abort().await.unwrap();
    mine.write_at(0, "x".into()).await.unwrap();
    assert_eq!(errno(mine.write_at(0, noise(1, 1500).into()).await), Errno::Quota);
    let admin = world.permit(Right::Admin, "proj", None);
    world.fs.tree().set_bucket(&admin, &"proj".parse().unwrap(), |terms| terms.quota_bytes = Some(2000)).await.unwrap();
    mine.write_at(0, noise(1, 1500).into()).await.unwrap();
    world.fs.tree().set_bucket(&admin, &"proj".parse().unwrap(), |terms| terms.quota_bytes = Some(500)).await.unwrap();
    assert_eq!(errno(mine.write_at(1500, "x".into()).await), Errno::Quota);
    assert_eq!(errno(mine.commit().await), Errno::Quota, "the commit asks again, and that answer holds");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_counted_when_they_are_opened() {
    // SESS-40
    let world = world(None, Some(2)).await;
    let exclusive = || OpenWrite { create: Create::Exclusive, ..OpenWrite::default() };
    let first = world.begin("proj/a", exclusive()).await.unwrap();
    let _second = world.begin("proj/b", exclusive()).await.unwrap();
    assert_eq!(errno(world.begin("proj/c", exclusive()).await.map(drop)), Errno::Quota);
    first.write_at(0, Bytes::from_static(b"x")).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(errno(world.begin("proj/c", exclusive()).await.map(drop)), Errno::Quota);
    let again = OpenWrite { start: Start::Existing, ..OpenWrite::default() };
    world.begin("proj/a", again).await.unwrap().commit().await.unwrap();
    world.end().await;
}
