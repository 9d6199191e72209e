use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alknet_core::{Identity, ResourceGrants, Standing};
use alknet_fs::{
    Change, ContentHash, Create, Errno, Expect, FsError, Kept, OpenWrite, Policy, RemoveHow, RenameHow, Right, Start,
    Terms,
};
use alknet_store::Durability;
use bytes::Bytes;

use crate::world::{World, address, errno, noise, path};

fn edit() -> OpenWrite {
    OpenWrite { start: Start::Existing, create: Create::Never, ..OpenWrite::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_is_there_and_after_a_restart_too() {
    // SESS-01, FS-01
    let world = World::new().await;
    let (small, large) = (noise(1, 700), noise(2, 70_000));
    let closed = world.put("proj/small", small.clone()).await.unwrap();
    assert_eq!((closed.hash, closed.size, closed.durability), (Some(ContentHash::of(&small)), 700, Durability::Strict));
    world.put("proj/large", large.clone()).await.unwrap();
    let nothing = world.begin("proj/empty", OpenWrite::default()).await.unwrap();
    nothing.commit().await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.get("proj/small").await.unwrap(), small);
    assert_eq!(world.get("proj/large").await.unwrap(), large);
    assert_eq!(world.get("proj/empty").await.unwrap(), Bytes::new());
    assert_eq!(world.spool(), Vec::<std::path::PathBuf>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_session_before_it_is_closed() {
    // SESS-10, FS-02, FS-06
    let world = World::new().await;
    world.put("proj/a", noise(1, 40_000)).await.unwrap();
    let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    session.write_at(0, noise(2, 50_000).into()).await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), noise(1, 40_000));
    assert_eq!(session.read_at(0, 60_000).await.unwrap(), noise(2, 50_000));
    let new = world.begin("proj/new", OpenWrite::default()).await.unwrap();
    new.write_at(0, "x".into()).await.unwrap();
    assert_eq!(errno(world.get("proj/new").await), Errno::NoEnt);
    let old = world.fs.open_file(&world.permit(Right::Read, "proj", Some("main")), &address("proj/a")).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), noise(2, 50_000));
    assert_eq!(
        old.read_at(0, 60_000).await.unwrap(),
        noise(1, 40_000),
        "who reads the old version reads it to the end"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_given_up_leaves_no_trace() {
    // SESS-11, FS-03
    let world = World::new().await;
    for give_up in [true, false] {
        let session = world.begin("proj/a", OpenWrite::default()).await.unwrap();
        session.write_at(0, noise(1, 100_000).into()).await.unwrap();
        assert_eq!(world.spool().len(), 2, "its bytes, and their outboard");
        if give_up {
            session.abort().await.unwrap()
        } else {
            drop(session)
        }
        world.until("the spool is empty", |world| world.spool().is_empty()).await;
    }
    assert_eq!(errno(world.get("proj/a").await), Errno::NoEnt);
    assert_eq!(world.fs.handles().count(), 0);
    assert_eq!(world.blobs().len(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_opened_as_posix_says() {
    // SESS-12, SESS-24
    let world = World::new().await;
    let exclusive = || OpenWrite { create: Create::Exclusive, ..OpenWrite::default() };
    assert_eq!(errno(world.begin("proj/a", edit()).await.map(drop)), Errno::NoEnt);
    assert_eq!(errno(world.begin("proj/d/a", OpenWrite::default()).await.map(drop)), Errno::NoEnt);
    assert_eq!(errno(world.begin("proj/", OpenWrite::default()).await.map(drop)), Errno::IsDir);
    assert_eq!(errno(world.begin("proj@1/a", OpenWrite::default()).await.map(drop)), Errno::ReadOnly);
    let first = world.begin("proj/a", exclusive()).await.unwrap();
    let second = world.begin("proj/a", exclusive()).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(errno(second.commit().await), Errno::Exist, "of two exclusive creations one wins");
    assert_eq!(errno(world.begin("proj/a", exclusive()).await.map(drop)), Errno::Exist);
    let deep = OpenWrite { parents: true, ..OpenWrite::default() };
    let session = world.begin("proj/d/e/a", deep).await.unwrap();
    assert_eq!(errno(world.get("proj/d").await), Errno::NoEnt, "folders are made with the version");
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/d/e/a").await.unwrap(), Bytes::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_file_stays_the_same_file_with_the_rest_of_its_content() {
    // SESS-13
    let world = World::new().await;
    let mut content = noise(1, 100_000);
    world.put("proj/a", content.clone()).await.unwrap();
    let session = world.begin("proj/a", edit()).await.unwrap();
    session.write_at(50_000, Bytes::from_static(b"changed")).await.unwrap();
    content[50_000..50_007].copy_from_slice(b"changed");
    assert_eq!(session.append(Bytes::from_static(b"more")).await.unwrap(), 100_000);
    content.extend_from_slice(b"more");
    let Kept::Version(ino) = session.commit().await.unwrap().kept else { panic!("no version") };
    assert_eq!(world.get("proj/a").await.unwrap(), content);
    let seq = world.put("proj/b", "x").await.unwrap().seq;
    let session = world.begin("proj/a", edit()).await.unwrap();
    let closed = session.commit().await.unwrap();
    assert_eq!((closed.kept, closed.seq), (Kept::Unchanged, seq), "nothing was written, and nothing is new");
    assert_eq!(closed.durability, Durability::Lazy, "what is there may have been kept lazily a moment ago");
    assert_eq!(closed.hash, Some(ContentHash::of(&content)));
    let mut session = world.begin("proj/a", edit()).await.unwrap();
    session.set_mode(0o600);
    assert_eq!(session.commit().await.unwrap().kept, Kept::Version(ino));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_while_it_is_open_is_read_and_written_on() {
    // SESS-31
    let world = World::new().await;
    world.put("proj/gone", noise(1, 30_000)).await.unwrap();
    let session = world.begin("proj/gone", edit()).await.unwrap();
    session.write_at(0, "new".into()).await.unwrap();
    let reader =
        world.fs.open_file(&world.permit(Right::Read, "proj", Some("main")), &address("proj/gone")).await.unwrap();
    world.change(Change::Remove { at: path("gone"), how: RemoveHow::File }).await;
    assert_eq!(reader.read_at(0, 30_000).await.unwrap(), noise(1, 30_000));
    assert_eq!(session.read_at(0, 3).await.unwrap(), "new");
    session.append("more".into()).await.unwrap();
    assert_eq!(session.commit().await.unwrap().kept, Kept::Unlinked);
    assert_eq!(errno(world.get("proj/gone").await), Errno::NoEnt);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_follows_its_file_and_its_folder_where_they_are_moved() {
    // SESS-30
    let world = World::new().await;
    let moved = |from, to| Change::Rename { from: path(from), to: path(to), how: RenameHow::Replace };
    world.change(Change::MakeFolder { at: path("d"), mode: 0o755, parents: false }).await;
    world.put("proj/d/a", "old").await.unwrap();
    let edits = world.begin("proj/d/a", edit()).await.unwrap();
    edits.write_at(0, "new".into()).await.unwrap();
    let makes = world.begin("proj/d/b", OpenWrite::default()).await.unwrap();
    makes.write_at(0, "made".into()).await.unwrap();
    let replaces = world.begin("proj/d/c", OpenWrite::default()).await.unwrap();
    world.change(moved("d/a", "d/z")).await;
    world.change(moved("d", "e")).await;
    edits.commit().await.unwrap();
    assert_eq!(world.get("proj/e/z").await.unwrap(), "new");
    assert_eq!(errno(world.get("proj/e/a").await), Errno::NoEnt);
    makes.commit().await.unwrap();
    assert_eq!(world.get("proj/e/b").await.unwrap(), "made");
    world.change(Change::Remove { at: path("e"), how: RemoveHow::Recursive }).await;
    assert_eq!(errno(replaces.commit().await), Errno::NoEnt, "there is no such folder any more");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_of_a_branch_that_is_removed_are_stale() {
    // SESS-32
    let world = World::new().await;
    world.put("proj/a", noise(1, 50_000)).await.unwrap();
    world.branch("dev").await;
    let reader =
        world.fs.open_file(&world.permit(Right::Read, "proj", Some("dev")), &address("proj:dev/a")).await.unwrap();
    let writer = world.begin("proj:dev/a", OpenWrite::default()).await.unwrap();
    let elsewhere = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    let at = address("proj:dev/a");
    let shared = world.fs.open_shared(&world.permit_at(Right::Read, &at), &at, None).await.unwrap();
    let permit = world.permit(Right::Branch, "proj", Some("dev"));
    world.fs.tree().remove_branch(&permit, &"proj".parse().unwrap(), &"dev".parse().unwrap()).await.unwrap();
    world.branch("dev").await;
    assert_eq!(errno(reader.read_at(0, 1).await), Errno::Stale);
    assert_eq!(errno(shared.read_at(0, 1).await), Errno::Stale);
    assert_eq!(errno(shared.size().await), Errno::Stale);
    assert_eq!(errno(writer.write_at(0, "x".into()).await), Errno::Stale);
    assert_eq!(errno(writer.commit().await), Errno::Stale);
    elsewhere.commit().await.unwrap();
    assert_eq!(world.get("proj:dev/a").await.unwrap(), noise(1, 50_000), "nothing of it came to the other branch");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_writer_expects_is_asked_at_the_end() {
    // SESS-25
    let world = World::new().await;
    let first = world.put("proj/a", "one").await.unwrap();
    let how = |expect| OpenWrite { expect, ..OpenWrite::default() };
    let session = world.begin("proj/a", how(Expect::Version(first.seq))).await.unwrap();
    let late = world.begin("proj/a", how(Expect::Version(first.seq))).await.unwrap();
    session.write_at(0, "two".into()).await.unwrap();
    session.commit().await.unwrap();
    late.write_at(0, "three".into()).await.unwrap();
    assert!(matches!(late.commit().await, Err(FsError::Conflict { .. })));
    let by_hash = world.begin("proj/a", how(Expect::Hash(ContentHash::of(b"two")))).await.unwrap();
    by_hash.write_at(0, "four".into()).await.unwrap();
    by_hash.commit().await.unwrap();
    let absent = world.begin("proj/a", how(Expect::Absent)).await.unwrap();
    assert_eq!(errno(absent.commit().await), Errno::Exist);
    assert_eq!(world.get("proj/a").await.unwrap(), "four");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_says_what_it_means() {
    // FS-08
    let world = World::empty().await;
    let policy = Policy { durability: Durability::Lazy, ..Policy::default() };
    world.bucket("proj", Terms { policy, ..Terms::default() }).await;
    assert_eq!(world.put("proj/a", "x").await.unwrap().durability, Durability::Lazy);
    for durability in [Durability::Group, Durability::Strict] {
        let how = OpenWrite { durability: Some(durability), ..OpenWrite::default() };
        let closed = world.begin("proj/a", how).await.unwrap().commit().await.unwrap();
        assert_eq!(closed.durability, durability);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_the_rights_it_was_begun_with() {
    // SESS-17
    let world = World::new().await;
    let counter = Arc::new(AtomicU64::new(0));
    let bob = Identity::owner("bob").with_standing(Standing::at_present(&counter));
    let at = address("proj/a");
    let permit = world.permit_of(&bob, Right::Write, "proj", Some("main"));
    let how = OpenWrite::default();
    let (first, second) =
        (world.fs.create(&permit, &at, how.clone()).await.unwrap(), world.fs.create(&permit, &at, how).await.unwrap());
    first.write_at(0, "x".into()).await.unwrap();
    let read = world.permit_of(&bob, Right::Read, "proj", Some("main"));
    world.put("proj/b", "x").await.unwrap();
    let reader = world.fs.open_file(&read, &address("proj/b")).await.unwrap();
    counter.fetch_add(1, Ordering::AcqRel);
    assert!(matches!(second.write_at(0, "x".into()).await, Err(FsError::Denied(_))));
    assert!(matches!(first.read_at(0, 1).await, Err(FsError::Denied(_))));
    assert!(matches!(first.commit().await, Err(FsError::Denied(_))));
    assert!(matches!(reader.read_at(0, 1).await, Err(FsError::Denied(_))));
    assert_eq!(errno(world.get("proj/a").await), Errno::NoEnt);
    drop(second);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_held_before_is_for_readers_of_the_branch() {
    // SESS-16
    let world = World::new().await;
    world.put("proj/a", "secret").await.unwrap();
    let mut grants = ResourceGrants::default();
    grants.grant("bucket:proj".parse().unwrap(), "fs:write");
    let scopes = ["fs:write".parse().unwrap()].into_iter().collect();
    let writer = Identity::new("eve", scopes, grants);
    let permit = world.permit_of(&writer, Right::Write, "proj", Some("main"));
    let session = world.fs.create(&permit, &address("proj/a"), edit()).await.unwrap();
    assert_eq!(errno(session.read_at(0, 6).await), Errno::Perm);
    session.append(" more".into()).await.unwrap();
    assert_eq!(session.commit().await.unwrap().hash, None, "the hash would tell of what was there");
    let session = world.fs.create(&permit, &address("proj/a"), edit()).await.unwrap();
    let closed = session.commit().await.unwrap();
    assert_eq!((closed.kept, closed.hash), (Kept::Unchanged, None));
    assert_eq!(world.get("proj/a").await.unwrap(), "secret more");
    let own = world.fs.create(&permit, &address("proj/b"), OpenWrite::default()).await.unwrap();
    own.write_at(0, "mine".into()).await.unwrap();
    assert_eq!(own.read_at(0, 9).await.unwrap(), "mine");
    drop(own);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_of_a_bucket_that_is_removed_are_stale() {
    // SESS-32
    let world = World::new().await;
    world.bucket("other", Terms::default()).await;
    world.put("proj/a", noise(1, 50_000)).await.unwrap();
    let reader =
        world.fs.open_file(&world.permit(Right::Read, "proj", Some("main")), &address("proj/a")).await.unwrap();
    let writer = world.begin("proj/a", OpenWrite::default()).await.unwrap();
    let elsewhere = world.begin("other/a", OpenWrite::default()).await.unwrap();
    let admin = world.permit(Right::Admin, "proj", None);
    world.fs.tree().remove_bucket(&admin, &"proj".parse().unwrap(), true).await.unwrap();
    // Another one of the same name is not the one that was open.
    world.bucket("proj", Terms::default()).await;
    assert_eq!(errno(reader.read_at(0, 1).await), Errno::Stale);
    assert_eq!(errno(writer.write_at(0, "x".into()).await), Errno::Stale);
    assert_eq!(errno(writer.commit().await), Errno::Stale);
    elsewhere.commit().await.unwrap();
    assert_eq!(errno(world.get("proj/a").await), Errno::NoEnt);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_beneath_a_folder_writes_nowhere_else() {
    // FS-32
    let world = World::new().await;
    world.put("proj/victim", "kept").await.unwrap();
    let link = |at: &str, target: &str| Change::Symlink { at: path(at), target: target.into(), mtime_ns: None };
    world.change(Change::MakeFolder { at: path("/in"), mode: 0o755, parents: false }).await;
    world.change(link("/in/up", "..")).await;
    world.change(link("/in/f", "../victim")).await;
    let beneath = || OpenWrite { beneath: Some(path("/in")), parents: true, ..OpenWrite::default() };
    assert_eq!(errno(world.begin("proj/in/up/victim", beneath()).await.map(drop)), Errno::NotDir);

    let session = world.begin("proj/in/f", beneath()).await.unwrap();
    session.append("new".into()).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(
        (world.get("proj/in/f").await.unwrap(), world.get("proj/victim").await.unwrap()),
        ("new".into(), "kept".into())
    );

    // Links that come while it is open.
    let (late, through) = (
        world.begin("proj/in/late", beneath()).await.unwrap(),
        world.begin("proj/in/d/victim", beneath()).await.unwrap(),
    );
    late.append("late".into()).await.unwrap();
    through.append("evil".into()).await.unwrap();
    world.change(link("/in/late", "../victim")).await;
    world.change(link("/in/d", "..")).await;
    late.commit().await.unwrap();
    assert_eq!(errno(through.commit().await), Errno::NotDir);
    assert_eq!(
        (world.get("proj/in/late").await.unwrap(), world.get("proj/victim").await.unwrap()),
        ("late".into(), "kept".into())
    );
    world.end().await;
}
