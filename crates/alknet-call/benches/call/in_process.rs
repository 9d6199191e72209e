//! Calls in a second within the process: in the operation's own types, and in JSON with its schema. Each passes the gate, has a
//! deadline and a node in the call graph.

use std::{thread, time::Instant};

use alknet_call::{CallOptions, LocalClient};
use alknet_testkit::measure::{Bar, Figure};
use serde_json::json;

use crate::node::{Node, Number, OPERATION, caller};

const CALLS: u64 = 500_000;
const RUNS: usize = 7;
/// When more than one thread calls.
const THREADS: usize = 2;

pub fn run(node: &Node) {
    print("typed calls/s, in process", 1, Bar::AtLeast(1_000_000.0), || typed(node));
    print("typed calls/s, in process, 2 threads", THREADS, Bar::Open, || typed(node));
    print("JSON calls/s, in process", 1, Bar::Open, || json(node));
}

fn print<F: Future<Output = ()>>(name: &str, threads: usize, bar: Bar, calls: impl Fn() -> F + Sync) {
    let runs: Vec<f64> = (0..RUNS).map(|_| rate(threads, &calls)).collect();
    println!("{}", Figure { name, unit: "calls/s", runs: &runs, bar });
}

fn rate<F: Future<Output = ()>>(threads: usize, calls: &(impl Fn() -> F + Sync)) -> f64 {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| runtime().block_on(calls()));
        }
    });
    (threads as u64 * CALLS) as f64 / begun.elapsed().as_secs_f64()
}

async fn typed(node: &Node) {
    let operation = node.registry().typed::<Number, Number>(OPERATION).unwrap();
    let caller = caller();
    for n in 0..CALLS {
        let answer = operation.call(&caller, Number { n }).await.unwrap();
        assert_eq!(answer.n, n + 1);
    }
}

async fn json(node: &Node) {
    let client = LocalClient::new(node.registry().clone(), caller());
    for n in 0..CALLS {
        let answer = client.call(OPERATION, json!({ "n": n }), CallOptions::default()).await.unwrap();
        assert_eq!(answer["n"], n + 1);
    }
}
