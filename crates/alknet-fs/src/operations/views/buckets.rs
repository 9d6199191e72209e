//! Buckets and how they behave.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{folding::Names, ids::Seq, limits::MAX_LISTED, name::BucketName};

/// How long an acknowledgement may wait, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DurabilityName {
    /// It comes after the change is on disk.
    #[default]
    Strict,
    /// The same, a little later, so that many changes share one wait for the disk.
    Group,
    /// It comes before; a power cut may take the last second back, whole.
    Lazy,
}

/// What happens to a file that somebody else changed while it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// The later writer wins; the other version stays in the history.
    #[default]
    Lww,
    /// The later writer is refused.
    Fail,
    /// Both are kept: the later one under a name of its own.
    KeepBoth,
}

/// Which names are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamePolicy {
    /// Those with the same bytes.
    #[default]
    Bytes,
    /// Those with the same characters, however these are put together (Unicode's NFC).
    Nfc,
    /// Those with the same letters too, whatever their case; they are shown as they were written first.
    Fold,
}

impl NamePolicy {
    /// Whether it is what is meant where nothing is said.
    pub(super) fn is_bytes(&self) -> bool {
        *self == Self::Bytes
    }
}

impl From<NamePolicy> for Names {
    fn from(policy: NamePolicy) -> Self {
        match policy {
            NamePolicy::Bytes => Self::Bytes,
            NamePolicy::Nfc => Self::Nfc,
            NamePolicy::Fold => Self::Fold,
        }
    }
}

impl From<Names> for NamePolicy {
    fn from(names: Names) -> Self {
        match names {
            Names::Bytes => Self::Bytes,
            Names::Nfc => Self::Nfc,
            Names::Fold => Self::Fold,
        }
    }
}

/// How a bucket behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyView {
    /// What an answer to a change means.
    pub durability: DurabilityName,
    /// What happens to files that two write at once.
    pub conflict: ConflictPolicy,
    /// How long old versions are kept: a number and one of `s m h d w`, or `forever`.
    pub retention: String,
    /// Which names are the same.
    pub names: NamePolicy,
    /// Whether each commit is published as an event of the topic `node.fs`.
    pub events: bool,
}

/// Input of `fs/bucket.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBucket {
    /// What it is called.
    pub bucket: BucketName,
    /// Bytes that it may hold, every kept version counted; absent or 0: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold; absent or 0: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_files: Option<u64>,
    /// Absent: as the node is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<DurabilityName>,
    /// Absent: the last writer wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictPolicy>,
    /// A number and one of `s m h d w`, or `forever`; absent: as the node is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]{1,12}[smhdw]|forever)$"))]
    pub retention: Option<String>,
    /// Absent: those with the same bytes are the same. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NamePolicy>,
    /// Absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,
}

/// Input of `fs/bucket.set`: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBucket {
    /// Which one.
    pub bucket: BucketName,
    /// Bytes that it may hold, every kept version counted; 0: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold; 0: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_files: Option<u64>,
    /// What an answer to a change means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<DurabilityName>,
    /// What happens to files that two write at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictPolicy>,
    /// How long old versions are kept: a number and one of `s m h d w`, or `forever`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]{1,12}[smhdw]|forever)$"))]
    pub retention: Option<String>,
    /// Whether each commit is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,
}

/// Names a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneBucket {
    /// Which one.
    pub bucket: BucketName,
}

/// Input of `fs/bucket.remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveBucket {
    /// Which one.
    pub bucket: BucketName,
    /// Also if something is in it; its history goes with it.
    #[serde(default)]
    pub force: bool,
}

/// Input of `fs/bucket.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBuckets {
    /// Only those whose name comes after this one: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BucketName>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

impl Default for ListBuckets {
    fn default() -> Self {
        Self { after: None, limit: default_limit() }
    }
}

/// Output of `fs/bucket.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Buckets {
    /// Those that the caller may read something of, by name.
    pub buckets: Vec<BucketView>,
    /// What to give as `after` for the next page; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BucketName>,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketView {
    /// Its name.
    pub bucket: BucketName,
    /// Its newest commit.
    pub head: Seq,
    /// Bytes that it holds, every kept version counted.
    pub used_bytes: u64,
    /// Files, folders and links that it holds, counted on each branch that changed them.
    pub used_files: u64,
    /// Bytes that it may hold; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_files: Option<u64>,
    /// How it behaves.
    pub policy: PolicyView,
}

/// How much an answer lists when it was not said.
pub(super) const fn default_limit() -> u32 {
    MAX_LISTED
}
