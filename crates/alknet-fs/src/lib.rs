//! The file system of a node: buckets with branches, every version of every entry, content by its hash.
//!
//! Its rows are in the node's database, written in the store's transactions: a change, what it refers to and the event that tells of
//! it are kept together or not at all. This crate names what there is ([`Address`], [`FsPath`]), says who may ([`Access`]), and reads
//! and writes single [`rows`]; [`Chain`] says which of them a branch shows.
//!
//! Not here: the database, its writer and its migrations (alknet-store), any door, any path of the host.
//! The rules are in `docs/spec/fs.md`.
//!
//! ```
//! use alknet_fs::Address;
//! let address = Address::parse(b"photos:trip@yesterday/2026/a.jpg", 1_800_000_000_000_000_000)?;
//! assert_eq!(address.to_string(), "photos:trip@2027-01-14T08:00:00Z/2026/a.jpg");
//! # Ok::<(), alknet_fs::BadAddress>(())
//! ```

mod access;
mod address;
mod beside;
mod chain;
pub mod content;
mod error;
pub mod events;
pub mod failpoints;
mod file_system;
mod folding;
mod hash;
pub mod history;
pub mod hooks;
mod ids;
pub mod limits;
mod name;
pub mod operations;
mod path;
pub mod rows;
mod session;
mod sight;
mod time;
mod tree;
mod visibility;

pub use access::{Access, Pass, Place, Right};
pub use address::{Address, BadAddress, When};
pub use chain::{Chain, Level, Lineage};
pub use content::{BlobReader, Content, ContentError, Placed, Sealed, Spool};
pub use error::{Damage, Errno, FsError};
pub use file_system::{FileSystem, FileSystemConfig, FsOpenError};
pub use folding::Names;
pub use hash::{BadHash, ContentHash};
pub use ids::{BlobId, BranchId, BucketId, Hlc, HookId, Ino, Seq};
pub use name::{BadName, BranchName, BucketName, HookName, SnapshotName};
pub use path::{BadPath, EntryName, Escaped, FsPath};
pub use session::{
    Announced, Closed, Create, Handle, Handles, Kept, Look, OpenWrite, Pin, ReadHandle, SharedFile, Start, WriteSession,
};
pub use sight::Sight;
pub use tree::{
    Attributes, BadPolicy, BadXattrs, Body, Branch, BranchUsage, Bucket, BucketPage, Change, Commit, Committed, Expect,
    FoundWrong, Here, InPlace, Listed, OnConflict, Origin, Page, Policy, Put, RemoveHow, RenameHow, Retention,
    Snapshot, Steps, Terms, Tree, Txn, Usage, View, Walked, Witness, Wrong, Xattrs,
};
pub use visibility::{Visible, visible};
