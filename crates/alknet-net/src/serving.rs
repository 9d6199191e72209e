//! From a finished handshake to the handler and the end of the connection, the same for every carrier.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use alknet_core::{
    Alpn, Caller, Carrier, Connection, Credential, IdentityProvider, Offence, Peer, Router, ServeError, Served,
    SessionGuard, SessionKind, Sessions,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::abuse::{Ended, Visit};
use crate::limits::LINGER_TIMEOUT;

/// What an endpoint closes connections with (QUIC application error codes; other carriers have none).
mod close_code {
    pub(super) const DONE: u64 = 0;
    pub(super) const STOPPING: u64 = 1;
    pub(super) const FULL: u64 = 2;
    pub(super) const MISBEHAVED: u64 = 3;
    pub(super) const INTERNAL: u64 = 4;
    pub(super) const REVOKED: u64 = 5;
}

/// What every listener of an endpoint shares.
#[derive(Clone)]
pub(crate) struct Serving {
    router: Router,
    identities: Arc<dyn IdentityProvider>,
    sessions: Sessions,
    tasks: TaskTracker,
    /// Cancelled when nothing new is accepted any more.
    stopping: CancellationToken,
    /// Cancelled when what still runs is cut off.
    closing: CancellationToken,
}

impl Serving {
    pub(crate) fn new(router: Router, identities: Arc<dyn IdentityProvider>, sessions: Sessions) -> Self {
        Self {
            router,
            identities,
            sessions,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
        }
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// Whether the transport alone shows that this peer is somebody known.
    pub(crate) fn knows(&self, peer: &Peer) -> bool {
        Credential::of_peer(peer).is_some_and(|proven| self.identities.identify(&proven).is_some())
    }

    /// Runs `task` until it ends or the endpoint cuts everything off.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = closing.cancelled() => {}
            }
        });
    }

    /// Runs an accept loop until the endpoint stops accepting.
    pub(crate) fn spawn_listener(&self, accept_loop: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = accept_loop => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Enters a connection whose peer proved a key, so that taking the key's rights away ends it.
    fn enter(&self, peer: &Peer) -> Option<SessionGuard> {
        peer.key?;
        let credential = Credential::of_peer(peer)?;
        let identity = self.identities.identify(&credential);
        let caller = Caller { identity, credential: Some(credential.label()), addr: peer.addr };
        Some(self.sessions.register(&caller, SessionKind::Connection))
    }

    /// Serves a connection to its end and closes it. One of the network has a visit at the gate.
    pub(crate) async fn serve(&self, connection: Connection, mut visit: Option<Visit>) {
        let (alpn, addr, carrier) = (connection.alpn().clone(), connection.peer().addr, connection.carrier());
        let key = connection.peer().key;
        tracing::info!(%alpn, %addr, carrier = carrier.name(), key = key.map(tracing::field::display), "connected");
        let _closing = CloseOnDrop(connection.clone());
        let session = self.enter(connection.peer());
        if let Some(visit) = &mut visit {
            let logs_in = self.router.service(&alpn).is_some_and(|service| service.logs_in);
            visit.shook_hands(connection.peer(), self.knows(connection.peer()), logs_in);
        }
        let served = tokio::select! {
            served = self.router.serve(connection.clone()) => served,
            () = revoked(session.as_ref()) => {
                tracing::info!(%alpn, %addr, "the peer's rights were taken away");
                connection.close(close_code::REVOKED, b"rights revoked");
                return;
            }
            ended = ended(visit.as_ref()) => turned_out(ended),
        };
        if let (Some(visit), Some(offence)) = (&visit, offence_in(&served)) {
            visit.offend(offence, &alpn.to_string());
        }
        let code = settle(&connection, &served).await;
        connection.close(code, b"");
        log_end(&alpn, &connection, &served);
    }

    /// Whether nothing new is accepted any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Connections and handshakes at present, accept loops included.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Step of the shutdown: accepts nothing new.
    pub(crate) fn stop_accepting(&self) {
        self.stopping.cancel();
        self.tasks.close();
    }

    /// Step of the shutdown: waits until everything ended by itself, at most `drain`.
    pub(crate) async fn wait(&self, drain: Duration) -> bool {
        tokio::time::timeout(drain, self.tasks.wait()).await.is_ok()
    }

    /// Step of the shutdown: cuts off what still runs.
    pub(crate) async fn cut_off(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

async fn revoked(session: Option<&SessionGuard>) {
    match session {
        Some(session) => session.token().cancelled().await,
        None => std::future::pending().await,
    }
}

async fn ended(visit: Option<&Visit>) -> Ended {
    match visit {
        Some(visit) => visit.ended().await,
        None => std::future::pending().await,
    }
}

fn turned_out(ended: Ended) -> Served {
    Served::Failed(match ended {
        Ended::MadeRoom => ServeError::MadeRoom("a newcomer took the place"),
        Ended::Overdue => ServeError::offence(Offence::NoAuthentication, "no key was proven in time"),
    })
}

/// What the gate should know of how a connection ended. A handler that a peer can bring to panic is our fault, and the peer's doing.
fn offence_in(served: &Served) -> Option<Offence> {
    match served {
        Served::Failed(ServeError::PeerMisbehaved(offence, _)) => Some(*offence),
        Served::Panicked => Some(Offence::ProtocolCrash),
        Served::Failed(ServeError::MadeRoom(_) | ServeError::Lost(_) | ServeError::Internal(_)) => None,
        Served::Completed | Served::Full | Served::Unknown => None,
    }
}

/// Cuts the connection when its task is dropped before the handler was done.
struct CloseOnDrop(Connection);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Does nothing to a connection that is closed already.
        self.0.close(close_code::STOPPING, b"the node stops");
    }
}

/// The code to close with. After a clean end the peer gets a moment to take what was sent last: closing QUIC drops
/// data that is still on its way.
async fn settle(connection: &Connection, served: &Served) -> u64 {
    match served {
        Served::Completed => {
            if connection.carrier() == Carrier::Quic {
                let _ = tokio::time::timeout(LINGER_TIMEOUT, connection.closed()).await;
            }
            close_code::DONE
        }
        Served::Full | Served::Failed(ServeError::MadeRoom(_)) => close_code::FULL,
        Served::Failed(ServeError::PeerMisbehaved(..)) => close_code::MISBEHAVED,
        Served::Failed(_) | Served::Panicked | Served::Unknown => close_code::INTERNAL,
    }
}

fn log_end(alpn: &Alpn, connection: &Connection, served: &Served) {
    let addr = connection.peer().addr;
    match served {
        Served::Completed => tracing::debug!(%alpn, %addr, "disconnected"),
        Served::Failed(error) => tracing::info!(%alpn, %addr, %error, "connection ended early"),
        Served::Panicked => tracing::error!(%alpn, %addr, "the handler panicked; this connection is lost"),
        Served::Full => tracing::warn!(%alpn, %addr, "no free slot for this service"),
        Served::Unknown => tracing::error!(%alpn, %addr, "no handler for a negotiated service"),
    }
}
