//! What waits for the writer without anybody waiting for it: audit rows, counters, and when API keys were last used.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Sender,
    },
};

use alknet_core::{AuditCounter, AuditEvent, AuditKind, AuditLog, AuditOutcome};
use rusqlite::{Connection, params};

use crate::{
    audit::{kind_text, outcome_text, prune_rows},
    clock::{Clock, stored},
    limits::{
        DEFAULT_AUDIT_ROWS, MAX_AUDIT_TEXT_BYTES, MAX_COUNTER_ROWS, MAX_PENDING_COUNTERS, MAX_QUEUED_AUDIT_ROWS,
        MAX_STRANGER_ROWS, PRUNE_AFTER_ROWS,
    },
    strangers::{Strangers, Sum},
    writer::Message,
};

/// The queue into the writer. Recording takes a short lock and never waits for the disk.
pub(crate) struct Ledger {
    clock: Clock,
    wake: Sender<Message>,
    pending: Mutex<Pending>,
    handed_out: Mutex<HashMap<(String, String), Arc<AuditCounter>>>,
    /// Whether a counter that was handed out has counted since they were last read.
    has_counted: Arc<AtomicBool>,
    max_rows: AtomicUsize,
}

#[derive(Default)]
struct Pending {
    rows: Vec<(u64, AuditEvent)>,
    lost: u64,
    counters: HashMap<(String, String), Counted>,
    strangers: Strangers,
    used: HashMap<String, u64>,
    unpruned: usize,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Counted {
    count: u64,
    last_at: u64,
}

/// What was taken out of the ledger to be written in one commit.
#[derive(Default)]
pub(crate) struct Entries {
    at: u64,
    rows: Vec<(u64, AuditEvent)>,
    lost: u64,
    counters: HashMap<(String, String), Counted>,
    sums: Vec<(Sum, u64)>,
    used: HashMap<String, u64>,
    /// How many rows the audit keeps, when it is time to prune.
    prune_to: Option<usize>,
}

impl Ledger {
    pub fn new(clock: Clock, wake: Sender<Message>) -> Self {
        Self {
            clock,
            wake,
            pending: Mutex::default(),
            handed_out: Mutex::default(),
            has_counted: Arc::default(),
            max_rows: AtomicUsize::new(DEFAULT_AUDIT_ROWS),
        }
    }

    /// Rows of known callers that the audit keeps.
    pub fn max_rows(&self) -> usize {
        self.max_rows.load(Ordering::Relaxed)
    }

    pub fn set_max_rows(&self, rows: usize) {
        self.max_rows.store(rows, Ordering::Relaxed);
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Queues and counters stay whole whoever panicked while holding them.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is pending and wakes the writer when there was nothing before.
    fn enter(&self, change: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending();
        if pending.closed {
            return;
        }
        let slept = pending.rows.is_empty() && !pending.is_waiting();
        let urgent = pending.rows.is_empty();
        change(&mut pending);
        let wake = slept || (urgent && !pending.rows.is_empty());
        drop(pending);
        if wake {
            let _ = self.wake.send(Message::Wake);
        }
    }

    /// Notes that an API key was used.
    pub fn used(&self, id: &str, at: u64) {
        self.enter(|pending| {
            pending.used.insert(id.to_owned(), at);
        });
    }

    /// Takes out the rows, or everything.
    pub fn drain(&self, everything: bool) -> Entries {
        let mut pending = self.pending();
        let mut entries =
            Entries { at: self.clock.now(), rows: std::mem::take(&mut pending.rows), ..Entries::default() };
        entries.lost = std::mem::take(&mut pending.lost);
        if everything {
            self.read_counters(&mut pending, entries.at);
            entries.counters = std::mem::take(&mut pending.counters);
            entries.sums = pending.strangers.drain();
            entries.used = std::mem::take(&mut pending.used);
        }
        pending.unpruned += entries.rows.len() + entries.sums.len() + entries.counters.len();
        if pending.unpruned >= PRUNE_AFTER_ROWS {
            entries.prune_to = Some(self.max_rows());
            pending.unpruned = 0;
        }
        entries
    }

    fn handed_out(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<AuditCounter>>> {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the counters that were handed out have counted, and forgets those that nobody holds any more.
    fn read_counters(&self, pending: &mut Pending, at: u64) {
        // Before they are read: what counts from now on says so again.
        self.has_counted.store(false, Ordering::SeqCst);
        self.handed_out().retain(|key, counter| {
            let is_held = Arc::strong_count(counter) > 1;
            let count = counter.take();
            if count > 0 {
                pending.count(key.clone(), Counted { count, last_at: at });
            }
            is_held
        });
    }

    /// Puts back what could not be written.
    pub fn restore(&self, entries: Entries) {
        let mut pending = self.pending();
        let newer = std::mem::replace(&mut pending.rows, entries.rows);
        newer.into_iter().for_each(|row| pending.row(row));
        pending.lost = pending.lost.saturating_add(entries.lost);
        for (key, counted) in entries.counters {
            pending.count(key, counted);
        }
        for (sum, count) in entries.sums {
            pending.strangers.add(sum, count);
        }
        for (id, at) in entries.used {
            pending.used.entry(id).or_insert(at);
        }
    }

    /// Whether anything is left to write.
    pub fn is_waiting(&self) -> bool {
        let pending = self.pending();
        !pending.rows.is_empty() || pending.is_waiting() || self.has_counted.load(Ordering::SeqCst)
    }

    /// Takes nothing more.
    pub fn close(&self) {
        self.pending().closed = true;
    }
}

impl Pending {
    fn is_waiting(&self) -> bool {
        self.lost > 0 || !self.counters.is_empty() || !self.used.is_empty() || self.strangers.is_waiting()
    }
    fn row(&mut self, row: (u64, AuditEvent)) {
        if self.rows.len() < MAX_QUEUED_AUDIT_ROWS {
            self.rows.push(row);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }
    fn count(&mut self, key: (String, String), more: Counted) {
        if self.counters.len() >= MAX_PENDING_COUNTERS && !self.counters.contains_key(&key) {
            self.lost = self.lost.saturating_add(more.count);
            return;
        }
        let counted = self.counters.entry(key).or_insert(Counted { count: 0, last_at: more.last_at });
        counted.count = counted.count.saturating_add(more.count);
        counted.last_at = counted.last_at.max(more.last_at);
    }
}

impl AuditLog for Ledger {
    fn record(&self, mut event: AuditEvent) {
        let at = self.clock.now();
        bound(&mut event.action);
        bound(&mut event.addr);
        let texts = [&mut event.identity, &mut event.credential, &mut event.resource, &mut event.detail];
        texts.into_iter().flatten().for_each(bound);
        self.enter(|pending| match (event.kind, event.outcome, &event.identity) {
            (AuditKind::Query, AuditOutcome::Allowed, who) => {
                let key = (who.clone().unwrap_or_default(), event.action);
                pending.count(key, Counted { count: 1, last_at: at });
            }
            (_, _, None) => pending.strangers.add(Sum::of(&event, at), 1),
            (_, _, Some(_)) => pending.row((at, event)),
        });
    }

    fn counter(&self, identity: Option<&str>, action: &str) -> Option<Arc<AuditCounter>> {
        let mut key = (identity.unwrap_or_default().to_owned(), action.to_owned());
        bound(&mut key.0);
        bound(&mut key.1);
        let mut handed_out = self.handed_out();
        if let Some(counter) = handed_out.get(&key) {
            return Some(counter.clone());
        }
        if handed_out.len() >= MAX_PENDING_COUNTERS {
            return None;
        }
        let (has_counted, wake) = (self.has_counted.clone(), self.wake.clone());
        let counter = Arc::new(AuditCounter::new(move || {
            if !has_counted.swap(true, Ordering::SeqCst) {
                // Without a writer nothing is written any more.
                let _ = wake.send(Message::Wake);
            }
        }));
        handed_out.insert(key, counter.clone());
        Some(counter)
    }
}

/// Cuts a text between two characters.
fn bound(text: &mut String) {
    if text.len() > MAX_AUDIT_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_AUDIT_TEXT_BYTES));
    }
}

impl Entries {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.lost == 0
            && self.counters.is_empty()
            && self.sums.is_empty()
            && self.used.is_empty()
    }

    pub fn write(&self, sql: &Connection) -> rusqlite::Result<()> {
        self.write_rows(sql)?;
        self.write_lost(sql)?;
        self.write_sums(sql)?;
        self.write_counters(sql)?;
        let mut used = sql.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?;
        for (id, at) in &self.used {
            used.execute(params![id, stored(*at)])?;
        }
        if let Some(keep) = self.prune_to {
            prune_rows(sql, keep, MAX_STRANGER_ROWS, MAX_COUNTER_ROWS)?;
        }
        Ok(())
    }

    fn write_rows(&self, sql: &Connection) -> rusqlite::Result<()> {
        let mut insert = sql.prepare_cached(
            "INSERT INTO audit (at, kind, outcome, identity, credential, action, resource, addr, detail, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)",
        )?;
        for (at, event) in &self.rows {
            let (kind, outcome) = (kind_text(event.kind), outcome_text(event.outcome));
            insert.execute(params![
                stored(*at),
                kind,
                outcome,
                event.identity,
                event.credential,
                event.action,
                event.resource,
                event.addr,
                event.detail,
            ])?;
        }
        Ok(())
    }

    fn write_lost(&self, sql: &Connection) -> rusqlite::Result<()> {
        if self.lost > 0 {
            let (kind, outcome) = (kind_text(AuditKind::Mutation), outcome_text(AuditOutcome::Denied));
            sql.execute(
                "INSERT INTO audit (at, kind, outcome, action, addr, detail, count)
                 VALUES (?1, ?2, ?3, 'audit/lost', '', 'more happened than could be written down', ?4)",
                params![stored(self.at), kind, outcome, stored(self.lost)],
            )?;
        }
        Ok(())
    }

    fn write_sums(&self, sql: &Connection) -> rusqlite::Result<()> {
        let mut insert = sql.prepare_cached(
            "INSERT INTO audit (at, kind, outcome, action, addr, count, sum_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (sum_of) DO UPDATE SET count = count + excluded.count",
        )?;
        for (Sum { minute, network, kind, outcome, action }, count) in &self.sums {
            let (kind, outcome) = (kind_text(*kind), outcome_text(*outcome));
            let sum_of = format!("{minute} {kind} {outcome} {network} {action}");
            let at = stored(minute.saturating_mul(60));
            insert.execute(params![at, kind, outcome, action, network, stored(*count), sum_of])?;
        }
        Ok(())
    }

    fn write_counters(&self, sql: &Connection) -> rusqlite::Result<()> {
        let mut insert = sql.prepare_cached(
            "INSERT INTO audit_counters (identity, action, count, last_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (identity, action) DO UPDATE
             SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)",
        )?;
        for ((identity, action), counted) in &self.counters {
            insert.execute(params![identity, action, stored(counted.count), stored(counted.last_at)])?;
        }
        Ok(())
    }
}
