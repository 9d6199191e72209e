//! What is forwarded where, in the syntax of ssh's `-L` and `-R`.

use std::{fmt, str::FromStr};

/// The host that is meant where none is written.
const LOOPBACK: &str = "localhost";
/// Most parts of a specification: bind address, port, host, port.
const MAX_PARTS: usize = 4;

/// An address on one of the two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A host and a port.
    Tcp {
        /// A name or an address, without brackets; empty means every address of the machine.
        host: String,
        /// The port, 0 to have one chosen.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } if host.is_empty() => write!(f, "*:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// What `-W` connects to: `HOST:PORT`, or the path of a unix socket.
impl FromStr for Place {
    type Err = InvalidSpec;
    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        match split(text)?.as_slice() {
            [path] if path.contains('/') => Ok(Self::Unix((*path).to_owned())),
            [host, port] => target(host, port),
            _ => Err(InvalidSpec::Target),
        }
    }
}

/// A text that is no specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// It has the wrong number of parts.
    #[error("write [BIND:]PORT:HOST:PORT, where a path that contains / stands for a unix socket on either side")]
    Shape,
    /// The same for a single address.
    #[error("write HOST:PORT, or the path of a unix socket, which contains /")]
    Target,
    /// A port is no number, or out of range.
    #[error("`{}` is no port: a number from {} to 65535", .0.escape_debug(), u8::from(!.1))]
    Port(String, bool),
    /// A bracket is missing.
    #[error("an IPv6 address stands in [brackets]")]
    Brackets,
    /// A host is missing.
    #[error("the host to connect to is missing")]
    Host,
    /// The node would be a SOCKS server.
    #[error("the node does not speak SOCKS for others: `-R PORT` alone is not offered")]
    RemoteDynamic,
}

/// `-L`: who connects to `listen` here reaches `to` from the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSpec {
    /// Here.
    pub listen: Place,
    /// As the node sees it.
    pub to: Place,
}

/// `-R`: who connects to `listen` at the node reaches `to` from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSpec {
    /// At the node.
    pub listen: Place,
    /// As this machine sees it.
    pub to: Place,
}

impl FromStr for LocalSpec {
    type Err = InvalidSpec;
    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        parse(text).map(|(listen, to)| Self { listen, to })
    }
}

impl FromStr for RemoteSpec {
    type Err = InvalidSpec;
    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        if text.parse::<u16>().is_ok() {
            return Err(InvalidSpec::RemoteDynamic);
        }
        parse(text).map(|(listen, to)| Self { listen, to })
    }
}

fn parse(text: &str) -> Result<(Place, Place), InvalidSpec> {
    let parts = split(text)?;
    let is_path = |part: &&str| part.contains('/');
    let path = |part: &str| Place::Unix(part.to_owned());
    match parts.as_slice() {
        [listen, to] if is_path(listen) && is_path(to) => Ok((path(listen), path(to))),
        [listen, host, port] if is_path(listen) => Ok((path(listen), target(host, port)?)),
        [port, to] if is_path(to) => Ok((listener(LOOPBACK, port)?, path(to))),
        [bind, port, to] if is_path(to) => Ok((listener(bind, port)?, path(to))),
        [port, host, to_port] => Ok((listener(LOOPBACK, port)?, target(host, to_port)?)),
        [bind, port, host, to_port] => Ok((listener(bind, port)?, target(host, to_port)?)),
        _ => Err(InvalidSpec::Shape),
    }
}

/// Splits at colons outside brackets, which go.
fn split(text: &str) -> Result<Vec<&str>, InvalidSpec> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (part, after) = inner.split_once(']').ok_or(InvalidSpec::Brackets)?;
                match after.strip_prefix(':') {
                    Some(after) => (part, Some(after)),
                    None if after.is_empty() => (part, None),
                    None => return Err(InvalidSpec::Brackets),
                }
            }
            None => match rest.split_once(':') {
                Some((part, after)) => (part, Some(after)),
                None => (rest, None),
            },
        };
        parts.push(part);
        match after {
            Some(after) if parts.len() < MAX_PARTS => rest = after,
            Some(_) => return Err(InvalidSpec::Shape),
            None => return Ok(parts),
        }
    }
}

/// An address to listen on: `*` and nothing mean every one.
fn listener(host: &str, port: &str) -> Result<Place, InvalidSpec> {
    let host = if host == "*" { "" } else { host };
    let number = port.parse().map_err(|_| InvalidSpec::Port(port.to_owned(), true))?;
    Ok(Place::Tcp { host: host.to_owned(), port: number })
}

fn target(host: &str, port: &str) -> Result<Place, InvalidSpec> {
    if host.is_empty() {
        return Err(InvalidSpec::Host);
    }
    match port.parse() {
        Ok(number) if number > 0 => Ok(Place::Tcp { host: host.to_owned(), port: number }),
        _ => Err(InvalidSpec::Port(port.to_owned(), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-30.
    #[test]
    fn every_form_of_ssh_is_understood() {
        let table = [
            ("8080:db:5432", "localhost:8080", "db:5432"),
            ("127.0.0.1:8080:db:5432", "127.0.0.1:8080", "db:5432"),
            ("*:8080:db:5432", "*:8080", "db:5432"),
            (":8080:db:5432", "*:8080", "db:5432"),
            ("[::1]:8080:[fe80::1]:5432", "[::1]:8080", "[fe80::1]:5432"),
            ("0:[::1]:22", "localhost:0", "[::1]:22"),
            ("8080:/run/x.sock", "localhost:8080", "/run/x.sock"),
            ("127.0.0.1:8080:/run/x.sock", "127.0.0.1:8080", "/run/x.sock"),
            ("/tmp/here:/run/there", "/tmp/here", "/run/there"),
            ("./here:db:5432", "./here", "db:5432"),
        ];
        for (text, listen, to) in table {
            let spec: LocalSpec = text.parse().unwrap();
            assert_eq!((spec.listen.to_string().as_str(), spec.to.to_string().as_str()), (listen, to), "{text}");
            assert_eq!(text.parse(), Ok(RemoteSpec { listen: spec.listen, to: spec.to }));
        }
    }

    /// CLI-30.
    #[test]
    fn a_single_address_is_understood() {
        for text in ["db:5432", "[::1]:22", "/run/x.sock"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["db", "a:b:c", ""] {
            assert_eq!(text.parse::<Place>(), Err(InvalidSpec::Target), "{text}");
        }
    }

    /// CLI-30.
    #[test]
    fn what_is_no_forward_is_refused_by_its_fault() {
        use InvalidSpec as E;
        let port = |text: &str, chosen| E::Port(text.to_owned(), chosen);
        let table = [
            ("", E::Shape),
            ("8080", E::Shape),
            ("db:5432", E::Shape),
            ("a:b:c:d:e", E::Shape),
            ("x:db:5432", port("x", true)),
            ("65536:db:5432", port("65536", true)),
            ("-1:db:5432", port("-1", true)),
            ("8080:db:0", port("0", false)),
            ("8080:db:", port("", false)),
            ("8080::5432", E::Host),
            ("[::1:8080:db:5432", E::Brackets),
            ("[::1]x:8080:db:5432", E::Brackets),
        ];
        for (text, fault) in table {
            assert_eq!(text.parse::<LocalSpec>(), Err(fault), "{text}");
        }
        assert_eq!("1080".parse::<RemoteSpec>(), Err(E::RemoteDynamic));
    }
}
