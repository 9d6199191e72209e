//! What a forward that came about is held by.

use std::{io, net::SocketAddr, sync::Arc};

use alknet_core::Permit;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{
    account::{Place, PlaceError},
    socket_file::MadeSocket,
};

/// Something that the policy gave, with what must be kept as long as it is used.
#[derive(Debug)]
pub(crate) struct Granted<T> {
    /// The connection, the listener, the addresses.
    pub(crate) what: T,
    /// Kept until the forward is over.
    pub(crate) hold: Hold,
}

/// A forward's place in its owner's account and the permit it was given under. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Hold {
    permit: Arc<Permit>,
    place: Place,
}

impl Hold {
    pub(crate) fn new(permit: Permit, place: Place) -> Self {
        Self { permit: Arc::new(permit), place }
    }
    /// What it was given under.
    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }
    /// Cancelled when changed rules no longer allow the forward: whoever carries it ends it then.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        self.place.ended()
    }
    /// Takes a place for a connection that came in at this forward's listener.
    pub(crate) fn connection(&self) -> Result<Self, PlaceError> {
        Ok(Self { permit: self.permit.clone(), place: self.place.another()? })
    }
}

/// Ports that are listened on for a client: one port, on one address or on that of both families.
#[derive(Debug)]
pub(crate) struct ForwardListener {
    first: TcpListener,
    second: Option<TcpListener>,
    port: u16,
}

impl ForwardListener {
    pub(crate) fn new(first: TcpListener, second: Option<TcpListener>) -> io::Result<Self> {
        let port = first.local_addr()?.port();
        Ok(Self { first, second, port })
    }
    /// The port, also where any free one was asked for.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
    /// The next connection and where it comes from. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let second = async {
            match &self.second {
                Some(second) => second.accept().await,
                None => std::future::pending().await,
            }
        };
        let (stream, from) = tokio::select! {
            accepted = self.first.accept() => accepted?,
            accepted = second => accepted?,
        };
        stream.set_nodelay(true)?;
        Ok((stream, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }
}

/// A Unix socket that is listened at for a client; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct ForwardSocket {
    listener: UnixListener,
    _file: MadeSocket,
}

impl ForwardSocket {
    pub(super) const fn new(listener: UnixListener, file: MadeSocket) -> Self {
        Self { listener, _file: file }
    }
    /// The next connection. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}
