//! The caller's side.

use std::{sync::atomic::Ordering, time::Duration};

use alknet_call::{CALL, CallClient, CallOptions, ErrorCode, PresentedCredential, limits::MAX_CALLS_IN_FLIGHT};
use alknet_core::{Carrier, Connection, Stream};
use alknet_testkit::{identities::peer_with_key, memory};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::node::{NODE, Node, alice, alices, anonymous, soon, until};

// CALL-15: dropping the future calls it off.
#[tokio::test]
async fn a_dropped_call_is_aborted_at_the_callee() {
    let node = Node::new();
    let client = node.client(alices()).await;
    for _ in 0..3 {
        let call = client.call("test/wait", json!({}), CallOptions::default());
        tokio::select! {
            outcome = call => panic!("{outcome:?}"),
            () = until(|| node.waits.running.load(Ordering::Acquire) == 1) => {}
        }
        until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    }
    let options = CallOptions { deadline: Some(Duration::from_millis(30)), ..CallOptions::default() };
    assert_eq!(client.call("test/wait", json!({}), options).await.unwrap_err().code, ErrorCode::Timeout);
    until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    let local = node.local(Some(alice()));
    tokio::select! {
        outcome = local.call("test/wait", json!({}), CallOptions::default()) => panic!("{outcome:?}"),
        () = until(|| node.waits.running.load(Ordering::Acquire) == 1) => {}
    }
    until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    // What handlers began elsewhere is told.
    until(|| node.waits.told.load(Ordering::Acquire) == 5).await;
}

#[tokio::test]
async fn many_calls_share_a_stream_and_keep_their_answers() {
    let node = Node::new();
    let client = node.client(anonymous()).await;
    let calls = (0..1000).map(|n| {
        let client = client.clone();
        async move {
            let text = n.to_string();
            let output = client.call("test/echo", json!({ "text": text }), CallOptions::default()).await.unwrap();
            assert_eq!(output["text"], text);
        }
    });
    soon(futures_util::future::join_all(calls)).await;
}

#[tokio::test]
async fn more_than_the_callee_takes_wait_for_their_turn() {
    let node = Node::new();
    let client = node.client(alices()).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..MAX_CALLS_IN_FLIGHT + 10 {
        let client = client.clone();
        calls.spawn(async move { client.call("test/wait", json!({}), CallOptions::default()).await });
    }
    until(|| node.waits.running.load(Ordering::Acquire) == MAX_CALLS_IN_FLIGHT).await;
    assert!(calls.try_join_next().is_none(), "none is refused");
}

#[tokio::test]
async fn who_waits_learns_that_the_connection_went() {
    let node = Node::new();
    for carrier in [Carrier::Quic, Carrier::Tls] {
        let (connection, served) = node.connect_over(alices(), carrier);
        let client = CallClient::connect(connection).await.unwrap();
        let waiting = {
            let client = client.clone();
            tokio::spawn(async move { client.call("test/wait", json!({}), CallOptions::default()).await })
        };
        until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
        served.abort();
        assert_eq!(soon(waiting).await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
        soon(client.closed()).await;
        let later = client.call("test/echo", json!({"text": ""}), CallOptions::default()).await.unwrap_err();
        assert_eq!((later.code, later.retryable), (ErrorCode::Unavailable, true), "this one was never sent");
        until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
    }
}

#[tokio::test]
async fn the_connection_ends_with_the_last_client() {
    let node = Node::new();
    let (connection, served) = node.connect_over(alices(), Carrier::Tls);
    let client = CallClient::connect(connection).await.unwrap();
    let clone = client.clone();
    drop(client);
    assert!(clone.call("test/echo", json!({"text": ""}), CallOptions::default()).await.is_ok());
    drop(clone);
    soon(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn in_process_a_credential_has_no_meaning_and_is_refused() {
    let node = Node::new();
    let options = CallOptions { token: Some(PresentedCredential::new("x")), ..CallOptions::default() };
    let error = node.local(None).call("test/echo", json!({"text": ""}), options).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
}

/// A client whose callee is the test itself.
async fn against_a_liar() -> (CallClient, Connection, Stream) {
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let client = CallClient::connect(near).await.unwrap();
    let stream = far.accept_stream().await.unwrap().unwrap();
    (client, far, stream)
}

fn framed(envelope: &Value) -> Vec<u8> {
    let content = envelope.to_string();
    [&u32::try_from(content.len()).unwrap().to_be_bytes(), content.as_bytes()].concat()
}

// CALL-37 CALL-04: a callee that breaks the protocol fails the calls, not the process.
#[tokio::test]
async fn a_lying_callee_fails_the_calls() {
    let answers = [
        framed(&json!({"type": "call.responded", "id": "77", "payload": {"output": 1}})),
        framed(&json!({"type": "call.error", "id": "1", "payload": {"message": "no code"}})),
        framed(&json!({"type": "call.nonsense", "id": "1", "payload": {}})),
        vec![0, 0, 0, 0],
        vec![0xff; 8],
        b"\0\0\0\x02[]".to_vec(),
    ];
    for bytes in answers {
        let (client, _far, mut stream) = against_a_liar().await;
        stream.send.write_all(&bytes).await.unwrap();
        let outcome = soon(client.call("a/b", json!({}), CallOptions::default())).await;
        assert_eq!(outcome.unwrap_err().code, ErrorCode::Unavailable, "{}", bytes.escape_ascii());
    }
}

// CALL-39: a side without operations refuses calls, and goes on with its own.
#[tokio::test]
async fn a_client_that_is_called_offers_nothing() {
    let (client, _far, mut stream) = against_a_liar().await;
    stream.send.write_all(&framed(&crate::node::requested("c", "/a/b", json!({})))).await.unwrap();
    let mut length = [0; 4];
    soon(stream.recv.read_exact(&mut length)).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.recv.read_exact(&mut frame).await.unwrap();
    let frame: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!((&frame["id"], &frame["payload"]["code"]), (&json!("c"), &json!("NOT_FOUND")));
    let answer = framed(&json!({"type": "call.responded", "id": "1", "payload": {"output": 5}}));
    let call = tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await });
    soon(stream.recv.read_exact(&mut length)).await.unwrap();
    stream.send.write_all(&answer).await.unwrap();
    assert_eq!(soon(call).await.unwrap(), Ok(json!(5)));
}
