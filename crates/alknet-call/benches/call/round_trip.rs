//! One call at a time beside one byte at a time.

use std::time::Instant;

use alknet_call::{CallClient, CallOptions};
use alknet_core::{Carrier, Stream};
use alknet_testkit::measure::{Bar, Comparison, median};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::node::{ECHO, Node, OPERATION};

/// Each in turn: so many calls, so many echoes.
const TURNS: usize = 41;
const IN_A_TURN: u64 = 500;

pub async fn run(node: &Node, carrier: Carrier) {
    let client = node.client(carrier).await;
    let echo = node.dial(carrier, &ECHO).await;
    let mut stream = echo.open_stream().await.unwrap();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let (call, byte) = (calls(&client).await, echoes(&mut stream).await);
        // The first turn warms up.
        if turn > 0 {
            ours.push(call);
            peer.push(byte);
        }
    }
    let name = format!("call round trip p50, {}", carrier.name());
    println!("{}", Comparison { name: &name, unit: "us", ours: &ours, peer: &peer, bar: Bar::AtMost(1.5) });
}

async fn calls(client: &CallClient) -> f64 {
    p50(async |n| call(client, OPERATION, n).await).await
}

async fn echoes(stream: &mut Stream) -> f64 {
    p50(async |n| {
        let sent = [n as u8];
        let mut back = [0];
        stream.write_all(&sent).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, sent);
    })
    .await
}

/// One call of an operation that counts.
pub async fn call(client: &CallClient, operation: &str, n: u64) {
    let answer = client.call(operation, json!({ "n": n }), CallOptions::default()).await.unwrap();
    assert_eq!(answer["n"], n + 1);
}

/// Median of a turn, in microseconds.
pub async fn p50(mut exchange: impl AsyncFnMut(u64)) -> f64 {
    let mut took = Vec::new();
    for n in 0..IN_A_TURN {
        let begun = Instant::now();
        exchange(n).await;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    median(&took)
}
