//! Changes as they happen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{entries::EntryKind, history::DiffKind};
use crate::{
    ids::Seq,
    operations::text::{BranchRef, Octets, Timestamp},
};

/// Input of `fs/watch`. The items are numbered by commit: go on after the last one that was had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchInput {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// Only paths that begin so, with the `/` at their start; empty: all.
    #[serde(default)]
    pub prefix: Octets,
    /// Only paths that end so; empty: all.
    #[serde(default)]
    pub suffix: Octets,
    /// Begin after this commit; absent: with what comes from now on. What a subscription is resumed after counts more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
}

/// A commit that changed something that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchedCommit {
    /// Its number.
    pub seq: Seq,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: String,
    /// By what.
    pub op: String,
    /// What it changed, by path.
    pub changes: Vec<WatchedChange>,
    /// Whether it changed more than what is told here; `fs/diff` says all.
    #[serde(default)]
    pub more: bool,
}

/// A path that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchedChange {
    /// Where; of a removed entry, where it was.
    pub path: Octets,
    /// In which ways, at least one.
    pub changes: Vec<DiffKind>,
    /// What it is, or was.
    pub kind: EntryKind,
    /// Where a renamed entry was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Octets>,
}
