//! Open files: what is written before it is a version, and who must hear that it can be none any more.

mod handles;

pub use handles::{Finding, Forgetting, Handle, Handles, Look, Pin};
