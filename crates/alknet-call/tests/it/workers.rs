//! A head, its workers and callers, over real connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CALL, CallClient, CallError, CallOptions, ErrorCode, HeadState, Item, Nothing, Operation, OperationContext,
    ReconnectingClient, SubscribeOptions, stay,
};
use alknet_core::{AccessRule, Caller, PeerAddr};
use alknet_net::CarrierPolicy;
use alknet_testkit::{identities::peer_with_key, memory};
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    fleet::{Lent, Machine, somebody},
    node::{Node, RawPeer, alice, key, soon, until},
};

const HEAD: u8 = 1;
const WORKER: u8 = 2;
const BOSS: u8 = 3;
const CLERK: u8 = 4;
const CARRIERS: [CarrierPolicy; 2] = [CarrierPolicy::TcpOnly, CarrierPolicy::QuicOnly];

#[derive(Serialize, JsonSchema)]
struct Told {
    caller: Option<String>,
    origin: Option<String>,
    via: Vec<String>,
}

/// What runs at the worker.
#[derive(Default)]
struct Work {
    waiting: AtomicUsize,
    dropped: AtomicUsize,
    ticks: AtomicUsize,
}

struct Waiting(Arc<Work>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

fn run() -> AccessRule {
    AccessRule::scoped(["job:run".parse().unwrap()])
}

fn jobs(work: &Arc<Work>) -> Vec<Operation> {
    let wait = |work: &Arc<Work>| {
        let work = work.clone();
        move |_: Arc<OperationContext>, _: Nothing| {
            let work = work.clone();
            async move {
                work.waiting.fetch_add(1, Ordering::AcqRel);
                let _waiting = Waiting(work);
                std::future::pending::<Result<Value, CallError>>().await
            }
        }
    };
    let ticking = work.clone();
    vec![
        Operation::query("job/tell").access(run()).handler(|context, _: Nothing| async move {
            let (caller, origin) = (context.caller.id().map(str::to_owned), context.origin.clone());
            Ok::<_, CallError>(Told { caller, origin, via: context.via.clone() })
        }),
        Operation::mutation("job/wait").access(run()).handler(wait(work)),
        Operation::mutation("job/wait-idempotent").idempotent().access(run()).handler(wait(work)),
        Operation::subscription("job/ticks").access(run()).items(move |_, _: Nothing| {
            let work = ticking.clone();
            async move {
                let ticks = stream::iter(0_u64..).map(move |tick| {
                    work.ticks.fetch_add(1, Ordering::AcqRel);
                    Ok::<_, CallError>(Item::new(tick))
                });
                Ok(ticks.boxed())
            }
        }),
        Operation::query("job/private")
            .access(AccessRule::scoped(["job:private".parse().unwrap()]))
            .handler(|_, _: Nothing| async move { Ok::<_, CallError>(1) }),
    ]
}

async fn fleet() -> (Machine, Machine, Arc<Work>) {
    let work = Arc::new(Work::default());
    let (head, worker) = (Machine::start(HEAD, Vec::new()).await, Machine::start(WORKER, jobs(&work)).await);
    head.knows(WORKER, somebody("box", &["workers:offer"]));
    head.knows(BOSS, somebody("boss", &["remote:*", "job:run"]));
    head.knows(CLERK, somebody("clerk", &["job:run"]));
    worker.knows(HEAD, somebody("hub", &["job:run"]));
    (head, worker, work)
}

async fn joined(lent: &Lent) -> usize {
    let mut state = lent.state.clone();
    let joined = soon(state.wait_for(|state| matches!(state, HeadState::Joined { .. }))).await.unwrap().clone();
    match joined {
        HeadState::Joined { offered } => offered,
        other => panic!("{other:?}"),
    }
}

async fn call(client: &CallClient, operation: &str) -> Result<Value, CallError> {
    soon(client.call(operation, json!({}), CallOptions::default())).await
}

async fn listed(client: &CallClient) -> Vec<String> {
    let page = call(client, "services/list").await.unwrap();
    page["operations"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

// CALL-30, CALL-31, CALL-53, CALL-54
#[tokio::test]
async fn what_a_worker_lends_is_listed_described_and_called() {
    for carrier in CARRIERS {
        let (head, worker, _) = fleet().await;
        let lent = worker.join(&head, carrier);
        joined(&lent).await;
        let boss = head.client(BOSS, carrier).await;
        let names = listed(&boss).await;
        assert!(names.contains(&"box/job/tell".to_owned()), "{names:?}");
        assert!(names.is_sorted(), "{names:?}");
        assert!(!names.contains(&"box/job/private".to_owned()), "the head's role at the worker does not allow it");
        let asked = json!({"names": ["box/job/tell", "box/job/private"]});
        let schema = boss.call("services/schema", asked, CallOptions::default()).await.unwrap();
        assert_eq!(schema["operations"][0]["access"]["scopes"], json!(["job:run", "remote:box"]));
        assert_eq!(schema["missing"], json!(["box/job/private"]));
        for operation in ["box/job/tell", "any/job/tell"] {
            let told = call(&boss, operation).await.unwrap();
            let expected = json!({"caller": "hub", "origin": "boss", "via": [key(HEAD).to_string()]});
            assert_eq!(told, expected, "the worker knows the head; the origin grants nothing");
        }
        let clerk = head.client(CLERK, carrier).await;
        assert!(!listed(&clerk).await.iter().any(|name| name.starts_with("box/")));
        for operation in ["box/job/tell", "any/job/tell"] {
            assert_eq!(call(&clerk, operation).await.unwrap_err().code, ErrorCode::NotFound);
        }
        assert_eq!(call(&boss, "box/job/private").await.unwrap_err().code, ErrorCode::NotFound);
    }
}

// CALL-59, CALL-60: a worker's coming and going changes what can be called, for those who may call it.
#[tokio::test]
async fn what_can_be_called_is_watched() {
    let (head, worker, _) = fleet().await;
    let boss = head.client(BOSS, CARRIERS[0]).await;
    let mut watched = boss.subscribe("services/watch", json!({}), SubscribeOptions::default()).await.unwrap();
    let without = watched.next().await.unwrap().unwrap().output;
    let lent = worker.join(&head, CARRIERS[0]);
    let offered = joined(&lent).await;
    let with = watched.next().await.unwrap().unwrap().output;
    assert_ne!(with, without);
    let peers = json!({"peers": [{"name": "box", "connected": true, "operations": offered}]});
    assert_eq!(call(&boss, "services/peers").await.unwrap(), peers);
    let clerk = head.client(CLERK, CARRIERS[0]).await;
    assert_eq!(call(&clerk, "services/peers").await.unwrap(), json!({"peers": []}), "no right to reach it");
    drop(lent);
    assert_eq!(watched.next().await.unwrap().unwrap().output, without);
    assert_eq!(call(&boss, "services/peers").await.unwrap()["peers"][0]["connected"], false);
}

// CALL-15, CALL-54: an abort goes all the way.
#[tokio::test]
async fn an_abort_reaches_the_handler_at_the_worker() {
    for carrier in CARRIERS {
        let (head, worker, work) = fleet().await;
        let lent = worker.join(&head, carrier);
        joined(&lent).await;
        let boss = head.client(BOSS, carrier).await;
        tokio::select! {
            outcome = boss.call("box/job/wait", json!({}), CallOptions::default()) => panic!("{outcome:?}"),
            () = until(|| work.waiting.load(Ordering::Acquire) == 1) => {}
        }
        until(|| work.dropped.load(Ordering::Acquire) == 1).await;
        let options = CallOptions { deadline: Some(Duration::from_millis(100)), ..CallOptions::default() };
        let late = soon(boss.call("box/job/wait", json!({}), options)).await.unwrap_err();
        assert_eq!(late.code, ErrorCode::Timeout);
        until(|| work.waiting.load(Ordering::Acquire) == 0).await;
        // Rights that end at the head end the work at the worker.
        let waiting = tokio::spawn({
            let boss = boss.clone();
            async move { boss.call("box/job/wait", json!({}), CallOptions::default()).await }
        });
        until(|| work.waiting.load(Ordering::Acquire) == 1).await;
        head.sessions.cancel_identity("boss");
        assert!(soon(waiting).await.unwrap().is_err());
        until(|| work.waiting.load(Ordering::Acquire) == 0).await;
    }
}

// CALL-41, CALL-54: credit end to end.
#[tokio::test]
async fn a_subscriber_that_takes_nothing_stops_the_worker() {
    for carrier in CARRIERS {
        let (head, worker, work) = fleet().await;
        let lent = worker.join(&head, carrier);
        joined(&lent).await;
        let boss = head.client(BOSS, carrier).await;
        let options = SubscribeOptions { window: 4, ..SubscribeOptions::default() };
        let mut ticks = soon(boss.subscribe("box/job/ticks", json!({}), options)).await.unwrap();
        for tick in 0..100_u64 {
            assert_eq!(soon(ticks.next()).await.unwrap().unwrap().output, tick);
        }
        // Four wait here, four at the head, and one at most in the worker's hand.
        until(|| work.ticks.load(Ordering::Acquire) >= 104).await;
        assert!(call(&boss, "box/job/tell").await.is_ok(), "other calls of the stream go on");
        let made = work.ticks.load(Ordering::Acquire);
        assert!(made <= 100 + 3 * 4, "{made} ticks were made for 100 that were taken");
        drop(ticks);
        assert!(call(&boss, "box/job/tell").await.is_ok());
    }
}

// CALL-56, CALL-57
#[tokio::test]
async fn a_worker_that_vanishes_is_unavailable_until_it_is_back() {
    for carrier in CARRIERS {
        let (head, worker, work) = fleet().await;
        let lent = worker.join(&head, carrier);
        joined(&lent).await;
        let boss = head.client(BOSS, carrier).await;
        let ask = |operation: &'static str| {
            let boss = boss.clone();
            tokio::spawn(async move { boss.call(operation, json!({}), CallOptions::default()).await })
        };
        let (once, often) = (ask("box/job/wait"), ask("box/job/wait-idempotent"));
        until(|| work.waiting.load(Ordering::Acquire) == 2).await;
        let mut ticks = boss.subscribe("box/job/ticks", json!({}), SubscribeOptions::default()).await.unwrap();
        assert!(soon(ticks.next()).await.unwrap().is_ok());
        let connection = lent.present.borrow().clone().unwrap();
        connection.close(0, b"the cable is pulled");
        for (outcome, retryable) in [(once, false), (often, true)] {
            let error = soon(outcome).await.unwrap().unwrap_err();
            assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, retryable));
        }
        let last = soon(async {
            loop {
                match ticks.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("a subscription that is cut is not complete"),
                }
            }
        });
        assert_eq!(last.await.code, ErrorCode::Unavailable);
        // It dials and offers again by itself.
        soon(async {
            loop {
                match boss.call("box/job/tell", json!({}), CallOptions::default()).await {
                    Ok(_) => break,
                    Err(error) => assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, true)),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        drop(lent);
        until(|| head.registry.routes().workers().iter().all(|worker| !worker.connected)).await;
        let gone = call(&boss, "box/job/tell").await.unwrap_err();
        assert_eq!((gone.code, gone.retryable), (ErrorCode::Unavailable, true));
        assert!(!listed(&boss).await.iter().any(|name| name.starts_with("box/")));
    }
}

// CALL-57, CALL-25: what the head may do here decides what it is offered, also when that changes.
#[tokio::test]
async fn a_change_of_the_heads_rights_changes_the_offer() {
    let (head, worker, _) = fleet().await;
    let lent = worker.join(&head, CarrierPolicy::TcpOnly);
    joined(&lent).await;
    head.knows(BOSS, somebody("boss", &["*:*"]));
    let boss = head.client(BOSS, CarrierPolicy::TcpOnly).await;
    assert_eq!(call(&boss, "box/job/private").await.unwrap_err().code, ErrorCode::NotFound);
    worker.knows(HEAD, somebody("hub", &["job:private"]));
    worker.sessions.cancel_identity("hub");
    soon(async {
        while call(&boss, "box/job/private").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(call(&boss, "box/job/tell").await.unwrap_err().code, ErrorCode::NotFound);
    // Without a right to offer it is told so.
    head.knows(WORKER, somebody("box", &[]));
    head.sessions.cancel_identity("box");
    let mut state = lent.state.clone();
    soon(state.wait_for(|state| matches!(state, HeadState::Refused(_)))).await.unwrap();
}

// CALL-57: a head that says nothing any more is lost, though nobody closed the connection.
#[tokio::test(start_paused = true)]
async fn a_head_that_fell_silent_is_dialled_again() {
    let dials = Arc::new(AtomicUsize::new(0));
    let (dialled, held) = (dials.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let client = ReconnectingClient::new(move || {
        dialled.fetch_add(1, Ordering::AcqRel);
        let (near, far) = memory::pair(&CALL, peer_with_key(WORKER), peer_with_key(HEAD));
        // It takes the offer, then it only reads.
        let held = held.clone();
        tokio::spawn(async move {
            let mut head = RawPeer::accept(far).await;
            let mut offer = head.next().await.unwrap();
            while offer["type"] != "call.requested" {
                offer = head.next().await.unwrap();
            }
            let payload = json!({"output": {"offered": 1}, "seq": 1});
            head.send(json!({"type": "call.responded", "id": offer["id"], "payload": payload})).await;
            held.lock().unwrap().push(head);
        });
        CallClient::connect(near)
    });
    let node = Node::new();
    let caller =
        || Caller { identity: Some(Arc::new(alice())), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let (told, mut state) = tokio::sync::watch::channel(HeadState::default());
    let staying = tokio::spawn(stay(client, node.registry.clone(), caller, told));
    state.wait_for(|state| matches!(state, HeadState::Joined { .. })).await.unwrap();
    let begun = tokio::time::Instant::now();
    while dials.load(Ordering::Acquire) < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    staying.abort();
}

// CALL-53, CALL-55: three segments lead one node further, never two.
#[tokio::test]
async fn a_worker_does_not_lend_what_it_was_lent() {
    let (head, middle, _) = fleet().await;
    let far = Machine::start(9, jobs(&Arc::default())).await;
    middle.knows(9, somebody("far", &["workers:offer"]));
    middle.knows(HEAD, somebody("hub", &["job:run", "remote:*"]));
    far.knows(WORKER, somebody("box", &["job:run"]));
    let lent = far.join(&middle, CarrierPolicy::TcpOnly);
    joined(&lent).await;
    let lent_on = middle.join(&head, CarrierPolicy::TcpOnly);
    joined(&lent_on).await;
    let boss = head.client(BOSS, CarrierPolicy::TcpOnly).await;
    assert!(listed(&boss).await.iter().all(|name| !name.contains("far")));
    for name in ["box/far/job/tell", "far/job/tell"] {
        assert_eq!(call(&boss, name).await.unwrap_err().code, ErrorCode::NotFound, "{name}");
    }
}
