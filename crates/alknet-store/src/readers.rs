//! A few connections that only read. They see the last commit and neither wait for the writer nor hold it up.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    error::StoreError,
    limits::{MAX_READERS, SAME_COMMIT_TRIES},
    open::open_reader,
};

/// The pool. Connections are opened when first needed.
#[derive(Clone)]
pub(crate) struct Readers {
    path: Arc<PathBuf>,
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), slots: Arc::new(Semaphore::new(MAX_READERS)), idle: Arc::default() }
    }

    /// Runs `body` on a connection of its own, off the async threads. Waits while all of them are busy. Cancel safe.
    pub async fn read<T, E>(&self, body: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (path, idle, slots) = (self.path.clone(), self.idle.clone(), self.slots.clone());
        let work = spawn_blocking(move || {
            let _slot = slot;
            let kept = lock(&idle).pop();
            let sql = match kept {
                Some(sql) => sql,
                None => open_reader(&path).map_err(StoreError::from)?,
            };
            let answer = body(&sql);
            if !slots.is_closed() {
                lock(&idle).push(sql);
            }
            answer
        });
        work.await.map_err(|error| if error.is_panic() { StoreError::Panicked } else { StoreError::Closed })?
    }

    /// Runs `body` on a connection of its own on the calling thread, which it may block. There are as many as threads that do so.
    pub fn read_here<T, E>(&self, body: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        if self.slots.is_closed() {
            return Err(StoreError::Closed.into());
        }
        let kept = lock(&self.idle).pop();
        let sql = match kept {
            Some(sql) => sql,
            None => open_reader(&self.path).map_err(StoreError::from)?,
        };
        let answer = body(&sql);
        let mut idle = lock(&self.idle);
        if !self.slots.is_closed() && idle.len() < MAX_READERS {
            idle.push(sql);
        }
        answer
    }

    /// Begins to read on a connection and on a second one which sees the same commit, so that another thread can read along. There is no
    /// second one while all of them are busy, or while commits follow each other too closely.
    pub fn begin_both<'a>(&self, sql: &'a Connection) -> Result<(Transaction<'a>, Option<Second>), rusqlite::Error> {
        if let Some(second) = self.second() {
            for _ in 0..SAME_COMMIT_TRIES {
                // Where the second one sees no commit between its two looks, there was none when the first one began.
                let Ok(before) = version(&second) else { break };
                let first = sql.unchecked_transaction()?;
                version(&first)?;
                let begun = second.execute_batch("BEGIN").and_then(|()| version(&second));
                match begun {
                    Ok(now) if now == before => return Ok((first, Some(second))),
                    Ok(_) if second.execute_batch("ROLLBACK").is_ok() => {}
                    _ => break,
                }
            }
        }
        Ok((sql.unchecked_transaction()?, None))
    }

    /// A connection for another thread, if one is free.
    fn second(&self) -> Option<Second> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let kept = lock(&self.idle).pop();
        let sql = kept.or_else(|| open_reader(&self.path).ok())?;
        Some(Second { sql: Some(sql), readers: self.clone(), _slot: slot })
    }

    /// Lets nobody in any more and closes what is idle.
    pub fn close(&self) {
        self.slots.close();
        lock(&self.idle).clear();
    }
}

/// A number that changes whenever a connection first sees what another one has committed.
fn version(sql: &Connection) -> rusqlite::Result<i64> {
    sql.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// A connection which sees the same commit as another one that it was begun with, for another thread.
pub struct Second {
    /// There until it is dropped.
    sql: Option<Connection>,
    readers: Readers,
    _slot: OwnedSemaphorePermit,
}

impl Deref for Second {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "only drop takes it")]
    fn deref(&self) -> &Connection {
        self.sql.as_ref().expect("a connection until it is dropped")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let Some(sql) = self.sql.take() else { return };
        let is_free = sql.is_autocommit() || sql.execute_batch("ROLLBACK").is_ok();
        if is_free && !self.readers.slots.is_closed() {
            lock(&self.readers.idle).push(sql);
        }
    }
}

/// A list of connections stays whole whoever panicked while holding it.
fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
