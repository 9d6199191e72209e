//! The handler through a real endpoint.
#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod decoy;
mod h3;
mod h3_link;
mod node;
mod raw;
mod web;
