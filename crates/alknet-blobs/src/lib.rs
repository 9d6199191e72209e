//! The door `/iroh-bytes/4`: an iroh-blobs client fetches content of the file system by its hash, whole or in verified ranges.
//!
//! The protocol is iroh-blobs' own provider's; this crate gives it streams of ours ([`streams`](self)) and a store that holds
//! nothing: what the provider asks of it is answered from the file system, for the caller at hand. A hash that does not exist for a
//! caller (`FS-05`) is answered like one that nobody ever stored.
//!
//! Not here: downloads from others, and anything that writes; both are refused. The rules are in `docs/spec/iroh-bytes.md`.

mod handler;
pub mod limits;
mod places;
mod provider;
mod streams;

pub use handler::{BLOBS, BlobsHandler};
