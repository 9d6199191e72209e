//! UDP ASSOCIATE (RFC 1928, 7): a client's datagrams, from a socket of its own on this machine to the node and back.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use alknet_core::BoxFuture;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use super::{
    reach::ReachError,
    target::{Target, TargetHost},
    udp_header::{parse_udp_header, write_udp_header},
};
use crate::{
    limits::{MAX_UDP_DATAGRAM_BYTES, UDP_REOPEN_AFTER},
    udp::{Association, UdpEvent, UdpTunnels},
};

/// The relay of one client. It lives as long as the connection on which it was asked for.
pub(super) struct Relay {
    socket: UdpSocket,
    addr: SocketAddr,
    client: Sender,
    tunnels: UdpTunnels,
    line: Line,
    /// Not before then is a lost association asked for again.
    retry_at: Instant,
}

/// The way to the node. The node ends one that is idle, and a network may; the client's next datagram asks for another.
enum Line {
    Open(Association),
    Opening(BoxFuture<'static, Result<Association, ReachError>>),
    Lost,
}

/// Where the client's datagrams come from: its address is that of its connection; its port is said, or that of the first datagram.
struct Sender {
    ip: IpAddr,
    port: Option<u16>,
}

impl Sender {
    fn admits(&mut self, from: SocketAddr) -> bool {
        from.ip() == self.ip && *self.port.get_or_insert(from.port()) == from.port()
    }
    fn addr(&self) -> Option<SocketAddr> {
        self.port.map(|port| SocketAddr::new(self.ip, port))
    }
}

impl Relay {
    /// Asks the node, and opens a socket on the address by which the client has reached this machine.
    pub(super) async fn open(control: &TcpStream, from: Target, tunnels: UdpTunnels) -> Result<Self, ReachError> {
        let failed = |error: io::Error| {
            tracing::warn!(%error, "no socket for a client's datagrams");
            ReachError::Full
        };
        let (here, there) = control.local_addr().and_then(|here| Ok((here, control.peer_addr()?))).map_err(failed)?;
        // The address that the client writes is of no use where it is not the one it has.
        let said = match from.host {
            TargetHost::Ip(ip) => ip.is_unspecified() || ip == there.ip(),
            TargetHost::Name(_) => false,
        };
        if !said {
            return Err(ReachError::Denied);
        }
        let client = Sender { ip: there.ip(), port: Some(from.port).filter(|port| *port != 0) };
        let association = tunnels.open().await?;
        let socket = UdpSocket::bind((here.ip(), 0)).await.map_err(failed)?;
        let addr = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, addr, client, tunnels, line: Line::Open(association), retry_at: Instant::now() })
    }

    /// Where the client may send.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Relays until the client's connection ends; what comes on that is thrown away.
    pub(super) async fn run(mut self, control: &mut TcpStream, on_refusal: impl Fn(&Target, ReachError)) {
        let mut received = vec![0; MAX_UDP_DATAGRAM_BYTES];
        let (mut answer, mut ignored) = (Vec::new(), [0; 64]);
        loop {
            tokio::select! {
                read = control.read(&mut ignored) => if !matches!(read, Ok(1..)) { return },
                got = self.socket.recv_from(&mut received) => {
                    // An error is one of an earlier datagram: the client's port was closed for a moment.
                    let Ok((length, from)) = got else { continue };
                    self.outwards(&received[..length], from);
                }
                event = self.line.next() => match event {
                    UdpEvent::Datagram(from, payload) => self.inwards(&from, &payload, &mut answer).await,
                    UdpEvent::NotSent(why, target) => on_refusal(&target, why),
                },
            }
        }
    }

    fn outwards(&mut self, datagram: &[u8], from: SocketAddr) {
        let (target, payload) = match parse_udp_header(datagram) {
            Ok(parsed) if self.client.admits(from) => parsed,
            Ok(_) => return tracing::debug!("a datagram of somebody else is dropped"),
            Err(error) => return tracing::debug!(%error, "a client's datagram is dropped"),
        };
        match &self.line {
            Line::Open(association) => association.send(&target, payload),
            Line::Lost if Instant::now() >= self.retry_at => {
                self.retry_at = Instant::now() + UDP_REOPEN_AFTER;
                let tunnels = self.tunnels.clone();
                self.line = Line::Opening(Box::pin(async move { tunnels.open().await }));
            }
            Line::Opening(_) | Line::Lost => {}
        }
    }

    async fn inwards(&mut self, from: &Target, payload: &[u8], answer: &mut Vec<u8>) {
        let Some(client) = self.client.addr() else { return };
        answer.clear();
        write_udp_header(from, payload, answer);
        // What does not fit a datagram with its header, or does not get through, is lost, as datagrams are.
        let _lost = self.socket.send_to(answer, client).await;
    }
}

impl Line {
    /// What the node sends next. Cancel safe.
    async fn next(&mut self) -> UdpEvent {
        loop {
            match self {
                Self::Open(association) => match association.next().await {
                    Some(event) => return event,
                    None => *self = Self::Lost,
                },
                Self::Opening(opening) => *self = opening.await.map_or(Self::Lost, Self::Open),
                Self::Lost => std::future::pending().await,
            }
        }
    }
}
