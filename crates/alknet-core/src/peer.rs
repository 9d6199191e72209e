//! The other end of a connection, as the transport knows it.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::{NodeKey, limits::MAX_PEER_NAME_BYTES};

/// Transport facts about the other end. Who it *is* follows from a [`crate::Credential`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node key the peer proved in the handshake; present only after its signature verified.
    pub key: Option<NodeKey>,
    /// Where it speaks from.
    pub addr: PeerAddr,
    /// The address of this machine that it speaks to, where the carrier knows it.
    pub local: Option<SocketAddr>,
    /// The server name it asked for (SNI): hostile input.
    pub server_name: Option<String>,
}

/// Where a peer speaks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// An address on the network.
    Ip(SocketAddr),
    /// This machine's control socket; the kernel says that the peer runs under the node's own uid.
    LocalOwner {
        /// The peer's process id.
        pid: i32,
    },
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::LocalOwner { pid } => write!(f, "local:{pid}"),
        }
    }
}

/// What stands for any peer, and so names none.
const ANY_PEER: &str = "any";

/// The stable name of a peer: `[a-z0-9][a-z0-9.-]{0,63}`, lower-cased, never something that reads as a node id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(String);

/// Why a text cannot name a peer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPeerName {
    /// Wrong characters or length.
    #[error("a peer name has 1 to {MAX_PEER_NAME_BYTES} of a-z 0-9 . - and starts with a letter or digit")]
    Grammar,
    /// It stands for something else.
    #[error("`{ANY_PEER}` stands for whichever peer has an operation; choose another name")]
    Reserved,
    /// It could be mistaken for a node.
    #[error("this peer name reads as a node id; choose a shorter one")]
    ReadsAsNodeId,
}

impl PeerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeerName {
    type Err = InvalidPeerName;
    fn from_str(text: &str) -> Result<Self, InvalidPeerName> {
        let name = text.to_ascii_lowercase();
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let rest = |b: u8| good(b) || b == b'.' || b == b'-';
        let starts_well = name.bytes().next().is_some_and(good);
        if !starts_well || name.len() > MAX_PEER_NAME_BYTES || !name.bytes().all(rest) {
            return Err(InvalidPeerName::Grammar);
        }
        if name == ANY_PEER {
            return Err(InvalidPeerName::Reserved);
        }
        if name.parse::<NodeKey>().is_ok() {
            return Err(InvalidPeerName::ReadsAsNodeId);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_name_is_lower_cased_and_bounded() {
        // AUTH-04
        assert_eq!("Box-1.lan".parse::<PeerName>().unwrap().as_str(), "box-1.lan");
        for bad in ["", "-a", ".a", "a_b", "a/b", "ä", "a b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<PeerName>(), Err(InvalidPeerName::Grammar), "{bad}");
        }
        assert!("a".repeat(64).parse::<PeerName>().is_ok());
        // CALL-53
        assert_eq!("Any".parse::<PeerName>(), Err(InvalidPeerName::Reserved));
        assert!("anyone".parse::<PeerName>().is_ok());
    }

    #[test]
    fn a_node_id_is_no_peer_name() {
        // AUTH-04
        let mut bytes = [0x66; 32];
        bytes[0] = 0x58;
        let id = NodeKey::from_bytes(bytes).unwrap().node_id();
        assert_eq!(id.parse::<PeerName>(), Err(InvalidPeerName::ReadsAsNodeId));
    }
}
