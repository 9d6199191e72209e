//! The one thread that writes. It takes what is waiting, runs each change in a savepoint of its own, commits once, and only then answers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    directory::Directory,
    error::StoreError,
    events::wake::{Newest, Wakes},
    ledger::{Entries, Ledger},
    limits::{FLUSH_INTERVAL, MAX_BATCH_JOBS, MAX_QUEUED_JOBS},
    records::Records,
};

/// What a change means for the directory in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touches {
    /// Nothing.
    Nothing,
    /// It is read again before the commit and swapped after it.
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
        let work = Work { sql, messages, directory, ledger, wakes, flush_at: None };
        let thread = thread::Builder::new().name("alknet-store".to_owned()).spawn(move || work.run())?;
        Ok(Self { inbox, slots: Arc::new(Semaphore::new(MAX_QUEUED_JOBS)), thread: Mutex::new(Some(thread)) })
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
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let run = move |sql: Result<&Connection, StoreError>| {
            let outcome = sql.map_err(E::from).and_then(body);
            let kept = outcome.is_ok();
            let settle = move |fate: Result<(), StoreError>| {
                // A caller that went away is not told.
                let _ = reply.send(outcome.and_then(|value| fate.map(|()| value).map_err(E::from)));
            };
            Ran { kept, settle: Box::new(settle) }
        };
        let job = Job { touches, run: Box::new(run), _slot: slot };
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

/// What goes into one commit.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    stop: bool,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Job(job) => self.jobs.push(job),
            Message::Wake => {}
            Message::Flush(reply) => self.flushes.push(reply),
            Message::Stop => self.stop = true,
        }
    }
    fn is_closed(&self) -> bool {
        let ends_rights = self.jobs.last().is_some_and(|job| job.touches == Touches::Rights);
        self.stop || ends_rights || self.jobs.len() + self.flushes.len() >= MAX_BATCH_JOBS
    }
}

struct Work {
    sql: Connection,
    messages: Receiver<Message>,
    directory: Arc<Directory>,
    ledger: Arc<Ledger>,
    wakes: Wakes,
    /// When the ledger's counters, and what could not be written before, are due.
    flush_at: Option<Instant>,
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
        if let Err((_, error)) = self.sql.close() {
            tracing::warn!(%error, "closing the database");
        }
    }

    /// Waits for the first message or the time to flush, then takes what else is there.
    fn next_batch(&self) -> Batch {
        let mut batch = Batch::default();
        let first = match self.flush_at {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(message) => batch.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => batch.stop = true,
        }
        while !batch.is_closed()
            && let Ok(message) = self.messages.try_recv()
        {
            batch.take(message);
        }
        batch
    }

    fn commit(&mut self, batch: Batch) {
        let due = self.flush_at.is_some_and(|at| at <= Instant::now());
        let everything = due || batch.stop || !batch.flushes.is_empty();
        if everything {
            self.flush_at = None;
        }
        let mut entries = self.ledger.drain(everything);
        let mut ran = Vec::with_capacity(batch.jobs.len());
        let mut recorded = Ok(());
        if !batch.jobs.is_empty() || !entries.is_empty() {
            let committed = self.transact(batch.jobs, &mut ran, &mut entries, &mut recorded);
            if let Err(error) = &committed
                && !entries.is_empty()
            {
                recorded = Err(error.clone());
            }
            for done in ran {
                (done.settle)(committed.clone());
            }
        }
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

    /// One transaction for all of it. An error means that nothing of it was kept.
    fn transact(
        &mut self,
        jobs: Vec<Job>,
        ran: &mut Vec<Ran>,
        entries: &mut Entries,
        recorded: &mut Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut touched = false;
        let mut fate = self.sql.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from);
        for job in jobs {
            let touches = job.touches != Touches::Nothing;
            match &fate {
                Ok(()) => {
                    let (done, still) = run_in_savepoint(&self.sql, job);
                    touched |= touches && done.kept;
                    ran.push(done);
                    fate = still;
                }
                Err(error) => ran.push((job.run)(Err(error.clone()))),
            }
        }
        let outcome = fate.and_then(|()| self.finish(touched, entries, recorded));
        if outcome.is_err() && !self.sql.is_autocommit() {
            let _ = self.sql.execute_batch("ROLLBACK");
        }
        outcome
    }

    fn finish(
        &mut self,
        touched: bool,
        entries: &mut Entries,
        recorded: &mut Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !entries.is_empty() {
            *recorded = in_savepoint(&self.sql, |sql| Ok(entries.write(sql)?));
            if self.sql.is_autocommit() {
                return Err(recorded.clone().err().unwrap_or(StoreError::RolledBack));
            }
        }
        // Read before the commit: afterwards nothing may fail any more.
        let records = if touched { Some(Records::load(&self.sql)?) } else { None };
        let newest = Newest::read(&self.sql)?;
        self.sql.execute_batch("COMMIT")?;
        if let Some(records) = records {
            self.directory.replace(records);
        }
        self.wakes.tell(newest);
        Ok(())
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

#[cfg(test)]
mod tests;
