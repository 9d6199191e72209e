//! Names of services as the TLS handshake carries them.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use crate::limits::{MAX_ALPN_BYTES, MAX_LOGGED_BYTES};

/// The name of a service: an ALPN protocol identifier (RFC 7301), 1 to 255 bytes.
///
/// Its `Display` form is escaped and cut, so a peer-supplied name is safe in a log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alpn(Bytes);

/// A name that is empty or longer than 255 bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an ALPN has 1 to {MAX_ALPN_BYTES} bytes, this one has {0}")]
pub struct InvalidAlpn(usize);

impl Alpn {
    /// Takes a name known at compile time; a name of a wrong length does not compile in a `const`.
    pub const fn from_static(name: &'static [u8]) -> Self {
        assert!(!name.is_empty() && name.len() <= MAX_ALPN_BYTES, "an ALPN has 1 to 255 bytes");
        Self(Bytes::from_static(name))
    }

    /// Takes a name from the wire.
    pub fn new(name: &[u8]) -> Result<Self, InvalidAlpn> {
        if name.is_empty() || name.len() > MAX_ALPN_BYTES {
            return Err(InvalidAlpn(name.len()));
        }
        Ok(Self(Bytes::copy_from_slice(name)))
    }

    /// The bytes as they travel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Alpn {
    type Err = InvalidAlpn;
    fn from_str(name: &str) -> Result<Self, InvalidAlpn> {
        Self::new(name.as_bytes())
    }
}

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(MAX_LOGGED_BYTES)];
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alpn({self})")
    }
}

/// The identity a service is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// The node's own Ed25519 key, for Alknet peers.
    Node,
    /// The web certificate, for browsers and other stock clients.
    Web,
}

/// The network carriers on which a service is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriers {
    /// QUIC and TLS over TCP.
    Both,
    /// TLS over TCP only.
    Tcp,
    /// QUIC only.
    Quic,
}

impl Carriers {
    /// Whether QUIC is among them.
    pub const fn quic(self) -> bool {
        matches!(self, Self::Both | Self::Quic)
    }
    /// Whether TLS over TCP is among them.
    pub const fn tcp(self) -> bool {
        matches!(self, Self::Both | Self::Tcp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_wire_is_bounded_and_escaped() {
        assert_eq!(Alpn::new(b""), Err(InvalidAlpn(0)));
        assert_eq!(Alpn::new(&[b'a'; 256]), Err(InvalidAlpn(256)));
        assert_eq!(Alpn::new(b"a\n\x1b[31m").unwrap().to_string(), "a\\n\\x1b[31m");
        let shown = Alpn::new(&[b'a'; 255]).unwrap().to_string();
        assert_eq!(shown.chars().count(), MAX_LOGGED_BYTES + 1);
    }

    #[test]
    fn carriers_say_what_they_hold() {
        let table = [(Carriers::Both, true, true), (Carriers::Tcp, false, true), (Carriers::Quic, true, false)];
        for (carriers, quic, tcp) in table {
            assert_eq!((carriers.quic(), carriers.tcp()), (quic, tcp));
        }
    }
}
