//! The vault against official vectors, its own vectors, a second implementation's, and arbitrary bytes.
#![allow(clippy::unwrap_used, missing_docs)]

mod corpus;
mod derivation;
mod keystore;
mod mnemonic;
mod properties;
mod sealed;
mod statement;
mod vault;
mod vectors;
