//! Calls in both directions of one stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CallClient, CallError, CallOptions, ErrorCode, Item, Nothing, Operation, PresentedCredential, Registry,
    SubscribeOptions,
};
use alknet_core::{AccessRule, Authorizer, Caller, Carrier, Identity, PeerAddr, ScopeSet, Sessions};
use alknet_testkit::identities::KeptAudit;
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::node::{Node, RawPeer, Text, alices, anonymous, scoped, soon, until};

/// What the dialling side offers: `own/echo` to everybody, `own/secret` to holders of a scope, and `own/ticks`.
fn offered() -> Arc<Registry> {
    let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), Sessions::default());
    let echo = |_, input: Text| async move { Ok::<_, CallError>(input) };
    let ticks = |_, _: Nothing| std::future::ready(Ok(stream::iter((0..1000).map(|n| Ok(Item::new(n))))));
    builder.register(Operation::query("own/echo").access(AccessRule::public()).handler(echo)).unwrap();
    builder.register(Operation::query("own/secret").access(scoped()).handler(echo)).unwrap();
    builder.register(Operation::subscription("own/ticks").access(AccessRule::public()).items(ticks)).unwrap();
    builder.build().unwrap()
}

fn head(scopes: &[&str]) -> Caller {
    let scopes: ScopeSet = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    let identity = Identity::new("head", scopes, alknet_core::ResourceGrants::default());
    Caller { identity: Some(Arc::new(identity)), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AskBack {
    operation: String,
    input: Value,
}

/// A node whose `test/ask` asks its caller something, and `test/follow` counts the items of a subscription there.
fn node() -> Node {
    let ask = Operation::query("test/ask").access(AccessRule::public()).error("SAID", "The peer said so.").handler(
        |context, input: AskBack| async move {
            let peer = context.peer().ok_or_else(|| CallError::unavailable("in process"))?;
            peer.call(&input.operation, input.input, CallOptions::default()).await
        },
    );
    let follow =
        Operation::query("test/follow").access(AccessRule::public()).handler(|context, _: Nothing| async move {
            let peer = context.peer().ok_or_else(|| CallError::unavailable("in process"))?;
            let items = peer.subscribe("own/ticks", json!({}), SubscribeOptions::default()).await?;
            Ok::<_, CallError>(items.filter(|item| std::future::ready(item.is_ok())).count().await)
        });
    Node::with(vec![ask, follow])
}

async fn offering(node: &Node, carrier: Carrier, scopes: &[&str]) -> CallClient {
    let (connection, _) = node.connect_over(alices(), carrier);
    CallClient::connect_offering(connection, offered(), head(scopes)).await.unwrap()
}

fn ask(operation: &str, input: Value) -> Value {
    json!({ "operation": operation, "input": input })
}

// CALL-39: an operation asks its caller over the stream that the call came on, also on a carrier with one stream.
#[tokio::test]
async fn an_operation_calls_its_caller_back() {
    let node = node();
    for carrier in [Carrier::Quic, Carrier::Tls, Carrier::Local] {
        let client = offering(&node, carrier, &[]).await;
        let calls = (0..100).map(|n| {
            let client = client.clone();
            async move {
                let text = n.to_string();
                let asked = ask("own/echo", json!({ "text": text }));
                assert_eq!(client.call("test/ask", asked, CallOptions::default()).await.unwrap()["text"], text);
            }
        });
        soon(join_all(calls)).await;
        assert_eq!(soon(client.call("test/follow", json!({}), CallOptions::default())).await, Ok(json!(1000)));
    }
}

// CALL-39 CALL-11: the side that was dialled calls with its own rights at the other, and presents nothing else.
#[tokio::test]
async fn the_dialled_side_has_its_own_rights() {
    let node = node();
    for (scopes, code) in [(&["test:run"][..], None), (&[], Some(ErrorCode::NotFound))] {
        let client = offering(&node, Carrier::Tls, scopes).await;
        let asked = ask("own/secret", json!({"text": "a"}));
        let outcome = soon(client.call("test/ask", asked, CallOptions::default())).await;
        assert_eq!(outcome.err().map(|error| error.code), code);
    }
    let (connection, far) = alknet_testkit::memory::pair(&alknet_call::CALL, alices(), anonymous());
    let _client = CallClient::connect_offering(connection, offered(), head(&[])).await.unwrap();
    let mut head = RawPeer::accept(far).await;
    head.next().await.unwrap();
    let token = PresentedCredential::new("t");
    head.send(json!({"type": "call.requested", "id": "1", "payload": {
        "operationId": "/own/echo", "input": {"text": ""}, "authToken": token.reveal()
    }}))
    .await;
    assert_eq!(head.code("1").await, "UNAUTHENTICATED");
}

// CALL-39 CALL-13: the ids of one direction say nothing about the other's.
#[tokio::test]
async fn ids_of_the_two_directions_do_not_meet() {
    let node = node();
    let mut peer = RawPeer::open(node.connect_over(alices(), Carrier::Tls).0).await;
    peer.request("0.1", "/test/ask", ask("own/echo", json!({}))).await;
    let asked = peer.next().await.unwrap();
    assert_eq!((&asked["type"], &asked["id"]), (&json!("call.requested"), &json!("0.1")));
    assert_eq!(asked["payload"]["operationId"], "/own/echo");
    peer.send(json!({"type": "call.aborted", "id": "nobody"})).await;
    peer.send(json!({"type": "call.responded", "id": "0.1", "payload": {"output": "mine"}})).await;
    assert_eq!(peer.output("0.1").await, json!("mine"));
    peer.send(json!({"type": "call.responded", "id": "0.2", "payload": {"output": "nobody asked"}})).await;
    assert_eq!(peer.next().await, None);
}

// CALL-15: an abort goes down to what the operation had asked of its caller.
#[tokio::test]
async fn an_abort_calls_off_what_was_asked_back() {
    let node = node();
    let mut peer = node.raw(alices()).await;
    peer.request("a", "/test/ask", ask("own/slow", json!({}))).await;
    let asked = peer.next().await.unwrap();
    peer.send(json!({"type": "call.aborted", "id": "a"})).await;
    let (mut called_off, mut answered) = (false, false);
    while !(called_off && answered) {
        let frame = peer.next().await.unwrap();
        match frame["type"].as_str().unwrap() {
            "call.aborted" => called_off = frame["id"] == asked["id"],
            "call.error" => answered = frame["payload"]["code"] == "ABORTED",
            _ => panic!("{frame}"),
        }
    }
}

// CALL-16: a peer that ends its direction answers nothing any more.
#[tokio::test]
async fn what_was_asked_of_a_peer_that_leaves_is_unavailable() {
    let (told, outcome) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(None)));
    let (also_told, also_outcome) = (told.clone(), outcome.clone());
    let detached =
        Operation::query("test/detached").access(AccessRule::public()).handler(move |context, _: Nothing| {
            let (told, outcome) = (also_told.clone(), also_outcome.clone());
            async move {
                let peer = context.peer().ok_or_else(|| CallError::unavailable("in process"))?;
                tokio::spawn(async move {
                    let answer = peer.call("own/slow", json!({}), CallOptions::default()).await;
                    *outcome.lock().unwrap() = Some(answer);
                    told.fetch_add(1, Ordering::AcqRel);
                });
                Ok::<_, CallError>(())
            }
        });
    let node = Node::with(vec![detached]);
    for clean in [true, false] {
        let (connection, served) = node.connect_over(alices(), Carrier::Tls);
        let mut peer = RawPeer::open(connection).await;
        peer.request("d", "/test/detached", json!({})).await;
        let frames = [peer.next().await.unwrap(), peer.next().await.unwrap()];
        assert!(frames.iter().any(|frame| frame["type"] == "call.requested"), "{frames:?}");
        let before = told.load(Ordering::Acquire);
        if clean {
            peer.stream.send.shutdown().await.unwrap();
            assert_eq!(peer.next().await, None, "the node ends its direction too");
        }
        drop(peer);
        until(|| told.load(Ordering::Acquire) == before + 1).await;
        let answer = outcome.lock().unwrap().take().unwrap();
        assert_eq!(answer.unwrap_err().code, ErrorCode::Unavailable);
        // Of a stream that vanished its carrier says so or not; the node goes on in any case.
        let _ = soon(served).await.unwrap();
    }
}

// CALL-19: two sides that both call in bulk on one stream never wait for each other: 256 large calls each way, whose answers
// are as large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_call_in_bulk_on_one_stream() {
    let large = "x".repeat(30_000);
    let bulk = {
        let large = large.clone();
        Operation::query("test/bulk").access(AccessRule::public()).handler(move |context, _: Nothing| {
            let large = large.clone();
            async move {
                let peer = context.peer().ok_or_else(|| CallError::unavailable("in process"))?;
                let calls = (0..256).map(|_| peer.call("own/echo", json!({ "text": large }), CallOptions::default()));
                let answers = join_all(calls).await;
                let length = |answer: &Result<Value, CallError>| {
                    answer.as_ref().ok().and_then(|answer| answer["text"].as_str()).map(str::len)
                };
                Ok::<_, CallError>(answers.iter().filter(|answer| length(answer) == Some(large.len())).count())
            }
        })
    };
    let node = Node::with(vec![bulk]);
    for carrier in [Carrier::Tls, Carrier::Local] {
        let client = offering(&node, carrier, &[]).await;
        let back = client.call("test/bulk", json!({}), CallOptions::default());
        let calls = (0..255).map(|_| client.call("test/echo", json!({ "text": large }), CallOptions::default()));
        let all = async { tokio::join!(back, join_all(calls)) };
        let (back, answers) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("a deadlock");
        assert_eq!(back, Ok(json!(256)));
        assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    }
}

// CALL-19: a peer that sends more than 4 MiB of requests and reads nothing is not read further, and holds no more.
#[tokio::test]
async fn requests_beyond_the_bound_are_not_read() {
    let node = node();
    let mut peer = node.raw(alices()).await;
    let text = "x".repeat(100_000);
    let sent = Arc::new(AtomicUsize::new(0));
    let flood = async {
        for n in 0..1000 {
            peer.request(&n.to_string(), "/test/echo", json!({ "text": text })).await;
            sent.fetch_add(1, Ordering::AcqRel);
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), flood).await.is_err(), "it stops reading");
    let sent = sent.load(Ordering::Acquire);
    assert!((40..60).contains(&sent), "4 MiB and what is on its way, but {sent}");
}
