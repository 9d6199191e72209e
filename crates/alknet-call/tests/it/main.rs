//! The call protocol through its public face, over connections in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod both_directions;
mod builtins;
mod byte_streams;
mod calls;
mod carriers;
mod client;
mod composition;
mod corpus;
mod credentials;
mod faults;
mod graph;
mod idempotency;
mod local_subscriptions;
mod node;
mod properties;
mod protocol;
mod reconnect;
mod registration;
mod routes;
mod subscriptions;
mod vectors;
mod worker_specs;
