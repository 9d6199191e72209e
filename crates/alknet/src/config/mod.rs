//! The configuration: layers of settings, each with its origin, checked as a whole.
//!
//! Defaults (a file in the same syntax, embedded), the system's file, the user's file, the environment, flags: the later wins,
//! key by key. Nothing here reads the process's environment or its arguments; `Sources` carries both.

mod addresses;
mod defaults;
mod diff;
mod environment;
mod error;
mod file;
mod limits;
mod load;
mod merge;
mod origin;
mod paths;
mod roles;
mod schema;
mod suggest;
mod timespan;
mod users;

pub use diff::{Change, diff};
pub use error::ConfigError;
pub use limits::MAX_BANNER_BYTES;
pub use load::{Entry, Loaded, Sources, load};
pub use schema::{Banner, Config, Decoy, LogConfig, LogFormat};

#[cfg(test)]
mod tests;
