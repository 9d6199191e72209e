//! Content: read, written, and asked after by its hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    buckets::{DurabilityName, NamePolicy},
    entries::Xattr,
};
use crate::{
    hash::ContentHash,
    ids::Seq,
    limits::{MAX_HASHES_ASKED, MAX_INLINE_READ_BYTES, MAX_SIZES_ASKED, MAX_WRITTEN_AT_ONCE, MAX_XATTRS},
    operations::text::{Base64, BranchRef, Octets, Timestamp},
};

/// Input of `fs/read`. The output is a ticket for the bytes; its hash is that of the whole file where all of it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The file.
    pub path: Octets,
    /// As of when; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// From which byte on.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes at most; absent: all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// Input of `fs/read.inline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadInline {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The file.
    pub path: Octets,
    /// As of when; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// From which byte on.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes at most.
    #[serde(default = "whole_inline")]
    #[schemars(range(max = MAX_INLINE_READ_BYTES))]
    pub length: u64,
}

/// Output of `fs/read.inline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InlineContent {
    /// The bytes that were asked for, as far as the file has them.
    pub content: Base64,
    /// Length of the whole file, in bytes.
    pub size: u64,
    /// BLAKE3 of the whole file.
    pub hash: ContentHash,
    /// The commit that last changed it.
    pub seq: Seq,
}

/// Input of `fs/have`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// BLAKE3 hashes of content.
    #[schemars(length(max = MAX_HASHES_ASKED))]
    pub hashes: Vec<ContentHash>,
    /// Lengths of content in bytes, each of at least 16 MiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_SIZES_ASKED))]
    pub sizes: Vec<u64>,
}

/// Output of `fs/have`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HaveOutput {
    /// Of the hashes that were asked about, those whose content is in this bucket where the caller may read it; in their order.
    pub have: Vec<ContentHash>,
    /// Of the lengths that were asked about, those of such content; a large file of another length is nowhere there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u64>,
    /// Which names are the same in this bucket; absent: those with the same bytes.
    #[serde(default, skip_serializing_if = "NamePolicy::is_bytes")]
    pub names: NamePolicy,
}

/// What must be at a path for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A file that this commit last changed.
    Version(Seq),
    /// A file with this content.
    Hash(ContentHash),
}

/// An upload that can be gone on with after it was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeUpload {
    /// Length of the whole file, in bytes.
    pub size: u64,
    /// BLAKE3 of the whole file.
    pub hash: ContentHash,
}

/// What an upload for `fs/write` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// The commit that holds the file.
    pub seq: Seq,
    /// What this answer means.
    pub durability: DurabilityName,
    /// BLAKE3 of the content.
    pub hash: ContentHash,
    /// Its length, in bytes.
    pub size: u64,
    /// The name that it got, in the same folder, where somebody else had written the file meanwhile and both are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Octets>,
}

/// Input of `fs/write`. The output is a ticket for the bytes; what the upload then answers is [`Written`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// The file: made, or given new content.
    pub path: Octets,
    /// Its permission bits; absent: 0o644 for a new file, else as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0o7777))]
    pub mode: Option<u16>,
    /// When its content counts as changed; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Timestamp>,
    /// All of its extended attributes anew; absent: as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_XATTRS))]
    pub xattrs: Option<Vec<Xattr>>,
    /// Whether folders above it are made.
    #[serde(default)]
    pub parents: bool,
    /// What must be there; absent: anything but a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// A folder that holds it, whatever symbolic links lie below it: one in the way is an error, one in its place is replaced. Absent: links
    /// are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneath: Option<Octets>,
    /// Makes the upload one that can be gone on with: the same call again gives a ticket whose `offset` says from which byte on
    /// the rest is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeUpload>,
}

/// What is to be at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NewEntry {
    /// A file with these bytes.
    Content(Base64),
    /// A file with content that `fs/have` sees.
    Hash(ContentHash),
    /// A symbolic link with this target.
    Symlink(Octets),
    /// Another name of the file with this path.
    Link(Octets),
    /// A folder; it may be there already.
    Folder {},
}

/// One of the entries of `fs/write.many`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteOne {
    /// Where.
    pub path: Octets,
    /// What.
    pub entry: NewEntry,
    /// Its permission bits; absent: the usual ones for a new entry, else as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0o7777))]
    pub mode: Option<u16>,
    /// When its content counts as changed; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Timestamp>,
    /// All of its extended attributes anew; absent: as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_XATTRS))]
    pub xattrs: Option<Vec<Xattr>>,
    /// What must be there; absent: a file, a link or nothing, and for a folder at most a folder. For links absence or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// Input of `fs/write.many`: one commit, all or nothing, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteMany {
    /// The branch, as `bucket/branch`.
    pub bucket: BranchRef,
    /// What is written.
    #[schemars(length(min = 1, max = MAX_WRITTEN_AT_ONCE))]
    pub entries: Vec<WriteOne>,
    /// Whether folders above them are made.
    #[serde(default)]
    pub parents: bool,
    /// A folder that holds them all, whatever symbolic links lie below it: one in the way of an entry is an error, one in the place of a
    /// file is replaced. Absent: links are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneath: Option<Octets>,
}

const fn whole_inline() -> u64 {
    MAX_INLINE_READ_BYTES
}
