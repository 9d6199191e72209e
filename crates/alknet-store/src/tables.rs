//! The joint through which another crate keeps tables of its own in this database (docs/adr/0015-let-the-file-system-speak-sql.md).
//!
//! Their schema is a migration here like every other; what stands in them is that crate's business alone.

use std::{sync::Arc, time::Duration};

use alknet_core::{Identity, LOCAL_OWNER, Maintenance, Permit, PermitError};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    durability::Durability,
    error::StoreError,
    events::{NewEvent, NewJob, PublishError, QueueError, queue::enqueue_in, stream::append_in},
    readers::Second,
    store::Store,
    writer::Touches,
};

/// The tables of another crate.
#[derive(Clone)]
pub struct Tables(Store);

/// Whose rights a change runs under. It can be kept longer than the permit or task that it was made from.
#[derive(Debug, Clone)]
pub struct Rights(Whose);

#[derive(Debug, Clone)]
enum Whose {
    Identity(Arc<Identity>),
    /// Somebody unknown, for whom something public was let through; or the node itself.
    Nobody,
}

impl Rights {
    /// Those that a permit was given for. What the permit covers is for the caller to ask.
    ///
    /// # Errors
    /// Fails when they were revoked.
    pub fn of(permit: &Permit) -> Result<Self, PermitError> {
        permit.check()?;
        Ok(Self(permit.identity().map_or(Whose::Nobody, |identity| Whose::Identity(identity.clone()))))
    }
    /// Those of a task of the node itself.
    pub fn maintenance(task: &Maintenance) -> Self {
        tracing::debug!(task = task.task(), "acting on the node's own behalf");
        Self(Whose::Nobody)
    }
    /// Fails once they were revoked.
    pub fn check(&self) -> Result<(), PermitError> {
        match &self.0 {
            Whose::Identity(identity) if !identity.standing().is_current() => Err(PermitError::Revoked),
            Whose::Identity(_) | Whose::Nobody => Ok(()),
        }
    }
    /// Who hands in the jobs that a change brings: somebody known, or else the node itself.
    fn producer(&self) -> &str {
        match &self.0 {
            Whose::Identity(identity) => identity.id(),
            Whose::Nobody => LOCAL_OWNER,
        }
    }
}

/// What a change wants to be known of it: kept exactly if the change is.
pub struct Noted<'a> {
    sql: &'a Connection,
    producer: &'a str,
    clock: &'a Clock,
}

impl Noted<'_> {
    /// Publishes an event of the node's own. Answers its id.
    pub fn event(&mut self, event: NewEvent) -> Result<u64, PublishError> {
        append_in(self.sql, event, self.clock.now_ms())
    }
    /// Hands a job in. Answers its id.
    pub fn job(&mut self, job: &NewJob) -> Result<u64, QueueError> {
        enqueue_in(self.sql, job, self.producer, self.clock.now_ms())
    }
}

impl Tables {
    pub(crate) const fn new(store: Store) -> Self {
        Self(store)
    }

    /// Runs `body` off the async threads. It sees one commit throughout, and cannot write. Cancel safe.
    pub async fn read<T, E>(&self, body: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.0.readers().read(|sql| in_one_commit(sql, body)).await
    }

    /// As [`Self::read`], on the calling thread, which must not be an async one: it waits for the disk.
    pub fn read_here<T, E>(&self, body: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        self.0.readers().read_here(|sql| in_one_commit(sql, body))
    }

    /// As [`Self::read`], with a second connection that sees the same commit, for another thread, if there is one to be had.
    pub async fn read_by_two<T, E>(
        &self,
        body: impl FnOnce(&Connection, Option<Second>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let readers = self.0.readers().clone();
        let both = move |sql: &Connection| {
            let (first, second) = readers.begin_both(sql).map_err(StoreError::from)?;
            body(&first, second)
        };
        self.0.readers().read(both).await
    }

    /// Runs `body` in the writer, in a savepoint of its own, and answers after the commit. The rights are asked before and after
    /// it, in the transaction. A dropped future does not take the change back.
    ///
    /// # Errors
    /// An error of the body, of the rights or of the database undoes the change alone. Only [`StoreError::Unknown`] leaves open
    /// whether it was kept.
    pub async fn change<T, E>(
        &self,
        rights: &Rights,
        durability: Durability,
        body: impl FnOnce(&Connection, &mut Noted<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PermitError> + From<StoreError> + Send + 'static,
    {
        let (rights, clock) = (rights.clone(), self.0.clock().clone());
        let guarded = move |sql: &Connection| {
            rights.check()?;
            let answer = body(sql, &mut Noted { sql, producer: rights.producer(), clock: &clock })?;
            rights.check()?;
            Ok(answer)
        };
        self.0.writer().write_as(Touches::Tables, durability, guarded).await
    }

    /// The node's clock.
    pub fn clock(&self) -> &Clock {
        self.0.clock()
    }

    /// Rises with each commit that changed these tables, after it; it ends when the database is closed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.listeners().tables.clone()
    }

    /// How long a change with [`Durability::Group`] waits for others, at most a minute.
    pub fn set_group_delay(&self, delay: Duration) {
        self.0.writer().group_delay().set(delay);
    }
}

fn in_one_commit<T, E: From<StoreError>>(
    sql: &Connection,
    body: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = sql.unchecked_transaction().map_err(StoreError::from)?;
    body(&transaction)
}

#[cfg(test)]
mod tests;
