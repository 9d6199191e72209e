//! Every bound of the client of files, with its unit.

use std::ops::RangeInclusive;

/// Extended attributes of one entry.
pub const MAX_XATTRS: usize = alknet_fs::limits::MAX_XATTRS as usize;
/// Largest sum of the extended attributes of one entry, in bytes.
pub const MAX_XATTRS_BYTES: usize = alknet_fs::limits::MAX_XATTRS_BYTES;
/// Longest target of a symbolic link, in bytes.
pub const MAX_LINK_BYTES: usize = alknet_fs::limits::MAX_TARGET_BYTES;
/// Largest block of PAX records before one entry, in bytes.
pub const MAX_PAX_BYTES: u64 = 1024 * 1024;
/// Entries of one archive.
pub const MAX_ARCHIVE_ENTRIES: u64 = 10_000_000;
/// Bytes that any archive may unfold to.
pub const MAX_UNFOLDED_BYTES_ANYWAY: u64 = 1 << 30;
/// Beyond them it may unfold to so many times its own bytes; text hardly reaches 20.
pub const MAX_UNFOLDED_RATIO: u64 = 200;
/// Names of what was left out that are shown; the rest is counted.
pub const MAX_LEFT_OUT_SHOWN: usize = 10;
/// Largest sidecar of a Git repository, in bytes: some 500,000 entries. In memory it is several times as large.
pub const MAX_SIDECAR_BYTES: u64 = 64 << 20;
/// Bytes of what `git` complained of that are shown.
pub const MAX_COMPLAINT_BYTES: usize = 4096;

/// Entries that are written at once.
pub const MAX_WRITTEN_AT_ONCE: usize = alknet_fs::limits::MAX_WRITTEN_AT_ONCE as usize;
/// Bytes of JSON that are written at once: with what stands around them they fit into the input of `fs/write.many`.
pub const MAX_BYTES_AT_ONCE: usize = alknet_fs::limits::MAX_WRITTEN_INPUT_BYTES - 600_000;
/// Bytes of JSON around one entry that is written: the names of its members, numbers, a time and a hash.
pub const WRITTEN_ENTRY_BYTES: usize = 384;
/// Files up to so many bytes are kept in memory once they are read, and travel within calls.
pub const MAX_KEPT_BYTES: u64 = alknet_fs::limits::MAX_INLINE_READ_BYTES;
/// Files of this machine's own node that are sent in one reading where nothing there is as long, in bytes: shorter ones are hashed as
/// soon as asked about, and of longer ones what was sent before a cut is worth more.
pub const ONE_READING_BYTES: RangeInclusive<u64> = alknet_fs::limits::LEAST_ASKED_BYTES..=4 << 30;
/// Content no longer than so many bytes is sent without asking whether it is there: its hash is as long.
pub const MAX_UNASKED_BYTES: usize = 64;
/// Entries that wait between the reading of a folder and what is done with them.
pub const WAITING_ENTRIES: usize = 1024;
/// Pieces of content that wait between the thread that reads an archive and the wire.
pub const WAITING_PIECES: usize = 16;
/// Size of such a piece, in bytes.
pub const PIECE_BYTES: usize = 128 * 1024;
/// Small files that are fetched or looked at at the same time.
pub const SMALL_AT_ONCE: usize = 16;
