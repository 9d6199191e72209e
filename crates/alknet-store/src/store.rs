//! The database as the rest of the program holds it.

use std::{
    path::Path,
    sync::{Arc, mpsc},
};

use alknet_core::{AuditLog, Permit, PermitError, Sessions};
use rusqlite::Connection;

use crate::{
    api_keys::ApiKeys,
    audit::Audit,
    clock::Clock,
    credentials::Credentials,
    directory::Directory,
    error::StoreError,
    events::{
        Events, Queues, outbox,
        wake::{Listeners, Newest, Wakes},
    },
    gate_scores::GateScores,
    grant::Grant,
    kept_calls::KeptCalls,
    ledger::Ledger,
    meta::{count_start, note_creation},
    open::{OpenError, open_writer},
    outcomes::Outcomes,
    peers::{PeerError, PeerRecord, Peers},
    readers::Readers,
    records::Records,
    roles::Roles,
    tables::Tables,
    tokens::Tokens,
    writer::{Touches, Writer},
};

/// The node's database. Clones share it; the last one dropped writes what is pending and closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// Dropped from top to bottom: the writer closes last, so that SQLite folds the log into the file.
struct Inner {
    readers: Readers,
    writer: Writer,
    directory: Arc<Directory>,
    ledger: Arc<Ledger>,
    listeners: Listeners,
    clock: Clock,
    boot: i64,
}

impl Store {
    /// Opens the database at `path`, making it (mode 0600) when there is none, by the system's clock.
    /// Blocks while it reads the file.
    ///
    /// # Errors
    /// A file that is damaged, newer, somebody else's or not writable is refused, and left as it is.
    pub fn open(path: &Path, roles: Roles, sessions: Sessions) -> Result<Self, OpenError> {
        Self::open_with_clock(path, roles, sessions, Clock::system())
    }

    /// As [`Self::open`], by another clock.
    pub fn open_with_clock(path: &Path, roles: Roles, sessions: Sessions, clock: Clock) -> Result<Self, OpenError> {
        let failed = |cause| OpenError::from_sqlite(path, cause);
        let sql = open_writer(path)?;
        note_creation(&sql, &clock).map_err(failed)?;
        let boot = count_start(&sql).map_err(failed)?;
        outbox::declare_own(&sql, &clock).map_err(failed)?;
        let records = Records::load(&sql).map_err(failed)?;
        let (wakes, listeners) = Wakes::new(Newest::read(&sql).map_err(failed)?);
        let (inbox, messages) = mpsc::channel();
        let ledger = Arc::new(Ledger::new(clock.clone(), inbox.clone()));
        let directory = Arc::new(Directory::new(records, roles, sessions, clock.clone(), ledger.clone()));
        let writer = Writer::start(sql, (inbox, messages), directory.clone(), ledger.clone(), wakes)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let readers = Readers::new(path.to_owned());
        Ok(Self(Arc::new(Inner { readers, writer, directory, ledger, listeners, clock, boot })))
    }

    /// The peers.
    pub fn peers(&self) -> Peers {
        Peers::new(self.clone())
    }
    /// The API keys.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.clone())
    }
    /// The tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.clone())
    }
    /// The outcomes of calls that carried an idempotency key.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes::new(self.clone())
    }
    /// The topics and their events.
    pub fn events(&self) -> Events {
        Events::new(self.clone())
    }
    /// The queues and their jobs.
    pub fn queues(&self) -> Queues {
        Queues::new(self.clone())
    }
    /// What the gate remembers.
    pub fn gate_scores(&self) -> GateScores {
        GateScores::new(self.clone())
    }
    /// The call trees that are kept.
    pub fn kept_calls(&self) -> KeptCalls {
        KeptCalls::new(self.clone())
    }
    /// The sealed credentials for services elsewhere.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(self.clone())
    }
    /// The tables that another crate keeps in this database.
    pub fn tables(&self) -> Tables {
        Tables::new(self.clone())
    }
    /// The audit, for reading.
    pub fn audit(&self) -> Audit {
        Audit::new(self.clone())
    }
    /// The audit, for writing. What is recorded after the database was closed is dropped.
    pub fn audit_log(&self) -> Arc<dyn AuditLog> {
        self.0.ledger.clone()
    }
    /// Who a credential belongs to.
    pub fn directory(&self) -> Arc<Directory> {
        self.0.directory.clone()
    }

    /// Fails if `roles` would give a peer that is there a role that it must not have ([`Roles::with_mapped`]).
    pub fn check_roles(&self, roles: &Roles) -> Result<(), PeerError> {
        let unsuited = |peer: &PeerRecord| !roles.suits(&peer.role, peer.name.as_str());
        match self.0.directory.peers().into_iter().find(unsuited) {
            Some(PeerRecord { name, role, .. }) => Err(PeerError::NotMapped { peer: name, role }),
            None => Ok(()),
        }
    }

    /// Takes other roles over at once. Those whose rights differ lose what they have and their sessions; the rest notice nothing.
    pub fn set_roles(&self, roles: Roles) {
        self.0.directory.set_roles(roles);
    }

    /// Keeps so many audit rows about known identities; the oldest go first. Holds until the database is closed.
    pub fn set_audit_rows(&self, rows: usize) {
        self.0.ledger.set_max_rows(rows);
    }

    /// Waits until everything that was recorded so far is on disk.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.writer.flush().await
    }

    /// Writes what is pending and closes the database, whoever else still holds it. Blocks for as long as that takes.
    pub fn close(&self) {
        self.0.readers.close();
        self.0.writer.stop();
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.0.writer
    }
    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.0.listeners
    }
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }
    /// Which start of the node this is: the database counts its openings.
    pub(crate) fn boot(&self) -> i64 {
        self.0.boot
    }

    /// Runs a change under a permit that covers `scope`, which is asked again before and after it, inside the transaction.
    pub(crate) async fn mutate<T, E>(
        &self,
        permit: &Permit,
        scope: &str,
        touches: Touches,
        body: impl FnOnce(&Connection, &Grant) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PermitError> + From<StoreError> + Send + 'static,
    {
        let grant = Grant::of(permit, scope)?;
        let guarded = move |sql: &Connection| {
            grant.check()?;
            let answer = body(sql, &grant)?;
            grant.check()?;
            Ok(answer)
        };
        self.writer().write(touches, guarded).await
    }
}
