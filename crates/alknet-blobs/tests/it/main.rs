//! The door as peers meet it, over connections in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod corpus;
mod fixture;
mod hostile;
