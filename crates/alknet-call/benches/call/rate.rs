//! Calls in a second on one connection, with several in flight.

use std::time::Instant;

use alknet_call::{CallClient, CallOptions};
use alknet_core::Carrier;
use alknet_testkit::measure::{Bar, Figure};
use futures_util::future::join_all;
use serde_json::json;

use crate::node::{Node, OPERATION};

const IN_FLIGHT: u64 = 64;
const EACH: u64 = 2_000;
const RUNS: usize = 5;

pub async fn run(node: &Node, carrier: Carrier) {
    let client = node.client(carrier).await;
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        join_all((0..IN_FLIGHT).map(|_| one_after_the_other(&client))).await;
        rates.push((IN_FLIGHT * EACH) as f64 / begun.elapsed().as_secs_f64());
    }
    let name = format!("calls/s, {IN_FLIGHT} in flight, {}", carrier.name());
    println!("{}", Figure { name: &name, unit: "calls/s", runs: &rates, bar: Bar::AtLeast(50_000.0) });
}

async fn one_after_the_other(client: &CallClient) {
    for n in 0..EACH {
        let answer = client.call(OPERATION, json!({ "n": n }), CallOptions::default()).await.unwrap();
        assert_eq!(answer["n"], n + 1);
    }
}
