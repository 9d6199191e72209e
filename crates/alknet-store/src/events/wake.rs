//! Tells those who wait that something was committed, and only then.

use rusqlite::Connection;
use tokio::sync::watch;

/// The newest ids that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    events: u64,
    jobs: u64,
}

impl Newest {
    /// As of this transaction.
    pub fn read(sql: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            sql.prepare_cached("SELECT name = 'events', seq FROM sqlite_sequence WHERE name IN ('events', 'jobs')")?;
        let mut rows = statement.query([])?;
        let mut newest = Self::default();
        while let Some(row) = rows.next()? {
            let slot = if row.get(0)? { &mut newest.events } else { &mut newest.jobs };
            *slot = crate::clock::loaded(row.get(1)?);
        }
        Ok(newest)
    }
    /// Of events.
    pub const fn events(self) -> u64 {
        self.events
    }
}

/// Held by the writer alone: those who listen see the end when it closes.
pub(crate) struct Wakes {
    events: watch::Sender<u64>,
    jobs: watch::Sender<u64>,
    tables: watch::Sender<u64>,
}

/// What is handed out to those who wait.
pub(crate) struct Listeners {
    pub events: watch::Receiver<u64>,
    pub jobs: watch::Receiver<u64>,
    pub tables: watch::Receiver<u64>,
}

impl Wakes {
    pub fn new(newest: Newest) -> (Self, Listeners) {
        let (events, hears_events) = watch::channel(newest.events);
        let (jobs, hears_jobs) = watch::channel(newest.jobs);
        let (tables, hears_tables) = watch::channel(0);
        let listeners = Listeners { events: hears_events, jobs: hears_jobs, tables: hears_tables };
        (Self { events, jobs, tables }, listeners)
    }

    /// After a commit.
    pub fn tell(&self, newest: Newest) {
        raise(&self.events, newest.events);
        raise(&self.jobs, newest.jobs);
    }

    /// After a commit that changed tables of other crates.
    pub fn tell_tables(&self) {
        self.tables.send_modify(|commits| *commits += 1);
    }
}

fn raise(sender: &watch::Sender<u64>, newest: u64) {
    sender.send_if_modified(|told| {
        let newer = newest > *told;
        *told = newest.max(*told);
        newer
    });
}
