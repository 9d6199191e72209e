//! How a callee is loaded: one call after the other, several at once, or as many in a second as somebody else decides.

use std::{
    thread,
    time::{Duration, Instant},
};

use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::sync::mpsc;

/// Whoever answers a number with the next one.
pub trait Callee: Clone {
    /// One call.
    fn next(&self, n: u64) -> impl Future<Output = u64>;
}

/// Calls in a second, `at_once` always in flight, each of them `each` times.
pub async fn closed_loop(callee: &impl Callee, at_once: u64, each: u64) -> f64 {
    let one_after_the_other = async || {
        for n in 0..each {
            assert_eq!(callee.next(n).await, n + 1);
        }
    };
    let begun = Instant::now();
    join_all((0..at_once).map(|_| one_after_the_other())).await;
    (at_once * each) as f64 / begun.elapsed().as_secs_f64()
}

/// Microseconds within which 99 of 100 calls are answered that arrive evenly, `rate` in a second, answered or not. Each is
/// counted from when it was due, so a callee that falls behind cannot hide it.
pub async fn open_loop_p99(callee: &impl Callee, rate: f64, lasting: Duration) -> f64 {
    let (arrive, mut arrivals) = mpsc::unbounded_channel();
    let count = (rate * lasting.as_secs_f64()) as u64;
    let pace = thread::spawn(move || {
        let begun = Instant::now();
        for n in 0..count {
            let due = begun + Duration::from_secs_f64(n as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            arrive.send((n, due)).unwrap();
        }
    });
    let mut open = FuturesUnordered::new();
    let mut took = Vec::new();
    loop {
        tokio::select! {
            Some((n, due)) = arrivals.recv() => open.push(async move {
                assert_eq!(callee.next(n).await, n + 1);
                due.elapsed().as_secs_f64() * 1e6
            }),
            Some(answered) = open.next() => took.push(answered),
            else => break,
        }
    }
    pace.join().unwrap();
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}
