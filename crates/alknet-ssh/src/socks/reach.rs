//! The joint between the proxy and whatever carries its connections to the far end.

use std::{future::Future, net::SocketAddr, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use super::target::Target;
use crate::client::{ForwardStream, OpenError, Tunnel, TunnelError};

/// Opens connections at the far end.
pub trait Reach: Send + Sync + 'static {
    /// A connection: its shutdown reaches the other side as an end of input.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Connects to `target` at the far end, for the client at `origin`. Dropping the future gives up.
    fn reach(
        &self,
        target: &Target,
        origin: SocketAddr,
    ) -> impl Future<Output = Result<Self::Stream, ReachError>> + Send;
}

/// Why the far end was not reached, as far as a client may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// The far end's policy says no.
    #[error("the node's policy does not allow it")]
    Denied,
    /// The target refused, or the far end says no more than that it failed.
    #[error("the target did not take the connection")]
    Refused,
    /// There is no such host, or no way to it.
    #[error("no such host, or no way to it")]
    Unreachable,
    /// The target did not answer in time.
    #[error("the target did not answer in time")]
    TimedOut,
    /// As many connections are open as the far end allows.
    #[error("too many connections are open")]
    Full,
    /// The node itself cannot be reached at the moment.
    #[error("there is no connection to the node at the moment")]
    NoTunnel,
}

impl Reach for Arc<Tunnel> {
    type Stream = ForwardStream;
    async fn reach(&self, target: &Target, origin: SocketAddr) -> Result<ForwardStream, ReachError> {
        let opened = self.open_tcp(&target.host.to_string(), target.port, &origin.into()).await;
        opened.map_err(|error| match error {
            TunnelError::Open(OpenError::Prohibited | OpenError::Unknown) => ReachError::Denied,
            // SSH does not say why a connection failed (RFC 4254, 5.1).
            TunnelError::Open(OpenError::ConnectFailed) => ReachError::Refused,
            TunnelError::Open(OpenError::NoRoom) => ReachError::Full,
            TunnelError::Open(OpenError::Ended)
            | TunnelError::Dial(_)
            | TunnelError::Stream(_)
            | TunnelError::Connect(_) => {
                tracing::debug!(%error, "no connection to the node");
                ReachError::NoTunnel
            }
        })
    }
}
