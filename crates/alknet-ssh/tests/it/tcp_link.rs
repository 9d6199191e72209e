//! Accepted sockets as connections of the plain carrier: one stream each.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use alknet_core::{
    BoxFuture, Carrier, CloseReason, Connection, ConnectionError, Link, Peer, PeerAddr, RecvHalf, RecvStream, SendHalf,
    SendStream, Stream,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

struct PlainLink(Mutex<Option<Stream>>);

impl Link for PlainLink {
    fn carrier(&self) -> Carrier {
        Carrier::Plain
    }
    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
        Box::pin(async { Ok(self.0.lock().unwrap().take()) })
    }
    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
        if let Some(stream) = self.0.lock().unwrap().take() {
            return Box::pin(async { Ok(stream) });
        }
        Box::pin(async { Err(ConnectionError::Unsupported { carrier: Carrier::Plain, what: "second stream" }) })
    }
    fn close(&self, _code: u64, _reason: &[u8]) {}
    fn closed(&self) -> BoxFuture<'_, CloseReason> {
        Box::pin(std::future::pending())
    }
}

struct Sending(OwnedWriteHalf);
struct Receiving(OwnedReadHalf);

impl AsyncWrite for Sending {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl SendHalf for Sending {
    fn id(&self) -> u64 {
        0
    }
    fn reset(&mut self, _code: u64) {}
    fn poll_stopped(&mut self, _cx: &mut Context<'_>) -> Poll<Option<u64>> {
        Poll::Pending
    }
}

impl AsyncRead for Receiving {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl RecvHalf for Receiving {
    fn id(&self) -> u64 {
        0
    }
    fn stop(&mut self, _code: u64) {}
}

/// Makes a connection of an accepted or dialled socket.
pub fn plain_connection(socket: TcpStream, addr: SocketAddr) -> Connection {
    let local = socket.local_addr().ok();
    let stream = plain_stream(socket);
    let peer = Peer { key: None, addr: PeerAddr::Ip(addr), local, server_name: None };
    Connection::new(alknet_ssh::SSH, peer, PlainLink(Mutex::new(Some(stream))))
}

/// Makes a stream of a socket.
pub fn plain_stream(socket: TcpStream) -> Stream {
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    Stream::new(SendStream::new(Sending(write)), RecvStream::new(Receiving(read)))
}
