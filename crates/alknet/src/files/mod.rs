//! The client of the file system, without a command line: archives, folders of the disk, and how trees come and go.

pub mod address;
pub mod archive;
mod came;
pub mod entry;
pub mod get;
pub mod hashing;
pub mod limits;
pub mod progress;
pub mod put;
pub mod remote;
pub mod send;
pub mod steady;
