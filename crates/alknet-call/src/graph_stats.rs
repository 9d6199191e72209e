//! What an operation's calls came to: counts and a small histogram of how long they took.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ending::Ending;

/// Buckets of each doubling.
const STEPS: u32 = 4;
/// Doublings from 4 µs on; below, each microsecond has its bucket. The last bucket ends at about 20 minutes.
const DOUBLINGS: u32 = 28;
const BUCKETS: usize = (STEPS + STEPS * DOUBLINGS) as usize;

/// Counts the calls of one operation. Shared by all of them.
#[derive(Debug)]
pub struct OperationTally {
    name: Arc<str>,
    begun: AtomicU64,
    failed: AtomicU64,
    aborted: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    /// Ended calls by how long they took.
    took: [AtomicU64; BUCKETS],
}

impl OperationTally {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            took: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// The operation's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn begin(&self, input_bytes: u64) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if input_bytes > 0 {
            self.input_bytes.fetch_add(input_bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self, ending: Ending, took: Duration, output_bytes: u64) {
        match ending {
            Ending::Completed => {}
            Ending::Failed | Ending::TimedOut => _ = self.failed.fetch_add(1, Ordering::Relaxed),
            Ending::Aborted | Ending::Revoked => _ = self.aborted.fetch_add(1, Ordering::Relaxed),
        }
        if output_bytes > 0 {
            self.output_bytes.fetch_add(output_bytes, Ordering::Relaxed);
        }
        self.took[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> OperationStats {
        let took: Vec<u64> = self.took.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let ended: u64 = took.iter().sum();
        let begun = self.begun.load(Ordering::Relaxed);
        OperationStats {
            operation: self.name.to_string(),
            begun,
            failed: self.failed.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
            in_flight: begun.saturating_sub(ended),
            p50_us: quantile(&took, ended, 50),
            p99_us: quantile(&took, ended, 99),
            input_bytes: self.input_bytes.load(Ordering::Relaxed),
            output_bytes: self.output_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What an operation's calls came to since the node began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationStats {
    /// The operation.
    pub operation: String,
    /// Calls that were let through.
    pub begun: u64,
    /// Of these, those that ended with an error or ran out of time.
    pub failed: u64,
    /// Of these, those that were called off, or lost their rights.
    pub aborted: u64,
    /// Of these, those that did not end yet.
    pub in_flight: u64,
    /// Half of those that ended took no longer than this, in microseconds, about a fifth too much at most.
    pub p50_us: u64,
    /// All but one in a hundred of those that ended took no longer than this, in microseconds.
    pub p99_us: u64,
    /// Bytes of JSON that went in, where there was JSON.
    pub input_bytes: u64,
    /// Bytes of JSON that came out.
    pub output_bytes: u64,
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < u64::from(STEPS) {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEPS.ilog2();
    let step = (micros >> doubling) - u64::from(STEPS);
    (STEPS as usize + doubling as usize * STEPS as usize + step as usize).min(BUCKETS - 1)
}

/// The longest time that falls into a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let steps = STEPS as usize;
    if bucket < steps {
        return bucket as u64;
    }
    let (doubling, step) = ((bucket - steps) / steps, (bucket - steps) % steps);
    (((steps + step + 1) as u64) << doubling) - 1
}

fn quantile(took: &[u64], ended: u64, percent: u64) -> u64 {
    let rank = (u128::from(ended) * u128::from(percent)).div_ceil(100).max(1);
    let mut seen = 0_u128;
    for (bucket, count) in took.iter().enumerate() {
        seen += u128::from(*count);
        if seen >= rank {
            return upper_bound(bucket);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for number in 0..BUCKETS - 1 {
            let last = upper_bound(number);
            assert_eq!(bucket(Duration::from_micros(last)), number);
            assert_eq!(bucket(Duration::from_micros(last + 1)), number + 1);
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!(upper_bound(BUCKETS - 1) > 1_000_000 * 60 * 15);
    }

    // CALL-58: the figures of `calls/stats`.
    #[test]
    fn half_and_tail_are_found_within_a_bucket() {
        let tally = OperationTally::new("a/b".into());
        assert_eq!((tally.view().p50_us, tally.view().p99_us), (0, 0));
        for micros in 1..=1000 {
            tally.begin(2);
            let ending = if micros % 10 == 0 { Ending::TimedOut } else { Ending::Completed };
            tally.end(ending, Duration::from_micros(micros), 3);
        }
        tally.begin(0);
        tally.begin(0);
        tally.end(Ending::Revoked, Duration::from_millis(1), 0);
        let view = tally.view();
        assert!((500..=640).contains(&view.p50_us), "{}", view.p50_us);
        assert!((990..=1240).contains(&view.p99_us), "{}", view.p99_us);
        assert_eq!((view.begun, view.failed, view.aborted, view.in_flight), (1002, 100, 1, 1));
        assert_eq!((view.input_bytes, view.output_bytes), (2000, 3000));
    }
}
