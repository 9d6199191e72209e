//! The life of a call: gate, input, output, deadline, abort.

use std::{sync::atomic::Ordering, time::Duration};

use alknet_call::{CallOptions, Client, ErrorCode, limits::MAX_FRAME_BYTES};
use alknet_core::{AuditOutcome, Carrier, ProtocolHandler};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::node::{ALICE, Node, RawPeer, alice, alices, anonymous, credential, soon, until};

// CALL-11: what a caller may not know of does not exist.
#[tokio::test]
async fn missing_and_forbidden_look_alike() {
    let node = Node::new();
    let ask = async |client: &alknet_call::CallClient, name: &str| {
        client.call(name, json!({"nonsense": 1}), CallOptions::default()).await.unwrap_err()
    };
    let nobody = node.client(anonymous()).await;
    let names = ["test/secret", "test/absent", "test/hidden", "far/test/echo", "x", ""];
    let answers: Vec<_> = futures_util::future::join_all(names.map(|name| ask(&nobody, name))).await;
    for answer in &answers {
        assert_eq!((answer, &answer.code), (&answers[0], &ErrorCode::Unauthenticated));
    }
    let node = Node::with(vec![other_peoples()]);
    let alice = node.client(alices()).await;
    let names = ["test/others", "test/absent", "test/hidden", "far/test/echo"];
    let answers: Vec<_> = futures_util::future::join_all(names.map(|name| ask(&alice, name))).await;
    for answer in &answers {
        assert_eq!((answer, &answer.code), (&answers[0], &ErrorCode::NotFound));
    }
    let denied = node.audit.events().iter().filter(|event| event.outcome == AuditOutcome::Denied).count();
    assert_eq!(denied, names.len(), "each refusal is audited");
}

fn other_peoples() -> alknet_call::Operation {
    let rule = alknet_core::AccessRule::scoped(["others:only".parse().unwrap()]);
    alknet_call::Operation::query("test/others")
        .access(rule)
        .handler(|_, _: alknet_call::Nothing| async move { Ok::<Value, alknet_call::CallError>(Value::Null) })
}

// CALL-12: in process and over a connection alike.
#[tokio::test]
async fn input_is_checked_with_a_pointer() {
    let node = Node::new();
    let clients = [Client::Remote(node.client(alices()).await), Client::Local(node.local(Some(alice())))];
    for client in clients {
        let ask = async |name: &str, input: Value| client.call(name, input, CallOptions::default()).await;
        for (input, pointer) in [(json!({"text": 7}), "/text"), (json!({}), ""), (json!(null), ""), (json!([]), "")] {
            let error = ask("test/secret", input).await.unwrap_err();
            assert_eq!((error.code, error.details), (ErrorCode::InvalidInput, Some(json!({ "pointer": pointer }))));
        }
        let long = ask("test/small", json!({"text": "12345678901"})).await.unwrap_err();
        assert_eq!(long.code, ErrorCode::InvalidInput);
        assert!(ask("test/small", json!({"text": "1"})).await.is_ok());
        assert_eq!(ask("test/bucket", json!({"bucket": "photos"})).await, Ok(json!("photos")));
        assert_eq!(ask("test/bucket", json!({"bucket": "taxes"})).await.unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(ask("test/bucket", json!({"bucket": ""})).await.unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(ask("test/bucket", json!({})).await.unwrap_err().code, ErrorCode::InvalidInput);
    }
    let nobody = node.client(anonymous()).await;
    for name in ["test/secret", "test/bucket"] {
        let error = nobody.call(name, json!({}), CallOptions::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated, "who may not call learns nothing of the input");
    }
}

// CALL-14 CALL-15
#[tokio::test]
async fn an_abort_ends_the_work_and_is_answered_once() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    peer.request("w", "/test/wait", json!({})).await;
    until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
    for _ in 0..3 {
        peer.send(json!({"type": "call.aborted", "id": "w", "payload": {}})).await;
    }
    peer.send(json!({"type": "call.aborted", "id": "never-asked"})).await;
    assert_eq!(peer.code("w").await, "ABORTED");
    assert_eq!(node.waits.dropped.load(Ordering::Acquire), 1, "the handler was dropped before the answer");
    until(|| node.waits.told.load(Ordering::Acquire) == 1).await;
    assert!(peer.is_alive().await, "nothing more came for w");
}

// CALL-16: whoever ends its direction, or vanishes, wants nothing any more.
#[tokio::test]
async fn calls_end_with_their_caller() {
    let node = Node::new();
    for (nth, carrier) in [Carrier::Quic, Carrier::Tls].into_iter().enumerate() {
        for clean in [true, false] {
            let (connection, served) = node.connect_over(alices(), carrier);
            let mut peer = RawPeer::open(connection).await;
            peer.request("e", "/test/echo", json!({"text": "before"})).await;
            peer.request("w", "/test/wait", json!({})).await;
            until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
            if clean {
                peer.stream.send.shutdown().await.unwrap();
                assert_eq!(peer.output("e").await["text"], "before", "what was answered still arrives");
                assert_eq!(peer.next().await, None);
            }
            drop(peer);
            until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
            assert!(soon(served).await.unwrap().is_ok(), "{nth} {clean}");
        }
    }
    until(|| node.waits.told.load(Ordering::Acquire) == 4).await;
    assert!(node.sessions.list().is_empty());
}

// CALL-17
#[tokio::test]
async fn a_deadline_ends_the_work() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    for (id, deadline) in [("a", 20), ("b", 0)] {
        peer.send(json!({"type": "call.requested", "id": id, "payload": {
            "operationId": "/test/wait", "deadlineMs": deadline
        }}))
        .await;
        assert_eq!(peer.code(id).await, "TIMEOUT");
    }
    peer.send(json!({"type": "call.requested", "id": "c", "payload": {
        "operationId": "/test/short", "deadlineMs": u64::MAX
    }}))
    .await;
    assert_eq!(peer.code("c").await, "TIMEOUT", "the operation's own timeout is the most");
    until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    let options = CallOptions { deadline: Some(Duration::from_millis(20)), ..CallOptions::default() };
    let error = node.local(Some(alice())).call("test/wait", json!({}), options).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Timeout, false), "a mutation may have happened");
}

// CALL-21 CALL-22
#[tokio::test]
async fn a_panicking_handler_costs_its_call_only() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    peer.request("w", "/test/wait", json!({})).await;
    for n in 0..3 {
        let id = n.to_string();
        peer.request(&id, "/test/panic", json!({})).await;
        let frame = peer.next().await.unwrap();
        assert_eq!(frame["payload"]["code"], "INTERNAL");
        assert!(!frame.to_string().contains("as the test wants"), "{frame}");
    }
    assert!(peer.is_alive().await);
    assert_eq!(node.waits.running.load(Ordering::Acquire), 1);
}

// CALL-20 CALL-21
#[tokio::test]
async fn declared_errors_travel_and_others_become_internal() {
    let node = Node::new();
    let client = node.client(anonymous()).await;
    let fail =
        async |how: &str| client.call("test/fails", json!({ "text": how }), CallOptions::default()).await.unwrap_err();
    let declared = fail("declared").await;
    assert_eq!((declared.code.as_str(), declared.details), ("DISK_FULL", Some(json!({"free": 0}))));
    for how in ["undeclared", "internal"] {
        let error = fail(how).await;
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(!error.message.contains("secret") && !error.message.contains("sda1"), "{error}");
    }
}

// CALL-38
#[tokio::test]
async fn an_answer_too_long_for_a_frame_fails_its_call_only() {
    let node = Node::new();
    let client = node.client(anonymous()).await;
    let ask = async |bytes: usize| client.call("test/bytes", json!({ "bytes": bytes }), CallOptions::default()).await;
    assert_eq!(ask(MAX_FRAME_BYTES).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(ask(MAX_FRAME_BYTES - 1000).await.unwrap().as_str().unwrap().len(), MAX_FRAME_BYTES - 1000);
}

// CALL-09: the parent is information, and dropped where it is no id.
#[tokio::test]
async fn the_context_knows_the_request() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    for (parent, expected) in [(json!("p-1"), json!("p-1")), (json!("not an id"), Value::Null)] {
        peer.send(json!({"type": "call.requested", "id": "r", "traceparent": 1, "payload": {
            "operationId": "/test/whoami", "parentId": parent, "via": ["x"], "traceparent": "00-1-2-01"
        }}))
        .await;
        let output = peer.output("r").await;
        assert_eq!((&output["id"], &output["request"], &output["parent"]), (&json!("alice"), &json!("r"), &expected));
    }
}

// CALL-25: taking the rights away ends the calls; the endpoint ends the connection, which is entered there.
#[tokio::test]
async fn a_removed_peer_loses_its_calls() {
    let node = Node::new();
    let (connection, _served) = node.connect_over(alices(), Carrier::Quic);
    let mut peer = RawPeer::open(connection).await;
    peer.request("w", "/test/wait", json!({})).await;
    until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
    node.identities.forget(&credential(ALICE));
    assert_eq!(node.sessions.cancel_identity("alice"), 1);
    until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    assert!(node.sessions.list().is_empty());
}

// CALL-25: a change of rights counts from the next request on, without reconnecting.
#[tokio::test]
async fn rights_are_looked_up_for_each_request() {
    let node = Node::new();
    let client = node.client(alices()).await;
    let ask = async || client.call("test/secret", json!({"text": "a"}), CallOptions::default()).await;
    assert!(ask().await.is_ok());
    node.identities.forget(&credential(ALICE));
    assert_eq!(ask().await.unwrap_err().code, ErrorCode::Unauthenticated);
    node.identities.know(&credential(ALICE), alice());
    assert!(ask().await.is_ok());
}

// CALL-27
#[tokio::test]
async fn a_stopping_node_finishes_and_begins_nothing() {
    let node = Node::with(vec![]);
    let (connection, served) = node.connect_over(alices(), Carrier::Quic);
    let mut peer = RawPeer::open(connection).await;
    peer.request("w", "/test/wait", json!({})).await;
    until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
    node.handler.shutdown().await;
    peer.request("late", "/test/echo", json!({"text": "a"})).await;
    assert_eq!(peer.code("late").await, "UNAVAILABLE");
    peer.send(json!({"type": "call.aborted", "id": "w"})).await;
    assert_eq!(peer.code("w").await, "ABORTED");
    assert_eq!(peer.next().await, None, "then the stream ends");
    soon(served).await.unwrap().unwrap();
}
