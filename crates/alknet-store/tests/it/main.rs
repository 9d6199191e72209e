//! The store as its users see it; every test has a database of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod api_keys;
mod audit;
mod backup;
mod credentials;
mod durability;
mod events;
mod events_bounds;
mod events_crash;
mod events_fixture;
mod events_positions;
mod events_queues;
mod events_retention;
mod fixture;
mod gate_scores;
mod kept_calls;
mod lost_sync;
mod opening;
mod outcomes;
mod peers;
mod roles;
mod tokens;
