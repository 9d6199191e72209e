//! The sockets of one association: one for IPv4, one for IPv6, each made when it is first needed.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::{io::Errno, net::SendFlags};
use tokio::net::UdpSocket;

/// Sends to and hears from the network.
#[derive(Default)]
pub(super) struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    /// Sends at once. Where the kernel has no room the datagram is lost, as datagrams are.
    pub(super) fn send(&mut self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        let socket = match to {
            SocketAddr::V4(_) => made(&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into())?,
            SocketAddr::V6(_) => made(&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into())?,
        };
        // The runtime's own way would wait for its first news of the socket, and lose what is sent before.
        match rustix::net::sendto(socket, payload, SendFlags::DONTWAIT, &to) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a datagram. Cancel safe.
    pub(super) async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let socket = tokio::select! {
                ready = readable(self.v4.as_ref()) => ready?,
                ready = readable(self.v6.as_ref()) => ready?,
            };
            match socket.try_recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<&UdpSocket> {
    match socket {
        Some(socket) => socket.readable().await.map(|()| socket),
        None => std::future::pending().await,
    }
}

fn made(socket: &mut Option<UdpSocket>, any: SocketAddr) -> io::Result<&UdpSocket> {
    if socket.is_none() {
        let made = std::net::UdpSocket::bind(any)?;
        made.set_nonblocking(true)?;
        *socket = Some(UdpSocket::from_std(made)?);
    }
    socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
}
