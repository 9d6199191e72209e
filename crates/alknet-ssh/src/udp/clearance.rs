//! What the forward policy says about a destination.

use std::{net::SocketAddr, sync::Arc};

use alknet_core::{Authorizer, Caller};

use super::destinations::Clearance;
use crate::{
    key_options::KeyOptions,
    policy::{ForwardPolicy, Granted, Reason},
    socks::{ReachError, Target},
};

/// The addresses that a destination's datagrams may be sent to, best first.
pub(super) type Cleared = Granted<Vec<SocketAddr>>;

impl Clearance for Cleared {
    fn stands(&self) -> bool {
        self.hold.permit().check().is_ok() && !self.hold.ended().is_cancelled()
    }
}

/// Asks the policy for one caller.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) policy: Arc<ForwardPolicy>,
    pub(super) authorizer: Authorizer,
    pub(super) caller: Caller,
}

impl Asker {
    /// Resolves a destination, and has each of its addresses judged.
    pub(super) async fn ask(&self, target: &Target) -> Result<Cleared, ReachError> {
        // A key with options is a key for SSH only and proves nobody in TLS: whoever is here has none.
        let options = KeyOptions::default();
        let host = target.host.to_string();
        let asked = self.policy.reach_udp(&self.caller, &self.authorizer, &options, &host, target.port.into());
        asked.await.map_err(|refusal| refusal.reason().into())
    }
}

impl From<Reason> for ReachError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Prohibited => Self::Denied,
            Reason::NameNotFound | Reason::Unreachable => Self::Unreachable,
            Reason::ConnectionRefused | Reason::Failed => Self::Refused,
            Reason::TimedOut => Self::TimedOut,
            Reason::TooMany => Self::Full,
        }
    }
}
