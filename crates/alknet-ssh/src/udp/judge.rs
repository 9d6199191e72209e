//! Who says where datagrams may go.

use std::{future::Future, net::SocketAddr};

use alknet_core::{Caller, Permit};

use crate::socks::{ReachError, Target};

/// Where a destination's datagrams may be sent.
pub struct Cleared {
    /// The addresses that were checked, best first.
    pub addrs: Vec<SocketAddr>,
    /// Proof that the gate let them through; ends with the rights.
    pub permit: Permit,
}

/// Decides for an identity.
pub trait Judge: Send + Sync + 'static {
    /// Given back when the association ends.
    type Account: Send;
    /// Counts one more association of the caller, if it may have one.
    fn admit(&self, caller: &Caller) -> Result<Self::Account, ReachError>;
    /// Resolves a destination, and says whether each of its addresses may be sent to.
    fn judge(&self, caller: &Caller, target: &Target) -> impl Future<Output = Result<Cleared, ReachError>> + Send;
}
