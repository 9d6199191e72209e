//! Entries of folders, and what is done to them by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buckets::{DurabilityName, default_limit};
use crate::{
    hash::ContentHash,
    ids::Seq,
    limits::{MAX_LISTED, MAX_XATTRS},
    name::BranchName,
    operations::text::{BranchRef, InodeNumber, Octets, Timestamp},
};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
}

/// What is known about an entry besides its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttributesView {
    /// The same for each of its names.
    pub ino: InodeNumber,
    /// Length in bytes: of a link, that of its target; of a folder 0.
    pub size: u64,
    /// Permission bits and those above them, at most 0o7777.
    pub mode: u16,
    /// When its content was changed, or what was set.
    pub mtime: Timestamp,
    /// When anything about it was changed; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctime: Option<Timestamp>,
    /// How many names it has on this branch; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nlink: Option<u32>,
    /// The commit that last changed it.
    pub seq: Seq,
    /// BLAKE3 of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Octets>,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// Its name; in a recursive list its path from the folder that was asked for, without a `/` at its start.
    pub name: Octets,
    /// What it is.
    pub kind: EntryKind,
    /// The rest, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributesView>,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Xattr {
    /// Its name, as in `user.origin`.
    pub name: Octets,
    /// Its value.
    pub value: Octets,
}

/// Input of `fs/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFolder {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The folder.
    #[serde(default)]
    pub path: Octets,
    /// As of when: what may stand after `@` in an address; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Only what comes after this name: the next page. Give the `seq` of the first page as `when` to stay in one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Octets>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
    /// Whether the entries come with their attributes.
    #[serde(default = "yes")]
    pub attributes: bool,
    /// Whether what is in the folders below comes too, each folder before what is in it.
    #[serde(default)]
    pub recursive: bool,
}

/// Output of `fs/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entries {
    /// The entries, in the order of their bytes.
    pub entries: Vec<EntryView>,
    /// Which version of the bucket this is.
    pub seq: Seq,
    /// What to give as `after` for the next page; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Octets>,
}

/// Input of `fs/stat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatEntry {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The entry.
    #[serde(default)]
    pub path: Octets,
    /// As of when; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether what a symbolic link points to is meant, not the link.
    #[serde(default = "yes")]
    pub follow: bool,
}

/// Output of `fs/stat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatView {
    /// What it is.
    pub kind: EntryKind,
    /// What is known about it.
    pub attributes: AttributesView,
    /// Its extended attributes, by name.
    #[serde(default)]
    pub xattrs: Vec<Xattr>,
    /// Which version of the bucket was looked at.
    pub seq: Seq,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// The commit that holds the change.
    pub seq: Seq,
    /// What this answer means.
    pub durability: DurabilityName,
}

/// What a change came to that is made in steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommittedSteps {
    /// The commit that holds the change, or the last part of it.
    pub seq: Seq,
    /// What this answer means.
    pub durability: DurabilityName,
    /// How many commits it took.
    pub commits: u32,
}

/// Input of `fs/mkdir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeFolder {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The folder to be made.
    pub path: Octets,
    /// Its permission bits; absent: 0o755.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0o7777))]
    pub mode: Option<u16>,
    /// Whether folders above it are made too; then it may also be there already.
    #[serde(default)]
    pub parents: bool,
}

/// Input of `fs/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveEntry {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What goes; a symbolic link itself goes, not what it points to.
    pub path: Octets,
    /// Whether a folder goes with all that is in it.
    #[serde(default)]
    pub recursive: bool,
}

/// What happens to what has the new name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveHow {
    /// It goes; a folder only if it is empty.
    #[default]
    Replace,
    /// It stays, and the move is refused.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// Input of `fs/move`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveEntry {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What it was called.
    pub from: Octets,
    /// What it is to be called.
    pub to: Octets,
    /// What happens to what has that name.
    #[serde(default)]
    pub how: MoveHow,
}

/// Something on a branch at a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Another branch, as `bucket/branch`; absent: the one of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BranchRef>,
    /// The entry.
    #[serde(default)]
    pub path: Octets,
    /// As of when; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// Input of `fs/copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyEntry {
    /// The branch that gets it, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What is copied; the right to read it is needed.
    pub from: Source,
    /// What the copy is called; nothing may have that name.
    pub to: Octets,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LinkTo {
    /// A symbolic link with this target.
    Symbolic(Octets),
    /// Another name of the file with this path.
    Hard(Octets),
}

/// Input of `fs/link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The name that is made.
    pub path: Octets,
    /// Where it leads.
    pub to: LinkTo,
}

/// Input of `fs/set`: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAttributes {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The entry; of a symbolic link the link itself.
    pub path: Octets,
    /// Permission bits and those above them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0o7777))]
    pub mode: Option<u16>,
    /// When its content counts as changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Timestamp>,
    /// All of its extended attributes anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_XATTRS))]
    pub xattrs: Option<Vec<Xattr>>,
    /// Some of its extended attributes; the others stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_XATTRS))]
    pub set_xattrs: Vec<Xattr>,
    /// The names of extended attributes that go, if they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_XATTRS))]
    pub remove_xattrs: Vec<Octets>,
}

impl Source {
    /// The branch that is meant, in a call about `own`.
    pub fn branch(&self, own: &BranchRef) -> BranchRef {
        self.bucket.clone().unwrap_or_else(|| own.clone())
    }
}

impl BranchRef {
    /// The default branch of a bucket.
    pub fn main(bucket: crate::name::BucketName) -> Self {
        Self { bucket, branch: BranchName::main() }
    }
}

const fn yes() -> bool {
    true
}
