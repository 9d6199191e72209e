//! The file system's rows: one prepared statement for each thing that is done to them, and no decision of the tree's.
//!
//! Every function runs in the transaction that it is handed ([`alknet_store::Tables`]). Counters that sum rows up (a bucket's usage,
//! the references to a blob) change here and nowhere else.

pub mod blob;
pub mod branch;
pub mod bucket;
pub mod check;
pub mod commit;
pub mod conflict;
pub mod dent;
pub mod hook;
pub mod inode;
pub mod merge;
pub mod meta;
pub mod snapshot;
pub mod upload;

use crate::ids::{BranchId, BucketId};

/// Where and when rows are written.
#[derive(Debug, Clone, Copy)]
pub struct On {
    /// The bucket, which is charged.
    pub bucket: BucketId,
    /// The branch.
    pub branch: BranchId,
    /// The node's clock, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What an inode is. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file.
    File = 1,
    /// A folder.
    Folder = 2,
    /// A symbolic link.
    Symlink = 3,
}

impl Kind {
    pub(crate) const fn of(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::File),
            2 => Some(Self::Folder),
            3 => Some(Self::Symlink),
            _ => None,
        }
    }
}

/// SQLite's integers are signed: what is beyond them becomes the last one.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back; what is below 0 reads as 0.
fn loaded(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A column that holds what no version of this program writes.
fn foreign(column: usize, number: i64) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(column, number)
}

/// A column whose text is some value's text form.
fn parsed<T>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    let failed = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error);
    text.parse().map_err(|error: T::Err| failed(Box::new(error)))
}
