//! The operations on files, as every door offers them.
//!
//! A branch is named `bucket/branch` in the member `bucket`, which is what grants are about.

mod branch;
mod bucket;
mod bytes;
mod entries;
mod fitting;
mod history;
mod hooks;
mod many;
mod merge;
mod names;
mod refusal;
mod service;
mod text;
mod upkeep;
mod views;
mod walk;
mod watch;

use alknet_call::{RegisterError, RegistryBuilder};

pub use service::Service;
pub use text::{BadTimestamp, Base64, BranchRef, InodeNumber, Octets, Timestamp};
pub use views::*;
pub(crate) use watch::commit_view;

/// Registers `fs/*`.
///
/// # Errors
/// Fails when there is an operation of one of their names.
pub fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    bucket::register(registry, service)?;
    entries::register(registry, service)?;
    bytes::register(registry, service)?;
    many::register(registry, service)?;
    names::register(registry, service)?;
    branch::register(registry, service)?;
    history::register(registry, service)?;
    merge::register(registry, service)?;
    watch::register(registry, service)?;
    hooks::register(registry, service)?;
    upkeep::register(registry, service)
}
