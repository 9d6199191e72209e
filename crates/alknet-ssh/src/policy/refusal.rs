//! Why a forward does not come about: what the client may know, and what only the node's log may say.

use std::{fmt, io};

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The node's rules or the key's options do not allow it, or it names no place that could be allowed.
    Prohibited,
    /// The name has no address.
    NameNotFound,
    /// Nobody listens there.
    ConnectionRefused,
    /// There is no way there.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// The address cannot be listened on, or the connection failed in another way.
    Failed,
    /// The client has as many as it may have.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prohibited => "administratively prohibited",
            Self::NameNotFound => "no such host",
            Self::ConnectionRefused => "connection refused",
            Self::Unreachable => "no route to host",
            Self::TimedOut => "timed out",
            Self::Failed => "connect failed",
            Self::TooMany => "too many forwards",
        })
    }
}

/// A forward that does not come about. It reads as what the client may know.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ForwardRefusal {
    reason: Reason,
    cause: String,
}

impl ForwardRefusal {
    pub(crate) fn new(reason: Reason, cause: impl Into<String>) -> Self {
        Self { reason, cause: cause.into() }
    }
    /// What the client may know.
    pub(crate) const fn reason(&self) -> Reason {
        self.reason
    }
    /// What the node's own log may say.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }
}

impl From<io::Error> for ForwardRefusal {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let reason = match error.kind() {
            Kind::ConnectionRefused => Reason::ConnectionRefused,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => Reason::Unreachable,
            Kind::TimedOut => Reason::TimedOut,
            _ => Reason::Failed,
        };
        Self::new(reason, error.to_string())
    }
}
