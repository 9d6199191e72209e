//! Names and addresses as the configuration writes them.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use alknet_core::HostPort;
use alknet_net::PublicUrl;

use super::limits::MAX_ENV_NAME_BYTES;

/// Where to listen: `host:port`, where port 0 takes a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr(HostPort);

/// A text that is no address to listen on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an address to listen on: write host:port, such as \"[::]:4433\" or \"127.0.0.1:0\"")]
pub struct InvalidListenAddr;

impl ListenAddr {
    /// The port as it is written.
    pub const fn port(&self) -> u16 {
        self.0.port()
    }
    /// The address as a socket wants it; a host name is looked up (this blocks) and its first address taken.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.0.host(), self.0.port()).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {}", self.0)))
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidListenAddr;
    fn from_str(text: &str) -> Result<Self, InvalidListenAddr> {
        text.parse().map(Self).map_err(|_| InvalidListenAddr)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address that others can dial: neither port 0 nor "every address of this machine".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advertised(pub(super) HostPort);

/// A text that is no address for others.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not an address that others can dial: write host:port, with a port above 0 and a host other than 0.0.0.0 or [::]"
)]
pub(super) struct NotDialable;

impl FromStr for Advertised {
    type Err = NotDialable;
    fn from_str(text: &str) -> Result<Self, NotDialable> {
        let address: HostPort = text.parse().map_err(|_| NotDialable)?;
        let everywhere = address.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        if address.port() == 0 || everywhere { Err(NotDialable) } else { Ok(Self(address)) }
    }
}

/// A host name or IP address without a port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// A text that is no host name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a host name: write a name or an address, without scheme, port or brackets")]
pub struct InvalidHostName;

impl HostName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;
    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        HostPort::new(text, 0).map(|_| Self(text.to_ascii_lowercase())).map_err(|_| InvalidHostName)
    }
}

/// An `https` URL to send visitors to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUrl(String);

/// A text that is no `https` URL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a URL to send to: it begins with https:// and has visible ASCII characters only")]
pub struct InvalidRedirectUrl;

impl RedirectUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedirectUrl {
    type Err = InvalidRedirectUrl;
    fn from_str(text: &str) -> Result<Self, InvalidRedirectUrl> {
        text.parse::<PublicUrl>().map(|_| Self(text.to_owned())).map_err(|_| InvalidRedirectUrl)
    }
}

/// A name of environment variables: itself, or with a star at its end everything that begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvPattern(String);

/// A text that is no such name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a name of environment variables: letters, digits and _, with a * at the end for any rest")]
pub struct InvalidEnvPattern;

impl EnvPattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvPattern {
    type Err = InvalidEnvPattern;
    fn from_str(text: &str) -> Result<Self, InvalidEnvPattern> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if starts_well && rest && text.len() <= MAX_ENV_NAME_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidEnvPattern)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_zero_is_for_listening_only() {
        assert_eq!("127.0.0.1:0".parse::<ListenAddr>().unwrap().resolve().unwrap().to_string(), "127.0.0.1:0");
        assert_eq!("[::]:4433".parse::<ListenAddr>().unwrap().resolve().unwrap().to_string(), "[::]:4433");
        for bad in ["a:0", "0.0.0.0:1", "[::]:1", "a"] {
            assert_eq!(bad.parse::<Advertised>(), Err(NotDialable), "{bad}");
        }
        assert!("[::1]:1".parse::<Advertised>().is_ok());
    }

    #[test]
    fn names_without_a_port() {
        assert_eq!("Example.ORG".parse::<HostName>().unwrap().as_str(), "example.org");
        assert!("2001:db8::1".parse::<HostName>().is_ok());
        for bad in ["", "a:1", "https://a", "[::1]", "a b"] {
            assert_eq!(bad.parse::<HostName>(), Err(InvalidHostName), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_at_the_end_of_a_name() {
        for good in ["LANG", "LC_*", "_x1"] {
            assert!(good.parse::<EnvPattern>().is_ok(), "{good}");
        }
        for bad in ["", "*", "A*B", "1A", "A=B", "A B", "A**"] {
            assert_eq!(bad.parse::<EnvPattern>(), Err(InvalidEnvPattern), "{bad}");
        }
    }
}
