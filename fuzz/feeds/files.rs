//! The client of files. The binary has no library, so its modules are compiled in here, under the name that they have there.
#![allow(dead_code, unused_imports, reason = "the targets need some of it only")]

#[path = "../../crates/alknet/src/files/archive/mod.rs"]
pub mod archive;
#[path = "../../crates/alknet/src/files/entry.rs"]
pub mod entry;
#[path = "../../crates/alknet/src/files/limits.rs"]
pub mod limits;
