//! Items in a second: in process, and over each carrier.

use std::{pin::pin, time::Instant};

use alknet_call::{CallError, Item, LocalClient, SubscribeOptions};
use alknet_core::Carrier;
use alknet_testkit::measure::{Bar, Figure};
use futures_util::{Stream, StreamExt};
use serde_json::json;

use crate::node::{Node, SUBSCRIPTION, caller};

const ITEMS: u64 = 200_000;
const RUNS: usize = 7;
const WIDE_WINDOW: u32 = 1024;

pub async fn in_process(node: &Node) {
    let client = LocalClient::new(node.registry().clone(), caller());
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let items = client.subscribe(SUBSCRIPTION, json!({ "n": 0 }), SubscribeOptions::default()).await.unwrap();
        rates.push(take(items).await);
    }
    print("items/s, in process", &rates, Bar::AtLeast(500_000.0));
}

pub async fn over(node: &Node, carrier: Carrier) {
    let client = node.client(carrier).await;
    for window in [SubscribeOptions::default().window, WIDE_WINDOW] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let options = SubscribeOptions { window, ..SubscribeOptions::default() };
            rates.push(take(client.subscribe(SUBSCRIPTION, json!({ "n": 0 }), options).await.unwrap()).await);
        }
        let name = format!("items/s, window {window}, {}", carrier.name());
        print(&name, &rates, Bar::AtLeast(100_000.0));
    }
}

/// Items in a second.
async fn take(items: impl Stream<Item = Result<Item, CallError>>) -> f64 {
    let mut items = pin!(items);
    let begun = Instant::now();
    for n in 0..ITEMS {
        let item = items.next().await.unwrap().unwrap();
        assert_eq!(item.output["n"], n);
    }
    ITEMS as f64 / begun.elapsed().as_secs_f64()
}

fn print(name: &str, runs: &[f64], bar: Bar) {
    println!("{}", Figure { name, unit: "items/s", runs, bar });
}
