//! `alknet/udp` as a service of the node.

use std::{pin::pin, sync::Arc};

use alknet_core::{
    Authorizer, Caller, Connection, Credential, IdentityProvider, Peer, ProtocolHandler, ServeError, SessionKind,
    Sessions, Stream,
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    accounts::Accounts,
    association::{self, Parts},
    clearance::Asker,
    demux::{Demux, number_of},
    frame_stream::FrameReader,
};
use crate::{
    limits::{MAX_UDP_ASSOCIATIONS, UDP_CONNECTION_IDLE, UDP_OPEN_TIMEOUT, UDP_QUEUE_DATAGRAMS},
    policy::ForwardPolicy,
    socks::ReachError,
};

/// Serves the far end of UDP ASSOCIATE: each stream is an association, whose datagrams leave from sockets of this node.
pub struct UdpService(Arc<Inner>);

struct Inner {
    policy: Arc<ForwardPolicy>,
    authorizer: Authorizer,
    identities: Arc<dyn IdentityProvider>,
    sessions: Sessions,
    accounts: Accounts,
    stopping: CancellationToken,
}

impl UdpService {
    /// Sends where `policy` lets its callers send.
    pub fn new(
        policy: Arc<ForwardPolicy>,
        identities: Arc<dyn IdentityProvider>,
        authorizer: Authorizer,
        sessions: Sessions,
    ) -> Self {
        let (accounts, stopping) = (Accounts::default(), CancellationToken::new());
        Self(Arc::new(Inner { policy, authorizer, identities, sessions, accounts, stopping }))
    }
}

impl ProtocolHandler for UdpService {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let demux = Arc::new(Demux::default());
        let mut associations = JoinSet::new();
        let mut datagrams = pin!(demux.run(&connection));
        let mut is_open = true;
        while is_open || !associations.is_empty() {
            tokio::select! {
                stream = connection.accept_stream(), if is_open => match stream? {
                    Some(stream) if associations.len() < MAX_UDP_ASSOCIATIONS => {
                        associations.spawn(self.0.clone().associate(connection.clone(), demux.clone(), stream));
                    }
                    // Who does not take it goes without.
                    Some(stream) => drop(association::refuse(stream.send, ReachError::Full).await),
                    None => is_open = false,
                },
                Some(ended) = associations.join_next() => settle(ended)?,
                bad = &mut datagrams => return Err(ServeError::misbehaved(bad)),
                () = sleep(UDP_CONNECTION_IDLE), if associations.is_empty() => is_open = false,
                () = self.0.stopping.cancelled(), if is_open => is_open = false,
            }
        }
        Ok(())
    }

    /// Makes no new associations; those that are there go on until they are done or cut off.
    async fn shutdown(&self) {
        self.0.stopping.cancel();
    }
}

/// Whose fault the end of an association was: what breaks the protocol ends the connection, what was lost does not.
fn settle(ended: Result<Result<(), ServeError>, JoinError>) -> Result<(), ServeError> {
    match ended {
        Ok(Err(error @ ServeError::PeerMisbehaved(..))) => Err(error),
        Ok(Err(error)) => {
            tracing::debug!(%error, "an association ended early");
            Ok(())
        }
        Ok(Ok(())) => Ok(()),
        Err(error) => Err(ServeError::internal(error)),
    }
}

impl Inner {
    /// One stream, from the request for an association to its end.
    async fn associate(
        self: Arc<Self>,
        connection: Connection,
        demux: Arc<Demux>,
        stream: Stream,
    ) -> Result<(), ServeError> {
        let caller = self.caller(connection.peer());
        let Stream { send, recv } = stream;
        let number = number_of(&send);
        let mut reader = FrameReader::new(recv);
        let asked = timeout(UDP_OPEN_TIMEOUT, association::asked(&mut reader));
        asked.await.map_err(|_| ServeError::misbehaved("no request for an association in time"))??;
        let Some(id) = caller.id() else {
            return Ok(association::refuse(send, ReachError::Denied).await?);
        };
        let Some(_account) = self.accounts.enter(id) else {
            return Ok(association::refuse(send, ReachError::Full).await?);
        };
        let session = self.sessions.register(&caller, SessionKind::Handle);
        let (intake, incoming) = mpsc::channel(UDP_QUEUE_DATAGRAMS);
        let _entry = demux.enter(number, intake);
        let asker = Asker { policy: self.policy.clone(), authorizer: self.authorizer.clone(), caller };
        let parts = Parts { asker, connection, number, incoming };
        tokio::select! {
            ended = association::serve(parts, reader, send) => ended,
            () = session.token().cancelled() => Ok(()),
        }
    }

    fn caller(&self, peer: &Peer) -> Caller {
        let proven = Credential::of_peer(peer);
        Caller {
            identity: proven.as_ref().and_then(|credential| self.identities.identify(credential)),
            credential: proven.as_ref().map(Credential::label),
            addr: peer.addr,
        }
    }
}
