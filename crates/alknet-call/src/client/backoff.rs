//! How long to wait between tries.

use std::time::Duration;

use crate::limits::{FIRST_RECONNECT_WAIT, LONGEST_RECONNECT_WAIT};

/// The waits between tries: from 100 ms, doubling to 30 s, of each between half and the whole by chance, so that those who
/// lost the same node do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_RECONNECT_WAIT }
    }
}

impl Backoff {
    /// How long to wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST_RECONNECT_WAIT);
        let mut chance = [0; 4];
        // Without chance everybody waits the whole time, which is only less polite.
        if getrandom::fill(&mut chance).is_err() {
            return whole;
        }
        let share = f64::from(u32::from_ne_bytes(chance)) / f64::from(u32::MAX);
        whole.mul_f64(0.5 + share / 2.0)
    }

    /// It worked: the next wait is a short one again.
    pub const fn reset(&mut self) {
        self.next = FIRST_RECONNECT_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-45: from 100 ms, doubling to 30 s, with jitter.
    #[test]
    fn waits_double_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let mut whole = 100;
        for _ in 0..12 {
            let wait = backoff.wait().as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
            whole = (whole * 2).min(30_000);
        }
        let waits: std::collections::HashSet<_> = (0..20).map(|_| backoff.wait()).collect();
        assert!(waits.len() > 10, "{waits:?}");
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
