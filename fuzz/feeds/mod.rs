//! What each fuzz target feeds to its parser, and what must hold for it. `crates/*/tests/it/corpus.rs` use the same files.

pub mod archives;
pub mod call;
pub mod core;
pub mod files;
#[path = "../../crates/alknet-blobs/tests/it/fixture.rs"]
#[allow(dead_code, reason = "the target needs some of it only")]
pub mod fixture;
pub mod fs;
pub mod iroh;
pub mod net;
pub mod socks;
pub mod ssh;
pub mod ssh_client_session;
pub mod ssh_kex;
pub mod ssh_session;
pub mod vault;
