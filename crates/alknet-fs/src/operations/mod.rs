//! The operations on files, as every door offers them: their inputs and outputs.
//!
//! A branch is named `bucket/branch` in the member `bucket`, which is what grants are about.

mod text;
mod views;

pub use text::{BadTimestamp, Base64, BranchRef, InodeNumber, Octets, Timestamp};
pub use views::*;
