//! Every bound of this crate, with its unit.

/// Longest name of a bucket, a branch or a snapshot, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Longest name of an entry, in bytes.
pub const MAX_ENTRY_NAME_BYTES: usize = 255;
/// Names in one path.
pub const MAX_PATH_NAMES: usize = 1024;
/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 262_144;
/// Longest text before `//` in an address, in bytes.
pub const MAX_ADDRESS_NODE_BYTES: usize = 1024;
/// Longest text after `@` in an address, in bytes.
pub const MAX_WHEN_BYTES: usize = 64;
/// Bytes of a hostile name that an error shows.
pub const MAX_SHOWN_BYTES: usize = 64;

/// Branches that a branch reads through, itself included.
pub const MAX_CHAIN_LEVELS: usize = 64;
/// Rows that one look at a folder takes from a level at a time.
pub const PAGE_ROWS_AT_ONCE: usize = 256;
/// Branches and versions that one search looks at to find whether a hash exists for somebody; beyond it does not.
pub const MAX_VISIBILITY_STEPS: usize = 10_000;
