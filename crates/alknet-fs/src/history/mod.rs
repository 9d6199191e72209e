//! Versions against each other: what differs between two of them, what led to one, how two branches become one, and what may be
//! forgotten.
//!
//! [`diff`] and [`log`] only read; [`History`] makes commits. All of it costs as much as what changed, whatever the size of the tree: which rows those are is said
//! by the indexes over (branch, commit).

mod changing;
pub mod conflicts;
pub mod diff;
pub mod flatten;
mod forgetting;
pub mod log;
pub mod merge;
mod regions;
pub mod restore;
pub mod retention;
mod settle;
mod side;

pub use changing::{How, Merged};
pub use flatten::Flattened;
pub use settle::Keep;
pub use side::State;

use crate::tree::Tree;

/// The histories of all trees.
#[derive(Clone)]
pub struct History(Tree);

impl History {
    /// Those of these trees.
    pub const fn new(tree: Tree) -> Self {
        Self(tree)
    }
}
