//! How long to wait between tries.

use std::time::Duration;

use crate::limits::{FIRST_RECONNECT_WAIT, LONGEST_RECONNECT_WAIT};

/// The waits between tries: from 100 ms, doubling to 30 s, of each between half and the whole by chance, so that those who
/// lost the same node do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    chance: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        let mut seed = [0; 8];
        // Without chance all wait alike, which is only less polite.
        let _ = getrandom::fill(&mut seed);
        Self::seeded(u64::from_ne_bytes(seed))
    }
}

impl Backoff {
    /// Waits that a seed decides, for simulations.
    pub const fn seeded(seed: u64) -> Self {
        Self { next: FIRST_RECONNECT_WAIT, chance: seed }
    }

    /// How long to wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST_RECONNECT_WAIT);
        whole.mul_f64(0.5 + self.share() / 2.0)
    }

    /// A number from 0 to 1 by chance (SplitMix64; nothing hangs on its being hard to guess).
    fn share(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
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
