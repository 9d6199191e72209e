//! What changed, when, and how two branches are brought together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    buckets::default_limit,
    entries::{Committed, EntryKind, Source},
};
use crate::{
    hash::ContentHash,
    ids::Seq,
    limits::MAX_LISTED,
    name::BranchName,
    operations::text::{BranchRef, Octets, Timestamp},
};

/// Input of `fs/diff`: what leads from one tree to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffInput {
    /// The branch of the new side, as `bucket/branch`.
    pub bucket: BranchRef,
    /// As of when the new side is; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The old side: a branch of the same bucket, at a version. The right to read it is needed. Its path is
    /// empty, or that of the new side as the bucket compares names.
    pub from: Source,
    /// Only what is at this path or below it.
    #[serde(default)]
    pub path: Octets,
    /// Only what comes after this path: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Octets>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

/// A way in which two trees differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    /// Only the new one has the entry.
    Added,
    /// Only the old one has the entry.
    Removed,
    /// The entry had another path.
    Renamed,
    /// Its content or target is another.
    Content,
    /// Its mode, time or extended attributes are others.
    Attributes,
}

/// What an entry is on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffSide {
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u16,
    /// When it was changed.
    pub mtime: Timestamp,
    /// BLAKE3 of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Octets>,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffEntry {
    /// Where; of a removed entry, where it was.
    pub path: Octets,
    /// In which ways it differs, at least one.
    pub changes: Vec<DiffKind>,
    /// Where a renamed entry was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Octets>,
    /// The old side; absent where it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<DiffSide>,
    /// The new side; absent where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<DiffSide>,
}

/// Output of `fs/diff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffOutput {
    /// The differences, by path.
    pub changes: Vec<DiffEntry>,
    /// Which version the old side is.
    pub old_seq: Seq,
    /// Which version the new side is.
    pub new_seq: Seq,
    /// What to give as `after` for the next page; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Octets>,
}

/// What happens where both sides changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// Ours stays in place and the conflict is listed, with both versions kept.
    #[default]
    Conflict,
    /// Ours stays.
    Ours,
    /// Theirs is taken.
    Theirs,
    /// Both are kept, theirs under a name of its own.
    Both,
}

/// Input of `fs/merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeInput {
    /// The branch that gets the changes, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The branch whose changes are taken; the right to read it is needed.
    pub from: BranchName,
    /// What happens where both changed the same thing.
    #[serde(default)]
    pub strategy: MergeStrategy,
    /// Only says what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// Output of `fs/merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergeOutput {
    /// The commit that holds the changes; absent where nothing was to be done, or was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
    /// How many entries were changed.
    pub merged: u64,
    /// Where both sides had changed the same thing.
    pub conflicts: Vec<ConflictView>,
    /// How many conflicts there are, also those that are not listed here.
    pub conflict_count: u64,
}

/// What both sides of a merge changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictAbout {
    /// What it holds.
    Content,
    /// Its mode or its extended attributes.
    Attributes,
    /// Where it is.
    Place,
    /// One side removed what the other changed.
    Removed,
    /// What the two want the same name for.
    Name,
}

/// Where both sides of a merge changed the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConflictView {
    /// Its number; absent where it was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Where.
    pub path: Octets,
    /// What both changed.
    pub about: ConflictAbout,
    /// The merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// What it is here; absent: removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<ConflictSide>,
    /// What it is there; absent: removed, or not for the caller to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<ConflictSide>,
    /// Whether what is there is not for the caller to see, who may not read that branch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub theirs_hidden: bool,
}

/// One side of a conflict, and where it can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConflictSide {
    /// The branch.
    pub branch: BranchName,
    /// Whether that branch was removed: then nothing can be read there, and another one may be called the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The version.
    pub at: Seq,
    /// The path there.
    pub path: Octets,
    /// What it is there.
    pub side: DiffSide,
}

/// Input of `fs/conflicts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConflicts {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// Only those with a greater number: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

/// Output of `fs/conflicts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conflicts {
    /// Those that were not settled, by number.
    pub conflicts: Vec<ConflictView>,
    /// What to give as `after` for the next page; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Which side of a conflict stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepSide {
    /// What is here.
    Ours,
    /// What is there.
    Theirs,
    /// Both, theirs under a name of its own.
    Both,
}

/// Input of `fs/conflict.settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleConflict {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The conflict's number.
    pub number: u64,
    /// What stays.
    pub keep: KeepSide,
}

/// Input of `fs/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogInput {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// Only the versions of this entry; absent: every commit that the branch shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Octets>,
    /// Only what came before this commit: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

/// Output of `fs/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogOutput {
    /// The commits, the newest first.
    pub commits: Vec<LogEntry>,
    /// What to give as `before` for the next page; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seq>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// Its number.
    pub seq: Seq,
    /// When; never before the commit before it. Absent, as who and by what, where that was forgotten and the version is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// By what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// What it made of the entry that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionView>,
}

/// A version of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// In which ways it differs from the one before, at least one.
    pub changes: Vec<DiffKind>,
    /// Where it was then; of a name that was taken away, where that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Octets>,
    /// Where it was before, if that was elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Octets>,
    /// What it was then; absent where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DiffSide>,
}

/// Input of `fs/restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreInput {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What becomes again as it was, with all that is below it.
    #[serde(default)]
    pub path: Octets,
    /// As it was when.
    pub when: String,
}
