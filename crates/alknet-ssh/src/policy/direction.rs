//! Which way a forward goes.

use std::{fmt, str::FromStr};

/// Which way a forward goes, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The node connects to a host and a port for the client: `-L`, and every `direct-tcpip` channel. A client's `-D` cannot be told from it.
    Local,
    /// The node listens for the client: `-R`, on a port or at a socket's path.
    Remote,
    /// The node speaks to hosts that the client's SOCKS users name. Only datagrams are known to be that.
    Dynamic,
    /// The node connects to a Unix socket for the client: `direct-streamlocal@openssh.com`.
    Socket,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [Self::Local, Self::Remote, Self::Dynamic, Self::Socket];

    /// The word in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Dynamic => "dynamic",
            Self::Socket => "socket",
        }
    }

    /// The action under which it is authorised and audited.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Local => "ssh/forward.local",
            Self::Remote => "ssh/forward.remote",
            Self::Dynamic => "ssh/forward.dynamic",
            Self::Socket => "ssh/forward.socket",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no direction.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a direction is local, remote, dynamic or socket")]
pub struct InvalidDirection;

impl FromStr for Direction {
    type Err = InvalidDirection;
    fn from_str(text: &str) -> Result<Self, InvalidDirection> {
        Self::ALL.into_iter().find(|direction| direction.as_str() == text).ok_or(InvalidDirection)
    }
}

/// A set of directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Directions(u8);

impl Directions {
    /// Adds one.
    pub(crate) const fn with(self, direction: Direction) -> Self {
        Self(self.0 | 1 << direction as u8)
    }
    /// Whether it is in.
    pub(crate) const fn has(self, direction: Direction) -> bool {
        self.0 & (1 << direction as u8) != 0
    }
    /// Every one.
    pub(crate) fn all() -> Self {
        Direction::ALL.into_iter().fold(Self::default(), Self::with)
    }
}
