//! The caller's side.

use std::{sync::atomic::Ordering, time::Duration};

use alknet_call::{CALL, CallClient, CallOptions, Client, ErrorCode, PresentedCredential, limits::MAX_CALLS_IN_FLIGHT};
use alknet_core::Carrier;
use alknet_testkit::{identities::peer_with_key, memory};
use serde_json::{Value, json};

use crate::node::{NODE, Node, RawPeer, alice, alices, anonymous, soon, until};

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

/// A client whose callee is the test itself, and has heard its hello.
async fn against_a_liar() -> (CallClient, RawPeer) {
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let client = CallClient::connect(near).await.unwrap();
    let mut liar = RawPeer::accept(far).await;
    assert_eq!(liar.next().await.unwrap()["type"], "call.hello");
    (client, liar)
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
        let (client, mut liar) = against_a_liar().await;
        let call = tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await });
        liar.next().await.unwrap();
        liar.bytes(&bytes).await;
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "{}", bytes.escape_ascii());
        assert!(!error.retryable, "it was sent");
    }
}

// CALL-39: a side without operations refuses calls, and goes on with its own.
#[tokio::test]
async fn a_client_that_is_called_offers_nothing() {
    let (client, mut callee) = against_a_liar().await;
    callee.request("c", "/a/b", json!({})).await;
    assert_eq!(callee.code("c").await, "NOT_FOUND");
    let call = tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await });
    let asked = callee.next().await.unwrap();
    callee.send(json!({"type": "call.responded", "id": asked["id"], "payload": {"output": 5}})).await;
    assert_eq!(soon(call).await.unwrap(), Ok(json!(5)));
}

// CALL-37: what comes after the terminal frame means nothing.
#[tokio::test]
async fn a_second_answer_means_nothing() {
    let (client, mut callee) = against_a_liar().await;
    for n in 0..3 {
        let client = client.clone();
        let call = tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await });
        let asked = callee.next().await.unwrap();
        for output in 0..2 {
            let answer = json!({"type": "call.responded", "id": asked["id"], "payload": {"output": [n, output]}});
            callee.send(answer).await;
        }
        callee.send(json!({"type": "call.completed", "id": asked["id"]})).await;
        callee.send(json!({"type": "call.error", "id": asked["id"], "payload": {"code": "LATE"}})).await;
        assert_eq!(soon(call).await.unwrap(), Ok(json!([n, 0])));
    }
    assert!(!client.is_closed());
}

// CALL-07: what the peer says of itself is kept, and nobody waits for it.
#[tokio::test]
async fn a_hello_is_heard_but_not_waited_for() {
    let node = Node::new();
    let client = node.client(anonymous()).await;
    client.call("test/echo", json!({"text": ""}), CallOptions::default()).await.unwrap();
    assert_eq!(client.hello().unwrap().limits.max_batch, Some(64));
    let (client, mut silent) = against_a_liar().await;
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.call("a/b", json!({}), CallOptions::default()).await })
    };
    let asked = silent.next().await.unwrap();
    silent.send(json!({"type": "call.responded", "id": asked["id"], "payload": {}})).await;
    assert_eq!(soon(call).await.unwrap(), Ok(Value::Null), "an absent output is null");
    assert_eq!(client.hello(), None);
    silent.send(json!({"type": "call.hello", "id": "late", "payload": {"version": 1}})).await;
    soon(client.closed()).await;
}

// CALL-09 CALL-23 CALL-26 CALL-54 CALL-55: what a caller says beside the input travels.
#[tokio::test]
async fn options_travel() {
    let (client, mut callee) = against_a_liar().await;
    let options = CallOptions {
        deadline: Some(Duration::from_secs(9)),
        token: Some(PresentedCredential::new("t")),
        idempotency_key: Some("k".into()),
        parent_id: Some("p".into()),
        via: vec!["n".into()],
        origin: Some("alice".into()),
    };
    let call = tokio::spawn(async move { client.call("box/a/b", json!([1]), options).await });
    let mut asked = callee.next().await.unwrap();
    let left = asked["payload"].as_object_mut().unwrap().remove("deadlineMs").unwrap().as_u64().unwrap();
    assert!((8_000..=9_000).contains(&left), "{left}");
    let expected = json!({
        "operationId": "/box/a/b", "input": [1], "wants": "output", "authToken": "t", "idempotencyKey": "k", "parentId": "p",
        "via": ["n"], "origin": "alice"
    });
    assert_eq!(asked["payload"], expected);
    call.abort();
    assert_eq!(callee.next().await.unwrap()["type"], "call.aborted");
}

// CALL-19: a caller keeps no more than 4 MiB unanswered, or one request.
#[tokio::test]
async fn requests_wait_while_too_much_is_unanswered() {
    let (client, mut callee) = against_a_liar().await;
    let large = "x".repeat(1_500_000);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, input) = (client.clone(), json!(large));
        calls.spawn(async move { client.call("a/b", input, CallOptions::default()).await });
    }
    let asked = [callee.next().await.unwrap(), callee.next().await.unwrap()];
    let quiet = tokio::time::timeout(Duration::from_millis(50), callee.next()).await;
    assert!(quiet.is_err(), "a third would be more than 4 MiB: {quiet:?}");
    for asked in asked {
        callee.send(json!({"type": "call.responded", "id": asked["id"], "payload": {}})).await;
        assert_eq!(callee.next().await.unwrap()["type"], "call.requested", "then one more");
    }
}

// CALL-40 CALL-14: a batch is as many calls, each answered on its own, in process and over a connection.
#[tokio::test]
async fn a_batch_is_as_many_calls() {
    let node = Node::new();
    let remote = Client::Remote(node.client(anonymous()).await);
    for client in [remote, Client::Local(node.local(None))] {
        let one = |n: usize| match n % 3 {
            0 => ("test/echo".to_owned(), json!({ "text": n.to_string() }), CallOptions::default()),
            1 => ("test/nothing".to_owned(), json!({}), CallOptions::default()),
            _ => ("test/bytes".to_owned(), json!({ "bytes": n }), CallOptions::default()),
        };
        let results = soon(client.batch((0..200).map(one).collect())).await;
        assert_eq!(results.len(), 200);
        for (n, result) in results.into_iter().enumerate() {
            match n % 3 {
                0 => assert_eq!(result.unwrap()["text"], n.to_string()),
                1 => assert_eq!(result.unwrap_err().code, ErrorCode::Unauthenticated),
                _ => assert_eq!(result.unwrap().as_str().unwrap().len(), n),
            }
        }
        assert_eq!(client.batch(Vec::new()).await, []);
    }
}

#[tokio::test]
async fn a_batch_that_fits_no_frame_goes_in_several() {
    let node = Node::new();
    let client = node.client(alices()).await;
    let text = "x".repeat(3_000_000);
    let call = || ("test/echo".to_owned(), json!({ "text": text }), CallOptions::default());
    let results = soon(client.batch(vec![call(), call(), call()])).await;
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|output| output["text"] == text.as_str())));
}

// CALL-15: a dropped batch calls off what has not ended.
#[tokio::test]
async fn a_dropped_batch_is_aborted() {
    let node = Node::new();
    let client = node.client(alices()).await;
    let call = |_| ("test/wait".to_owned(), json!({}), CallOptions::default());
    let batch = client.batch((0..10).map(call).collect());
    tokio::select! {
        results = batch => panic!("{results:?}"),
        () = until(|| node.waits.running.load(Ordering::Acquire) == 10) => {}
    }
    until(|| node.waits.running.load(Ordering::Acquire) == 0).await;
}

// A handle that does not keep the stream from ending.
#[tokio::test]
async fn a_weak_client_ends_with_the_last_strong_one() {
    let node = Node::new();
    let (connection, served) = node.connect_over(alices(), Carrier::Tls);
    let client = CallClient::connect(connection).await.unwrap();
    let weak = client.downgrade();
    assert!(weak.call("test/echo", json!({"text": ""}), CallOptions::default()).await.is_ok());
    drop(client);
    soon(weak.closed()).await;
    let error = weak.call("test/echo", json!({"text": ""}), CallOptions::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, true));
    soon(served).await.unwrap().unwrap();
}
