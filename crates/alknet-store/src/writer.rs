//! The one thread that writes. It takes what is waiting, runs each change in a savepoint of its own, commits once, and only then answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, config::DbConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    directory::Directory,
    durability::{Durability, GroupDelay, Synchronous},
    error::StoreError,
    events::wake::{Newest, Wakes},
    ledger::{Entries, Ledger},
    limits::{FLUSH_INTERVAL, LAZY_SYNC_INTERVAL, MAX_BATCH_JOBS, MAX_QUEUED_JOBS},
    meta::mark_sync,
    records::Records,
};

/// What a change means for what is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touches {
    /// Nothing.
    Nothing,
    /// Those who watch the tables of other crates hear of it.
    Tables,
    /// The directory is read again before the commit and swapped after it.
    Directory,
    /// As before, and rights end: no later change may run before that is in force.
    Rights,
}

pub(crate) enum Message {
    Job(Job),
    /// The ledger has something to write.
    Wake,
    /// Write everything the ledger has, and say so.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    Stop,
}

/// A change, given the connection to make it on or the reason why there is none.
type Run = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Ran + Send>;

pub(crate) struct Job {
    touches: Touches,
    durability: Durability,
    handed_in: Instant,
    run: Run,
    _slot: OwnedSemaphorePermit,
}

/// A change that ran: whether to keep it, and how to tell its caller what became of the commit.
struct Ran {
    kept: bool,
    settle: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// The callers' side of the writer. The last one dropped stops the thread after everything that was handed in.
pub(crate) struct Writer {
    inbox: Sender<Message>,
    slots: Arc<Semaphore>,
    group_delay: GroupDelay,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(
        sql: Connection,
        (inbox, messages): (Sender<Message>, Receiver<Message>),
        directory: Arc<Directory>,
        ledger: Arc<Ledger>,
        wakes: Wakes,
    ) -> std::io::Result<Self> {
        let (group_delay, synchronous) = (GroupDelay::default(), Synchronous::Full);
        let delay = group_delay.clone();
        let work = Work {
            sql,
            messages,
            directory,
            ledger,
            wakes,
            group_delay: delay,
            synchronous,
            flush_at: None,
            sync_at: None,
            has_hole: false,
        };
        let thread = thread::Builder::new().name("alknet-store".to_owned()).spawn(move || work.run())?;
        let slots = Arc::new(Semaphore::new(MAX_QUEUED_JOBS));
        Ok(Self { inbox, slots, group_delay, thread: Mutex::new(Some(thread)) })
    }

    /// How long a change with [`Durability::Group`] may wait for others.
    pub const fn group_delay(&self) -> &GroupDelay {
        &self.group_delay
    }

    /// Runs `body` in the writer and answers after its commit. A dropped future does not take the change back.
    pub async fn write<T, E>(
        &self,
        touches: Touches,
        body: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_as(touches, Durability::Strict, body).await
    }

    /// As [`Self::write`], with an answer that may mean less.
    pub async fn write_as<T, E>(
        &self,
        touches: Touches,
        durability: Durability,
        body: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let run = move |sql: Result<&Connection, StoreError>| {
            let outcome = sql.map_err(E::from).and_then(|sql| caught(body, sql));
            let kept = outcome.is_ok();
            let settle = move |fate: Result<(), StoreError>| {
                // A caller that went away is not told.
                let _ = reply.send(outcome.and_then(|value| fate.map(|()| value).map_err(E::from)));
            };
            Ran { kept, settle: Box::new(settle) }
        };
        let job = Job { touches, durability, handed_in: Instant::now(), run: Box::new(run), _slot: slot };
        self.inbox.send(Message::Job(job)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits until everything recorded before is on disk.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Flush(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes nothing more, writes what was handed in, and waits for the thread. Blocks; does nothing the second time.
    pub fn stop(&self) {
        self.slots.close();
        let _ = self.inbox.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the database panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a change. One that panics is undone alone, and its caller alone hears of it: the thread goes on for all the others.
fn caught<T, E: From<StoreError>>(body: impl FnOnce(&Connection) -> Result<T, E>, sql: &Connection) -> Result<T, E> {
    // What it wrote goes back with its savepoint, and it owns everything else that it may have left half done.
    catch_unwind(AssertUnwindSafe(|| body(sql))).unwrap_or_else(|_| {
        tracing::error!("a change of the database panicked; it was undone");
        Err(StoreError::Panicked.into())
    })
}

/// What goes into one commit.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    stop: bool,
    /// Whether a job must not wait for others.
    hurries: bool,
    /// When the first job was handed in that may wait for others, but not for long.
    gathers_since: Option<Instant>,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Job(job) => {
                match job.durability {
                    Durability::Strict => self.hurries = true,
                    Durability::Group => {
                        self.gathers_since.get_or_insert(job.handed_in);
                    }
                    Durability::Lazy => {}
                }
                self.jobs.push(job);
            }
            Message::Wake => {}
            Message::Flush(reply) => self.flushes.push(reply),
            Message::Stop => self.stop = true,
        }
    }
    fn is_closed(&self) -> bool {
        let ends_rights = self.jobs.last().is_some_and(|job| job.touches == Touches::Rights);
        self.stop || ends_rights || self.jobs.len() + self.flushes.len() >= MAX_BATCH_JOBS
    }
    /// Until when to wait for more, if the commit gains by it and nobody loses.
    fn gathers_until(&self, delay: Duration) -> Option<Instant> {
        let waits = !self.hurries && self.flushes.is_empty();
        self.gathers_since.filter(|_| waits).map(|since| since + delay)
    }
    /// Whether nobody waits for the disk.
    fn is_lazy(&self) -> bool {
        !self.jobs.is_empty() && !self.hurries && self.gathers_since.is_none() && self.flushes.is_empty() && !self.stop
    }
}

/// What a commit holds besides the jobs.
struct Besides {
    entries: Entries,
    /// What became of the entries.
    recorded: Result<(), StoreError>,
    /// Something is written in any case, so that the commit syncs those before it.
    mark: bool,
    /// How it is synced.
    synchronous: Synchronous,
}

struct Work {
    sql: Connection,
    messages: Receiver<Message>,
    directory: Arc<Directory>,
    ledger: Arc<Ledger>,
    wakes: Wakes,
    group_delay: GroupDelay,
    synchronous: Synchronous,
    /// When the ledger's counters, and what could not be written before, are due.
    flush_at: Option<Instant>,
    /// When commits that were acknowledged before they were synced must be.
    sync_at: Option<Instant>,
    /// The disk failed while such commits were to be synced: the log is written again before anything else happens.
    has_hole: bool,
}

impl Work {
    fn run(mut self) {
        loop {
            let batch = self.next_batch();
            let stop = batch.stop;
            self.commit(batch);
            if stop {
                break;
            }
        }
        self.ledger.close();
        if self.has_hole && self.sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).is_ok() {
            tracing::error!("the disk does not take the database's log; it stays, to be read at the next start");
        }
        if let Err((_, error)) = self.sql.close() {
            tracing::warn!(%error, "closing the database");
        }
    }

    /// Waits for the first message or until something is due, then takes what else is there, or comes in time.
    fn next_batch(&self) -> Batch {
        let mut batch = Batch::default();
        let wake_at = self.flush_at.into_iter().chain(self.sync_at).min();
        let first = match wake_at {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(message) => batch.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => batch.stop = true,
        }
        while !batch.is_closed() {
            let next = match self.messages.try_recv() {
                Ok(message) => Some(message),
                Err(_) => batch.gathers_until(self.group_delay.get()).and_then(|until| self.next_until(until)),
            };
            match next {
                Some(message) => batch.take(message),
                None => break,
            }
        }
        batch
    }

    fn next_until(&self, until: Instant) -> Option<Message> {
        self.messages.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    fn commit(&mut self, mut batch: Batch) {
        let now = Instant::now();
        let everything = is_due(self.flush_at, now) || batch.stop || !batch.flushes.is_empty();
        if everything {
            self.flush_at = None;
        }
        let relaxed = batch.is_lazy() && !everything && !is_due(self.sync_at, now);
        // Whoever waits for the disk waits for what came before, too, also where nothing is left to change.
        let mark = self.sync_at.is_some() && !relaxed;
        let synchronous = if relaxed { Synchronous::Normal } else { Synchronous::Full };
        let mut besides = Besides { entries: self.ledger.drain(everything), recorded: Ok(()), mark, synchronous };
        let jobs = std::mem::take(&mut batch.jobs);
        if !jobs.is_empty() || !besides.entries.is_empty() || mark {
            let mut ran = Vec::with_capacity(jobs.len());
            let committed = self.transact(jobs, &mut ran, &mut besides);
            self.note_sync(relaxed, mark, &committed);
            if let Err(error) = &committed
                && (!besides.entries.is_empty() || mark)
            {
                besides.recorded = Err(error.clone());
            }
            for done in ran {
                (done.settle)(committed.clone());
            }
        }
        let Besides { entries, recorded, .. } = besides;
        if let Err(error) = &recorded {
            tracing::error!(%error, "the audit could not be written; it is tried again");
            self.ledger.restore(entries);
        }
        if self.flush_at.is_none() && (recorded.is_err() || self.ledger.is_waiting()) {
            self.flush_at = Some(Instant::now() + FLUSH_INTERVAL);
        }
        for reply in batch.flushes {
            let _ = reply.send(recorded.clone());
        }
    }

    /// Begins a transaction whose commit is synced like this.
    fn begin(&mut self, synchronous: Synchronous) -> Result<(), StoreError> {
        if self.has_hole {
            log::write_again(&self.sql)?;
            self.has_hole = false;
        }
        if self.synchronous != synchronous {
            self.sql.pragma_update(None, "synchronous", synchronous.word())?;
            // The log is not copied into the database before it is synced: nobody would be told when that fails.
            self.sql.pragma_update_and_check(None, "wal_autocheckpoint", synchronous.copied_log_pages(), |_| Ok(()))?;
            self.synchronous = synchronous;
        }
        Ok(self.sql.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Notes until when a commit that was not synced must be, or that all of them are.
    fn note_sync(&mut self, relaxed: bool, marked: bool, committed: &Result<(), StoreError>) {
        if marked {
            self.has_hole |= matches!(committed, Err(StoreError::Unknown(_)));
            self.sync_at = if committed.is_ok() { None } else { Some(Instant::now() + LAZY_SYNC_INTERVAL) };
        }
        if relaxed && committed.is_ok() {
            self.sync_at.get_or_insert_with(|| Instant::now() + LAZY_SYNC_INTERVAL);
        }
    }

    /// One transaction for all of it. An error other than [`StoreError::Unknown`] means that nothing of it was kept.
    fn transact(&mut self, jobs: Vec<Job>, ran: &mut Vec<Ran>, besides: &mut Besides) -> Result<(), StoreError> {
        let mut touched = Touched::default();
        let mut fate = self.begin(besides.synchronous);
        for job in jobs {
            let touches = job.touches;
            match &fate {
                Ok(()) => {
                    let (done, still) = run_in_savepoint(&self.sql, job);
                    if done.kept {
                        touched.note(touches);
                    }
                    ran.push(done);
                    fate = still;
                }
                Err(error) => ran.push((job.run)(Err(error.clone()))),
            }
        }
        let outcome = fate.and_then(|()| self.finish(touched, besides));
        if outcome.is_err() && !self.sql.is_autocommit() {
            let _ = self.sql.execute_batch("ROLLBACK");
        }
        outcome
    }

    fn finish(&mut self, touched: Touched, besides: &mut Besides) -> Result<(), StoreError> {
        if !besides.entries.is_empty() {
            besides.recorded = in_savepoint(&self.sql, |sql| Ok(besides.entries.write(sql)?));
            if self.sql.is_autocommit() {
                return Err(besides.recorded.clone().err().unwrap_or(StoreError::RolledBack));
            }
        }
        if besides.mark {
            mark_sync(&self.sql)?;
        }
        // Read before the commit: afterwards nothing may fail any more.
        let records = if touched.directory { Some(Records::load(&self.sql)?) } else { None };
        let newest = Newest::read(&self.sql)?;
        self.sql.execute_batch("COMMIT").map_err(fate_of_commit)?;
        if let Some(records) = records {
            self.directory.replace(records);
        }
        self.wakes.tell(newest);
        if touched.tables {
            self.wakes.tell_tables();
        }
        Ok(())
    }
}

fn is_due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

/// What the kept changes of a transaction touched.
#[derive(Default)]
struct Touched {
    directory: bool,
    tables: bool,
}

impl Touched {
    fn note(&mut self, touches: Touches) {
        match touches {
            Touches::Nothing => {}
            Touches::Tables => self.tables = true,
            Touches::Directory | Touches::Rights => self.directory = true,
        }
    }
}

/// A commit that the disk failed may be in the log nevertheless, whole, for whoever reads it after a crash.
fn fate_of_commit(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::Unknown(error.into()),
        _ => error.into(),
    }
}

/// Runs one change so that it can fail alone. The second value is an error when it took the whole transaction with it.
fn run_in_savepoint(sql: &Connection, job: Job) -> (Ran, Result<(), StoreError>) {
    if let Err(error) = sql.execute_batch("SAVEPOINT job") {
        let error = StoreError::from(error);
        return ((job.run)(Err(error.clone())), Err(error));
    }
    let ran = (job.run)(Ok(sql));
    if sql.is_autocommit() {
        return (ran, Err(StoreError::RolledBack));
    }
    let end = if ran.kept { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    let still = sql.execute_batch(end).map_err(StoreError::from);
    (ran, still)
}

fn in_savepoint(sql: &Connection, body: impl FnOnce(&Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
    sql.execute_batch("SAVEPOINT entries")?;
    let outcome = body(sql);
    if !sql.is_autocommit() {
        let end = if outcome.is_ok() { "RELEASE entries" } else { "ROLLBACK TO entries; RELEASE entries" };
        sql.execute_batch(end)?;
    }
    outcome
}

mod log;
#[cfg(test)]
mod tests;
