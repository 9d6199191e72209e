//! The tree of a branch: what is where, and every change of it.
//!
//! A [`View`] looks at a branch at a version. [`Tree::change`] makes changes, given as data, of one branch: together they are one
//! commit, or nothing. Everything goes by inodes from the root of the branch; what POSIX says of folders, links, names and times
//! holds, and `docs/spec/fs-tree.md` says it rule by rule.

mod attributes;
mod branches;
mod buckets;
mod change;
mod confine;
mod copy;
mod copying;
mod emptying;
mod finding;
mod fsck;
mod here;
mod link;
mod list;
mod policy;
mod put;
mod reap;
mod remove;
mod rename;
mod resolve;
mod snapshots;
mod stat;
mod steps;
mod stop;
mod txn;
mod usage;
mod view;
mod walk;
mod when;
mod xattrs;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alknet_store::{Durability, Noted, Tables};
use tokio::sync::Notify;

pub use branches::{Branch, Origin};
pub use buckets::{Bucket, BucketPage, Terms};
pub use change::{Change, Expect, Put, RemoveHow, RenameHow};
pub use confine::InPlace;
pub use fsck::{FoundWrong, Wrong};
pub use here::Here;
pub use list::{Listed, Page};
pub use policy::{BadPolicy, OnConflict, Policy, Retention};
pub use put::Body;
pub(crate) use put::{FOLDER_MODE, Set};
pub(crate) use resolve::Last;
pub use snapshots::Snapshot;
pub use stat::Attributes;
pub(crate) use stat::{folder_mtime, is_attached};
pub use steps::Steps;
pub(crate) use stop::Stop;
pub use txn::{Commit, Committed, Txn};
pub use usage::{BranchUsage, Usage};
pub use view::View;
pub use walk::Walked;
pub use xattrs::{BadXattrs, Xattrs};

use crate::{error::FsError, name::BucketName, session::Handles};

/// Hears of each commit in its transaction: what it publishes or refuses is kept, or undone, with it.
pub trait Witness: Send + Sync {
    /// The commit is complete.
    ///
    /// # Errors
    /// An error undoes it.
    fn committed(&self, commit: &Commit<'_>, noted: &mut Noted<'_>) -> Result<(), FsError>;
}

/// The trees of all buckets.
#[derive(Clone)]
pub struct Tree {
    tables: Tables,
    replica: u16,
    handles: Handles,
    witness: Option<Arc<dyn Witness>>,
    known: Known,
    deepened: Arc<Notify>,
}

impl Tree {
    /// Those of a database. New inodes get their numbers from `replica`; `handles` knows what is open.
    pub fn new(tables: Tables, replica: u16, handles: Handles) -> Self {
        Self { tables, replica, handles, witness: None, known: Known::default(), deepened: Arc::default() }
    }
    /// Lets somebody hear of each commit.
    #[must_use]
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }
    /// The database.
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }
    /// What is open.
    pub const fn handles(&self) -> &Handles {
        &self.handles
    }
    /// Notified when a branch was made that reads through many others.
    pub(crate) fn deepened(&self) -> &Notify {
        &self.deepened
    }
}

/// What an acknowledgement means in which bucket, as its last change found it: it must be known before the next is handed in.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<BTreeMap<BucketName, Durability>>>);

impl Known {
    fn table(&self) -> MutexGuard<'_, BTreeMap<BucketName, Durability>> {
        // Each change of the map is one call on it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn durability(&self, bucket: &BucketName) -> Option<Durability> {
        self.table().get(bucket).copied()
    }
    fn note(&self, bucket: &BucketName, durability: Durability) {
        self.table().insert(bucket.clone(), durability);
    }
    fn forget(&self, bucket: &BucketName) {
        self.table().remove(bucket);
    }
}
