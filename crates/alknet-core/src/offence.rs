//! What honest peers seldom do, and the joints to what keeps the score of it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Caller};

/// What counts against a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offence {
    /// It tried to prove who it is, and did not.
    FailedAuthentication,
    /// It was given the time to prove who it is, and let it pass.
    NoAuthentication,
    /// Its conversation broke down in a way that only its own doing explains.
    ProtocolCrash,
    /// It sent what no program that speaks the protocol sends.
    BadFrame,
    /// It wanted more at a time than anybody needs.
    Flood,
}

impl Offence {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::FailedAuthentication, Self::NoAuthentication, Self::ProtocolCrash, Self::BadFrame, Self::Flood];

    /// The words for it in the log, which do not change.
    pub const fn words(self) -> &'static str {
        match self {
            Self::FailedAuthentication => "failed authentication",
            Self::NoAuthentication => "no authentication in time",
            Self::ProtocolCrash => "protocol crash",
            Self::BadFrame => "bad frame",
            Self::Flood => "flood",
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Hears of every attempt to prove who somebody is, at every door. Hearing never blocks.
///
/// The credential of the caller is one that was *proven* (a stranger's own key, say), never one that was only offered.
pub trait AuthenticationWatch: Send + Sync + 'static {
    /// Somebody known proved it.
    fn proved(&self, caller: &Caller, door: &str);
    /// Somebody tried, and is nobody known.
    fn failed(&self, caller: &Caller, door: &str);
}

/// One past offence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastOffence {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it was.
    pub offence: Offence,
    /// At which door.
    pub door: String,
}

/// What is remembered of one source across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRecord {
    /// An address, a prefix or a key's fingerprint, as text.
    pub source: String,
    /// Thousandths of a point.
    pub points: u64,
    /// When the points were counted, in milliseconds since 1970.
    pub counted_at_ms: u64,
    /// How many penalties, less those that time has forgiven.
    pub level: u32,
    /// When the last penalty ends or ended, in milliseconds since 1970.
    pub penalised_until_ms: u64,
    /// The last offences, oldest first.
    pub history: Vec<PastOffence>,
}

/// The scores could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the gate's scores cannot be kept: {0}")]
pub struct GateJournalError(#[source] pub Arc<dyn std::error::Error + Send + Sync>);

/// Remembers scores across restarts, a bounded number of them.
pub trait GateJournal: Send + Sync + 'static {
    /// Everything that is remembered.
    fn load(&self) -> BoxFuture<'_, Result<Vec<GateRecord>, GateJournalError>>;
    /// Remembers `kept`, in place of what was known of these sources, and forgets `forgotten`.
    fn save(&self, kept: Vec<GateRecord>, forgotten: Vec<String>) -> BoxFuture<'_, Result<(), GateJournalError>>;
}
