//! Mutations that run once and only once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CallError, CallOptions, CallRequest, ErrorCode, LocalClient, Nothing, Operation, Registry, SubscribeOptions,
};
use alknet_core::{
    AccessRule, Authorizer, Begun, BoxFuture, CallJournal, Caller, Identity, JournalError, OutcomeKey, PeerAddr,
    ResourceGrants, ScopeSet, Sessions, Standing,
};
use alknet_testkit::identities::KeptAudit;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::node::{scoped, soon, until};

/// The digest of an input, and the outcome once there is one.
type Known = ([u8; 32], Option<String>);

/// A journal in memory that can be told what to answer.
#[derive(Default)]
struct Fake {
    known: Mutex<HashMap<OutcomeKey, Known>>,
    is_full: AtomicBool,
    is_broken: AtomicBool,
    forgets_ends: AtomicBool,
}

impl Fake {
    fn begin_now(&self, key: OutcomeKey, digest: [u8; 32]) -> Result<Begun, JournalError> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(JournalError::Full);
        }
        if self.is_broken.load(Ordering::Acquire) {
            return Err(JournalError::Unavailable(Arc::new(std::io::Error::other("disk sda1 is on fire"))));
        }
        let mut known = self.known.lock().unwrap();
        Ok(match known.get(&key) {
            None => {
                known.insert(key, (digest, None));
                Begun::Fresh
            }
            Some((other, _)) if *other != digest => Begun::OtherInput,
            Some((_, None)) => Begun::Unknown,
            Some((_, Some(outcome))) if outcome.len() > 1000 => Begun::TooLarge,
            Some((_, Some(outcome))) => Begun::Ended(outcome.clone()),
        })
    }
    fn len(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

impl CallJournal for Fake {
    fn begin(&self, key: OutcomeKey, digest: [u8; 32]) -> BoxFuture<'_, Result<Begun, JournalError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.begin_now(key, digest)
        })
    }
    fn end(&self, key: OutcomeKey, outcome: String) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if !self.forgets_ends.load(Ordering::Acquire) {
                self.known.lock().unwrap().get_mut(&key).ok_or(JournalError::NotBegun)?.1 = Some(outcome);
            }
            Ok(())
        })
    }
    fn forget(&self, key: OutcomeKey) -> BoxFuture<'_, Result<(), JournalError>> {
        self.known.lock().unwrap().remove(&key);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Act {
    /// What to do when let go on.
    how: String,
    #[serde(default)]
    nth: u32,
}

/// What the operations did.
struct Acts {
    begun: AtomicUsize,
    /// Lets `wait` go on.
    free: Semaphore,
    running: AtomicUsize,
}

struct Running(Arc<Acts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn act(acts: Arc<Acts>, act: Act) -> Result<Value, CallError> {
    let nth = acts.begun.fetch_add(1, Ordering::AcqRel);
    acts.running.fetch_add(1, Ordering::AcqRel);
    let _running = Running(acts.clone());
    match act.how.as_str() {
        "wait" => acts.free.acquire().await.unwrap().forget(),
        "fail" => return Err(CallError::declared("FULL", "no room").with_details(json!({"nth": nth}))),
        "internal" => return Err(CallError::internal("as the test wants")),
        "panic" => panic!("as the test wants"),
        "absent" => return Err(CallError::not_found("no such thing")),
        "large" => return Ok(json!("x".repeat(2000))),
        _ => {}
    }
    Ok(json!({ "nth": nth }))
}

struct Once {
    registry: Arc<Registry>,
    journal: Arc<Fake>,
    acts: Arc<Acts>,
    sessions: Sessions,
}

impl Once {
    fn new() -> Self {
        Self::over(Arc::new(Fake::default()))
    }

    fn over(journal: Arc<Fake>) -> Self {
        let acts = Acts { begun: AtomicUsize::new(0), free: Semaphore::new(0), running: AtomicUsize::new(0) };
        let (acts, sessions) = (Arc::new(acts), Sessions::default());
        let registry = registry(journal.clone(), &acts, &sessions);
        Self { registry, journal, acts, sessions }
    }

    async fn ask(&self, operation: &str, key: &str, how: &str) -> Result<Value, CallError> {
        soon(client(&self.registry, Some(identity("alice"))).call(operation, json!({"how": how}), keyed(key))).await
    }

    /// Begins a call that waits.
    fn spawn(&self, key: &str) -> tokio::task::JoinHandle<Result<Value, CallError>> {
        let (client, key) = (client(&self.registry, Some(identity("alice"))), keyed(key));
        tokio::spawn(async move { client.call("act/do", json!({"how": "wait"}), key).await })
    }

    fn begun(&self) -> usize {
        self.acts.begun.load(Ordering::Acquire)
    }

    fn running(&self) -> usize {
        self.acts.running.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.running() == 0 && self.registry.graph().live() == 0 && self.sessions.list().is_empty()
    }
}

fn registry(journal: Arc<dyn CallJournal>, acts: &Arc<Acts>, sessions: &Sessions) -> Arc<Registry> {
    let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), sessions.clone());
    builder.journal(journal);
    let handler = |acts: &Arc<Acts>| {
        let acts = acts.clone();
        move |_, input: Act| act(acts.clone(), input)
    };
    let mutation = |name: &str| Operation::mutation(name).access(scoped()).error("FULL", "There is no room.");
    for operation in [
        mutation("act/do").handler(handler(acts)),
        mutation("act/other").handler(handler(acts)),
        mutation("act/again").idempotent().handler(handler(acts)),
        Operation::mutation("act/open").access(AccessRule::public()).handler(handler(acts)),
        Operation::query("act/ask").access(scoped()).handler(handler(acts)),
        Operation::subscription("act/watch")
            .access(scoped())
            .items(|_, _: Nothing| async { Ok(stream::empty::<Result<alknet_call::Item<Value>, CallError>>()) }),
    ] {
        builder.register(operation).unwrap();
    }
    builder.build().unwrap()
}

fn identity(name: &str) -> Identity {
    Identity::new(name, ScopeSet::from_iter(["test:run".parse().unwrap()]), ResourceGrants::default())
}

fn client(registry: &Arc<Registry>, identity: Option<Identity>) -> LocalClient {
    let caller = Caller { identity: identity.map(Arc::new), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    LocalClient::new(registry.clone(), caller)
}

fn keyed(key: &str) -> CallOptions {
    CallOptions { idempotency_key: Some(key.to_owned()), ..CallOptions::default() }
}

// CALL-26: a repetition gets the first outcome, output or error; the same key of another operation or identity is another.
#[tokio::test]
async fn a_repetition_gets_the_first_outcome() {
    let once = Once::new();
    for (key, how) in [("k-1", "go"), ("k-2", "fail"), ("k-3", "internal"), ("k-4", "panic")] {
        let first = once.ask("act/do", key, how).await;
        let begun = once.begun();
        assert_eq!(once.ask("act/do", key, how).await, first, "{how}");
        assert_eq!(once.begun(), begun, "{how} was not run again");
    }
    let restarted = Once::over(once.journal.clone());
    assert_eq!(restarted.ask("act/do", "k-1", "go").await, Ok(json!({"nth": 0})), "also after a restart");
    let error = restarted.ask("act/do", "k-2", "fail").await.unwrap_err();
    assert_eq!((error.code.as_str(), error.details), ("FULL", Some(json!({"nth": 1}))));
    assert_eq!(restarted.begun(), 0);
    assert_eq!(restarted.ask("act/other", "k-1", "go").await, Ok(json!({"nth": 0})));
    let bob = client(&restarted.registry, Some(identity("bob")));
    assert_eq!(bob.call("act/do", json!({"how": "go"}), keyed("k-1")).await, Ok(json!({"nth": 1})));
    let plain = client(&restarted.registry, Some(identity("alice")));
    assert_eq!(plain.call("act/do", json!({"how": "go"}), CallOptions::default()).await, Ok(json!({"nth": 2})));
    assert!(once.is_over() && restarted.is_over());
}

// CALL-26 CALL-46
#[tokio::test]
async fn keys_have_a_form_an_owner_and_one_input() {
    let once = Once::new();
    let pointed = |error: CallError| (error.code, error.details);
    let at_key = (ErrorCode::InvalidInput, Some(json!({"pointer": "/idempotencyKey"})));
    for bad in ["", "a b", "ä", "\n", &"k".repeat(129)] {
        assert_eq!(pointed(once.ask("act/do", bad, "go").await.unwrap_err()), at_key, "{bad:?}");
    }
    assert!(once.ask("act/do", &"~".repeat(128), "go").await.is_ok());
    assert!(once.ask("act/do", "k", "go").await.is_ok());
    assert_eq!(pointed(once.ask("act/do", "k", "fail").await.unwrap_err()), at_key, "another input");
    let first = once.spawn("w");
    until(|| once.running() == 1).await;
    assert_eq!(pointed(once.ask("act/do", "w", "go").await.unwrap_err()), at_key, "also while the first runs");
    once.acts.free.add_permits(1);
    soon(first).await.unwrap().unwrap();
    let nobody = client(&once.registry, None);
    let refused = nobody.call("act/open", json!({"how": "go"}), keyed("k")).await.unwrap_err();
    assert_eq!(pointed(refused), at_key, "nobody has no keys");
    let subscribe = SubscribeOptions { call: keyed("k"), ..SubscribeOptions::default() };
    let alice = client(&once.registry, Some(identity("alice")));
    assert_eq!(pointed(alice.subscribe("act/watch", json!({}), subscribe).await.unwrap_err()), at_key);
    let before = once.journal.len();
    let asked = [once.ask("act/ask", "k", "go").await.unwrap(), once.ask("act/ask", "k", "go").await.unwrap()];
    assert_ne!(asked[0], asked[1], "a query is asked anew");
    assert_eq!(once.journal.len(), before);
}

// CALL-26: whoever comes while the first runs waits with it; the first is called off only when nobody waits any more.
#[tokio::test]
async fn those_who_come_meanwhile_wait_for_the_same_outcome() {
    let once = Once::new();
    let waiting: Vec<_> = (0..4).map(|_| once.spawn("k")).collect();
    until(|| once.sessions.list().len() == 5).await;
    waiting[0].abort();
    until(|| once.sessions.list().len() == 4).await;
    assert_eq!((once.begun(), once.running()), (1, 1), "the first may leave");
    once.acts.free.add_permits(1);
    for (nth, task) in waiting.into_iter().enumerate().skip(1) {
        assert_eq!(soon(task).await.unwrap(), Ok(json!({"nth": 0})), "{nth}");
    }
    let all: Vec<_> = (0..3).map(|_| once.spawn("gone")).collect();
    until(|| once.sessions.list().len() == 4).await;
    all.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| once.is_over()).await;
    assert_eq!(once.begun(), 2);
    let outcome = once.ask("act/do", "gone", "wait").await.unwrap_err();
    assert_eq!(outcome.code, ErrorCode::Aborted, "it may have taken effect, so it is not run again");
    assert_eq!(once.begun(), 2);
}

// CALL-26 CALL-17 CALL-15: the deadline and the abort of one who waits are its own; the last to leave is told once the work is gone.
#[tokio::test]
async fn who_waits_has_a_deadline_of_its_own() {
    let once = Once::new();
    let patient = once.spawn("k");
    until(|| once.running() == 1).await;
    let alice = client(&once.registry, Some(identity("alice")));
    let hurried = |key: &str| CallOptions { deadline: Some(Duration::from_millis(5)), ..keyed(key) };
    let late = alice.call("act/do", json!({"how": "wait"}), hurried("k")).await.unwrap_err();
    assert_eq!((late.code, late.retryable, once.running()), (ErrorCode::Timeout, false, 1));
    once.acts.free.add_permits(1);
    assert!(soon(patient).await.unwrap().is_ok());
    let late = alice.call("act/do", json!({"how": "wait"}), hurried("alone")).await.unwrap_err();
    assert_eq!((late.code, once.running()), (ErrorCode::Timeout, 0), "nobody waits, so the work is gone");
    assert_eq!(
        once.ask("act/do", "alone", "wait").await.unwrap_err().code,
        ErrorCode::Timeout,
        "and that is its outcome"
    );
    let late = alice.call("act/again", json!({"how": "wait"}), hurried("again")).await.unwrap_err();
    assert_eq!((late.code, late.retryable), (ErrorCode::Timeout, true));
    once.acts.free.add_permits(1);
    assert!(once.ask("act/again", "again", "wait").await.is_ok(), "what is idempotent is run again");
    let request =
        CallRequest { idempotency_key: Some("aborted".into()), ..CallRequest::new("act/do", json!({"how": "wait"})) };
    let abort = request.abort.clone();
    let caller =
        Caller { identity: Some(Arc::new(identity("alice"))), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let registry = once.registry.clone();
    let task = tokio::spawn(async move { registry.invoke(caller, request).await });
    until(|| once.running() == 1).await;
    abort.cancel();
    assert_eq!(soon(task).await.unwrap().unwrap_err().code, ErrorCode::Aborted);
    assert!(once.is_over());
}

// CALL-46: what says that nothing was done leaves the key free.
#[tokio::test]
async fn what_did_nothing_is_not_kept() {
    let once = Once::new();
    let stranger = client(&once.registry, Some(Identity::new("eve", ScopeSet::default(), ResourceGrants::default())));
    let refused = stranger.call("act/do", json!({"how": "go"}), keyed("k")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let nobody = client(&once.registry, None).call("act/do", json!({"how": "go"}), keyed("k")).await.unwrap_err();
    assert_eq!(nobody.code, ErrorCode::Unauthenticated, "the gate speaks before the key does");
    let alice = client(&once.registry, Some(identity("alice")));
    let misfit = alice.call("act/do", json!({"how": 7}), keyed("k")).await.unwrap_err();
    assert_eq!(misfit.details, Some(json!({"pointer": "/how"})));
    assert_eq!((once.begun(), once.journal.len()), (0, 0), "none of them reached the journal");
    assert_eq!(once.ask("act/do", "k", "absent").await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!((once.begun(), once.journal.len()), (1, 0), "what the handler could not find is not kept either");
    assert!(once.ask("act/do", "k", "go").await.is_ok(), "the key is free");
    once.journal.is_full.store(true, Ordering::Release);
    let full = once.ask("act/do", "full", "go").await.unwrap_err();
    assert_eq!((full.code, full.retryable), (ErrorCode::Overloaded, true));
    once.journal.is_full.store(false, Ordering::Release);
    once.journal.is_broken.store(true, Ordering::Release);
    let broken = once.ask("act/do", "broken", "go").await.unwrap_err();
    assert_eq!((broken.code, broken.retryable), (ErrorCode::Unavailable, true));
    assert!(!broken.message.contains("sda1"));
    assert_eq!(once.begun(), 2, "without a beginning on disk nothing is run");
}

// CALL-46: after a crash in the middle, only what is idempotent is run again.
#[tokio::test]
async fn what_a_crash_left_open_is_unknown() {
    let once = Once::new();
    once.journal.forgets_ends.store(true, Ordering::Release);
    for operation in ["act/do", "act/again"] {
        assert!(once.ask(operation, "k", "go").await.is_ok());
    }
    once.journal.forgets_ends.store(false, Ordering::Release);
    let restarted = Once::over(once.journal.clone());
    for _ in 0..2 {
        let error = restarted.ask("act/do", "k", "go").await.unwrap_err();
        assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, false));
        assert_eq!(error.details, Some(json!({"outcome": "unknown"})));
    }
    assert_eq!(restarted.begun(), 0);
    assert_eq!(restarted.ask("act/again", "k", "go").await, Ok(json!({"nth": 0})));
    assert_eq!(restarted.ask("act/again", "k", "go").await, Ok(json!({"nth": 0})), "and kept now");
    assert!(restarted.ask("act/do", "large", "large").await.is_ok());
    let error = restarted.ask("act/do", "large", "large").await.unwrap_err();
    assert_eq!((error.code, error.details), (ErrorCode::Unavailable, Some(json!({"outcome": "too-large"}))));
}

// CALL-26 CALL-25: the gate is asked again, and who lost the rights while waiting is told nothing.
#[tokio::test]
async fn an_outcome_is_repeated_only_to_whom_it_may_be() {
    let once = Once::new();
    assert!(once.ask("act/do", "k", "go").await.is_ok());
    let demoted = client(&once.registry, Some(Identity::new("alice", ScopeSet::default(), ResourceGrants::default())));
    let refused = demoted.call("act/do", json!({"how": "go"}), keyed("k")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let changed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let fleeting = client(&once.registry, Some(identity("alice").with_standing(Standing::at_present(&changed))));
    let first = once.spawn("w");
    until(|| once.running() == 1).await;
    let second = tokio::spawn(async move { fleeting.call("act/do", json!({"how": "wait"}), keyed("w")).await });
    until(|| once.sessions.list().len() == 3).await;
    changed.fetch_add(1, Ordering::AcqRel);
    once.acts.free.add_permits(1);
    assert!(soon(first).await.unwrap().is_ok());
    assert_eq!(soon(second).await.unwrap().unwrap_err().code, ErrorCode::Unauthenticated);
    let third = once.spawn("r");
    until(|| once.running() == 1).await;
    assert_eq!(once.sessions.cancel_identity("alice"), 2);
    assert_eq!(soon(third).await.unwrap().unwrap_err().code, ErrorCode::Unauthenticated);
    assert!(once.is_over());
    let known = once.ask("act/do", "r", "wait").await.unwrap_err();
    assert_eq!(known.details, Some(json!({"outcome": "unknown"})), "rights that come back change no past");
}

// CALL-46
#[tokio::test]
async fn without_a_place_for_outcomes_nothing_is_run() {
    let node = crate::node::Node::new();
    let refused = node.local(Some(identity("alice"))).call("test/wait", json!({}), keyed("k")).await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::Unavailable, false));
    assert_eq!(node.waits.dropped.load(Ordering::Acquire), 0);
}

// CALL-26: over the database, with restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alknet.db");
    let open = || alknet_store::Store::open(&path, alknet_store::Roles::default(), Sessions::default()).unwrap();
    let acts = Arc::new(Acts { begun: AtomicUsize::new(0), free: Semaphore::new(0), running: AtomicUsize::new(0) });
    let ask = async |store: &alknet_store::Store, key: &str, how: &str| {
        let registry = registry(Arc::new(store.outcomes()), &acts, &Sessions::default());
        let alice = client(&registry, Some(identity("alice")));
        soon(alice.call("act/do", json!({"how": how}), keyed(key))).await
    };
    for start in 0..2 {
        let store = open();
        assert_eq!(ask(&store, "k", "go").await, Ok(json!({"nth": 0})), "start {start}");
        let failed = ask(&store, "f", "fail").await.unwrap_err();
        assert_eq!(failed.details, Some(json!({"nth": 1})));
        assert_eq!(ask(&store, "k", "fail").await.unwrap_err().code, ErrorCode::InvalidInput, "another input");
        store.close();
    }
    assert_eq!(acts.begun.load(Ordering::Acquire), 2);
}
