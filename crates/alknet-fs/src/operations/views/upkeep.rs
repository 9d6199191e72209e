//! What is used, what is thrown away, and whether all is well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    hash::ContentHash,
    name::{BranchName, BucketName},
};

/// Input of `fs/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageInput {
    /// The bucket.
    pub bucket: BucketName,
}

/// Output of `fs/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// Bytes that the bucket is charged: the length of every kept version of content, and extended attributes.
    pub used_bytes: u64,
    /// Files, folders and links that it is charged.
    pub used_files: u64,
    /// Bytes that it may hold; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_files: Option<u64>,
    /// Versions of files, folders and links that are kept.
    pub versions: u64,
    /// What each branch has of its own.
    pub branches: Vec<BranchUsage>,
}

/// What a branch has of its own: what it did not get from the one that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchUsage {
    /// The branch.
    pub branch: BranchName,
    /// Bytes that its kept versions are charged.
    pub bytes: u64,
    /// Versions of files, folders and links that are kept of it.
    pub versions: u64,
}

/// Input of `fs/gc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectGarbage {
    /// Only says what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// Output of `fs/gc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    /// Contents that went, or would go.
    pub blobs: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Contents that are open still, or that the disk did not let go.
    pub left: u64,
}

/// Input of `fs/fsck`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckFiles {
    /// Also reads all content and holds it against its hash, and has SQLite check the tables.
    #[serde(default)]
    pub deep: bool,
    /// Also puts right what can be: counts, outboards, files that nothing names; sets damaged content aside.
    #[serde(default)]
    pub repair: bool,
}

/// An item of `fs/fsck`: findings, then one summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckItem {
    /// Something is wrong.
    Finding(Finding),
    /// That was all.
    Summary(CheckSummary),
}

/// What sort of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Content cannot be read whole.
    Damaged,
    /// What proves ranges of content is missing or wrong; the content is whole.
    Outboard,
    /// A count of references is wrong.
    References,
    /// Versions of files name content that is not there at all.
    Unknown,
    /// A file of content that nothing names.
    Orphan,
    /// A file among the content that is none.
    Strange,
    /// What a bucket holds is counted wrongly.
    Usage,
    /// A name stands for nothing that is known.
    NoInode,
    /// A folder has several places.
    Places,
    /// A folder lies below itself.
    Loop,
    /// SQLite finds a table damaged.
    Table,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// What exactly, in words.
    pub what: String,
    /// Which content, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckSummary {
    /// Contents that were looked at.
    pub blobs: u64,
    /// Findings.
    pub findings: u64,
    /// Findings that were put right.
    pub repaired: u64,
}
