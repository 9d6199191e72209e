use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use alknet_fs::{
    Announced, Body, Change, ContentHash, Errno, FileSystemConfig, FsError, OpenWrite, Placed, Put, RemoveHow, Right,
    Terms, WriteSession, failpoints, rows::upload,
};

use crate::world::{Folder, World, address, errno, noise, path};

async fn resume(world: &World, at: &str, content: &[u8]) -> Result<WriteSession, FsError> {
    let announced = Announced { size: content.len() as u64, hash: ContentHash::of(content) };
    let at = address(at);
    world.fs.resume(&world.permit_at(Right::Write, &at), &at, OpenWrite::default(), announced).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_was_cut_also_after_a_restart() {
    // SESS-50, SESS-51
    let world = World::new().await;
    let content = noise(1, 200_000);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 0);
    session.write_at(0, content[..70_000].to_vec().into()).await.unwrap();
    drop(session);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 70_000);
    session.append(content[70_000..90_000].to_vec().into()).await.unwrap();
    drop(session);
    let world = world.restart().await;
    assert_eq!(world.spool().len(), 1);
    assert_eq!(errno(world.get("proj/a").await), Errno::NoEnt);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 90_000);
    session.append(content[90_000..].to_vec().into()).await.unwrap();
    assert_eq!(session.commit().await.unwrap().hash, Some(ContentHash::of(&content)));
    assert_eq!(world.get("proj/a").await.unwrap(), content);
    assert!(world.spool().is_empty());
    let again = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(again.received(), 0, "it is another one");
    again.abort().await.unwrap();
    let world = world.restart().await;
    assert!(world.spool().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_belongs_to_its_sender_path_and_content() {
    // SESS-51
    let world = World::new().await;
    let content = noise(1, 100_000);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    session.write_at(0, content[..50_000].to_vec().into()).await.unwrap();
    drop(session);
    let bob = alknet_core::Identity::owner("bob");
    let announced = Announced { size: 100_000, hash: ContentHash::of(&content) };
    let permit = world.permit_of(&bob, Right::Write, "proj", Some("main"));
    let his = world.fs.resume(&permit, &address("proj/a"), OpenWrite::default(), announced).await.unwrap();
    assert_eq!(his.received(), 0);
    assert_eq!(resume(&world, "proj/b", &content).await.unwrap().received(), 0);
    assert_eq!(resume(&world, "proj/a", &noise(2, 100_000)).await.unwrap().received(), 0);
    assert_eq!(resume(&world, "proj/a", &content).await.unwrap().received(), 50_000);
    drop(his);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_who_comes_back_takes_over_from_the_connection_that_he_lost() {
    // SESS-52
    let world = World::new().await;
    let content = noise(1, 100_000);
    let lost = resume(&world, "proj/a", &content).await.unwrap();
    lost.write_at(0, content[..50_000].to_vec().into()).await.unwrap();
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 50_000);
    assert_eq!(errno(lost.append("x".into()).await), Errno::Stale);
    assert_eq!(errno(lost.commit().await), Errno::Stale);
    session.append(content[50_000..].to_vec().into()).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), content);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_is_not_what_was_announced_is_refused_and_sent_anew() {
    // SESS-53
    let world = World::new().await;
    let content = noise(1, 50_000);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    session.write_at(0, noise(2, 50_000).into()).await.unwrap();
    assert_eq!(errno(session.append("x".into()).await), Errno::TooBig);
    assert_eq!(errno(session.commit().await), Errno::Inval);
    assert_eq!(errno(world.get("proj/a").await), Errno::NoEnt);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 0);
    session.write_at(0, content.clone().into()).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), content);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_promised_to_uploads_is_nobody_elses() {
    // SESS-50, SESS-40
    let world = World::empty().await;
    world.bucket("proj", Terms { quota_bytes: Some(100_000), ..Terms::default() }).await;
    let content = noise(1, 60_000);
    drop(resume(&world, "proj/a", &content).await.unwrap());
    assert_eq!(errno(resume(&world, "proj/b", &noise(2, 40_001)).await.map(drop)), Errno::Quota);
    let other = world.begin("proj/c", OpenWrite::default()).await.unwrap();
    assert_eq!(errno(other.write_at(0, noise(2, 40_001).into()).await), Errno::Quota);
    let puts = |count: u64| {
        let put = |number| {
            let placed = Placed::inline(noise(number, 14_000)).unwrap();
            Change::Put(Put::new(path(&format!("/put{number}")), Body::Placed(placed)))
        };
        (0..count).map(put).collect::<Vec<_>>()
    };
    let permit = world.permit(Right::Write, "proj", Some("main"));
    let names = ("proj".parse().unwrap(), "main".parse().unwrap());
    let written = world.fs.tree().change(&permit, (&names.0, &names.1), puts(3), None).await;
    assert_eq!(errno(written), Errno::Quota, "nor theirs who write without a session");
    let world = {
        drop(other);
        world.restart().await
    };
    let other = world.begin("proj/c", OpenWrite::default()).await.unwrap();
    other.write_at(0, noise(2, 40_000).into()).await.unwrap();
    let session = resume(&world, "proj/a", &content).await.unwrap();
    session.write_at(0, content.clone().into()).await.unwrap();
    session.commit().await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(errno(world.put("proj/d", "x").await), Errno::Quota);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_sender_stays_away_goes_with_its_lifetime() {
    // SESS-54
    let lifetime = Duration::from_millis(80);
    let config = |folder| FileSystemConfig { upload_lifetime: lifetime, ..FileSystemConfig::new(folder) };
    // Looks are taken all the time; but time passes only when the test says so.
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000_000));
    let pass = || clock.fetch_add(2 * lifetime.as_nanos() as u64, Ordering::Relaxed);
    let world = World::new().await;
    let folder = world.folder.clone();
    world.end().await;
    let world = World::by_clock_with(folder, clock.clone(), config).await;
    let content = noise(1, 100_000);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    session.write_at(0, content[..50_000].to_vec().into()).await.unwrap();
    pass();
    let is_touched = |world: &World| {
        let rows = world.fs.tree().tables().read_here(|sql| Ok::<_, FsError>(upload::of_actor(sql, "ann")?)).unwrap();
        rows.iter().any(|row| row.touched_ms == clock.load(Ordering::Relaxed) / 1_000_000)
    };
    world.until("it was seen that he is there", is_touched).await;
    drop(session);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    assert_eq!(session.received(), 50_000, "as long as he is there he is not away");
    drop(session);
    pass();
    world.until("the upload is gone", |world| world.spool().is_empty()).await;
    assert_eq!(resume(&world, "proj/a", &content).await.unwrap().received(), 0);
    world.end().await;
}

/// A file system whose uploads wait this long for their senders, by a clock that stands still, in nanoseconds.
async fn patient(lifetime: Duration) -> (World, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000_000));
    let config = |folder| FileSystemConfig { upload_lifetime: lifetime, ..FileSystemConfig::new(folder) };
    let world = World::by_clock_with(Folder::new(tempfile::tempdir().unwrap()), clock.clone(), config).await;
    world.bucket("proj", Terms::default()).await;
    (world, clock)
}

/// Stops whoever comes to a step until the other end is sent to; who did is heard of.
fn stopping(at: &'static str) -> (failpoints::Armed, tokio::sync::mpsc::UnboundedReceiver<()>, mpsc::Sender<()>) {
    let (reached, heard) = tokio::sync::mpsc::unbounded_channel();
    let (go, went) = mpsc::channel();
    let went = Mutex::new(went);
    let armed = failpoints::arm(move |step| {
        if step == at && reached.send(()).is_ok() {
            let _ = went.lock().unwrap().recv();
        }
    });
    (armed, heard, go)
}

/// What is written down of uploads: how many there are, and when the sender of one was there.
fn rows(world: &World) -> (i64, Option<u64>) {
    let sql = rusqlite::Connection::open(world.folder.path().join("alknet.db")).unwrap();
    let text = "SELECT count(*), max(touched_ms) FROM fs_session";
    let touched_ms = |ms: i64| ms.cast_unsigned();
    sql.query_row(text, [], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(touched_ms)))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_who_comes_back_while_others_are_given_up_loses_nothing() {
    // SESS-54
    let (world, clock) = patient(Duration::from_millis(80)).await;
    let content = noise(1, 100_000);
    for at in ["proj/a", "proj/b"] {
        let session = resume(&world, at, &content).await.unwrap();
        session.write_at(0, content[..50_000].to_vec().into()).await.unwrap();
    }
    let (armed, mut reached, go) = stopping("upload.away");
    clock.fetch_add(1_000_000_000, Ordering::Relaxed);
    reached.recv().await.unwrap();
    // The first of them is about to go when both are gone on with, and cut once more.
    for at in ["proj/a", "proj/b"] {
        let session = resume(&world, at, &content).await.unwrap();
        session.append(content[50_000..70_000].to_vec().into()).await.unwrap();
        std::thread::spawn(move || drop(session)).join().unwrap();
    }
    go.send(()).unwrap();
    reached.recv().await.unwrap();
    for at in ["proj/a", "proj/b"] {
        assert_eq!(resume(&world, at, &content).await.unwrap().received(), 70_000, "{at}");
    }
    drop(go);
    drop(armed);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_upload_that_then_ends_begins_another_one() {
    // SESS-50, SESS-52
    let (world, clock) = patient(Duration::from_secs(3600)).await;
    let content = noise(1, 100_000);
    let first = resume(&world, "proj/a", &content).await.unwrap();
    first.write_at(0, content.clone().into()).await.unwrap();
    let (armed, mut reached, go) = stopping("spool.synced");
    let closing = tokio::spawn(first.commit());
    reached.recv().await.unwrap();
    let now_ms = clock.fetch_add(1_000_000_000, Ordering::Relaxed) / 1_000_000 + 1_000;
    let waiting = resume(&world, "proj/a", &content);
    let ending = async {
        world.until("the second one has found the upload", |world| rows(world) == (1, Some(now_ms))).await;
        go.send(()).unwrap();
        closing.await.unwrap().unwrap();
    };
    let (second, ()) = tokio::join!(waiting, ending);
    let second = second.unwrap();
    assert_eq!((second.received(), rows(&world).0), (0, 1), "its bytes are promised, and it can be gone on with");
    drop(go);
    drop(armed);
    second.write_at(0, content[..10_000].to_vec().into()).await.unwrap();
    drop(second);
    assert_eq!(resume(&world, "proj/a", &content).await.unwrap().received(), 10_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_as_other_sessions_in_the_end() {
    // SESS-51
    let world = World::new().await;
    world.put("proj/a", "old").await.unwrap();
    let content = noise(1, 3);
    let session = resume(&world, "proj/a", &content).await.unwrap();
    session.write_at(0, content.clone().into()).await.unwrap();
    world.change(Change::Remove { at: path("a"), how: RemoveHow::File }).await;
    session.commit().await.unwrap();
    assert_eq!(world.get("proj/a").await.unwrap(), content);
    world.end().await;
}
