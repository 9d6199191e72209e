//! Subscriptions: items under credit, and every way in which they end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CALL, CallClient, CallError, CallOptions, Client, ErrorCode, Item, Nothing, Operation, SubscribeOptions,
    limits::{DEFAULT_CREDIT, MAX_QUEUED_BYTES},
};
use alknet_core::{AccessRule, Carrier};
use alknet_testkit::{identities::peer_with_key, memory};
use futures_util::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::{ALICE, NODE, Node, RawPeer, alice, alices, anonymous, credential, scoped, soon, until};

#[derive(Deserialize, JsonSchema)]
struct UpTo {
    to: u64,
    #[serde(default)]
    bytes: usize,
}

/// How often handlers were asked for an item, and how many of their streams are gone.
#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    dropped: AtomicUsize,
}

struct Dropped(Arc<Seen>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

fn counted(seen: &Arc<Seen>, UpTo { to, bytes }: UpTo) -> impl Stream<Item = Result<Item<Value>, CallError>> + use<> {
    let guard = Dropped(seen.clone());
    let filler = "x".repeat(bytes);
    stream::iter(1..=to).map(move |n| {
        guard.0.asked.fetch_add(1, Ordering::AcqRel);
        Ok(Item::new(json!([n, filler])))
    })
}

/// A node whose `items/count` gives numbers, `items/never` nothing, and `items/fails` one item and an error.
fn node() -> (Node, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let (counting, waiting) = (seen.clone(), seen.clone());
    let count = Operation::subscription("items/count")
        .access(AccessRule::public())
        .items(move |_, input: UpTo| std::future::ready(Ok(counted(&counting, input))));
    let never = Operation::subscription("items/never").access(scoped()).items(move |_, _: Nothing| {
        let guard = Dropped(waiting.clone());
        let items = stream::poll_fn(move |_| {
            let _kept = &guard;
            std::task::Poll::<Option<Result<Item<u8>, CallError>>>::Pending
        });
        std::future::ready(Ok(items))
    });
    let fails = Operation::subscription("items/fails").access(AccessRule::public()).error("SPENT", "No more.").items(
        |_, _: Nothing| {
            let items = [Ok(Item::new(1)), Err(CallError::declared("SPENT", "no more")), Ok(Item::new(3))];
            std::future::ready(Ok(stream::iter(items)))
        },
    );
    let resumable =
        Operation::subscription("items/log").access(AccessRule::public()).resumable().error("TRIMMED", "Gone.").items(
            |context, _: Nothing| async move {
                let after = context.after_seq.unwrap_or(10);
                if after < 10 {
                    return Err(CallError::declared("TRIMMED", "gone").with_details(json!({"oldest": 11})));
                }
                Ok(stream::iter(after + 1..=after + 3).map(|seq| Ok(Item::numbered(seq, seq * 100))))
            },
        );
    (Node::with(vec![count, never, fails, resumable]), seen)
}

fn asked_with(id: &str, operation: &str, more: Value) -> Value {
    let mut payload = more;
    payload["operationId"] = json!(operation);
    json!({"type": "call.requested", "id": id, "payload": payload})
}

/// The number of the next frame, which must be an item of `id`.
async fn item(peer: &mut RawPeer, id: &str) -> u64 {
    let frame = peer.next().await.expect("a frame");
    assert_eq!((&frame["id"], &frame["type"]), (&json!(id), &json!("call.responded")), "{frame}");
    assert!(frame["payload"]["seq"].is_u64(), "{frame}");
    frame["payload"]["output"][0].as_u64().unwrap()
}

// CALL-41 CALL-42: items in order, then the end, on every carrier.
#[tokio::test]
async fn items_come_in_order_and_end_with_completion() {
    let (node, _) = node();
    for carrier in [Carrier::Quic, Carrier::Tls, Carrier::Local] {
        let mut peer = RawPeer::open(node.connect_over(anonymous(), carrier).0).await;
        peer.send(asked_with("s", "/items/count", json!({"input": {"to": 20}}))).await;
        for n in 1..=20 {
            assert_eq!(item(&mut peer, "s").await, n);
        }
        let end = peer.next().await.unwrap();
        assert_eq!((&end["type"], &end["id"]), (&json!("call.completed"), &json!("s")));
        // CALL-13: the id is free again.
        peer.send(asked_with("s", "/items/count", json!({"input": {"to": 1}}))).await;
        assert_eq!(item(&mut peer, "s").await, 1);
    }
}

// CALL-41: as many items as there is credit for, and the handler is asked for no more.
#[tokio::test]
async fn without_credit_nothing_is_asked_for() {
    let (node, seen) = node();
    let mut peer = node.raw(anonymous()).await;
    peer.send(asked_with("s", "/items/count", json!({"input": {"to": 1_000_000}, "credit": 3}))).await;
    for n in 1..=3 {
        assert_eq!(item(&mut peer, "s").await, n);
    }
    assert!(peer.is_alive().await, "nothing more came");
    assert_eq!(seen.asked.load(Ordering::Acquire), 3);
    for id in ["alive", "nobody"] {
        peer.send(json!({"type": "call.credit", "id": id, "payload": {"items": 5}})).await;
    }
    peer.send(json!({"type": "call.credit", "id": "s", "payload": {"items": 0}})).await;
    assert!(peer.is_alive().await, "credit for something else means nothing");
    peer.send(json!({"type": "call.credit", "id": "s", "payload": {"items": 2}})).await;
    assert_eq!((item(&mut peer, "s").await, item(&mut peer, "s").await), (4, 5));
    assert!(peer.is_alive().await);
    assert_eq!(seen.asked.load(Ordering::Acquire), 5);
    peer.send(asked_with("default", "/items/count", json!({"input": {"to": 1000}}))).await;
    for n in 1..=u64::from(DEFAULT_CREDIT) {
        assert_eq!(item(&mut peer, "default").await, n);
    }
    assert!(peer.is_alive().await);
    peer.send(asked_with("none", "/items/count", json!({"input": {"to": 1000}, "credit": 0}))).await;
    assert!(peer.is_alive().await);
    assert_eq!(seen.asked.load(Ordering::Acquire), 5 + DEFAULT_CREDIT as usize);
}

// CALL-15 CALL-17 CALL-25 CALL-43: whatever ends a call ends a subscription, also one without credit, and its stream is dropped.
#[tokio::test]
async fn a_subscription_ends_as_a_call_does() {
    let (node, seen) = node();
    let mut peer = node.raw(alices()).await;
    let operations = [("/items/never", json!({})), ("/items/count", json!({"to": 9}))];
    for (operation, input) in &operations {
        for credit in [0, 1] {
            let dropped = seen.dropped.load(Ordering::Acquire);
            peer.send(asked_with("a", operation, json!({"input": input, "credit": credit}))).await;
            if *operation == "/items/count" && credit == 1 {
                item(&mut peer, "a").await;
            }
            assert!(peer.is_alive().await);
            peer.send(json!({"type": "call.aborted", "id": "a"})).await;
            assert_eq!(peer.code("a").await, "ABORTED");
            assert_eq!(seen.dropped.load(Ordering::Acquire), dropped + 1, "before the answer");
            let asked = json!({"input": input, "credit": 0, "deadlineMs": 20});
            peer.send(asked_with("t", operation, asked)).await;
            assert_eq!(peer.code("t").await, "TIMEOUT");
        }
    }
    peer.send(asked_with("r", "/items/never", json!({"credit": 0}))).await;
    assert!(peer.is_alive().await);
    node.identities.forget(&credential(ALICE));
    node.sessions.cancel_identity("alice");
    assert_eq!(peer.code("r").await, "UNAUTHENTICATED");
    assert!(peer.is_alive().await);
    assert!(node.sessions.list().is_empty());
}

// CALL-42 CALL-20: an error is the last item.
#[tokio::test]
async fn an_error_is_the_last_item() {
    let (node, _) = node();
    let mut peer = node.raw(anonymous()).await;
    peer.send(asked_with("s", "/items/fails", json!({}))).await;
    assert_eq!(peer.next().await.unwrap()["payload"], json!({"output": 1, "seq": 1}));
    assert_eq!(peer.code("s").await, "SPENT");
    assert!(peer.is_alive().await, "and nothing after it");
}

// CALL-44: numbers go on where they are told to; what is lost is said.
#[tokio::test]
async fn a_resumable_subscription_goes_on_after_a_number() {
    let (node, _) = node();
    let client = node.client(anonymous()).await;
    let after = |after_seq| SubscribeOptions { after_seq, ..SubscribeOptions::default() };
    let items = |after_seq| {
        let client = client.clone();
        async move { client.subscribe("items/log", json!({}), after(after_seq)).await.unwrap().collect::<Vec<_>>().await }
    };
    let given: Vec<_> = items(Some(20)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(given, [21, 22, 23].map(|seq: u64| Item::numbered(seq, json!(seq * 100))));
    let trimmed = items(Some(3)).await.pop().unwrap().unwrap_err();
    assert_eq!((trimmed.code.as_str(), trimmed.details), ("TRIMMED", Some(json!({"oldest": 11}))));
    for operation in ["items/count", "test/echo"] {
        let input = json!({"to": 1, "text": ""});
        let mut refused = client.subscribe(operation, input, after(Some(1))).await.unwrap();
        assert_eq!(soon(refused.next()).await.unwrap().unwrap_err().code, ErrorCode::InvalidInput);
        assert!(refused.next().await.is_none());
    }
}

// CALL-41 CALL-42: in process and over a connection the same, whatever the window.
#[tokio::test]
async fn clients_get_every_item_once_in_order() {
    let (node, seen) = node();
    let remote = Client::Remote(node.client(anonymous()).await);
    for client in [remote, Client::Local(node.local(None))] {
        for window in [0, 1, 2, 7, 64, 1000] {
            let options = SubscribeOptions { window, ..SubscribeOptions::default() };
            let items = client.subscribe("items/count", json!({"to": 500}), options).await.unwrap();
            let items: Vec<_> = soon(items.collect()).await;
            let numbers: Vec<_> = items.into_iter().map(|item| item.map(|item| item.seq)).collect();
            assert_eq!(numbers, (1..=500).map(|n| Ok(Some(n))).collect::<Vec<_>>());
        }
    }
    until(|| seen.dropped.load(Ordering::Acquire) == 12).await;
}

// CALL-15: a subscription that is dropped ends at the callee.
#[tokio::test]
async fn a_dropped_subscription_is_aborted() {
    let (node, seen) = node();
    let remote = Client::Remote(node.client(alices()).await);
    for (nth, client) in [remote, Client::Local(node.local(Some(alice())))].into_iter().enumerate() {
        let options = SubscribeOptions::default();
        let mut items = client.subscribe("items/count", json!({"to": 1_000_000}), options).await.unwrap();
        soon(items.next()).await.unwrap().unwrap();
        drop(items);
        until(|| seen.dropped.load(Ordering::Acquire) == nth + 1).await;
    }
    assert!(seen.asked.load(Ordering::Acquire) < 1000);
}

// CALL-43: a subscriber that takes nothing stops its own subscription only, and nothing grows.
#[tokio::test]
async fn a_subscriber_that_takes_nothing_stops_only_itself() {
    let (node, seen) = node();
    let client = node.client(anonymous()).await;
    let subscribe = || client.subscribe("items/count", json!({"to": 1_000_000}), SubscribeOptions::default());
    let mut lazy = subscribe().await.unwrap();
    let mut eager = subscribe().await.unwrap();
    for _ in 0..10_000 {
        soon(eager.next()).await.unwrap().unwrap();
        if seen.asked.load(Ordering::Acquire) % 1000 == 0 {
            client.call("test/echo", json!({"text": ""}), CallOptions::default()).await.unwrap();
        }
    }
    drop(eager);
    until(|| seen.dropped.load(Ordering::Acquire) == 1).await;
    let asked = seen.asked.load(Ordering::Acquire);
    assert!(asked <= 10_000 + 2 * DEFAULT_CREDIT as usize, "{asked}");
    assert_eq!(soon(lazy.next()).await.unwrap().unwrap().seq, Some(1));
}

// CALL-19 CALL-43: a peer that does not read its stream holds 256 KiB and little more, whatever credit it gave, and its other
// streams go on.
#[tokio::test]
async fn a_peer_that_does_not_read_holds_little() {
    let (node, seen) = node();
    let connection = node.connect(anonymous());
    let mut deaf = RawPeer::open(connection.clone()).await;
    let input = json!({"to": 1_000_000, "bytes": 1000});
    for id in 0..8 {
        let asked = json!({"input": input, "credit": u32::MAX});
        deaf.send(asked_with(&id.to_string(), "/items/count", asked)).await;
    }
    let mut other = RawPeer::open(connection).await;
    let mut last = 0;
    loop {
        assert!(other.is_alive().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asked = seen.asked.load(Ordering::Acquire);
        if asked == last {
            break;
        }
        last = asked;
    }
    // What waits to leave, as much in portions, a portion in each hand, and what the carrier holds.
    let bytes = 2 * MAX_QUEUED_BYTES + 8 * 20_000 + memory::STREAM_BUFFER_BYTES;
    assert!(last * 1000 < bytes, "{last} items");
    // An abort reaches even these: each of the eight is dropped without being read.
    for id in 0..8 {
        deaf.send(json!({"type": "call.aborted", "id": id.to_string()})).await;
    }
    until(|| seen.dropped.load(Ordering::Acquire) == 8).await;
    drop(deaf);
}

// CALL-43: subscriptions of one stream get their turns.
#[tokio::test]
async fn subscriptions_of_one_stream_share_it() {
    let (node, _) = node();
    let client = node.client(anonymous()).await;
    let mut all = Vec::new();
    for _ in 0..50 {
        let options = SubscribeOptions { window: 1000, ..SubscribeOptions::default() };
        all.push(client.subscribe("items/count", json!({"to": u64::MAX}), options).await.unwrap());
    }
    for _ in 0..200 {
        for subscription in &mut all {
            soon(subscription.next()).await.unwrap().unwrap();
        }
    }
}

// CALL-39 CALL-42: what gives something else than is wanted is not run, in process and over a connection.
#[tokio::test]
async fn the_wrong_kind_of_asking_is_refused() {
    let (node, seen) = node();
    let remote = Client::Remote(node.client(alices()).await);
    for client in [remote, Client::Local(node.local(Some(alice())))] {
        for (operation, input) in [("items/count", json!({"to": 1})), ("items/never", json!({}))] {
            let call = client.call(operation, input, CallOptions::default());
            assert_eq!(soon(call).await.unwrap_err().code, ErrorCode::InvalidOperationType, "{operation}");
        }
        let refused = async {
            let asked = client.subscribe("test/wait", json!({}), SubscribeOptions::default()).await;
            match asked {
                Ok(mut items) => items.next().await.unwrap().unwrap_err(),
                Err(error) => error,
            }
        };
        assert_eq!(soon(refused).await.code, ErrorCode::InvalidOperationType);
    }
    assert_eq!(seen.asked.load(Ordering::Acquire) + node.waits.running.load(Ordering::Acquire), 0, "nothing ran");
}

// CALL-37: a callee that gives an item where an output is wanted is called off; one that gives an output has ended.
#[tokio::test]
async fn an_item_for_a_call_and_an_output_for_a_subscription_are_noticed() {
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let client = CallClient::connect(near).await.unwrap();
    let mut callee = RawPeer::accept(far).await;
    callee.next().await.unwrap();
    for answer in ["call.responded", "call.completed"] {
        let call = {
            let client = client.clone();
            tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await })
        };
        let id = callee.next().await.unwrap()["id"].clone();
        callee.send(json!({"type": answer, "id": id, "payload": {"output": 0, "seq": 1}})).await;
        assert_eq!(soon(call).await.unwrap().unwrap_err().code, ErrorCode::InvalidOperationType);
        if answer == "call.responded" {
            assert_eq!(callee.next().await.unwrap(), json!({"type": "call.aborted", "id": id, "payload": {}}));
            callee.send(json!({"type": "call.responded", "id": id, "payload": {"output": 0, "seq": 2}})).await;
            callee.send(json!({"type": "call.error", "id": id, "payload": {"code": "ABORTED"}})).await;
        }
    }
    let mut items = client.subscribe("a/b", json!({}), SubscribeOptions::default()).await.unwrap();
    let id = callee.next().await.unwrap()["id"].clone();
    callee.send(json!({"type": "call.responded", "id": id, "payload": {"output": 0}})).await;
    assert_eq!(soon(items.next()).await.unwrap().unwrap_err().code, ErrorCode::InvalidOperationType);
    assert!(items.next().await.is_none() && !client.is_closed());
}

// CALL-41 CALL-08: more items than credit are an error at the caller, and fail what it waits for.
#[tokio::test]
async fn more_items_than_credit_end_the_stream() {
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let client = CallClient::connect(near).await.unwrap();
    let mut callee = RawPeer::accept(far).await;
    callee.next().await.unwrap();
    let options = SubscribeOptions { window: 2, ..SubscribeOptions::default() };
    let mut items = client.subscribe("a/b", json!({}), options).await.unwrap();
    let asked = callee.next().await.unwrap();
    assert_eq!(asked["payload"]["credit"], 2);
    for seq in 1..=3 {
        callee.send(json!({"type": "call.responded", "id": asked["id"], "payload": {"output": 0, "seq": seq}})).await;
    }
    assert_eq!(callee.next().await, None);
    assert!(soon(items.next()).await.unwrap().is_ok() && soon(items.next()).await.unwrap().is_ok());
    assert_eq!(soon(items.next()).await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    assert!(items.next().await.is_none());
}

// CALL-41: credit is given as items are taken.
#[tokio::test]
async fn credit_follows_what_is_taken() {
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let client = CallClient::connect(near).await.unwrap();
    let mut callee = RawPeer::accept(far).await;
    callee.next().await.unwrap();
    let options = SubscribeOptions { window: 10, ..SubscribeOptions::default() };
    let mut items = client.subscribe("a/b", json!({}), options).await.unwrap();
    let id = callee.next().await.unwrap()["id"].clone();
    for seq in 1..=10 {
        callee.send(json!({"type": "call.responded", "id": id, "payload": {"output": 0, "seq": seq}})).await;
    }
    for _ in 0..5 {
        soon(items.next()).await.unwrap().unwrap();
    }
    assert_eq!(callee.next().await.unwrap(), json!({"type": "call.credit", "id": id, "payload": {"items": 5}}));
    drop(items);
    assert_eq!(callee.next().await.unwrap(), json!({"type": "call.aborted", "id": id, "payload": {}}));
    callee.send(json!({"type": "call.responded", "id": id, "payload": {"output": 0, "seq": 11}})).await;
    callee.send(json!({"type": "call.error", "id": id, "payload": {"code": "ABORTED"}})).await;
    let call = tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await });
    let asked = callee.next().await.unwrap();
    callee.send(json!({"type": "call.responded", "id": asked["id"], "payload": {"output": 1}})).await;
    assert_eq!(soon(call).await.unwrap(), Ok(json!(1)), "what was on its way is no error");
}

// CALL-27: subscriptions may never finish, so a node that stops ends them.
#[tokio::test]
async fn a_stopping_node_ends_subscriptions() {
    use alknet_core::ProtocolHandler;
    let (node, seen) = node();
    let (connection, served) = node.connect_over(alices(), Carrier::Tls);
    let client = CallClient::connect(connection).await.unwrap();
    let mut items = client.subscribe("items/never", json!({}), SubscribeOptions::default()).await.unwrap();
    client.call("test/echo", json!({"text": ""}), CallOptions::default()).await.unwrap();
    node.handler.shutdown().await;
    let error = soon(items.next()).await.unwrap().unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, true));
    soon(served).await.unwrap().unwrap();
    assert_eq!(seen.dropped.load(Ordering::Acquire), 1);
}

// CALL-14: whatever races, there is one terminal frame for each id: thousands of interleavings.
#[tokio::test]
async fn an_abort_that_races_completion_gets_one_terminal_frame() {
    let racing = Operation::query("items/yield").access(AccessRule::public()).handler(|_, input: UpTo| async move {
        for _ in 0..input.to {
            tokio::task::yield_now().await;
        }
        Ok::<_, CallError>(input.to)
    });
    let counting = Operation::subscription("items/slow").access(AccessRule::public()).items(|_, input: UpTo| {
        let items = stream::iter(0..input.to).then(|n| async move {
            tokio::task::yield_now().await;
            Ok(Item::new(n))
        });
        std::future::ready(Ok(items))
    });
    let node = Node::with(vec![racing, counting]);
    let mut peer = node.raw(anonymous()).await;
    let (mut aborted, mut finished) = (0, 0);
    for seed in 0_u64..4000 {
        let operation = if seed % 2 == 0 { "/items/yield" } else { "/items/slow" };
        peer.request("r", operation, json!({"to": seed / 2 % 7})).await;
        for _ in 0..seed / 14 % 11 {
            tokio::task::yield_now().await;
        }
        peer.send(json!({"type": "call.aborted", "id": "r"})).await;
        peer.request("after", "/test/echo", json!({"text": ""})).await;
        let (mut terminal, mut answered) = (0, false);
        while !(terminal > 0 && answered) {
            let frame = peer.next().await.expect("a frame");
            match (frame["id"].as_str().unwrap(), frame["type"].as_str().unwrap()) {
                ("after", "call.responded") => answered = true,
                ("r", "call.responded") if frame["payload"]["seq"].is_u64() => assert_eq!(terminal, 0, "{seed}"),
                ("r", "call.responded" | "call.completed") => (terminal, finished) = (terminal + 1, finished + 1),
                ("r", "call.error") => {
                    assert_eq!(frame["payload"]["code"], "ABORTED");
                    (terminal, aborted) = (terminal + 1, aborted + 1);
                }
                _ => panic!("{frame}"),
            }
        }
        assert_eq!(terminal, 1, "seed {seed}");
    }
    assert!(peer.is_alive().await, "and nothing is left");
    assert!(aborted > 100 && finished > 100, "{aborted} aborted, {finished} finished");
}

// CALL-19: a handler that computes does not hold up the other calls of its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_computing_handler_holds_nobody_up() {
    let compute = |time: Duration| async move {
        tokio::task::yield_now().await;
        std::thread::sleep(time);
    };
    let time = Duration::from_secs(1);
    let busy = Operation::query("busy/call").access(AccessRule::public()).handler(move |_, _: Nothing| async move {
        compute(time).await;
        Ok::<_, CallError>(0)
    });
    let items = Operation::subscription("busy/items").access(AccessRule::public()).items(move |_, _: Nothing| {
        let items = stream::iter(0..1).then(move |n| async move {
            compute(time).await;
            Ok(Item::new(n))
        });
        std::future::ready(Ok(items))
    });
    let node = Node::with(vec![busy, items]);
    let mut peer = node.raw(anonymous()).await;
    let start = std::time::Instant::now();
    peer.request("call", "/busy/call", json!({})).await;
    peer.request("items", "/busy/items", json!({})).await;
    assert!(peer.is_alive().await);
    assert!(start.elapsed() < time, "{:?}", start.elapsed());
}
