//! The time of day, as an argument: tests and simulations bring their own.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Tells the time since 1970.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The system's clock. A clock set before 1970 reads as 1970.
    pub fn system() -> Self {
        Self::precise(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
    /// A clock that asks `now` for the seconds since 1970.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::precise(move || Duration::from_secs(now()))
    }
    /// A clock that asks `now` for the time since 1970.
    pub fn precise(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        (self.0)().as_secs()
    }
    /// Milliseconds since 1970; what no number of them can be is the last one.
    pub fn now_ms(&self) -> u64 {
        u64::try_from((self.0)().as_millis()).unwrap_or(u64::MAX)
    }
    /// Nanoseconds since 1970; what is beyond the year 2262 is the last one.
    pub fn now_ns(&self) -> i64 {
        i64::try_from((self.0)().as_nanos()).unwrap_or(i64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// SQLite's integers are signed: times beyond its range become the last one.
pub(crate) fn stored(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The way back; what no time can be reads as 1970.
pub(crate) fn loaded(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_sqlites_range_are_held_at_its_ends() {
        assert_eq!(loaded(stored(u64::MAX)), i64::MAX.unsigned_abs());
        assert_eq!(loaded(stored(0)), 0);
        assert_eq!(loaded(-5), 0);
        assert!(Clock::system().now() > 1_700_000_000, "this machine's clock is set");
        assert_eq!(Clock::new(|| u64::MAX).now_ms(), u64::MAX);
        assert_eq!(Clock::precise(|| Duration::from_millis(1_999)).now(), 1);
        assert_eq!(Clock::precise(|| Duration::from_nanos(1_999)).now_ns(), 1_999);
        assert_eq!(Clock::new(|| u64::MAX).now_ns(), i64::MAX);
    }
}
