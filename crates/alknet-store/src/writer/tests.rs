//! Batches, failures and shutdown, seen from inside.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use alknet_core::{
    AccessRule, AuditEvent, AuditKind, AuditLog, AuditOutcome, Authorizer, Caller, Credential, Demand, Effect,
    Fingerprint, Identity, IdentityProvider, PeerAddr, Permit, PermitError, Sessions,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    peers::{NewPeer, PeerError},
    roles::Roles,
    store::Store,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let roles = Roles::new(BTreeMap::new()).unwrap();
    let store = Store::open(&folder.path().join("alknet.db"), roles, Sessions::default()).unwrap();
    (folder, store)
}

fn put(key: &str) -> impl FnOnce(&Connection) -> Result<(), StoreError> + Send + use<> {
    let key = key.to_owned();
    move |sql| {
        sql.execute("INSERT INTO meta VALUES (?1, 'x')", [&key])?;
        Ok(())
    }
}

async fn keys(store: &Store) -> Vec<String> {
    store
        .readers()
        .read(|sql| -> Result<_, StoreError> {
            let text = "SELECT key FROM meta WHERE value = 'x' ORDER BY key";
            Ok(crate::records::load_each(sql, text, |row| row.get(0))?)
        })
        .await
        .unwrap()
}

/// Keeps the writer busy, outside the batch that the test is about, until the sender is dropped.
async fn hold_up(store: &Store) -> Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let store = store.clone();
    tokio::spawn(async move {
        let wait = move |_: &Connection| -> Result<(), StoreError> {
            entered.send(()).unwrap();
            let _ = released.recv_timeout(PATIENCE);
            Ok(())
        };
        // Nothing that comes after a change of rights is in its batch.
        store.writer().write(Touches::Rights, wait).await.unwrap();
    });
    until(&inside).await;
    release
}

/// A store with a writer that is busy until the sender is dropped, and the count of its commits from now on.
async fn held_up() -> (TempDir, Store, Arc<AtomicUsize>, Sender<()>) {
    let (folder, store) = store();
    let commits = hook_commits(&store, false).await;
    let release = hold_up(&store).await;
    commits.store(0, Ordering::SeqCst);
    (folder, store, commits, release)
}

async fn until(happened: &Receiver<()>) {
    let patience = Instant::now() + PATIENCE;
    while happened.try_recv().is_err() {
        assert!(Instant::now() < patience, "it never happened");
        tokio::task::yield_now().await;
    }
}

/// Counts commits; answers the count. `refuse` makes each of them fail.
async fn hook_commits(store: &Store, refuse: bool) -> Arc<AtomicUsize> {
    let commits = Arc::new(AtomicUsize::new(0));
    let count = commits.clone();
    let hook = move || {
        count.fetch_add(1, Ordering::SeqCst);
        refuse
    };
    // With the change of rights, the commit of the hook's own batch is the last that is not counted.
    let set = move |sql: &Connection| -> Result<(), StoreError> { Ok(sql.commit_hook(Some(hook))?) };
    let _ = store.writer().write(Touches::Rights, set).await;
    commits.store(0, Ordering::SeqCst);
    commits
}

fn submit<F>(store: &Store, touches: Touches, body: F) -> JoinHandle<Result<(), StoreError>>
where
    F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
{
    let store = store.clone();
    tokio::spawn(async move { store.writer().write(touches, body).await })
}

async fn settle_queue() {
    // A current-thread runtime runs every spawned task up to its wait before this one goes on.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// What came of the changes that waited for a writer which is held up no longer.
async fn let_go(
    release: Sender<()>,
    jobs: impl IntoIterator<Item = JoinHandle<Result<(), StoreError>>>,
) -> Vec<Result<(), StoreError>> {
    settle_queue().await;
    drop(release);
    let mut outcomes = Vec::new();
    for job in jobs {
        outcomes.push(job.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn changes_that_wait_share_one_commit_and_a_failing_one_fails_alone() {
    // STORE-02
    let (_folder, store, commits, release) = held_up().await;
    let bad = |sql: &Connection| -> Result<(), StoreError> {
        sql.execute("INSERT INTO meta VALUES ('half', 'x')", [])?;
        sql.execute("INSERT INTO meta VALUES ('a', 'again')", [])?;
        Ok(())
    };
    let jobs = [
        submit(&store, Touches::Nothing, put("a")),
        submit(&store, Touches::Nothing, bad),
        submit(&store, Touches::Directory, put("b")),
        submit(&store, Touches::Nothing, put("c")),
    ];
    let outcomes = let_go(release, jobs).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(_), Ok(()), Ok(())]), "{outcomes:?}");
    assert_eq!(keys(&store).await, ["a", "b", "c"]);
    assert_eq!(commits.load(Ordering::SeqCst), 2, "one for the job that held the writer up, one for the rest");
}

#[tokio::test]
async fn a_change_that_panics_is_undone_alone_and_the_writer_goes_on() {
    // STORE-25
    let (_folder, store, commits, release) = held_up().await;
    let bad = |sql: &Connection| -> Result<(), StoreError> {
        sql.execute("INSERT INTO meta VALUES ('half', 'x')", [])?;
        let mut statement = sql.prepare_cached("SELECT key FROM meta").unwrap();
        let mut rows = statement.query([]).unwrap();
        assert!(rows.next().unwrap().is_none(), "a fault, in the middle of a statement");
        Ok(())
    };
    let jobs = [
        submit(&store, Touches::Tables, put("a")),
        submit(&store, Touches::Directory, bad),
        submit(&store, Touches::Directory, put("b")),
    ];
    let outcomes = let_go(release, jobs).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(StoreError::Panicked), Ok(())]), "{outcomes:?}");
    assert_eq!(commits.load(Ordering::SeqCst), 2, "one for the job that held the writer up, one for the three");
    store.writer().write(Touches::Nothing, put("c")).await.unwrap();
    assert_eq!(keys(&store).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn nothing_shares_a_commit_with_an_earlier_change_of_rights() {
    // STORE-05
    let (_folder, store, commits, release) = held_up().await;
    let jobs = [submit(&store, Touches::Rights, put("a")), submit(&store, Touches::Nothing, put("b"))];
    let outcomes = let_go(release, jobs).await;
    assert!(matches!(outcomes[..], [Ok(()), Ok(())]), "{outcomes:?}");
    assert_eq!(commits.load(Ordering::SeqCst), 3);
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

fn permit(identity: Arc<Identity>) -> Permit {
    let rule = AccessRule::scoped(["peers:write".parse().unwrap()]);
    let caller = Caller { identity: Some(identity), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "peers/add", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

fn new_peer(name: &str, role: &str, seed: u8) -> NewPeer {
    let keys = vec![Fingerprint::of_sha256(&[seed; 32]).into()];
    NewPeer { name: name.parse().unwrap(), role: role.into(), keys, authorities: Vec::new(), addresses: Vec::new() }
}

#[tokio::test]
async fn a_permit_revoked_while_its_change_waits_changes_nothing() {
    // STORE-05
    let (_folder, store) = store();
    let me = || permit(Arc::new(Identity::owner("me")));
    store.peers().add(&me(), new_peer("alice", "owner", 1)).await.unwrap();
    let alice = store.directory().identify(&Credential::SshKey(Fingerprint::of_sha256(&[1; 32]))).unwrap();
    let release = hold_up(&store).await;
    let (removing, adding) = (store.clone(), store.clone());
    let removal = tokio::spawn(async move { removing.peers().remove(&me(), &"alice".parse().unwrap()).await });
    let hers = permit(alice);
    let late = tokio::spawn(async move { adding.peers().add(&hers, new_peer("mallory", "owner", 2)).await });
    settle_queue().await;
    drop(release);
    removal.await.unwrap().unwrap();
    assert!(matches!(late.await.unwrap(), Err(PeerError::Permit(PermitError::Revoked))));
    assert!(store.directory().peers().is_empty());
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_of_its_changes() {
    // STORE-02
    let (_folder, store) = store();
    let _commits = hook_commits(&store, true).await;
    let release = hold_up_refused(&store);
    let jobs = [submit(&store, Touches::Nothing, put("a")), submit(&store, Touches::Directory, put("b"))];
    let outcomes = let_go(release, jobs).await;
    assert!(matches!(outcomes[..], [Err(StoreError::Failed(_)), Err(StoreError::Failed(_))]), "{outcomes:?}");
    assert_eq!(keys(&store).await, [""; 0]);
}

#[test]
fn a_disk_that_fails_in_the_middle_of_a_commit_leaves_its_fate_open_and_nothing_else_does() {
    // STORE-23
    let fate = |code| fate_of_commit(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
    let unknown = fate(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    assert!(matches!(unknown, StoreError::Unknown(_)) && unknown.to_string().contains("not known"), "{unknown}");
    assert!(matches!(fate(rusqlite::ffi::SQLITE_IOERR_WRITE), StoreError::Unknown(_)));
    assert!(matches!(fate(rusqlite::ffi::SQLITE_FULL), StoreError::Full), "the last frame was not written whole");
    assert!(matches!(fate(rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK), StoreError::Failed(_)));
}

fn hold_up_refused(store: &Store) -> Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let _held = submit(store, Touches::Rights, move |_| {
        let _ = released.recv_timeout(PATIENCE);
        Ok(())
    });
    release
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_loses_nothing_and_passes() {
    // STORE-06
    let (_folder, store) = store();
    store.writer().write(Touches::Nothing, put("before")).await.unwrap();
    let limit = |pages: u32| {
        move |sql: &Connection| -> Result<(), StoreError> {
            Ok(sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
        }
    };
    store.writer().write(Touches::Nothing, limit(1)).await.unwrap();
    let big = |sql: &Connection| -> Result<(), StoreError> {
        sql.execute("INSERT INTO meta VALUES ('big', hex(zeroblob(100000)))", [])?;
        Ok(())
    };
    let error = store.writer().write(Touches::Nothing, big).await.unwrap_err();
    assert!(matches!(error, StoreError::Full) && error.to_string().contains("free some space"), "{error:?}");
    let event = AuditEvent {
        kind: AuditKind::Mutation,
        outcome: AuditOutcome::Denied,
        identity: Some("alice".into()),
        credential: None,
        action: "peers/add".into(),
        resource: None,
        addr: String::new(),
        detail: Some("x".repeat(500)),
    };
    for _ in 0..200 {
        store.audit_log().record(event.clone());
    }
    assert!(matches!(store.flush().await, Err(StoreError::Full)));
    assert_eq!(keys(&store).await, ["before"]);
    store.writer().write(Touches::Nothing, limit(100_000)).await.unwrap();
    store.writer().write(Touches::Nothing, big).await.unwrap();
    store.flush().await.unwrap();
    let count = |sql: &Connection| -> Result<i64, StoreError> {
        Ok(sql.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?)
    };
    assert_eq!(store.readers().read(count).await.unwrap(), 200, "what could not be written was kept");
}

#[tokio::test]
async fn readers_and_the_writer_do_not_wait_for_each_other() {
    // STORE-07
    let (_folder, store) = store();
    store.writer().write(Touches::Nothing, put("a")).await.unwrap();
    let release = hold_up(&store).await;
    assert_eq!(keys(&store).await, ["a"], "a reader while the writer is inside a transaction");
    drop(release);
    let (release, released) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let reading = {
        let store = store.clone();
        tokio::spawn(async move {
            let slow = move |sql: &Connection| -> Result<(i64, i64), StoreError> {
                let count = || sql.query_row("SELECT count(*) FROM meta WHERE value = 'x'", [], |row| row.get(0));
                sql.execute_batch("BEGIN")?;
                let before = count()?;
                entered.send(()).unwrap();
                let _ = released.recv_timeout(PATIENCE);
                let after = count()?;
                sql.execute_batch("COMMIT")?;
                Ok((before, after))
            };
            store.readers().read(slow).await
        })
    };
    until(&inside).await;
    store.writer().write(Touches::Nothing, put("b")).await.unwrap();
    assert_eq!(keys(&store).await, ["a", "b"], "another reader sees the commit");
    drop(release);
    assert_eq!(reading.await.unwrap().unwrap(), (1, 1), "the first one keeps what it saw");
}

#[tokio::test]
async fn readers_cannot_write() {
    // STORE-07
    let (_folder, store) = store();
    assert!(store.readers().read(put("a")).await.is_err());
}

#[tokio::test]
async fn closing_writes_what_was_handed_in() {
    // STORE-03
    let (folder, store) = store();
    let release = hold_up(&store).await;
    let jobs: Vec<_> = (0..10).map(|n| submit(&store, Touches::Nothing, put(&format!("k{n}")))).collect();
    settle_queue().await;
    drop(release);
    let closing = store.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    let mut written = 0;
    for job in jobs {
        written += usize::from(job.await.unwrap().is_ok());
    }
    drop(store);
    let again = Store::open(&folder.path().join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
    assert_eq!((written, keys(&again).await.len()), (10, 10));
}
