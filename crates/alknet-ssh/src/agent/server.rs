//! The agent's socket: who may connect, how many, and the frames on each connection.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alknet_core::KeySigner;
use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{UnixListener, UnixStream},
    sync::{Mutex as TurnLock, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    connection::{ClientConnection, Shared},
    keyring::{AgentKey, Keyring},
    question::{AskPermission, Client},
    wire::frame_length,
};
use crate::limits::{AGENT_FRAME_TIMEOUT, MAX_AGENT_CONNECTIONS};

/// Bytes that are made room for before a message arrives.
const READ_BYTES: usize = 4 * 1024;
/// Pause after the system refused a connection for want of something.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// An ssh-agent that signs with the vault's keys.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use alknet_core::{KeyPurpose, KeySigner};
/// # use alknet_ssh::{Agent, AgentKey, AskPermission};
/// # async fn example(signer: Arc<dyn KeySigner>, asker: Arc<dyn AskPermission>) -> std::io::Result<()> {
/// let key = AgentKey { purpose: KeyPurpose::Git, comment: "git".into(), confirm: true, lifetime: None };
/// let agent = Agent::new(signer, vec![key], asker);
/// agent.serve(tokio::net::UnixListener::bind("agent.sock")?, Default::default()).await;
/// # Ok(())
/// # }
/// ```
pub struct Agent(Arc<Shared>);

impl Agent {
    /// Holds these keys from now on; `asker` is asked about those with confirmation.
    pub fn new(signer: Arc<dyn KeySigner>, keys: Vec<AgentKey>, asker: Arc<dyn AskPermission>) -> Self {
        let keyring = Mutex::new(Keyring::new(signer, keys, Instant::now()));
        Self(Arc::new(Shared { keyring, asker, questions: TurnLock::default(), guesses: Arc::default() }))
    }

    /// Serves the processes of this one's own user that connect, until `stop` is cancelled; then every connection is closed.
    pub async fn serve(self, listener: UnixListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_AGENT_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.expiry() => {}
                Some(_ended) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some((client, place)) = admit(&stream, &places) {
                            connections.spawn(serve_one(ClientConnection::new(self.0.clone(), client), stream, place));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "ssh-agent: cannot accept");
                        sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
    }

    /// Waits for a key's time to be over and drops it, so that no secret waits for somebody to ask.
    async fn expiry(&self) {
        let next = self.0.keyring().next_expiry();
        match next {
            Some(next) => sleep_until(next.into()).await,
            None => std::future::pending().await,
        }
        self.0.keyring().expire(Instant::now());
    }
}

/// The kernel's word on who connects; only the agent's own user gets in.
fn admit(stream: &UnixStream, places: &Arc<Semaphore>) -> Option<(Client, OwnedSemaphorePermit)> {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => {
            tracing::warn!(%error, "ssh-agent: refused: the system does not say who connects");
            return None;
        }
    };
    if credentials.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(uid = credentials.uid(), "ssh-agent: refused: another user's process");
        return None;
    }
    let Ok(place) = places.clone().try_acquire_owned() else {
        tracing::warn!("ssh-agent: refused: {MAX_AGENT_CONNECTIONS} connections are open");
        return None;
    };
    Some((Client::of(credentials.pid().unwrap_or_default()), place))
}

async fn serve_one(mut connection: ClientConnection, stream: UnixStream, _place: OwnedSemaphorePermit) {
    if let Err(error) = frames(&mut connection, stream).await {
        tracing::debug!(%error, "ssh-agent: connection ended");
    }
}

async fn frames(connection: &mut ClientConnection, mut stream: UnixStream) -> io::Result<()> {
    while let Some(length) = announced(&mut stream).await? {
        let frame = timeout(AGENT_FRAME_TIMEOUT, read_frame(&mut stream, length)).await??;
        let answer = tokio::select! {
            answer = connection.answer(&frame) => answer.to_bytes(),
            () = gone(&stream) => return Ok(()),
        };
        timeout(AGENT_FRAME_TIMEOUT, stream.write_all(&answer)).await??;
    }
    Ok(())
}

/// The length of the next message, for which a client may take as long as it wants; `None` at the end of the stream.
async fn announced(stream: &mut UnixStream) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    timeout(AGENT_FRAME_TIMEOUT, stream.read_exact(&mut length[1..])).await??;
    Ok(Some(frame_length(length)?))
}

/// A whole message. It may hold a passphrase; it is held as it arrives, not as it was announced.
async fn read_frame(stream: &mut UnixStream, length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut frame = Zeroizing::new(Vec::with_capacity(length.min(READ_BYTES)));
    stream.take(length as u64).read_to_end(&mut frame).await?;
    if frame.len() == length { Ok(frame) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Waits until the client is gone. One that goes on talking instead is heard when it has its answer.
async fn gone(stream: &UnixStream) {
    let peek = || Ok(rustix::net::recv(stream, &mut [0; 1], RecvFlags::PEEK)?.0);
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_io(Interest::READABLE, peek) {
            Ok(1..) => std::future::pending().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
