//! How a file is opened to be written.

use alknet_store::Durability;

use crate::{
    path::FsPath,
    tree::{Expect, Xattrs},
};

/// What a session begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// Nothing: what is written becomes all of the file's content, under its name, whatever has that name by then.
    #[default]
    Empty,
    /// What the file holds. What is written goes to that file, even if it is called something else by then.
    Existing,
}

/// Whether a file may, or must, be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Create {
    /// It must be there.
    Never,
    /// It is made if it is not there.
    #[default]
    IfAbsent,
    /// Nothing may be there, neither now nor when the session ends.
    Exclusive,
}

/// How a file is opened to be written. By default its content is replaced, and it is made where there is none.
#[derive(Debug, Clone, Default)]
pub struct OpenWrite {
    /// What the session begins with.
    pub start: Start,
    /// Whether the file may, or must, be made.
    pub create: Create,
    /// Whether folders above it are made, with the version.
    pub parents: bool,
    /// A folder that holds the file, whatever symbolic links lie below it: one in the way is an error, one in the file's place is replaced.
    /// `None`: links are followed.
    pub beneath: Option<FsPath>,
    /// What must be there when the session ends, whatever the bucket's policy.
    pub expect: Expect,
    /// The permission bits; `None`: 0o644 for a new file, else as they were.
    pub mode: Option<u16>,
    /// When the content counts as changed, in nanoseconds since 1970; `None`: when the session ends.
    pub mtime_ns: Option<i64>,
    /// All extended attributes anew; `None`: as they were.
    pub xattrs: Option<Xattrs>,
    /// What the answer is to mean; `None`: as the bucket has it.
    pub durability: Option<Durability>,
}
