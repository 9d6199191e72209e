//! A call to a worker through its head, beside two calls: one to the head, then one to the worker.

use alknet_core::Carrier;
use alknet_testkit::measure::{Bar, Comparison};

use crate::{
    node::{Node, OPERATION, WORKER},
    round_trip::{call, p50},
};

const TURNS: usize = 41;

pub async fn run(head: &Node, worker: &Node) {
    worker.join(head).await;
    let (to_head, to_worker) = (head.client(Carrier::Tls).await, worker.client(Carrier::Tls).await);
    let routed = format!("{WORKER}/{OPERATION}");
    let (mut through, mut twice, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let routed = p50(async |n| call(&to_head, &routed, n).await).await;
        let both = p50(async |n| {
            call(&to_head, OPERATION, n).await;
            call(&to_worker, OPERATION, n).await;
        });
        let both = both.await;
        let one = p50(async |n| call(&to_worker, OPERATION, n).await).await;
        // The first turn warms up.
        if turn > 0 {
            through.push(routed);
            twice.push(both);
            direct.push(one);
        }
    }
    // One hop and nothing else; the tenth is for the clock.
    let bar = Bar::AtMost(1.1);
    println!("{}", Comparison { name: "routed p50, beside two calls", unit: "us", ours: &through, peer: &twice, bar });
    let name = "routed p50, beside a direct call";
    println!("{}", Comparison { name, unit: "us", ours: &through, peer: &direct, bar: Bar::Open });
}
