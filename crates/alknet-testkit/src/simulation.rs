//! What a seeded simulation needs beside a network: chance that repeats, a runtime whose clock jumps, and guards that are counted.

use std::{
    env,
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The variable with the one seed to run.
pub const SEED_VARIABLE: &str = "ALKNET_SEED";
/// The variable with how many seeds to run, from the first on.
pub const SEEDS_VARIABLE: &str = "ALKNET_SEEDS";
/// The variable with the first seed to run.
pub const FIRST_SEED_VARIABLE: &str = "ALKNET_FIRST_SEED";

/// Chance that is the same for the same seed. Clones draw from the same sequence.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<u64>>);

impl Chance {
    /// Begins the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// A sequence of its own for one actor, so that what others draw does not change what it does.
    pub fn fork(&self) -> Self {
        Self::new(self.next())
    }

    fn state(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
    fn next(&self) -> u64 {
        let mut state = self.state();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True so many times in a thousand.
    pub fn per_mille(&self, chances: u64) -> bool {
        self.below(1000) < chances
    }

    /// A length of time within the range, in whole milliseconds.
    pub fn time(&self, range: RangeInclusive<Duration>) -> Duration {
        let (from, to) = (range.start().as_millis() as u64, range.end().as_millis() as u64);
        Duration::from_millis(from + self.below(to.saturating_sub(from) + 1))
    }

    /// One of these, of which there is at least one.
    pub fn of<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// Runs `world` on one thread with a clock that stands still while anything can be done and then jumps to the next timer.
pub fn in_virtual_time<T>(world: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("because a runtime without IO needs nothing");
    runtime.block_on(world)
}

/// The seeds to run: the one that the environment names, or so many from the first one on.
pub fn seeds(first: u64, count: u64) -> impl Iterator<Item = u64> {
    let number = |variable| {
        let text = env::var(variable).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
    };
    let (first, count) = match number(SEED_VARIABLE) {
        Some(seed) => (seed, 1),
        None => (number(FIRST_SEED_VARIABLE).unwrap_or(first), number(SEEDS_VARIABLE).unwrap_or(count)),
    };
    (0..count).map(move |offset| first.wrapping_add(offset))
}

/// Counts what is alive: each [`Counted`] until it is dropped.
#[derive(Clone, Default)]
pub struct Census(Arc<AtomicUsize>);

impl Census {
    /// Counts one more.
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::AcqRel);
        Counted(self.clone())
    }
    /// How many are alive.
    pub fn alive(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// One that is counted.
pub struct Counted(Census);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_forks_are_independent() {
        let draw = |seed| {
            let chance = Chance::new(seed);
            let fork = chance.fork();
            (0..20).map(|_| (chance.below(1000), fork.below(1000))).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().any(|(own, forked)| own != forked));
    }

    #[test]
    fn virtual_time_does_not_take_time() {
        let begin = std::time::Instant::now();
        in_virtual_time(async { tokio::time::sleep(Duration::from_secs(86_400)).await });
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_living_are_counted() {
        let census = Census::default();
        let (one, two) = (census.enter(), census.enter());
        drop(one);
        assert_eq!(census.alive(), 1);
        drop(two);
        assert_eq!(census.alive(), 0);
    }
}
