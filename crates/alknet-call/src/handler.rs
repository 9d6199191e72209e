//! `alknet/call` as a service: one session a stream, all ended with the connection or its peer's rights.

use std::sync::Arc;

use alknet_core::{Connection, ConnectionError, Offence, ProtocolHandler, ServeError, Stream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Authenticator, Registry,
    authenticate::{Callers, ConnectionCallers},
    limits::MAX_STREAMS,
    session::{CallConnection, Session, SessionError},
};

/// Serves calls on whole connections.
pub struct CallHandler {
    registry: Arc<Registry>,
    authenticator: Authenticator,
    draining: CancellationToken,
}

impl CallHandler {
    /// Serves the operations of `registry` to whom `authenticator` recognises.
    pub fn new(registry: Arc<Registry>, authenticator: Authenticator) -> Self {
        Self { registry, authenticator, draining: CancellationToken::new() }
    }
}

impl ProtocolHandler for CallHandler {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let callers = ConnectionCallers::new(self.authenticator.clone(), connection.peer().clone());
        let callers = Callers::Proven(callers);
        let shared = Arc::new(CallConnection::offering(self.registry.clone(), callers, self.draining.clone()));
        let mut streams = Streams { shared, draining: self.draining.clone(), sessions: JoinSet::new(), fault: None };
        streams.serve(&connection).await
    }

    async fn shutdown(&self) {
        self.draining.cancel();
    }
}

/// The streams of one connection; dropping them cancels their calls.
struct Streams {
    shared: Arc<CallConnection>,
    draining: CancellationToken,
    sessions: JoinSet<Result<(), SessionError>>,
    fault: Option<SessionError>,
}

impl Streams {
    async fn serve(&mut self, connection: &Connection) -> Result<(), ServeError> {
        let draining = self.draining.clone();
        let mut accepting = true;
        loop {
            tokio::select! {
                biased;
                accepted = connection.accept_stream(), if accepting && self.sessions.len() < MAX_STREAMS => {
                    match accepted {
                        Ok(Some(stream)) => self.begin(stream),
                        Ok(None) => accepting = false,
                        Err(ConnectionError::Closed(reason)) => {
                            tracing::debug!(peer = %connection.peer().addr, %reason, "call connection closed");
                            return self.verdict();
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Some(ended) = self.sessions.join_next() => self.ended(ended)?,
                () = draining.cancelled(), if accepting => accepting = false,
                else => return self.verdict(),
            }
        }
    }

    fn begin(&mut self, stream: Stream) {
        self.sessions.spawn(Session::accepted(self.shared.clone(), stream).serve());
    }

    fn ended(&mut self, ended: Result<Result<(), SessionError>, JoinError>) -> Result<(), ServeError> {
        match ended.map_err(ServeError::internal)? {
            Ok(()) => {}
            Err(SessionError::Lost(error)) => tracing::debug!(%error, "call stream lost"),
            Err(fault) => self.fault = self.fault.take().or(Some(fault)),
        }
        Ok(())
    }

    fn verdict(&mut self) -> Result<(), ServeError> {
        self.fault.take().map_or(Ok(()), |fault| Err(ServeError::offence(Offence::BadFrame, fault)))
    }
}
