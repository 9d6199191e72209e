//! Sockets: TCP and UDP on one port number, dual stack, with buffers that QUIC can live with.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{MIN_QUIC_BUFFER_BYTES, PORT_CLASH_RETRIES, TCP_BACKLOG, WANTED_UDP_BUFFER_BYTES};

/// The two sockets of a listener, on the same port number.
pub(crate) struct Sockets {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) warning: Option<UdpBufferWarning>,
}

/// No socket could be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// TCP refused: most often another program has the port.
    #[error("cannot listen on TCP {addr}: {source}")]
    Tcp {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TCP was free, UDP was not.
    #[error("cannot listen on UDP {addr}: {source}")]
    Udp {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The kernel gave smaller UDP buffers than QUIC needs. For the log, once, and for `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the UDP buffers have {receive} bytes for receiving and {send} for sending, of {wanted} asked for: QUIC will lose \
     packets under load. As root: sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}"
)]
pub struct UdpBufferWarning {
    /// Bytes that the kernel granted for receiving.
    pub receive: usize,
    /// Bytes that the kernel granted for sending.
    pub send: usize,
    /// Bytes that were asked for.
    pub wanted: usize,
}

impl UdpBufferWarning {
    /// Whether so little was granted that TCP is the better carrier.
    pub fn is_severe(&self) -> bool {
        self.receive.min(self.send) < MIN_QUIC_BUFFER_BYTES
    }
}

/// Binds TCP, then UDP on the number that TCP got. Port 0 is tried again when UDP has that number taken.
///
/// `[::]` listens on IPv4 too, and falls back to `0.0.0.0` where the machine has no IPv6.
pub(crate) fn bind(addr: SocketAddr) -> Result<Sockets, BindError> {
    match bind_pair(addr) {
        Err(error) if addr.ip() == std::net::Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            bind_pair(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, addr.port())))
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &BindError) -> bool {
    let (BindError::Tcp { source, .. } | BindError::Udp { source, .. }) = error;
    let code = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn bind_pair(addr: SocketAddr) -> Result<Sockets, BindError> {
    let mut attempts_left = if addr.port() == 0 { PORT_CLASH_RETRIES } else { 0 };
    loop {
        let tcp = bind_tcp(addr).map_err(|source| BindError::Tcp { addr, source })?;
        let chosen = tcp.local_addr().map_err(|source| BindError::Tcp { addr, source })?;
        match bind_udp(chosen) {
            Ok((udp, warning)) => return Ok(Sockets { tcp, udp, warning }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts_left > 0 => attempts_left -= 1,
            Err(source) => return Err(BindError::Udp { addr: chosen, source }),
        }
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the last run in TIME_WAIT must not keep the port; another listener still does.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(TCP_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds a UDP socket (dual stack for IPv6) and asks for large buffers.
pub(crate) fn bind_udp(addr: SocketAddr) -> io::Result<(UdpSocket, Option<UdpBufferWarning>)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    let warning = enlarge(&socket)?;
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), warning))
}

fn enlarge(socket: &Socket) -> io::Result<Option<UdpBufferWarning>> {
    // The kernel clamps without an error, and reports twice what it grants (socket(7)).
    socket.set_recv_buffer_size(WANTED_UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(WANTED_UDP_BUFFER_BYTES)?;
    Ok(judge(socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2))
}

fn judge(receive: usize, send: usize) -> Option<UdpBufferWarning> {
    let wanted = WANTED_UDP_BUFFER_BYTES;
    (receive.min(send) < wanted).then_some(UdpBufferWarning { receive, send, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    // NET-01
    #[test]
    fn tcp_and_udp_get_one_number() {
        let sockets = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.udp.local_addr().unwrap());
        assert_ne!(sockets.tcp.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_carrier_and_address() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.tcp.local_addr().unwrap();
        let error = bind(addr).err().unwrap();
        assert!(matches!(error, BindError::Tcp { .. }));
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        drop(first.tcp);
        let error = bind(addr).err().unwrap();
        assert!(matches!(error, BindError::Udp { .. }), "{error}");
    }

    // NET-01
    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let sockets = bind("[::]:0".parse().unwrap()).unwrap();
        let port = sockets.tcp.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn small_buffers_give_a_warning_that_names_the_sysctls() {
        assert_eq!(judge(WANTED_UDP_BUFFER_BYTES, WANTED_UDP_BUFFER_BYTES), None);
        let text = judge(212_992, WANTED_UDP_BUFFER_BYTES).unwrap().to_string();
        for part in ["212992", "net.core.rmem_max", "net.core.wmem_max", "7340032"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_usual_default_is_severe_and_a_few_mib_are_not() {
        assert!(judge(212_992, WANTED_UDP_BUFFER_BYTES).unwrap().is_severe());
        assert!(judge(WANTED_UDP_BUFFER_BYTES, 212_992).unwrap().is_severe());
        assert!(!judge(4 << 20, 4 << 20).unwrap().is_severe());
    }
}
