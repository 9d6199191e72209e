//! Call trees that somebody asked to keep; the call graph itself lives in memory.

use alknet_core::{Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{MAX_KEPT_CALL_BYTES, MAX_KEPT_CALL_ROWS, MAX_KEPT_CALLS},
    store::Store,
    writer::Touches,
};

const READ: &str = "calls:read";
const WRITE: &str = "calls:write";

/// The call trees that are kept.
#[derive(Clone)]
pub struct KeptCalls {
    store: Store,
}

/// A call tree to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeptCall {
    /// The operation at its root, as `service/operation`.
    pub operation: String,
    /// Who called that; nobody for the anonymous.
    pub identity: Option<String>,
    /// The tree, as JSON.
    pub tree: String,
}

/// A call tree that is kept, without the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptCall {
    /// Grows with time.
    pub id: u64,
    /// The operation at its root.
    pub operation: String,
    /// Who called that.
    pub identity: Option<String>,
    /// Who asked to keep it.
    pub kept_by: Option<String>,
    /// When, in seconds since 1970.
    pub kept_at: u64,
    /// How large the tree is, in bytes of JSON.
    pub bytes: u64,
}

/// Why a call tree was not kept, shown or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeptCallError {
    /// The tree is too large.
    #[error("this tree has {bytes} bytes; at most {MAX_KEPT_CALL_BYTES} are kept")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// None is kept under the id.
    #[error("no call is kept under {0}")]
    Unknown(u64),
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for KeptCallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl KeptCalls {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Keeps a tree; beyond the bound the oldest go. Needs `calls:write`. Answers its id.
    pub async fn keep(&self, permit: &Permit, new: NewKeptCall) -> Result<u64, KeptCallError> {
        if new.tree.len() > MAX_KEPT_CALL_BYTES {
            return Err(KeptCallError::TooLarge { bytes: new.tree.len() });
        }
        let kept_by = permit.identity().map(|identity| identity.id().to_owned());
        let now = stored(self.store.clock().now());
        self.store
            .mutate(permit, WRITE, Touches::Nothing, move |sql, _| Ok(insert(sql, &new, kept_by.as_deref(), now)?))
            .await
    }

    /// The newest ones, or those before an id: the last of the page before. Needs `calls:read`.
    pub async fn list(
        &self,
        permit: &Permit,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<KeptCall>, KeptCallError> {
        let grant = Grant::of(permit, READ)?;
        let limit = limit.min(MAX_KEPT_CALL_ROWS);
        self.store
            .readers()
            .read(move |sql| {
                let rows = select(sql, limit, before)?;
                grant.check()?;
                Ok(rows)
            })
            .await
    }

    /// One with its tree. Needs `calls:read`.
    pub async fn show(&self, permit: &Permit, id: u64) -> Result<(KeptCall, String), KeptCallError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let mut statement = sql.prepare_cached(
                    "SELECT id, operation, identity, kept_by, kept_at, octet_length(tree), tree
                     FROM kept_calls WHERE id = ?1",
                )?;
                let found = statement.query_row([stored(id)], |row| Ok((row_of(row)?, row.get(6)?))).optional()?;
                grant.check()?;
                found.ok_or(KeptCallError::Unknown(id))
            })
            .await
    }

    /// Removes one. Needs `calls:write`.
    pub async fn remove(&self, permit: &Permit, id: u64) -> Result<(), KeptCallError> {
        self.store
            .mutate(permit, WRITE, Touches::Nothing, move |sql, _| {
                let gone = sql.prepare_cached("DELETE FROM kept_calls WHERE id = ?1")?.execute([stored(id)])?;
                if gone == 0 { Err(KeptCallError::Unknown(id)) } else { Ok(()) }
            })
            .await
    }
}

fn insert(sql: &Connection, new: &NewKeptCall, kept_by: Option<&str>, now: i64) -> rusqlite::Result<u64> {
    sql.prepare_cached(
        "INSERT INTO kept_calls (operation, identity, kept_by, kept_at, tree) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![new.operation, new.identity, kept_by, now, new.tree])?;
    let id = sql.last_insert_rowid();
    sql.prepare_cached(
        "DELETE FROM kept_calls WHERE id <= (SELECT id FROM kept_calls ORDER BY id DESC LIMIT 1 OFFSET ?1)",
    )?
    .execute([MAX_KEPT_CALLS.cast_signed() as i64])?;
    Ok(loaded(id))
}

fn select(sql: &Connection, limit: usize, before: Option<u64>) -> rusqlite::Result<Vec<KeptCall>> {
    let mut statement = sql.prepare_cached(
        "SELECT id, operation, identity, kept_by, kept_at, octet_length(tree)
         FROM kept_calls WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let before = before.map_or(i64::MAX, stored);
    statement.query_map(params![before, limit.cast_signed() as i64], row_of)?.collect()
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<KeptCall> {
    Ok(KeptCall {
        id: loaded(row.get(0)?),
        operation: row.get(1)?,
        identity: row.get(2)?,
        kept_by: row.get(3)?,
        kept_at: loaded(row.get(4)?),
        bytes: loaded(row.get(5)?),
    })
}
