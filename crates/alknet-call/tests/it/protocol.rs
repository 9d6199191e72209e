//! The rules of frames and envelopes.

use alknet_call::limits::{MAX_CALLS_IN_FLIGHT, MAX_FRAME_BYTES, MAX_UNIDENTIFIED_FRAME_BYTES, WRITE_STALL_TIMEOUT};
use alknet_core::{Carrier, ServeError};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::node::{Node, RawPeer, alices, anonymous, requested, soon, until};

// CALL-01 CALL-06: one frame in, one frame out, on every carrier.
#[tokio::test]
async fn a_request_is_answered_on_every_carrier() {
    let node = Node::new();
    for carrier in [Carrier::Quic, Carrier::Tls, Carrier::Local] {
        let (connection, _) = node.connect_over(anonymous(), carrier);
        let mut peer = RawPeer::open(connection).await;
        peer.request("a-1", "/test/echo", json!({"text": "ä"})).await;
        assert_eq!(peer.output("a-1").await, json!({"text": "ä"}));
    }
}

// CALL-02: 64 KiB until identified, 4 MiB after.
#[tokio::test]
async fn a_stranger_gets_small_frames_only() {
    let node = Node::new();
    let text = "x".repeat(MAX_UNIDENTIFIED_FRAME_BYTES);
    let mut stranger = node.raw(anonymous()).await;
    let announced = u32::try_from(MAX_UNIDENTIFIED_FRAME_BYTES + 1).unwrap();
    stranger.bytes(&announced.to_be_bytes()).await;
    assert_eq!(stranger.next().await, None, "refused by the length alone");
    let mut known = node.raw(alices()).await;
    known.request("1", "/test/echo", json!({ "text": text })).await;
    assert_eq!(known.output("1").await["text"].as_str().unwrap().len(), text.len());
    known.bytes(&u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes()).await;
    assert_eq!(known.next().await, None);
}

// CALL-04 CALL-05 CALL-06 CALL-08 CALL-13 CALL-37: each ends its stream and nothing else.
#[tokio::test]
async fn a_broken_rule_ends_its_stream_and_leaves_the_others() {
    let node = Node::new();
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let double =
        r#"{"type":"call.requested","id":"1","payload":{"operationId":"/test/echo","input":{"text":"a","text":"b"}}}"#;
    let bad: Vec<Vec<u8>> = vec![
        vec![0, 0, 0, 0],
        vec![0xff; 4],
        framed(b"{"),
        framed(b"\xff\xfe"),
        framed(b"null"),
        framed(br#"["call.requested","1",{}]"#),
        framed(deep.as_bytes()),
        framed(double.as_bytes()),
        framed(json!({"type": "call.unknown", "id": "1", "payload": {}}).to_string().as_bytes()),
        framed(requested("", "/test/echo", json!({})).to_string().as_bytes()),
        framed(requested("a b", "/test/echo", json!({})).to_string().as_bytes()),
        framed(json!({"type": "call.requested", "id": 7, "payload": {}}).to_string().as_bytes()),
        framed(json!({"type": "call.requested", "id": "1"}).to_string().as_bytes()),
        framed(json!({"type": "call.requested", "id": "1", "payload": []}).to_string().as_bytes()),
        framed(json!({"type": "call.responded", "id": "1", "payload": {"output": 1}}).to_string().as_bytes()),
        framed(json!({"type": "call.error", "id": "1", "payload": {"code": "X"}}).to_string().as_bytes()),
        framed(json!({"type": "call.completed", "id": "1"}).to_string().as_bytes()),
        framed(json!({"type": "call.batch", "id": "1", "payload": {"requests": []}}).to_string().as_bytes()),
        framed(json!({"type": "call.hello", "id": "1", "payload": {"version": 2}}).to_string().as_bytes()),
        [requested("1", "/test/wait", json!({})), requested("1", "/test/wait", json!({}))]
            .iter()
            .flat_map(|frame| framed(frame.to_string().as_bytes()))
            .collect(),
    ];
    let connection = node.connect(alices());
    let mut good = RawPeer::open(connection.clone()).await;
    assert!(good.is_alive().await);
    for bytes in bad {
        let mut peer = RawPeer::open(connection.clone()).await;
        peer.bytes(&bytes).await;
        assert_eq!(peer.next().await, None, "{}", bytes.escape_ascii());
        assert!(good.is_alive().await, "{}", bytes.escape_ascii());
    }
    until(|| node.waits.running.load(std::sync::atomic::Ordering::Acquire) == 0).await;
}

fn framed(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

// CALL-08: the fault is reported as the peer's.
#[tokio::test]
async fn a_misbehaving_peer_is_named_as_such() {
    let node = Node::new();
    let (connection, served) = node.connect_over(anonymous(), Carrier::Tls);
    let mut peer = RawPeer::open(connection).await;
    peer.bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(soon(served).await.unwrap(), Err(ServeError::PeerMisbehaved(..))));
}

// CALL-07: the answer has the same id; a hello after anything else is an error; unknown features mean nothing.
#[tokio::test]
async fn a_hello_is_answered_as_the_first_frame_and_refused_later() {
    let node = Node::new();
    let hello = json!({"type": "call.hello", "id": "h-1", "payload": {"version": 1, "features": ["teleport"]}});
    let mut peer = node.raw(anonymous()).await;
    peer.send(hello.clone()).await;
    let answer = peer.next().await.unwrap();
    assert_eq!((&answer["type"], &answer["id"]), (&json!("call.hello"), &json!("h-1")));
    assert_eq!(answer["payload"]["version"], 1);
    assert_eq!(answer["payload"]["features"], json!(["batch", "credit", "both-directions", "idempotency", "resume"]));
    let limits = json!({"maxFrameBytes": MAX_FRAME_BYTES, "maxCallsInFlight": MAX_CALLS_IN_FLIGHT, "maxBatch": 64});
    assert_eq!(answer["payload"]["limits"], limits);
    assert!(peer.is_alive().await);
    peer.send(hello).await;
    assert_eq!(peer.next().await, None, "too late");
}

// CALL-13: an id is free again after its answer, and taken on every stream of the connection before.
#[tokio::test]
async fn an_id_is_unique_while_it_is_open() {
    let node = Node::new();
    let connection = node.connect(alices());
    let mut first = RawPeer::open(connection.clone()).await;
    for _ in 0..3 {
        first.request("same", "/test/echo", json!({"text": "a"})).await;
        first.output("same").await;
    }
    first.request("same", "/test/wait", json!({})).await;
    until(|| node.waits.running.load(std::sync::atomic::Ordering::Acquire) == 1).await;
    let mut second = RawPeer::open(connection).await;
    second.send(json!({"type": "call.aborted", "id": "same"})).await;
    second.request("same", "/test/echo", json!({"text": "a"})).await;
    assert_eq!(second.next().await, None, "a second use ends the second stream");
    assert!(first.is_alive().await, "an abort on another stream is nobody's");
}

// CALL-18: what is too much is refused at once; what runs goes on.
#[tokio::test]
async fn ten_thousand_requests_at_once_are_mostly_refused() {
    let node = Node::new();
    let RawPeer { connection, stream, .. } = node.raw(alices()).await;
    let alknet_core::Stream { mut send, recv } = stream;
    let writer = tokio::spawn(async move {
        for n in 0..10_000 {
            let frame = framed(requested(&n.to_string(), "/test/wait", json!({})).to_string().as_bytes());
            send.write_all(&frame).await.unwrap();
        }
        send.flush().await.unwrap();
        send
    });
    let reader = tokio::spawn(async move {
        let mut recv = recv;
        let mut decoder = alknet_call::FrameDecoder::new(MAX_FRAME_BYTES);
        let mut refused = 0;
        loop {
            while let Some(frame) = decoder.next_frame().unwrap() {
                let frame: Value = serde_json::from_slice(&frame).unwrap();
                assert_eq!(frame["payload"]["code"], "OVERLOADED");
                assert_eq!(frame["payload"]["retryable"], true);
                refused += 1;
            }
            if refused == 10_000 - MAX_CALLS_IN_FLIGHT {
                return recv;
            }
            tokio::io::AsyncReadExt::read_buf(&mut recv, decoder.buffer()).await.unwrap();
        }
    });
    let (send, recv) = (soon(writer).await.unwrap(), soon(reader).await.unwrap());
    assert_eq!(node.waits.running.load(std::sync::atomic::Ordering::Acquire), MAX_CALLS_IN_FLIGHT);
    drop((send, recv, connection));
    until(|| node.waits.running.load(std::sync::atomic::Ordering::Acquire) == 0).await;
}

// CALL-19: a peer that asks and never reads is bounded, and its streams beside are served.
#[tokio::test]
async fn a_peer_that_does_not_read_stops_only_its_stream() {
    let node = Node::new();
    let connection = node.connect(alices());
    let mut deaf = RawPeer::open(connection.clone()).await;
    let stuck = tokio::time::timeout(std::time::Duration::from_millis(300), async {
        for n in 0..100_000 {
            deaf.request(&n.to_string(), "/test/bytes", json!({"bytes": 50_000})).await;
        }
    });
    assert!(stuck.await.is_err(), "the node stops reading what it cannot answer");
    let mut other = RawPeer::open(connection).await;
    assert!(other.is_alive().await);
}

// CALL-19: after 30 s in which the peer takes nothing its stream is abandoned, and what ran for it is called off.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_after_a_while() {
    let node = Node::new();
    let (connection, served) = node.connect_over(alices(), Carrier::Tls);
    let mut deaf = RawPeer::open(connection).await;
    deaf.request("w", "/test/wait", json!({})).await;
    for n in 0..10 {
        deaf.request(&n.to_string(), "/test/bytes", json!({"bytes": 50_000})).await;
    }
    let start = tokio::time::Instant::now();
    served.await.unwrap().unwrap();
    let waited = start.elapsed();
    assert!(WRITE_STALL_TIMEOUT <= waited && waited < WRITE_STALL_TIMEOUT * 2, "{waited:?}");
    assert_eq!(node.waits.running.load(std::sync::atomic::Ordering::Acquire), 0);
}

// CALL-14 CALL-15 CALL-19: what is asked and called off while nothing of the answers is read is all done, in its order, later.
#[tokio::test]
async fn what_arrives_while_nothing_is_read_is_done_later() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    for n in 0..40 {
        peer.request(&n.to_string(), "/test/bytes", json!({"bytes": 50_000})).await;
    }
    peer.request("w", "/test/wait", json!({})).await;
    peer.send(json!({"type": "call.aborted", "id": "w"})).await;
    peer.send(json!({"type": "call.batch", "id": "b", "payload": {"requests": [
        {"id": "b1", "operationId": "/test/echo", "input": {"text": "1"}},
        {"id": "b2", "operationId": "/test/nothing"}
    ]}}))
    .await;
    peer.request("last", "/test/echo", json!({"text": "z"})).await;
    let mut seen = std::collections::HashMap::new();
    while seen.len() < 44 {
        let frame = peer.next().await.unwrap();
        let said = frame["payload"]["code"].as_str().unwrap_or("output").to_owned();
        assert_eq!(seen.insert(frame["id"].as_str().unwrap().to_owned(), said), None, "twice: {}", frame["id"]);
    }
    assert_eq!((seen["w"].as_str(), seen["b2"].as_str(), seen["last"].as_str()), ("ABORTED", "NOT_FOUND", "output"));
    assert!(peer.is_alive().await, "and nothing more");
    assert_eq!(node.waits.running.load(std::sync::atomic::Ordering::Acquire), 0);
}

// CALL-40: a batch of one stream is as many calls; what is wrong with it ends the stream before any of it runs.
#[tokio::test]
async fn a_wrong_batch_runs_nothing() {
    let node = Node::new();
    let batch = |requests: Value| json!({"type": "call.batch", "id": "b", "payload": {"requests": requests}});
    let wait = |id: &str| json!({"id": id, "operationId": "/test/wait"});
    let connection = node.connect(alices());
    let mut good = RawPeer::open(connection.clone()).await;
    good.send(batch(json!([wait("open"), {"id": "e", "operationId": "/test/echo", "input": {"text": "e"}}]))).await;
    assert_eq!(good.output("e").await["text"], "e");
    let too_many: Vec<_> = (0..65).map(|n| wait(&n.to_string())).collect();
    for wrong in [json!([]), json!([wait("x"), wait("x")]), json!([wait("y"), wait("open")]), json!(too_many)] {
        let mut peer = RawPeer::open(connection.clone()).await;
        peer.send(batch(wrong)).await;
        assert_eq!(peer.next().await, None);
    }
    assert_eq!(node.waits.running.load(std::sync::atomic::Ordering::Acquire), 1, "of the good one");
    assert!(good.is_alive().await);
    // The batch's own id is free.
    good.request("b", "/test/echo", json!({"text": "b"})).await;
    assert_eq!(good.output("b").await["text"], "b");
}
