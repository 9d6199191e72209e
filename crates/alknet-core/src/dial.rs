//! Reaching another node.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::{Alpn, BoxFuture, Connection, NodeKey, limits::MAX_HOST_BYTES};

/// A host name or address and a port, as written: `host:port`, `1.2.3.4:port`, `[::1]:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text that is no `host:port`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an address: write host:port, with [brackets] around IPv6")]
pub struct InvalidHostPort;

impl HostPort {
    /// Joins a host (IPv6 without brackets) and a port.
    pub fn new(host: &str, port: u16) -> Result<Self, InvalidHostPort> {
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_name =
            !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(name) && !host.starts_with('-');
        if !is_name && host.parse::<Ipv6Addr>().is_err() {
            return Err(InvalidHostPort);
        }
        Ok(Self { host: host.to_owned(), port })
    }
    /// Parses `host[:port]`, with `default_port` where none is written.
    pub fn parse_with_default(text: &str, default_port: u16) -> Result<Self, InvalidHostPort> {
        let bare_v6 = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare_v6 {
            Some(host) => Self::new(host, default_port),
            None if text.contains(':') => text.parse(),
            None => Self::new(text, default_port),
        }
    }
    /// The host, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;
    fn from_str(text: &str) -> Result<Self, InvalidHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidHostPort)?;
        let port = port.parse().map_err(|_| InvalidHostPort)?;
        match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => Self::new(v6, port),
            Some(_) => Err(InvalidHostPort),
            None if host.contains(':') => Err(InvalidHostPort),
            None => Self::new(host, port),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A node to reach: the key it must prove, and where it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialTarget {
    /// The pinned key. Without one dialling fails with [`DialError::UnknownKey`], which carries the key that was seen.
    pub key: Option<NodeKey>,
    /// Addresses to try, best first.
    pub addresses: Vec<HostPort>,
}

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody said which key this address must have.
    #[error("{address} presents the key {seen}, which nobody vouched for")]
    UnknownKey {
        /// The address that was dialled.
        address: HostPort,
        /// The key it proved.
        seen: NodeKey,
    },
    /// Somebody else answers at that address.
    #[error("{address} presents the key {seen} instead of {pinned}: another node, or somebody in between")]
    WrongKey {
        /// The address that was dialled.
        address: HostPort,
        /// The key it proved.
        seen: NodeKey,
        /// The key it should have.
        pinned: NodeKey,
    },
    /// The node is there but does not offer this service.
    #[error("{address} does not offer {alpn}")]
    NotOffered {
        /// The address that was dialled.
        address: HostPort,
        /// The service.
        alpn: Alpn,
    },
    /// There is no address to try.
    #[error("no address is known for this node; add one with `alknet peer add NAME --ticket TICKET`")]
    NoAddress,
    /// No carrier got through.
    #[error("unreachable: {0}")]
    Unreachable(String),
}

/// Opens connections to other nodes, over whichever carrier works.
pub trait Dialer: Send + Sync + 'static {
    /// Dials `target` for the service `alpn`, presenting this node's key. Dropping the future gives up.
    fn dial<'a>(&'a self, target: &'a DialTarget, alpn: &'a Alpn) -> BoxFuture<'a, Result<Connection, DialError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for text in ["localhost:4433", "1.2.3.4:1", "[::1]:65535", "a-b.c_d:0"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for bad in ["", "localhost", ":1", "::1:1", "[::1]", "a b:1", "a:65536", "-a:1", "[x]:1", "a/b:1"] {
            assert_eq!(bad.parse::<HostPort>(), Err(InvalidHostPort), "{bad}");
        }
        assert_eq!(HostPort::parse_with_default("host", 7).unwrap().to_string(), "host:7");
        assert_eq!(HostPort::parse_with_default("[::1]", 7).unwrap().to_string(), "[::1]:7");
        assert_eq!(HostPort::parse_with_default("host:8", 7).unwrap().port(), 8);
    }
}
