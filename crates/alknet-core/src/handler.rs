//! What serves a connection.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use tokio::task::JoinSet;

use crate::{Connection, ConnectionError, Peer, Stream};

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

/// Serves every stream of a connection in a task of its own.
pub struct PerStream<H>(pub Arc<H>);

impl<H: StreamHandler> ProtocolHandler for PerStream<H> {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut streams = JoinSet::new();
        while let Some(stream) = connection.accept_stream().await? {
            while streams.try_join_next().is_some() {}
            let (handler, peer) = (self.0.clone(), connection.peer().clone());
            streams.spawn(async move {
                if let Err(error) = handler.serve_stream(&peer, stream).await {
                    tracing::debug!(peer = %peer.addr, %error, "stream ended");
                }
            });
        }
        while streams.join_next().await.is_some() {}
        Ok(())
    }
    async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

/// Why serving a connection ended early, by whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The peer broke the protocol. The text says how, without quoting what it sent.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(String),
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
        Self::PeerMisbehaved(how.to_string())
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
