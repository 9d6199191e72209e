//! Where a client of the proxy wants to go, in SOCKS's form of an address (RFC 1928, 5).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A host and a port that the far end reaches; a name is resolved there, never here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: TargetHost,
    /// The port, as the client wrote it.
    pub port: u16,
}

/// A name or an address, as the client wrote it. What it means is the far end's policy to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// 1 to 255 visible ASCII characters: a name, or an address in words.
    Name(Box<str>),
    /// An address in bytes.
    Ip(IpAddr),
}

/// Bytes that are no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Neither a name nor an address of IPv4 or IPv6.
    #[error("address type {0} is not supported")]
    Kind(u8),
    /// A name of no length, or with a byte that no name has.
    #[error("a name has 1 to 255 visible ASCII characters")]
    Name,
}

impl TargetHost {
    /// Takes a name.
    pub fn name(bytes: &[u8]) -> Result<Self, InvalidTarget> {
        let visible = !bytes.is_empty() && bytes.len() <= 255 && bytes.iter().all(u8::is_ascii_graphic);
        match str::from_utf8(bytes) {
            Ok(name) if visible => Ok(Self::Name(name.into())),
            _ => Err(InvalidTarget::Name),
        }
    }
}

impl Target {
    /// Reads an address from the front of `bytes`: with its length, or `None` where more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidTarget> {
        let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
        let (host, port) = match kind {
            IPV4 => {
                let Some((octets, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                (TargetHost::Ip(Ipv4Addr::from(*octets).into()), rest)
            }
            IPV6 => {
                let Some((octets, rest)) = rest.split_first_chunk::<16>() else { return Ok(None) };
                (TargetHost::Ip(Ipv6Addr::from(*octets).into()), rest)
            }
            NAME => {
                let Some((&length, rest)) = rest.split_first() else { return Ok(None) };
                let (name, rest) = rest.split_at(rest.len().min(length.into()));
                // What has come is judged at once: nobody need wait for the end of a bad name.
                if length == 0 || !name.iter().all(u8::is_ascii_graphic) {
                    return Err(InvalidTarget::Name);
                }
                if name.len() < length.into() {
                    return Ok(None);
                }
                (TargetHost::name(name)?, rest)
            }
            other => return Err(InvalidTarget::Kind(other)),
        };
        let Some((port, rest)) = port.split_first_chunk::<2>() else { return Ok(None) };
        Ok(Some((Self { host, port: u16::from_be_bytes(*port) }, bytes.len() - rest.len())))
    }

    /// Writes the address behind what `out` holds.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.host {
            TargetHost::Ip(IpAddr::V4(addr)) => {
                out.push(IPV4);
                out.extend(addr.octets());
            }
            TargetHost::Ip(IpAddr::V6(addr)) => {
                out.push(IPV6);
                out.extend(addr.octets());
            }
            TargetHost::Name(name) => {
                let name = &name.as_bytes()[..name.len().min(255)];
                // The length fits: it was cut to 255 just now.
                out.extend([NAME, name.len() as u8]);
                out.extend(name);
            }
        }
        out.extend(self.port.to_be_bytes());
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Self { host: TargetHost::Ip(addr.ip()), port: addr.port() }
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(addr) => addr.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TargetHost::Ip(IpAddr::V6(addr)) => write!(f, "[{addr}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(target: &Target) -> Vec<u8> {
        let mut out = Vec::new();
        target.write(&mut out);
        out
    }

    #[test]
    fn addresses_read_back_as_they_were_written_and_wait_for_their_end() {
        // SOCKS-05
        let longest = "a".repeat(255);
        let texts = ["127.0.0.1:80", "[::1]:65535", "[::ffff:10.0.0.1]:1"];
        let ips = texts.map(|text| Target::from(text.parse::<SocketAddr>().unwrap()));
        let names = ["x", "example.org.", "0x7f.1", "[::1]", longest.as_str()]
            .map(|name| Target { host: TargetHost::name(name.as_bytes()).unwrap(), port: 443 });
        for target in ips.into_iter().chain(names) {
            let bytes = written(&target);
            for cut in 0..bytes.len() {
                assert_eq!(Target::parse(&bytes[..cut]), Ok(None), "{target} cut at {cut}");
            }
            let more = [bytes.as_slice(), b"rest"].concat();
            assert_eq!(Target::parse(&more), Ok(Some((target, bytes.len()))));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_at_the_first_wrong_byte() {
        // SOCKS-05
        for kind in [0, 2, 5, 0xff] {
            assert_eq!(Target::parse(&[kind]), Err(InvalidTarget::Kind(kind)));
        }
        let bad: [&[u8]; 5] = [&[3, 0], b"\x03\x09a b", b"\x03\x09\0", b"\x03\x09\xef\xbc\x91", b"\x03\xff\x7f"];
        for bytes in bad {
            assert_eq!(Target::parse(bytes), Err(InvalidTarget::Name), "{bytes:?}");
        }
    }
}
