//! Test support, never part of the product: connections in memory and throw-away identities.

pub mod canary;
pub mod http_server;
pub mod identities;
pub mod measure;
pub mod memory;
pub mod simulation;
pub mod skipping;
pub mod virtual_network;
pub mod wan;
