//! A few facts about the database itself.

use alknet_core::{Maintenance, NodeKey};
use rusqlite::{Connection, OptionalExtension};

use crate::{clock::Clock, error::StoreError, store::Store, writer::Touches};

const CREATED_AT: &str = "created_at";
const NODE_KEY: &str = "node_key";
const STARTS: &str = "starts";
const SYNCS: &str = "syncs";

/// Why a database does not serve a node.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is another node's.
    #[error(
        "this database belongs to the node {bound}, not to {wanted}; use another --data folder, or restore that node's identity"
    )]
    Another {
        /// Whose it is.
        bound: NodeKey,
        /// Who wants it.
        wanted: NodeKey,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for BindError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// The node that this database belongs to; `None` until [`Self::bind_node_key`].
    pub async fn node_key(&self) -> Result<Option<NodeKey>, StoreError> {
        self.readers().read(|sql| Ok(bound_key(sql)?)).await
    }

    /// Makes the database this node's, or fails when it is another's. From then on the bearer of that key is the owner.
    pub async fn bind_node_key(&self, task: &Maintenance, wanted: NodeKey) -> Result<(), BindError> {
        tracing::debug!(task = task.task(), node = %wanted, "binding the database");
        self.writer()
            .write(Touches::Nothing, move |sql| match bound_key(sql)? {
                Some(bound) if bound != wanted => Err(BindError::Another { bound, wanted }),
                Some(_) => Ok(()),
                None => Ok(write(sql, NODE_KEY, &wanted.node_id())?),
            })
            .await?;
        self.directory().set_own_key(wanted.into());
        Ok(())
    }
}

/// Notes when a new database was made.
pub(crate) fn note_creation(sql: &Connection, clock: &Clock) -> rusqlite::Result<()> {
    write(sql, CREATED_AT, &clock.now().to_string())
}

/// Counts this opening of the database and answers which one it is.
pub(crate) fn count_start(sql: &Connection) -> rusqlite::Result<i64> {
    count(sql, STARTS)
}

/// Writes something, so that the commit reaches the disk and takes those before it along.
pub(crate) fn mark_sync(sql: &Connection) -> rusqlite::Result<()> {
    count(sql, SYNCS).map(|_| ())
}

fn count(sql: &Connection, key: &str) -> rusqlite::Result<i64> {
    let mut statement = sql.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1 RETURNING value",
    )?;
    let text: String = statement.query_row([key], |row| row.get(0))?;
    Ok(text.parse().unwrap_or_default())
}

/// The node that a copy of a database belongs to; `None`: none yet, or it is no such database.
///
/// # Errors
/// Fails when it cannot be read.
pub fn node_key_of_copy(sql: &Connection) -> rusqlite::Result<Option<NodeKey>> {
    let has_facts = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'meta')";
    if sql.query_row(has_facts, [], |row| row.get(0))? { bound_key(sql) } else { Ok(None) }
}

fn bound_key(sql: &Connection) -> rusqlite::Result<Option<NodeKey>> {
    let mut statement = sql.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    statement.query_row([NODE_KEY], |row| crate::records::parsed(row, 0)).optional()
}

/// The first value stays.
fn write(sql: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    sql.execute("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING", [key, value]).map(|_| ())
}
