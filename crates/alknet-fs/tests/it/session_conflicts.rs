use alknet_fs::{
    Change, Create, Errno, FsError, Kept, OnConflict, OpenWrite, Policy, RemoveHow, Start, Terms, WriteSession,
};

use crate::world::{World, errno, path};

async fn world(conflict: OnConflict) -> World {
    let world = World::empty().await;
    world.bucket("proj", Terms { policy: Policy { conflict, ..Policy::default() }, ..Terms::default() }).await;
    world
}

/// Two writers that begin from the same version of a path; the first is closed.
async fn two_writers(world: &World, at: &str, start: Start) -> WriteSession {
    let how = || OpenWrite { start, create: Create::IfAbsent, ..OpenWrite::default() };
    let first = world.begin(at, how()).await.unwrap();
    let second = world.begin(at, how()).await.unwrap();
    first.write_at(0, "first".into()).await.unwrap();
    second.write_at(0, "second".into()).await.unwrap();
    first.commit().await.unwrap();
    second
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_of_two_writers_wins_by_default() {
    // SESS-21
    let world = world(OnConflict::Lww).await;
    for at in ["proj/new", "proj/new", "proj/other"] {
        for start in [Start::Empty, Start::Existing] {
            let second = two_writers(&world, at, start).await;
            assert!(matches!(second.commit().await.unwrap().kept, Kept::Version(_)));
            assert_eq!(world.get(at).await.unwrap(), "second");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_writer_is_refused_where_the_bucket_says_so() {
    // SESS-22
    let world = world(OnConflict::Fail).await;
    world.put("proj/old", "old").await.unwrap();
    for (at, start) in [("proj/new", Start::Empty), ("proj/old", Start::Empty), ("proj/old", Start::Existing)] {
        if at == "proj/old" {
            world.put(at, "old").await.unwrap();
        }
        let second = two_writers(&world, at, start).await;
        assert!(matches!(second.commit().await, Err(FsError::Conflict { .. })));
        assert_eq!(&world.get(at).await.unwrap()[..5], b"first", "{at}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_are_kept_where_the_bucket_says_so() {
    // SESS-23
    let world = world(OnConflict::KeepBoth).await;
    world.put("proj/a.txt", "old").await.unwrap();
    let second = two_writers(&world, "proj/a.txt", Start::Empty).await;
    let closed = second.commit().await.unwrap();
    let Kept::Beside(_, name) = closed.kept else { panic!("it was to be kept beside") };
    assert_eq!(name.to_string(), format!("a.conflict-{}.txt", closed.seq));
    assert_eq!(world.get("proj/a.txt").await.unwrap(), "first");
    assert_eq!(world.get(&format!("proj/{name}")).await.unwrap(), "second");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_is_the_same_again_and_other_attributes_are_no_conflict() {
    // SESS-20
    let world = world(OnConflict::Fail).await;
    world.put("proj/a", "old").await.unwrap();
    let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    session.write_at(0, "mine".into()).await.unwrap();
    world.put("proj/a", "old").await.unwrap();
    let how = OpenWrite { start: Start::Existing, mode: Some(0o600), ..OpenWrite::default() };
    world.begin("proj/a", how).await.unwrap().commit().await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), "mine");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_survives_that_its_name_was_removed_or_became_a_folder() {
    // SESS-26
    for conflict in [OnConflict::Lww, OnConflict::KeepBoth] {
        let world = world(conflict).await;
        world.put("proj/a", "old").await.unwrap();
        let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
        session.write_at(0, "new".into()).await.unwrap();
        let other = world.begin("proj/a", OpenWrite::default()).await.unwrap();
        other.write_at(0, "other".into()).await.unwrap();
        world.change(Change::Remove { at: path("a"), how: RemoveHow::File }).await;
        session.commit().await.unwrap();
        assert_eq!(world.get("proj/a").await.unwrap(), "new");
        world.change(Change::Remove { at: path("a"), how: RemoveHow::File }).await;
        world.change(Change::MakeFolder { at: path("a"), mode: 0o755, parents: false }).await;
        match conflict {
            OnConflict::KeepBoth => {
                let Kept::Beside(_, name) = other.commit().await.unwrap().kept else { panic!("not beside") };
                assert_eq!(world.get(&format!("proj/{name}")).await.unwrap(), "other");
            }
            _ => assert_eq!(errno(other.commit().await), Errno::IsDir),
        }
        world.end().await;
    }
}
