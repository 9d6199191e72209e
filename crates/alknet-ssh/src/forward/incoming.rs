//! Connections that come to the node for the client, each on a channel that this side opens.

use std::net::SocketAddr;

use russh::{
    Channel, Error,
    server::{Handle, Msg},
};
use tokio_util::sync::CancellationToken;

use super::{
    Home,
    tunnel::{Socket, carry},
};
use crate::pressure::OpenChannel;

/// What the client is told of a connection that came.
pub(super) enum Arrival {
    /// To a port that it has the node listen on, under the host that it named (RFC 4254, 7.2).
    Tcp { host: String, port: u32, from: SocketAddr },
    /// To a socket that it has the node listen on.
    Unix(String),
    /// To its agent.
    Agent,
}

impl Arrival {
    async fn announce(self, handle: &Handle) -> Result<Channel<Msg>, Error> {
        match self {
            Self::Tcp { host, port, from } => {
                let (ip, from_port) = (from.ip().to_string(), from.port().into());
                handle.channel_open_forwarded_tcpip(host, port, ip, from_port).await
            }
            Self::Unix(path) => handle.channel_open_forwarded_streamlocal(path).await,
            Self::Agent => handle.channel_open_agent().await,
        }
    }
}

/// Takes a connection to the client, which may refuse it.
pub(super) async fn bring(arrival: Arrival, socket: Socket, home: Home, ended: &CancellationToken, open: OpenChannel) {
    let Home { handle, around } = home;
    let announcing = ended.run_until_cancelled(arrival.announce(&handle));
    match around.life.run_until_cancelled(announcing).await {
        Some(Some(Ok(channel))) => carry(channel, std::future::ready(()), socket, &around, ended).await,
        Some(Some(Err(error))) => tracing::debug!(%error, "the client did not take a forwarded connection"),
        // The library keeps what was announced and not answered.
        Some(None) => around.pressure.leave_behind(),
        None => {}
    }
    drop(open);
}
