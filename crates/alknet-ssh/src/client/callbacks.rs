//! The SSH library's callbacks on the client's side, wrapped once.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use russh::{
    Channel, ChannelOpenFailure, Error,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::PublicKeyOrCertificate,
};
use tokio::{net::UnixStream, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    channel::ClientChannel,
    connection::Origin,
    forward_stream::ForwardStream,
    relay::relay,
    remote_listener::{Listeners, Place, Slot},
};
use crate::{
    limits::{AGENT_TIMEOUT, MAX_BANNER_BYTES, MAX_CLOSE_REASON_CHARS, MAX_REMOTE_CHANNELS},
    pressure::{ChannelKind, OpenChannel, Pressure},
};

/// What a connection's parts share.
pub(super) struct Shared {
    pub(super) stall_timeout: Duration,
    pub(super) pressure: Arc<Pressure>,
    /// Cancelled to end the connection at once.
    pub(super) life: CancellationToken,
    /// Cancelled when the connection has ended.
    pub(super) ended: CancellationToken,
    pub(super) listeners: Arc<Listeners>,
    /// The agent that processes of the node may use through us.
    agent: Mutex<Option<PathBuf>>,
    banner: Mutex<String>,
    reason: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every change is complete before the lock goes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self {
            stall_timeout,
            pressure: Arc::default(),
            life: CancellationToken::new(),
            ended: CancellationToken::new(),
            listeners: Arc::default(),
            agent: Mutex::default(),
            banner: Mutex::default(),
            reason: Mutex::default(),
        }
    }
    /// Lets processes of the node use the agent at this socket.
    pub(super) fn offer_agent(&self, socket: PathBuf) {
        *lock(&self.agent) = Some(socket);
    }
    /// What the node said before anybody logged in.
    pub(super) fn banner(&self) -> String {
        lock(&self.banner).clone()
    }
    /// Why the connection ended, in words for a person.
    pub(super) fn reason(&self) -> String {
        lock(&self.reason).clone().unwrap_or_else(|| "the connection was closed".to_owned())
    }
}

/// One connection's callbacks. They are dropped when it has ended.
pub(super) struct Callbacks {
    shared: Arc<Shared>,
    _ended: DropGuard,
}

impl Callbacks {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let ended = shared.ended.clone().drop_guard();
        Self { shared, _ended: ended }
    }

    /// Room for a channel that the node opens. It counts from the request on, however long the answer takes.
    async fn admit(&self, channel: Channel<Msg>, reply: ChannelOpenHandle) -> Option<Opening> {
        let Some(open) = self.shared.pressure.open_channel(ChannelKind::Forward, MAX_REMOTE_CHANNELS) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return None;
        };
        Some(Opening { channel, reply, open })
    }

    /// Hands a connection to the listener it came for. A listener whose request is still being answered is waited for.
    async fn hand_over(&self, place: Place, origin: Origin, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let Some(opening) = self.admit(channel, reply).await else { return };
        // In the library's own task where that is possible: there nothing overtakes the acceptance
        // (docs/upstream/russh-overtaken-acceptance.md).
        if let Some(slot) = self.shared.listeners.slot(&place).now_or_never() {
            return opening.give(slot, origin, &self.shared).await;
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let slot = shared.listeners.slot(&place).await;
            opening.give(slot, origin, &shared).await;
        });
    }
}

/// A channel that the node wants to open, and has room for.
struct Opening {
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    open: OpenChannel,
}

impl Opening {
    async fn give(self, slot: Option<Slot>, origin: Origin, shared: &Arc<Shared>) {
        match slot {
            Some(slot) => drop(slot.send((self.accept(shared).await, origin))),
            None => self.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
    }

    async fn accept(self, shared: &Arc<Shared>) -> ForwardStream {
        self.reply.accept().await;
        ForwardStream::new(ClientChannel::new(self.channel, shared, self.open))
    }
}

/// A peer's words for a person: escaped and cut.
pub(super) fn escaped(text: &str) -> String {
    text.chars().take(MAX_CLOSE_REASON_CHARS).flat_map(char::escape_default).collect()
}

impl Handler for Callbacks {
    type Error = Error;

    /// The layer below has proven the node's pinned key; whoever answers inside is that node (`docs/spec/ssh-client.md`).
    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), Error> {
        let mut kept = lock(&self.shared.banner);
        if kept.len() + banner.len() <= MAX_BANNER_BYTES {
            kept.push_str(banner);
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        connected_address: &str,
        connected_port: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let place = Place::Tcp { host: connected_address.to_owned(), port: connected_port };
        let origin = Origin { host: originator_address.to_owned(), port: originator_port };
        self.hand_over(place, origin, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let origin = Origin { host: socket_path.to_owned(), port: 0 };
        self.hand_over(Place::Unix(socket_path.to_owned()), origin, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let Some(socket) = lock(&self.shared.agent).clone() else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let Some(opening) = self.admit(channel, reply).await else { return Ok(()) };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            match timeout(AGENT_TIMEOUT, UnixStream::connect(&socket)).await {
                Ok(Ok(agent)) => relay(opening.accept(&shared).await, agent).await,
                _ => opening.reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        refuse(reply).await
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        let words = match &reason {
            DisconnectReason::ReceivedDisconnect(told) => format!("the node ended it: {}", escaped(&told.message)),
            DisconnectReason::Error(Error::KeepaliveTimeout | Error::InactivityTimeout) => {
                "the node does not answer any more".to_owned()
            }
            DisconnectReason::Error(Error::Disconnect | Error::HUP) => "the node closed the connection".to_owned(),
            DisconnectReason::Error(error) => escaped(&error.to_string()),
        };
        lock(&self.shared.reason).get_or_insert(words);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// A node has no business to open channels of this kind towards a client. The library accepts what a handler says nothing about: these
/// refusals are what keeps a node out.
async fn refuse(reply: ChannelOpenHandle) -> Result<(), Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}
