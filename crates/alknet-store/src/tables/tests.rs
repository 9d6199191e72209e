//! What changes of other crates' tables may rely on, seen from inside.

use std::sync::{
    atomic::{AtomicU64, AtomicUsize, Ordering},
    mpsc,
};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Demand, Effect, PeerAddr, ResourceGrants, ScopeSet, Sessions,
    Standing,
};
use tempfile::TempDir;

use super::*;
use crate::{
    events::{NewTopic, Retention, TopicName},
    limits::{DEFAULT_GROUP_DELAY, MAX_GROUP_DELAY, MAX_READERS},
    roles::Roles,
};

const TASK: Maintenance = Maintenance::of("test");
/// Longer than any test waits: what comes before it did not wait for it.
const LONG: Duration = Duration::from_secs(50);

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
    (folder, store)
}

fn rights() -> Rights {
    Rights::maintenance(&TASK)
}

#[derive(Debug)]
enum Failed {
    Permit(PermitError),
    Database,
    Meant,
}

impl From<PermitError> for Failed {
    fn from(error: PermitError) -> Self {
        Self::Permit(error)
    }
}
impl From<StoreError> for Failed {
    fn from(_: StoreError) -> Self {
        Self::Database
    }
}
impl From<rusqlite::Error> for Failed {
    fn from(_: rusqlite::Error) -> Self {
        Self::Database
    }
}
impl From<PublishError> for Failed {
    fn from(_: PublishError) -> Self {
        Self::Meant
    }
}
impl From<QueueError> for Failed {
    fn from(_: QueueError) -> Self {
        Self::Meant
    }
}

fn put(key: &str) -> impl FnOnce(&Connection, &mut Noted<'_>) -> Result<(), Failed> + Send + use<> {
    let key = key.to_owned();
    move |sql, _| Ok(sql.execute("INSERT INTO fs_meta VALUES (?1, 1)", [&key]).map(|_| ())?)
}

/// Which `synchronous` the change is committed under: 1 is NORMAL, 2 is FULL.
fn synchronous(sql: &Connection, _: &mut Noted<'_>) -> Result<i64, Failed> {
    Ok(sql.pragma_query_value(None, "synchronous", |row| row.get(0))?)
}

fn keys(sql: &Connection) -> Result<Vec<String>, StoreError> {
    Ok(crate::records::load_each(sql, "SELECT key FROM fs_meta ORDER BY key", |row| row.get(0))?)
}

/// Counts the commits from now on.
async fn count_commits(store: &Store) -> Arc<AtomicUsize> {
    let commits = Arc::new(AtomicUsize::new(0));
    let count = commits.clone();
    let hook = move || {
        count.fetch_add(1, Ordering::SeqCst);
        false
    };
    let set = move |sql: &Connection| -> Result<(), StoreError> { Ok(sql.commit_hook(Some(hook))?) };
    store.writer().write(Touches::Rights, set).await.unwrap();
    commits.store(0, Ordering::SeqCst);
    commits
}

fn submit(store: &Store, durability: Durability, key: &str) -> tokio::task::JoinHandle<Result<(), Failed>> {
    let (tables, body) = (store.tables(), put(key));
    tokio::spawn(async move { tables.change(&rights(), durability, body).await })
}

async fn handed_in() {
    // A current-thread runtime runs every spawned task up to its wait before this one goes on.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_that_may_wait_gather_until_one_comes_that_may_not() {
    // STORE-08
    let (_folder, store) = store();
    let commits = count_commits(&store).await;
    store.tables().set_group_delay(LONG);
    let first = submit(&store, Durability::Group, "a");
    handed_in().await;
    let second = submit(&store, Durability::Lazy, "b");
    handed_in().await;
    assert_eq!(commits.load(Ordering::SeqCst), 0, "they wait");
    let hurried = submit(&store, Durability::Strict, "c");
    for job in [first, second, hurried] {
        job.await.unwrap().unwrap();
    }
    assert_eq!(commits.load(Ordering::SeqCst), 1);
    assert_eq!(store.tables().read(keys).await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_change_that_may_wait_does_so_for_its_delay_at_most_and_not_for_a_flush() {
    // STORE-08
    let (_folder, store) = store();
    assert_eq!(store.writer().group_delay().get(), DEFAULT_GROUP_DELAY);
    let alone = store.tables().change(&rights(), Durability::Group, synchronous).await.unwrap();
    assert_eq!(alone, 2, "it is synced before it is answered");
    store.tables().set_group_delay(LONG);
    let waiting = submit(&store, Durability::Group, "a");
    handed_in().await;
    store.flush().await.unwrap();
    waiting.await.unwrap().unwrap();
    let waiting = submit(&store, Durability::Group, "b");
    handed_in().await;
    let closing = store.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    waiting.await.unwrap().unwrap();
    store.tables().set_group_delay(Duration::MAX);
    assert_eq!(store.writer().group_delay().get(), MAX_GROUP_DELAY);
}

#[tokio::test]
async fn a_lazy_change_is_seen_at_once_and_synced_within_a_second() {
    // STORE-09
    let (_folder, store) = store();
    let commits = count_commits(&store).await;
    let tables = store.tables();
    assert_eq!(tables.change(&rights(), Durability::Lazy, synchronous).await.unwrap(), 1);
    tables.change(&rights(), Durability::Lazy, put("a")).await.unwrap();
    assert_eq!(tables.read(keys).await.unwrap(), ["a"]);
    assert_eq!(
        tables.change(&rights(), Durability::Strict, synchronous).await.unwrap(),
        2,
        "others are synced as ever"
    );
    let syncs = |sql: &Connection| -> Result<i64, StoreError> {
        Ok(sql.query_row("SELECT count(*) FROM meta WHERE key = 'syncs'", [], |row| row.get(0))?)
    };
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while tables.read(syncs).await.unwrap() == 0 {
        assert!(std::time::Instant::now() < patience, "it was never synced");
        tokio::task::yield_now().await;
    }
    let counted = commits.load(Ordering::SeqCst);
    store.flush().await.unwrap();
    assert_eq!(commits.load(Ordering::SeqCst), counted, "nothing is left to sync");
}

#[tokio::test]
async fn whoever_waits_for_the_disk_waits_for_what_came_before() {
    // STORE-24
    let (_folder, store) = store();
    let tables = store.tables();
    let syncs = |sql: &Connection| -> Result<Option<String>, StoreError> {
        Ok(sql.query_row("SELECT max(value) FROM meta WHERE key = 'syncs'", [], |row| row.get(0))?)
    };
    tables.change(&rights(), Durability::Lazy, put("a")).await.unwrap();
    let before = tables.read(syncs).await.unwrap();
    tables.change(&rights(), Durability::Strict, |_, _| Ok::<_, Failed>(())).await.unwrap();
    assert_ne!(tables.read(syncs).await.unwrap(), before, "a change of nothing synced the one before it");
    let after = tables.read(syncs).await.unwrap();
    tables.change(&rights(), Durability::Strict, |_, _| Ok::<_, Failed>(())).await.unwrap();
    assert_eq!(tables.read(syncs).await.unwrap(), after, "with nothing before it there is nothing to sync");
}

#[tokio::test]
async fn a_flush_and_closing_sync_what_was_lazy() {
    // STORE-09
    let (folder, store) = store();
    let commits = count_commits(&store).await;
    for key in ["a", "b"] {
        store.tables().change(&rights(), Durability::Lazy, put(key)).await.unwrap();
    }
    let before = commits.load(Ordering::SeqCst);
    store.flush().await.unwrap();
    assert!(commits.load(Ordering::SeqCst) > before, "the flush commits something, and with it what was there");
    store.tables().change(&rights(), Durability::Lazy, put("c")).await.unwrap();
    store.close();
    let again = Store::open(&folder.path().join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
    assert_eq!(again.tables().read(keys).await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_lazy_change_among_others_is_synced_with_them() {
    // STORE-09
    let (_folder, store) = store();
    store.tables().set_group_delay(LONG);
    let first = submit(&store, Durability::Group, "a");
    handed_in().await;
    let tables = store.tables();
    let lazy = tokio::spawn(async move { tables.change(&rights(), Durability::Lazy, synchronous).await });
    handed_in().await;
    submit(&store, Durability::Strict, "b").await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(lazy.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_change_and_what_it_notes_are_kept_together_or_not_at_all() {
    // STORE-22
    let (_folder, store) = store();
    let topic: TopicName = "node.files".parse().unwrap();
    let new = NewTopic { name: topic.clone(), version: 1, schema: "{}".into(), retention: Retention::default() };
    store.events().declare_own(&TASK, new).await.unwrap();
    let (heard, jobs) = (store.events().watch(), store.queues().watch());
    let before = (*heard.borrow(), *jobs.borrow());
    let change = |key: &'static str, version, fails: bool| {
        let event = NewEvent { topic: topic.clone(), version, key: Some(key.into()), payload: "{}".into() };
        move |sql: &Connection, noted: &mut Noted<'_>| -> Result<(u64, u64), Failed> {
            put(key)(sql, noted)?;
            let queue = "hooks".parse().unwrap();
            let job = NewJob {
                queue,
                payload: "1".into(),
                delay: Duration::ZERO,
                priority: 0,
                max_attempts: 3,
                expires: None,
            };
            let ids = (noted.event(event)?, noted.job(&job)?);
            if fails { Err(Failed::Meant) } else { Ok(ids) }
        }
    };
    let tables = store.tables();
    for (version, fails) in [(1, true), (2, false)] {
        let failed = tables.change(&rights(), Durability::Strict, change("undone", version, fails)).await;
        assert!(matches!(failed, Err(Failed::Meant)), "{failed:?}");
    }
    assert_eq!((*heard.borrow(), *jobs.borrow()), before);
    let ids = tables.change(&rights(), Durability::Strict, change("kept", 1, false)).await.unwrap();
    assert_eq!((*heard.borrow(), *jobs.borrow()), ids);
    assert_eq!(tables.read(keys).await.unwrap(), ["kept"]);
    let producer = |sql: &Connection| -> Result<String, StoreError> {
        Ok(sql.query_row("SELECT producer FROM jobs", [], |row| row.get(0))?)
    };
    assert_eq!(tables.read(producer).await.unwrap(), LOCAL_OWNER);
}

#[tokio::test]
async fn only_commits_that_changed_the_tables_are_told() {
    // STORE-22
    let (_folder, store) = store();
    let tables = store.tables();
    let told = tables.watch();
    assert_eq!(*told.borrow(), 0);
    tables.change(&rights(), Durability::Lazy, put("a")).await.unwrap();
    assert_eq!(*told.borrow(), 1);
    tables.change(&rights(), Durability::Strict, put("a")).await.unwrap_err();
    store.writer().write(Touches::Nothing, |_| Ok::<(), StoreError>(())).await.unwrap();
    assert_eq!(*told.borrow(), 1);
    store.close();
    assert!(told.has_changed().is_err(), "the end is heard");
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

#[tokio::test]
async fn rights_that_end_while_a_change_waits_undo_it() {
    // STORE-22
    let (_folder, store) = store();
    let counter = Arc::new(AtomicU64::new(0));
    let scopes: ScopeSet = ["fs:write".parse().unwrap()].into_iter().collect();
    let who = Identity::new("ann", scopes, ResourceGrants::default()).with_standing(Standing::at_present(&counter));
    let rule = AccessRule::scoped(["fs:write".parse().unwrap()]);
    let caller = Caller { identity: Some(Arc::new(who)), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "fs/mkdir", rule: &rule, resource: None, effect: Effect::Mutation };
    let permit = Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap();
    let rights = Rights::of(&permit).unwrap();
    drop(permit);
    let tables = store.tables();
    tables.change(&rights, Durability::Strict, put("before")).await.unwrap();
    let ends = counter.clone();
    let during = move |sql: &Connection, noted: &mut Noted<'_>| {
        put("during")(sql, noted)?;
        ends.fetch_add(1, Ordering::AcqRel);
        Ok::<(), Failed>(())
    };
    let failed = tables.change(&rights, Durability::Strict, during).await;
    assert!(matches!(failed, Err(Failed::Permit(PermitError::Revoked))));
    let failed = tables.change(&rights, Durability::Strict, put("after")).await;
    assert!(matches!(failed, Err(Failed::Permit(PermitError::Revoked))));
    assert_eq!(tables.read(keys).await.unwrap(), ["before"]);
}

#[tokio::test]
async fn a_read_sees_one_commit_throughout_on_whichever_thread() {
    // STORE-07
    let (_folder, store) = store();
    let tables = store.tables();
    let (wrote, written) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let reading = {
        let tables = tables.clone();
        std::thread::spawn(move || {
            tables.read_here(|sql| -> Result<_, StoreError> {
                let before = keys(sql)?;
                entered.send(()).unwrap();
                written.recv_timeout(LONG).unwrap();
                Ok((before, keys(sql)?))
            })
        })
    };
    tokio::task::spawn_blocking(move || inside.recv_timeout(LONG).unwrap()).await.unwrap();
    tables.change(&rights(), Durability::Strict, put("a")).await.unwrap();
    wrote.send(()).unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), (vec![], vec![]));
    assert_eq!(tables.read_here(keys).unwrap(), ["a"]);
    let writes = |sql: &Connection| -> Result<(), StoreError> {
        Ok(sql.execute("INSERT INTO fs_meta VALUES ('x', 1)", []).map(|_| ())?)
    };
    assert!(tables.read_here(writes).is_err() && tables.read(writes).await.is_err());
    store.close();
    assert!(matches!(tables.read_here(keys), Err(StoreError::Closed)));
    assert!(matches!(tables.read(keys).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn two_connections_that_read_together_see_one_commit_whoever_writes_meanwhile() {
    // STORE-26
    let (_folder, store) = store();
    let tables = store.tables();
    tables.change(&rights(), Durability::Lazy, put("0")).await.unwrap();
    let writer = tables.clone();
    let (stop, mut stopped) = watch::channel(false);
    let writing = tokio::spawn(async move {
        let mut written = 0_u64;
        while !*stopped.borrow_and_update() {
            written += 1;
            writer.change(&rights(), Durability::Lazy, put(&written.to_string())).await.unwrap();
        }
    });
    let (mut pairs, mut seen) = (0, 0);
    while pairs < 50 || seen < 2 {
        let both = tables.read_by_two(|first, second| {
            let mine = keys(first)?.len();
            let theirs = second.map(|second| std::thread::spawn(move || keys(&second).map(|keys| keys.len())));
            Ok::<_, StoreError>((mine, theirs.map(|thread| thread.join().unwrap()).transpose()?, keys(first)?.len()))
        });
        let (mine, theirs, again) = both.await.unwrap();
        assert_eq!(mine, again);
        if let Some(theirs) = theirs {
            assert_eq!(mine, theirs);
            pairs += 1;
            seen = seen.max(mine);
        }
    }
    stop.send_replace(true);
    writing.await.unwrap();
}

#[tokio::test]
async fn who_finds_no_second_connection_free_reads_alone() {
    // STORE-26
    let (_folder, store) = store();
    let tables = store.tables();
    let with_second = || tables.read_by_two(|sql, second| Ok::<_, StoreError>((keys(sql)?.len(), second.is_some())));
    assert_eq!(with_second().await.unwrap(), (0, true));
    let (all_done, (entered, mut enter)) =
        (Arc::new(std::sync::Barrier::new(MAX_READERS)), tokio::sync::mpsc::unbounded_channel());
    let others: Vec<_> = (1..MAX_READERS)
        .map(|_| {
            let (tables, all_done, entered) = (tables.clone(), all_done.clone(), entered.clone());
            let wait = move |_: &Connection| {
                entered.send(()).unwrap();
                all_done.wait();
                Ok::<_, StoreError>(())
            };
            tokio::spawn(async move { tables.read(wait).await })
        })
        .collect();
    for _ in &others {
        enter.recv().await.unwrap();
    }
    assert_eq!(with_second().await.unwrap(), (0, false));
    tokio::task::spawn_blocking(move || all_done.wait()).await.unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(with_second().await.unwrap(), (0, true), "a second connection goes back where it came from");
}
