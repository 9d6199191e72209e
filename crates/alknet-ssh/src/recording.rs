//! Recordings of terminal sessions: who is recorded, and what becomes of the recordings.
//!
//! What a terminal showed is written down as it is sent, with its times and sizes, in asciinema's format. What is typed is not, beyond what
//! the terminal echoes: passwords are typed.

mod archive;
mod cast;
mod recorder;

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use alknet_core::Identity;

pub(crate) use archive::begin;
pub use archive::{Page, RECORDINGS_SCOPE, RecordedSession, RecordingError, RecordingLimits, Recordings};
pub(crate) use cast::{Head, Shown, Who};
pub(crate) use recorder::{Recorder, cells};

/// Whose terminal sessions are recorded, where, and how much of them.
#[derive(Debug, Clone)]
pub struct RecordingPolicy {
    /// The folder of the recordings; made when it is needed.
    pub folder: PathBuf,
    /// Whose; nobody's when empty.
    pub who: Vec<Recorded>,
    /// The bounds.
    pub limits: RecordingLimits,
}

impl RecordingPolicy {
    /// Whether sessions of `identity` are recorded.
    pub(crate) fn covers(&self, identity: &Identity) -> bool {
        self.who.iter().any(|who| match who {
            Recorded::Everybody => true,
            Recorded::Role(role) => identity.role() == Some(role),
            Recorded::Peer(name) => identity.id() == name,
        })
    }
}

/// Whose sessions: `*`, `role:NAME`, or a peer's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Everybody's.
    Everybody,
    /// Those of the holders of a role.
    Role(String),
    /// Those of one peer.
    Peer(String),
}

impl FromStr for Recorded {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.strip_prefix("role:")) {
            ("*", _) => Self::Everybody,
            (_, Some(role)) => Self::Role(role.to_owned()),
            (peer, None) => Self::Peer(peer.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use alknet_core::{ResourceGrants, ScopeSet};

    use super::*;

    /// SES-40.
    #[test]
    fn the_policy_names_everybody_roles_or_peers() {
        let alice = Identity::new("alice", ScopeSet::default(), ResourceGrants::default()).with_role("dev");
        let covers = |who: &[&str]| {
            let who = who.iter().map(|text| text.parse().unwrap()).collect();
            RecordingPolicy { folder: PathBuf::new(), who, limits: RecordingLimits::default() }.covers(&alice)
        };
        assert!(covers(&["*"]) && covers(&["role:dev"]) && covers(&["bob", "alice"]));
        assert!(!covers(&[]) && !covers(&["role:alice", "dev", "role:ops", "role:"]));
    }
}
