//! What an acknowledgement of the writer means, and how long it may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::limits::{COPIED_LOG_PAGES, DEFAULT_GROUP_DELAY, MAX_GROUP_DELAY};

/// What an acknowledged change has outlived. In each case it outlives the death of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Durability {
    /// It is on disk before it is acknowledged.
    #[default]
    Strict,
    /// The same, but it waits a moment for others, so that many share one commit.
    Group,
    /// It is on disk within a second. A power cut before that takes it back, whole, and with it all that came after.
    Lazy,
}

/// How long a change with [`Durability::Group`] may wait; shared with the writer.
#[derive(Debug, Clone)]
pub(crate) struct GroupDelay(Arc<AtomicU64>);

impl Default for GroupDelay {
    fn default() -> Self {
        let delay = Self(Arc::default());
        delay.set(DEFAULT_GROUP_DELAY);
        delay
    }
}

impl GroupDelay {
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
    pub fn set(&self, delay: Duration) {
        let micros = u64::try_from(delay.min(MAX_GROUP_DELAY).as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }
}

/// SQLite's `synchronous`: what a commit in WAL mode does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Synchronous {
    /// It syncs the log, with all that earlier commits left in it.
    Full,
    /// It leaves that to the next one that does.
    Normal,
}

impl Synchronous {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
    /// From how many pages on the log is copied into the database after a commit (`wal_autocheckpoint`); 0: not at all.
    pub const fn copied_log_pages(self) -> u32 {
        match self {
            Self::Full => COPIED_LOG_PAGES,
            Self::Normal => 0,
        }
    }
}
