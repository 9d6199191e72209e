//! What each fuzz target feeds to its parser, and what must hold for it. `crates/*/tests/it/corpus.rs` use the same files.

pub mod archives;
pub mod call;
pub mod core;
pub mod fs;
pub mod net;
pub mod socks;
pub mod ssh;
pub mod ssh_client_session;
pub mod ssh_kex;
pub mod ssh_session;
pub mod vault;

/// The client's archives. The binary has no library, so its modules are compiled in here, where they look for one another.
#[allow(dead_code, unused_imports, reason = "the targets need the readers only")]
mod files {
    #[path = "../../../crates/alknet/src/files/archive/mod.rs"]
    pub mod archive;
    #[path = "../../../crates/alknet/src/files/entry.rs"]
    pub mod entry;
    #[path = "../../../crates/alknet/src/files/limits.rs"]
    pub mod limits;
}
