//! Versions against each other: what differs between two of them, what led to one, how two branches become one, and what may be
//! forgotten.
//!
//! [`diff`] and [`log`] only read. All of it costs as much as what changed, whatever the size of the tree: which rows those are is said
//! by the indexes over (branch, commit).

pub mod conflicts;
pub mod diff;
pub mod log;
pub mod merge;
mod regions;
mod side;

pub use side::State;
