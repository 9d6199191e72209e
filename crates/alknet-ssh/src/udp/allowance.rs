//! So many of something in a second: a bucket that fills again, the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How much of something is still allowed.
pub(super) struct Allowance {
    per_second: u32,
    /// As a time: a whole bucket is what takes so long to fill.
    full: Duration,
    /// When the bucket would be, or was, full.
    full_at: Instant,
}

impl Allowance {
    /// A full bucket of `burst`, which gets `per_second` more as time goes.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second, full: Duration::from_secs(burst.into()) / per_second, full_at: now }
    }

    /// Takes one out; `false` where the bucket is empty.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let next = self.full_at.max(now) + Duration::from_secs(1) / self.per_second;
        let allowed = next.saturating_duration_since(now) <= self.full;
        if allowed {
            self.full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let now = Instant::now();
        let mut allowance = Allowance::new(10, 20, now);
        let count = |allowance: &mut Allowance, at| (0..100).filter(|_| allowance.take(at)).count();
        assert_eq!(count(&mut allowance, now), 20);
        assert_eq!(count(&mut allowance, now + Duration::from_secs(1)), 10);
        assert_eq!(count(&mut allowance, now + Duration::from_secs(100)), 20, "no more than a bucket is kept");
    }
}
