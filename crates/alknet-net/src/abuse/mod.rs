//! The abuse gate, shared by every protocol: who misbehaves gets fewer places, and whoever proves a known key still gets in.
//!
//! `score`, `book` and `places` are pure: the time is an argument. [`AbuseGate`] is the lock around them, with the clock, the log and
//! the journal. The rules are in `docs/spec/gate.md`; the ids in the tests (`GATE-06`) are that document's.

mod book;
mod books;
mod gate;
mod keeping;
mod lines;
mod places;
mod report;
mod score;
#[cfg(test)]
mod simulation;
mod source;
#[cfg(test)]
mod tests;
mod visit;

pub use gate::AbuseGate;
pub use report::{GateReport, Place};
pub use source::{AddressRange, GateTarget, InvalidAddressRange, InvalidGateTarget};
pub(crate) use visit::{Ended, Visit};
