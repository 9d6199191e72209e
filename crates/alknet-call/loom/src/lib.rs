//! The cell that decides how a call ends, under every interleaving: `cargo xtask test --only loom`.
//!
//! The file is the product's own; `--cfg loom` makes it use loom's atomics and brings its model in.

#[path = "../../src/ending.rs"]
mod ending;

pub use ending::{Ending, EndingCell};
