//! Ours and a peer in turn, and the three lines that come of it.

use std::time::Duration;

use alknet_testkit::measure::{Bar, Comparison, median};

use crate::load::{Callee, closed_loop, open_loop_p99};

/// Turns of each, after one to warm up; and what is done in a turn.
const TURNS: usize = 11;
const ALONE: u64 = 2_000;
const AT_ONCE: u64 = 64;
const EACH: u64 = 500;
const LOADED: Duration = Duration::from_secs(1);

/// What the ratios have to keep.
#[derive(Clone, Copy)]
pub struct Bars {
    /// Of calls in a second.
    pub rate: Bar,
    /// Of the time within which 99 of 100 calls are answered.
    pub p99: Bar,
}

pub async fn compare(name: &str, ours: &impl Callee, peer: &impl Callee, bars: Bars) {
    let alone = in_turn(async || closed_loop(ours, 1, ALONE).await, async || closed_loop(peer, 1, ALONE).await).await;
    print(&format!("one by one: {name}"), "calls/s", &alone, bars.rate);

    let full =
        in_turn(async || closed_loop(ours, AT_ONCE, EACH).await, async || closed_loop(peer, AT_ONCE, EACH).await).await;
    print(&format!("{AT_ONCE} in flight: {name}"), "calls/s", &full, bars.rate);

    // The same load for both: half of what the slower one can do.
    let half = median(&full.0).min(median(&full.1)) / 2.0;
    let late =
        in_turn(async || open_loop_p99(ours, half, LOADED).await, async || open_loop_p99(peer, half, LOADED).await)
            .await;
    print(&format!("p99 at {half:.0}/s: {name}"), "us", &late, bars.p99);
}

async fn in_turn(ours: impl AsyncFn() -> f64, peer: impl AsyncFn() -> f64) -> (Vec<f64>, Vec<f64>) {
    let (mut all_of_ours, mut all_of_peer) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let (one, other) = (ours().await, peer().await);
        if turn > 0 {
            all_of_ours.push(one);
            all_of_peer.push(other);
        }
    }
    (all_of_ours, all_of_peer)
}

fn print(name: &str, unit: &str, (ours, peer): &(Vec<f64>, Vec<f64>), bar: Bar) {
    println!("{}", Comparison { name, unit, ours, peer, bar });
}
