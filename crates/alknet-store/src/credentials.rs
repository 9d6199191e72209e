//! Credentials for services elsewhere, sealed: this crate has no key that opens them.

use alknet_core::{Maintenance, PeerName, Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{MAX_CREDENTIAL_NOTE_BYTES, MAX_CREDENTIALS, MAX_SEALED_CREDENTIAL_BYTES},
    records::parsed,
    store::Store,
    writer::Touches,
};

const READ: &str = "credentials:read";
const WRITE: &str = "credentials:write";

/// The credentials of a node.
#[derive(Clone)]
pub struct Credentials {
    store: Store,
}

/// A credential to keep, or to put in the place of an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// Its name. It has the grammar of a peer's name, in a space of its own.
    pub name: PeerName,
    /// What sort it is.
    pub kind: String,
    /// The sealed blob, as text.
    pub sealed: String,
    /// When it ends, in seconds since 1970; never, or when it says so itself, if absent.
    pub expires_at: Option<u64>,
    /// A few words for its owner.
    pub note: Option<String>,
}

/// What is known about a credential without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Its name.
    pub name: PeerName,
    /// What sort it is.
    pub kind: String,
    /// When it was added, in seconds since 1970.
    pub created_at: u64,
    /// When its owner last gave a new secret, in seconds since 1970.
    pub rotated_at: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// How many times it was written, renewals too; 1 for a new one.
    pub version: u64,
    /// A few words for its owner.
    pub note: Option<String>,
}

/// A credential as it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// What is known about it.
    pub record: CredentialRecord,
    /// The sealed blob, as text.
    pub sealed: String,
}

/// Why the credentials were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// There is one of that name.
    #[error("there is a credential `{0}` already; give it a new secret with `alknet credential rotate {0}`")]
    NameTaken(PeerName),
    /// There is none of that name.
    #[error("there is no credential `{0}`")]
    Unknown(PeerName),
    /// It would be over before it began.
    #[error("its end is in the past; this node's clock says {now} s since 1970")]
    Expired {
        /// The present.
        now: u64,
    },
    /// A bound is reached.
    #[error("too {what}: at most {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CredentialError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Credentials {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Adds a credential. Needs `credentials:write`.
    pub async fn add(&self, permit: &Permit, new: NewCredential) -> Result<CredentialRecord, CredentialError> {
        let now = self.store.clock().now();
        check(&new, now)?;
        self.store.mutate(permit, WRITE, Touches::Nothing, move |sql, _| insert(sql, new, now)).await
    }

    /// Puts another secret, end and kind in the place of a credential's; its note stays unless another is given.
    /// Needs `credentials:write`.
    pub async fn rotate(&self, permit: &Permit, new: NewCredential) -> Result<CredentialRecord, CredentialError> {
        let now = self.store.clock().now();
        check(&new, now)?;
        self.store
            .mutate(permit, WRITE, Touches::Nothing, move |sql, _| {
                let mut update = sql.prepare_cached(
                    "UPDATE credentials SET kind = ?2, sealed = ?3, rotated_at = ?4, expires_at = ?5,
                     note = coalesce(?6, note), version = version + 1 WHERE name = ?1",
                )?;
                let ends = new.expires_at.map(stored);
                update.execute(params![new.name.as_str(), new.kind, new.sealed, stored(now), ends, new.note])?;
                let found = find(sql, new.name.as_str())?;
                found.map(|found| found.record).ok_or(CredentialError::Unknown(new.name))
            })
            .await
    }

    /// Removes a credential. Needs `credentials:write`.
    pub async fn remove(&self, permit: &Permit, name: &PeerName) -> Result<(), CredentialError> {
        let name = name.clone();
        self.store
            .mutate(permit, WRITE, Touches::Nothing, move |sql, _| {
                let gone = sql.prepare_cached("DELETE FROM credentials WHERE name = ?1")?.execute([name.as_str()])?;
                if gone == 0 { Err(CredentialError::Unknown(name)) } else { Ok(()) }
            })
            .await
    }

    /// All credentials by name, without what is sealed. Needs `credentials:read`.
    pub async fn list(&self, permit: &Permit) -> Result<Vec<CredentialRecord>, CredentialError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let rows = select(sql)?;
                grant.check()?;
                Ok(rows)
            })
            .await
    }

    /// A credential with what is sealed, for whoever opens it on behalf of an operation.
    pub async fn sealed(&self, task: &Maintenance, name: &str) -> Result<Option<SealedCredential>, StoreError> {
        tracing::trace!(task = task.task(), "reading a sealed credential");
        let name = name.to_owned();
        self.store.readers().read(move |sql| Ok(find(sql, &name)?)).await
    }

    /// Puts a renewed blob in the place of the one that `record` came with, on disk before the answer comes. Answers false, and keeps
    /// what is there, when somebody changed or removed it since.
    pub async fn renew(
        &self,
        task: &Maintenance,
        record: &CredentialRecord,
        sealed: String,
    ) -> Result<bool, StoreError> {
        tracing::debug!(task = task.task(), credential = %record.name, "keeping a renewed credential");
        let (name, rotated_at, version) = (record.name.clone(), stored(record.rotated_at), stored(record.version));
        self.store
            .writer()
            .write(Touches::Nothing, move |sql| {
                let mut update = sql.prepare_cached(
                    "UPDATE credentials SET sealed = ?4, version = version + 1
                     WHERE name = ?1 AND rotated_at = ?2 AND version = ?3",
                )?;
                Ok::<_, StoreError>(update.execute(params![name.as_str(), rotated_at, version, sealed])? > 0)
            })
            .await
    }
}

fn check(new: &NewCredential, now: u64) -> Result<(), CredentialError> {
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(CredentialError::Expired { now });
    }
    if new.sealed.len() > MAX_SEALED_CREDENTIAL_BYTES {
        return Err(CredentialError::TooMuch { what: "large, in bytes sealed", most: MAX_SEALED_CREDENTIAL_BYTES });
    }
    if new.note.as_ref().is_some_and(|note| note.len() > MAX_CREDENTIAL_NOTE_BYTES) {
        return Err(CredentialError::TooMuch { what: "long a note, in bytes", most: MAX_CREDENTIAL_NOTE_BYTES });
    }
    Ok(())
}

fn insert(sql: &Connection, new: NewCredential, now: u64) -> Result<CredentialRecord, CredentialError> {
    let NewCredential { name, kind, sealed, expires_at, note } = new;
    let count: i64 = sql.prepare_cached("SELECT count(*) FROM credentials")?.query_row([], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count >= MAX_CREDENTIALS) {
        return Err(CredentialError::TooMuch { what: "many credentials", most: MAX_CREDENTIALS });
    }
    let made = sql
        .prepare_cached(
            "INSERT INTO credentials (name, kind, sealed, created_at, rotated_at, expires_at, version, note)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, 1, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![name.as_str(), kind, sealed, stored(now), expires_at.map(stored), note])?;
    if made == 0 {
        return Err(CredentialError::NameTaken(name));
    }
    Ok(CredentialRecord { name, kind, created_at: now, rotated_at: now, expires_at, version: 1, note })
}

const COLUMNS: &str = "SELECT name, kind, created_at, rotated_at, expires_at, version, note, sealed FROM credentials";

fn find(sql: &Connection, name: &str) -> rusqlite::Result<Option<SealedCredential>> {
    sql.prepare_cached(&format!("{COLUMNS} WHERE name = ?1"))?
        .query_row([name], |row| Ok(SealedCredential { record: row_of(row)?, sealed: row.get(7)? }))
        .optional()
}

fn select(sql: &Connection) -> rusqlite::Result<Vec<CredentialRecord>> {
    sql.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?.query_map([], row_of)?.collect()
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<CredentialRecord> {
    Ok(CredentialRecord {
        name: parsed(row, 0)?,
        kind: row.get(1)?,
        created_at: loaded(row.get(2)?),
        rotated_at: loaded(row.get(3)?),
        expires_at: row.get::<_, Option<i64>>(4)?.map(loaded),
        version: loaded(row.get(5)?),
        note: row.get(6)?,
    })
}
