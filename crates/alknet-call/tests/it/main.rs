//! The call protocol through its public face, over connections in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod builtins;
mod byte_streams;
mod calls;
mod client;
mod corpus;
mod credentials;
mod faults;
mod graph;
mod node;
mod protocol;
mod registration;
mod vectors;
mod worker_specs;
