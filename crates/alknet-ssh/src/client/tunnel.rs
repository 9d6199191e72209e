//! A connection to a node that is made when it is needed, and made again when it was lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_core::{Connection, ConnectionError, DialError, DialTarget, Dialer};
use tokio::sync::Mutex;

use super::{
    connection::{ConnectError, OpenError, Origin, SshClient},
    forward_stream::ForwardStream,
    login::ClientLogin,
};
use crate::{
    SSH,
    limits::{MAX_TUNNEL_CHANNELS_EVER, TUNNEL_RETRY_PAUSE},
};

/// Why a tunnel has no connection. Clones are the same failure, for everybody who waited for one attempt.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TunnelError {
    /// The node was not reached.
    #[error(transparent)]
    Dial(Arc<DialError>),
    /// The connection gave no stream.
    #[error(transparent)]
    Stream(Arc<ConnectionError>),
    /// Nobody was logged in.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// The node opened no channel.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl TunnelError {
    /// Whether trying again later is of no use: another key answers, or ours is refused.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Dial(error) => matches!(**error, DialError::UnknownKey { .. } | DialError::WrongKey { .. }),
            Self::Connect(error) => matches!(**error, ConnectError::Refused { .. }),
            Self::Stream(_) | Self::Open(_) => false,
        }
    }
}

/// A way to a node for many forwarded connections.
///
/// Its SSH connection is dialled at the first use and again after it was lost. A connection that has carried many channels is replaced by a
/// new one, on another stream where the carrier has more, and goes on until the last of its channels is closed.
pub struct Tunnel {
    dialer: Arc<dyn Dialer>,
    target: DialTarget,
    login: ClientLogin,
    state: Mutex<State>,
    max_channels: usize,
}

#[derive(Default)]
struct State {
    carrier: Option<Connection>,
    client: Option<SshClient>,
    failed: Option<(Instant, TunnelError)>,
}

impl Tunnel {
    /// Makes a tunnel; nothing is dialled yet.
    pub fn new(dialer: Arc<dyn Dialer>, target: DialTarget, login: ClientLogin) -> Self {
        Self { dialer, target, login, state: Mutex::default(), max_channels: MAX_TUNNEL_CHANNELS_EVER }
    }

    /// Takes over a carrier's connection to the same node that was dialled already.
    pub fn with_carrier(mut self, carrier: Connection) -> Self {
        self.state.get_mut().carrier = Some(carrier);
        self
    }

    /// The node that it leads to.
    pub const fn target(&self) -> &DialTarget {
        &self.target
    }

    /// Replaces a connection after that many channels.
    pub fn with_max_channels(self, max_channels: usize) -> Self {
        Self { max_channels, ..self }
    }

    /// The connection, made now if there is none. Everybody who waits for an attempt that fails gets its failure.
    pub async fn client(&self) -> Result<SshClient, TunnelError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.as_ref().filter(|client| !client.is_closed()) {
            if client.channels_opened() < self.max_channels {
                return Ok(client.clone());
            }
            tracing::debug!("an ssh connection has carried its share of channels and is replaced");
        }
        if let Some((at, error)) = &state.failed
            && (*at > asked || at.elapsed() < TUNNEL_RETRY_PAUSE)
        {
            return Err(error.clone());
        }
        state.client = None;
        match self.connect(&mut state).await {
            Ok(client) => {
                (state.client, state.failed) = (Some(client.clone()), None);
                Ok(client)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Another stream of the carrier that is there, or a new carrier.
    async fn connect(&self, state: &mut State) -> Result<SshClient, TunnelError> {
        if let Some(carrier) = state.carrier.take()
            && let Ok(stream) = carrier.open_stream().await
            && let Ok(client) = SshClient::connect(stream, &self.login).await
        {
            state.carrier = Some(carrier);
            return Ok(client);
        }
        let dialled = self.dialer.dial(&self.target, &SSH).await.map_err(|error| TunnelError::Dial(Arc::new(error)))?;
        let stream = dialled.open_stream().await.map_err(|error| TunnelError::Stream(Arc::new(error)))?;
        let client = SshClient::connect(stream, &self.login).await;
        let client = client.map_err(|error| TunnelError::Connect(Arc::new(error)))?;
        state.carrier = Some(dialled);
        Ok(client)
    }

    /// Opens a connection from the node to a host and port, whose name the node resolves.
    pub async fn open_tcp(&self, host: &str, port: u16, origin: &Origin) -> Result<ForwardStream, TunnelError> {
        let client = self.client().await?;
        match client.open_tcp(host, port, origin).await {
            Err(OpenError::Ended) => Ok(self.client_after(client).await?.open_tcp(host, port, origin).await?),
            opened => Ok(opened?),
        }
    }

    /// Opens a connection from the node to a unix socket there.
    pub async fn open_unix(&self, path: &str) -> Result<ForwardStream, TunnelError> {
        let client = self.client().await?;
        match client.open_unix(path).await {
            Err(OpenError::Ended) => Ok(self.client_after(client).await?.open_unix(path).await?),
            opened => Ok(opened?),
        }
    }

    /// Another connection than one that was lost without anybody having noticed yet.
    async fn client_after(&self, lost: SshClient) -> Result<SshClient, TunnelError> {
        self.state.lock().await.client.take_if(|client| client.is(&lost));
        self.client().await
    }

    /// Says farewell and ends what there is.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.take() {
            client.close().await;
        }
        if let Some(carrier) = state.carrier.take() {
            carrier.close(0, b"");
        }
    }
}

/// Longer and longer pauses between attempts.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with `first`, and doubles up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
    }
}
