//! What serves a connection.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use tokio::task::{JoinError, JoinSet};

use crate::{Connection, ConnectionError, Offence, Peer, PeerAddr, Stream, limits::MAX_STREAM_FAULTS};

/// A boxed future, for traits that are stored behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Serves whole connections of one ALPN.
pub trait ProtocolHandler: Send + Sync + 'static {
    /// Serves one connection to its end. Dropping the future ends the service.
    fn serve(&self, connection: Connection) -> impl Future<Output = Result<(), ServeError>> + Send;
    /// Says that the node is stopping: finish what is begun, start nothing new.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Serves streams one by one; [`PerStream`] makes a [`ProtocolHandler`] of it.
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream to its end.
    fn serve_stream(&self, peer: &Arc<Peer>, stream: Stream) -> impl Future<Output = Result<(), ServeError>> + Send;
    /// Says that the node is stopping.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Serves every stream of a connection in a task of its own. A connection with too many streams on which the peer misbehaved ends.
pub struct PerStream<H>(pub Arc<H>);

impl<H: StreamHandler> ProtocolHandler for PerStream<H> {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut streams = Streams { running: JoinSet::new(), fault: None, faults: 0 };
        let mut accepting = true;
        loop {
            tokio::select! {
                accepted = connection.accept_stream(), if accepting => match accepted {
                    Ok(Some(stream)) => {
                        let (handler, peer) = (self.0.clone(), connection.peer().clone());
                        streams.running.spawn(async move { handler.serve_stream(&peer, stream).await });
                    }
                    Ok(None) => accepting = false,
                    Err(error) => return Err(streams.fault.unwrap_or_else(|| error.into())),
                },
                Some(ended) = streams.running.join_next() => streams.ended(ended, connection.peer().addr)?,
                else => return streams.fault.map_or(Ok(()), Err),
            }
        }
    }
    async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

/// The streams of one connection; dropping them ends them.
struct Streams {
    running: JoinSet<Result<(), ServeError>>,
    /// The peer's first one.
    fault: Option<ServeError>,
    faults: usize,
}

impl Streams {
    /// Notes how a stream ended; fails with the peer's first fault when there are too many.
    fn ended(&mut self, ended: Result<Result<(), ServeError>, JoinError>, addr: PeerAddr) -> Result<(), ServeError> {
        let error = match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            // The panic of one stream costs its connection, and is counted where the panics of connections are.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => return Err(ServeError::internal(cancelled)),
            },
        };
        tracing::debug!(peer = %addr, %error, "stream ended");
        if let ServeError::PeerMisbehaved(..) = error {
            self.faults += 1;
            self.fault.get_or_insert(error);
        }
        if self.faults < MAX_STREAM_FAULTS { Ok(()) } else { self.fault.take().map_or(Ok(()), Err) }
    }
}

/// Why serving a connection ended early, by whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The peer did what counts against it. The text says how, without quoting what it sent.
    #[error("peer misbehaved: {1}")]
    PeerMisbehaved(Offence, String),
    /// It had to make room for somebody newer, by no fault of its own.
    #[error("made room: {0}")]
    MadeRoom(&'static str),
    /// The connection went away.
    #[error("connection lost: {0}")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something on this side failed.
    #[error("internal: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServeError {
    /// The peer broke the protocol in this way.
    pub fn misbehaved(how: impl fmt::Display) -> Self {
        Self::PeerMisbehaved(Offence::ProtocolCrash, how.to_string())
    }
    /// The peer did what counts against it.
    pub fn offence(offence: Offence, how: impl fmt::Display) -> Self {
        Self::PeerMisbehaved(offence, how.to_string())
    }
    /// Something on this side failed.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<std::io::Error> for ServeError {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.into())
    }
}

impl From<ConnectionError> for ServeError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error.into())
    }
}

/// The storable twin of [`ProtocolHandler`].
pub(crate) trait DynHandler: Send + Sync + 'static {
    fn serve<'a>(&'a self, connection: Connection) -> BoxFuture<'a, Result<(), ServeError>>;
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

impl<H: ProtocolHandler> DynHandler for H {
    fn serve<'a>(&'a self, connection: Connection) -> BoxFuture<'a, Result<(), ServeError>> {
        Box::pin(ProtocolHandler::serve(self, connection))
    }
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(ProtocolHandler::shutdown(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Streams {
        Streams { running: JoinSet::new(), fault: None, faults: 0 }
    }
    fn bad(number: u32) -> Result<Result<(), ServeError>, JoinError> {
        Ok(Err(ServeError::offence(Offence::BadFrame, number)))
    }

    #[test]
    fn a_connection_ends_with_the_third_stream_on_which_the_peer_misbehaves() {
        // GATE-02
        let (mut streams, addr) = (streams(), PeerAddr::LocalOwner { pid: 1 });
        for number in 1..MAX_STREAM_FAULTS {
            assert!(streams.ended(bad(number as u32), addr).is_ok());
            assert!(streams.ended(Ok(Ok(())), addr).is_ok());
            assert!(streams.ended(Ok(Err(ServeError::MadeRoom("for a test"))), addr).is_ok());
        }
        let fault = streams.ended(bad(99), addr).unwrap_err();
        assert_eq!(fault.to_string(), "peer misbehaved: 1", "the first is what is told");
    }

    #[tokio::test]
    async fn a_panic_on_a_stream_is_the_connections() {
        let panicked = tokio::spawn(async { panic!("as the test wants") }).await;
        let addr = PeerAddr::LocalOwner { pid: 1 };
        let ended = std::panic::AssertUnwindSafe(|| streams().ended(panicked, addr));
        assert!(std::panic::catch_unwind(ended).is_err());
    }
}
