//! A few connections that only read. They see the last commit and neither wait for the writer nor hold it up.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{error::StoreError, limits::MAX_READERS, open::open_reader};

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

    /// Lets nobody in any more and closes what is idle.
    pub fn close(&self) {
        self.slots.close();
        lock(&self.idle).clear();
    }
}

/// A list of connections stays whole whoever panicked while holding it.
fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
