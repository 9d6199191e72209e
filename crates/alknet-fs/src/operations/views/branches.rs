//! Branches and snapshots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::Seq,
    name::{BranchName, BucketName, SnapshotName},
    operations::text::{BranchRef, Timestamp},
};

/// What a branch sees of the one that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BranchMode {
    /// That as it was at the fork.
    #[default]
    Pinned,
    /// Later changes too, where it has none of its own.
    Follow,
}

/// Input of `fs/branch.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBranch {
    /// The new branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The branch that it begins as, which the caller must be allowed to read; absent: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<BranchName>,
    /// As of when it begins; absent: now. One that follows begins now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What it sees of that branch.
    #[serde(default)]
    pub mode: BranchMode,
}

/// Names a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneBranch {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
}

/// Input of `fs/branch.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBranches {
    /// The bucket.
    pub bucket: BucketName,
}

/// Output of `fs/branch.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Branches {
    /// Those that the caller may read, by name.
    pub branches: Vec<BranchView>,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchView {
    /// Its name.
    pub branch: BranchName,
    /// The branch that it was made from, where the caller may read that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BranchName>,
    /// As of which commit it began; absent for one that was not made from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Seq>,
    /// What it sees of its parent; absent for one that was not made from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BranchMode>,
    /// The commit that made it.
    pub made: Seq,
}

/// Output of `fs/branch.flatten`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlattenedBranch {
    /// Branches that it reads through now, itself included: 1, unless one that it came from follows another.
    pub levels: usize,
    /// Rows that were copied into it.
    pub rows: u64,
}

/// Input of `fs/snapshot.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What it is called, once in the bucket.
    pub name: SnapshotName,
    /// Which version it holds; absent: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// Input of `fs/snapshot.remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveSnapshot {
    /// The branch that it is of, as `bucket/branch`.
    pub bucket: BranchRef,
    /// Which one.
    pub name: SnapshotName,
}

/// Input of `fs/snapshot.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSnapshots {
    /// The bucket.
    pub bucket: BucketName,
}

/// Output of `fs/snapshot.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshots {
    /// Those of branches that the caller may read, by name.
    pub snapshots: Vec<SnapshotView>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// Its name.
    pub name: SnapshotName,
    /// The branch that it is of.
    pub branch: BranchName,
    /// Which version it holds.
    pub seq: Seq,
    /// When it was made.
    pub time: Timestamp,
}
