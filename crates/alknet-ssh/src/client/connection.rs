//! One SSH connection to a node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_core::{KillSwitch, Stream};
use russh::{
    Channel, ChannelOpenFailure, Disconnect,
    client::{self, Handle, Msg},
};
use tokio::time::timeout;

use super::{
    callbacks::{Callbacks, Shared, escaped},
    channel::ClientChannel,
    client_config::library_config,
    forward_stream::ForwardStream,
    login::ClientLogin,
    remote_listener::{ListenError, RemoteListener},
};
use crate::{
    algorithms,
    limits::{CLIENT_HANDSHAKE_TIMEOUT, CLIENT_LOGIN_TIMEOUT, STALL_TIMEOUT},
    pressure::ChannelKind,
    wire::Wire,
};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None of the keys was taken.
    #[error("the node refuses to log {user} in: it takes none of the {tried} keys that were offered")]
    Refused {
        /// The user name.
        user: String,
        /// How many keys were offered.
        tried: usize,
    },
    /// The other end does not speak SSH as it should.
    #[error("no SSH connection could be made: {0}")]
    Handshake(String),
    /// It took too long.
    #[error("the node did not answer in time")]
    TimedOut,
    /// The node closed the connection before anybody was logged in.
    #[error("the node closed the connection before the login was done")]
    Ended,
}

/// Why a channel was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node's policy, or the key's own limits, forbid it.
    #[error("the node forbids it (administratively prohibited)")]
    Prohibited,
    /// The node tried and did not get through.
    #[error("the node could not connect there")]
    ConnectFailed,
    /// The node has no such channels.
    #[error("the node does not know this kind of channel")]
    Unknown,
    /// The node has no room for it.
    #[error("the node has too many channels open")]
    NoRoom,
    /// The connection has ended.
    #[error("the connection to the node has ended")]
    Ended,
}

impl From<russh::Error> for OpenError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::ChannelOpenFailure(reason) => match reason {
                ChannelOpenFailure::AdministrativelyProhibited | ChannelOpenFailure::Other { .. } => Self::Prohibited,
                ChannelOpenFailure::ConnectFailed => Self::ConnectFailed,
                ChannelOpenFailure::UnknownChannelType => Self::Unknown,
                ChannelOpenFailure::ResourceShortage => Self::NoRoom,
            },
            _ => Self::Ended,
        }
    }
}

/// Where a forwarded connection came from, as the side that accepted it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address; for a connection to a unix socket, the socket's path.
    pub host: String,
    /// The port, 0 where there is none.
    pub port: u32,
}

impl From<std::net::SocketAddr> for Origin {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port().into() }
    }
}

/// A connection on which somebody is logged in. Clones are handles on the same one; it ends when all of them and all of its channels are
/// gone.
#[derive(Clone)]
pub struct SshClient(Arc<Inner>);

struct Inner {
    handle: Handle<Callbacks>,
    shared: Arc<Shared>,
    opened: AtomicUsize,
}

impl SshClient {
    /// Logs in over a stream of a connection that was dialled with a pinned key.
    ///
    /// That layer has proven which node answers, so the host key inside is taken as it is: **never call this on a stream whose other end has
    /// not proven its key**.
    pub async fn connect(stream: Stream, login: &ClientLogin) -> Result<Self, ConnectError> {
        Self::connect_with(stream, login, STALL_TIMEOUT).await
    }

    /// The same; a channel from which nothing is taken while others wait is closed after `stall_timeout`.
    pub async fn connect_with(
        stream: Stream,
        login: &ClientLogin,
        stall_timeout: Duration,
    ) -> Result<Self, ConnectError> {
        Self::connect_as(library_config(), stream, login, stall_timeout).await
    }

    /// For fuzzing only: in clear, and without a key exchange.
    pub(crate) async fn connect_in_clear(stream: Stream, login: &ClientLogin) -> Result<Self, ConnectError> {
        let config = client::Config { preferred: algorithms::none(), ..library_config() };
        Self::connect_as(config, stream, login, STALL_TIMEOUT).await
    }

    async fn connect_as(
        config: client::Config,
        stream: Stream,
        login: &ClientLogin,
        stall_timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared::new(stall_timeout));
        let wire = Wire::new(stream, shared.life.clone(), shared.pressure.clone());
        let wire = KillSwitch::new(wire, &shared.life);
        // Whoever gives up on the way leaves nothing behind.
        let given_up = shared.life.clone().drop_guard();
        let connecting = client::connect_stream(Arc::new(config), wire, Callbacks::new(shared.clone()));
        let mut handle = timeout(CLIENT_HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectError::TimedOut)?
            .map_err(|error| ConnectError::Handshake(escaped(&error.to_string())))?;
        timeout(CLIENT_LOGIN_TIMEOUT, login.prove(&mut handle)).await.map_err(|_| ConnectError::TimedOut)??;
        given_up.disarm();
        Ok(Self(Arc::new(Inner { handle, shared, opened: AtomicUsize::new(0) })))
    }

    /// Opens a connection from the node to a host and port, whose name the node resolves.
    pub async fn open_tcp(&self, host: &str, port: u16, origin: &Origin) -> Result<ForwardStream, OpenError> {
        let opening =
            self.0.handle.channel_open_direct_tcpip(host.to_owned(), u32::from(port), origin.host.clone(), origin.port);
        Ok(ForwardStream::new(self.open(opening).await?))
    }

    /// Opens a connection from the node to a unix socket there.
    pub async fn open_unix(&self, path: &str) -> Result<ForwardStream, OpenError> {
        let opening = self.0.handle.channel_open_direct_streamlocal(path.to_owned());
        Ok(ForwardStream::new(self.open(opening).await?))
    }

    /// Has the node listen on an address; port 0 leaves the choice to it.
    pub async fn listen_tcp(&self, host: &str, port: u16) -> Result<RemoteListener, ListenError> {
        RemoteListener::tcp(self.clone(), host, port).await
    }

    /// Has the node listen on a unix socket.
    pub async fn listen_unix(&self, path: &str) -> Result<RemoteListener, ListenError> {
        RemoteListener::unix(self.clone(), path).await
    }

    /// How many channels were opened so far. Each leaves some 3 KB behind at this end until the connection ends
    /// (`docs/upstream/russh-closed-channel-leak.md`).
    pub fn channels_opened(&self) -> usize {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// What the node said before the login, as it came: whoever prints it escapes it.
    pub fn banner(&self) -> String {
        self.0.shared.banner()
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.0.shared.ended.is_cancelled()
    }

    /// Waits for the end of the connection; answers with why it ended, in words for a person. Cancel safe. The future is no handle on the
    /// connection: it does not keep it alive.
    pub fn closed(&self) -> impl Future<Output = String> + Send + 'static {
        let shared = self.0.shared.clone();
        async move {
            shared.ended.cancelled().await;
            shared.reason()
        }
    }

    /// Says farewell, and ends the connection with all of its channels.
    pub async fn close(&self) {
        let farewell = async {
            // It fails only when the connection has ended already.
            let _ = self.0.handle.disconnect(Disconnect::ByApplication, "", "").await;
            self.0.shared.ended.cancelled().await;
        };
        let _ = timeout(FAREWELL, farewell).await;
        self.0.shared.life.cancel();
    }

    pub(super) async fn open_session(&self) -> Result<ClientChannel, OpenError> {
        self.open(self.0.handle.channel_open_session()).await
    }

    /// Whether both are handles on the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn handle(&self) -> &Handle<Callbacks> {
        &self.0.handle
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    async fn open(
        &self,
        opening: impl Future<Output = Result<Channel<Msg>, russh::Error>>,
    ) -> Result<ClientChannel, OpenError> {
        // How many this end may have is the node's business. It counts from now on: the answer may stand behind what another channel's
        // reader does not take.
        let open = self.0.shared.pressure.open_channel(ChannelKind::Session, usize::MAX).ok_or(OpenError::NoRoom)?;
        let channel = opening.await?;
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        Ok(ClientChannel::new(channel, &self.0.shared, open))
    }
}

impl std::fmt::Debug for SshClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshClient(closed: {})", self.is_closed())
    }
}
