//! Hostile bytes against a live node: an error within a second, no panic, and the node goes on.

use std::time::{Duration, Instant};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::node::{Node, RawPeer, alices, anonymous};

// CALL-03: half a frame, then silence or the end.
#[tokio::test]
async fn a_truncated_frame_ends_its_stream() {
    let node = Node::new();
    for bytes in [&b"\0"[..], b"\0\0\0", b"\0\0\x10\0", b"\0\0\x10\0{\"type\":"] {
        let mut peer = node.raw(anonymous()).await;
        peer.bytes(bytes).await;
        peer.stream.send.shutdown().await.unwrap();
        assert_eq!(peer.next().await, None);
    }
    assert!(node.raw(anonymous()).await.is_alive().await);
}

// CALL-03: many lying streams at once hold only what they sent.
#[tokio::test]
async fn announced_lengths_reserve_nothing() {
    let node = Node::new();
    let mut liars = Vec::new();
    for _ in 0..200 {
        let mut liar = node.raw(alices()).await;
        liar.bytes(&(4_u32 << 20).to_be_bytes()).await;
        liars.push(liar);
    }
    assert!(node.raw(anonymous()).await.is_alive().await);
}

// CALL-04: the deepest frame that fits is refused at once.
#[tokio::test]
async fn deep_nesting_is_refused_within_a_second() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    let deep = "{\"a\":".repeat(800_000);
    let start = Instant::now();
    peer.frame(deep.as_bytes()).await;
    assert_eq!(peer.next().await, None);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

// CALL-04: as are hundreds of thousands of members.
#[tokio::test]
async fn many_members_cost_no_more_than_their_bytes() {
    let node = Node::new();
    let mut peer = node.raw(alices()).await;
    let members: Vec<_> = (0..200_000).map(|n| format!("\"k{n:06}\":0")).collect();
    let frame = format!(
        r#"{{"type":"call.requested","id":"1","payload":{{"operationId":"/test/echo","input":{{{}}}}}}}"#,
        members.join(",")
    );
    let start = Instant::now();
    peer.frame(frame.as_bytes()).await;
    assert_eq!(peer.code("1").await, "INVALID_INPUT");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

// CALL-08: whatever arrives, the next connection is served.
#[tokio::test]
async fn garbage_never_stops_the_node() {
    let node = Node::new();
    let mut runner = TestRunner::deterministic();
    let garbage = proptest::collection::vec(any::<u8>(), 0..200);
    let json = "[{}\\[\\]\":,a0 ]{0,60}".prop_map(String::into_bytes);
    for n in 0..200 {
        let strategy = if n % 2 == 0 { garbage.clone().boxed() } else { json.clone().boxed() };
        let content = strategy.new_tree(&mut runner).unwrap().current();
        let mut peer = node.raw(anonymous()).await;
        if n % 3 == 0 {
            let _gone_already = peer.stream.send.write_all(&content).await;
        } else if !content.is_empty() {
            peer.frame(&content).await;
        }
        let _gone_already = peer.stream.send.shutdown().await;
        while peer.next().await.is_some() {}
    }
    let mut peer = RawPeer::open(node.connect(anonymous())).await;
    peer.request("1", "/test/echo", json!({"text": "still here"})).await;
    assert_eq!(peer.output("1").await["text"], "still here");
}
