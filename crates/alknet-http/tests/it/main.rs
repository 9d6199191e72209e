//! The handler through a real endpoint.
#![allow(clippy::unwrap_used, missing_docs)]
