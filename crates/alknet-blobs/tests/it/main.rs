//! The door as peers meet it, over connections in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;
mod hostile;
