//! A handler through a real endpoint, on every carrier.
#![allow(clippy::unwrap_used, missing_docs)]

mod abuse;
mod client;
mod corpus;
mod dial;
mod drain;
mod faces;
mod gate;
mod half_open;
mod local;
mod node;
mod swap;
