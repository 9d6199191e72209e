//! What each fuzz target feeds to its parser, and what must hold for it. `crates/*/tests/it/corpus.rs` use the same files.

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
