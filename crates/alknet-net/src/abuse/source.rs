//! Who is held to account: an address, a prefix, or a key.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use alknet_core::{Fingerprint, NodeKey};

/// What a score belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The IPv6 /64 that a host or a household has.
    V6([u8; 8]),
    /// The IPv6 /48 that a site has.
    V6Wide([u8; 6]),
    /// A key that was proven.
    Key(Fingerprint),
}

impl Source {
    /// The narrowest source of an address.
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(first(ip)),
        }
    }

    /// The wider source around it, where there is one.
    pub(crate) fn wider(&self) -> Option<Self> {
        match self {
            Self::V6([a, b, c, d, e, f, ..]) => Some(Self::V6Wide([*a, *b, *c, *d, *e, *f])),
            Self::V4(_) | Self::V6Wide(_) | Self::Key(_) => None,
        }
    }
}

/// The first bytes of an address.
fn first<const N: usize>(ip: Ipv6Addr) -> [u8; N] {
    let octets = ip.octets();
    std::array::from_fn(|n| octets[n])
}

/// An address of which only the first bytes are known.
fn prefix(bytes: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..bytes.len()].copy_from_slice(bytes);
    octets.into()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6(bytes) => write!(f, "{}/64", prefix(bytes)),
            Self::V6Wide(bytes) => write!(f, "{}/48", prefix(bytes)),
            Self::Key(key) => key.fmt(f),
        }
    }
}

/// A text that names no source.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an address or key: write an IP address, an IPv6 /64 or /48, a fingerprint, or a node id")]
pub struct InvalidGateTarget;

/// Whom a question to the gate, or a pardon, is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateTarget {
    /// The narrowest first.
    pub(super) sources: Vec<Source>,
    /// The address, when it is about one.
    pub(super) ip: Option<IpAddr>,
}

impl FromStr for GateTarget {
    type Err = InvalidGateTarget;
    /// Takes an address with or without a port, as logs have it; a prefix; or a key.
    fn from_str(text: &str) -> Result<Self, InvalidGateTarget> {
        let of_ip = |ip: IpAddr| {
            let narrow = Source::of(ip);
            let wide = narrow.wider();
            Self { sources: [narrow].into_iter().chain(wide).collect(), ip: Some(ip.to_canonical()) }
        };
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bracketed.parse::<IpAddr>() {
            return Ok(of_ip(ip));
        }
        if let Ok(addr) = text.parse::<std::net::SocketAddr>() {
            return Ok(of_ip(addr.ip()));
        }
        if let Ok(source) = text.parse::<Source>() {
            return Ok(Self { sources: vec![source], ip: None });
        }
        let key = text.parse::<NodeKey>().map_err(|_| InvalidGateTarget)?;
        Ok(Self { sources: vec![Source::Key(key.into())], ip: None })
    }
}

impl FromStr for Source {
    type Err = InvalidGateTarget;
    /// The way back from its text.
    fn from_str(text: &str) -> Result<Self, InvalidGateTarget> {
        if let Ok(key) = text.parse::<Fingerprint>() {
            return Ok(Self::Key(key));
        }
        let range: AddressRange = text.parse().map_err(|_| InvalidGateTarget)?;
        match (range.start, range.bits) {
            (IpAddr::V4(ip), 32) => Ok(Self::V4(ip)),
            (IpAddr::V6(ip), 64) => Ok(Self::V6(first(ip))),
            (IpAddr::V6(ip), 48) => Ok(Self::V6Wide(first(ip))),
            _ => Err(InvalidGateTarget),
        }
    }
}

/// A range of addresses (CIDR, RFC 4632): `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    start: IpAddr,
    bits: u32,
}

/// A text that is no range of addresses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAddressRange {
    /// Something else.
    #[error("not a range of addresses: write 192.0.2.0/24, 2001:db8::/32 or one address")]
    Text,
    /// It starts in the middle of what it covers.
    #[error("the range begins at {0}: write that")]
    Start(AddressRange),
    /// IPv4 written as IPv6.
    #[error("an IPv4 range written as IPv6 covers nobody: write it as IPv4")]
    Mapped,
}

impl AddressRange {
    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.start, ip.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                ip.to_bits() & mask == start.to_bits()
            }
            (IpAddr::V6(start), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                ip.to_bits() & mask == start.to_bits()
            }
            _ => false,
        }
    }

    /// Whether all addresses of a source are in it.
    pub(crate) fn covers(&self, source: &Source) -> bool {
        let (start, bits): (IpAddr, _) = match source {
            Source::V4(ip) => ((*ip).into(), 32),
            Source::V6(bytes) => (prefix(bytes).into(), 64),
            Source::V6Wide(bytes) => (prefix(bytes).into(), 48),
            Source::Key(_) => return false,
        };
        self.bits <= bits && self.contains(start)
    }

    fn masked(self) -> Self {
        let start = match self.start {
            IpAddr::V4(ip) => {
                Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(32 - self.bits).unwrap_or(0)).into()
            }
            IpAddr::V6(ip) => {
                Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(128 - self.bits).unwrap_or(0)).into()
            }
        };
        Self { start, ..self }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;
    fn from_str(text: &str) -> Result<Self, InvalidAddressRange> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let start: IpAddr = ip.parse().map_err(|_| InvalidAddressRange::Text)?;
        let most = if start.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().map_err(|_| InvalidAddressRange::Text)?
            }
            Some(_) => return Err(InvalidAddressRange::Text),
        };
        let range = Self { start, bits };
        if bits > most {
            return Err(InvalidAddressRange::Text);
        }
        if start.to_canonical() != start {
            return Err(InvalidAddressRange::Mapped);
        }
        if range.masked() != range {
            return Err(InvalidAddressRange::Start(range.masked()));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_prefix() {
        // GATE-05
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("2001:db8::1").wider(), source("2001:db8:0:1::1").wider());
        assert_ne!(source("2001:db8::1").wider(), source("2001:db8:1::1").wider());
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(source("10.0.0.1").wider(), None);
    }

    #[test]
    fn a_source_is_read_as_it_is_written() {
        let key = Source::Key(Fingerprint::of_sha256(&[7; 32]));
        for source in [source("192.0.2.1"), source("2001:db8:1:2::3"), source("2001:db8::").wider().unwrap(), key] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for bad in ["", "192.0.2.0/24", "2001:db8::/65", "2001:db8::1/64", "alice", "192.0.2.1:22"] {
            assert_eq!(bad.parse::<Source>(), Err(InvalidGateTarget), "{bad}");
        }
    }

    #[test]
    fn a_question_is_about_what_the_log_names() {
        let target = |text: &str| {
            text.parse::<GateTarget>().map(|target| target.sources.iter().map(Source::to_string).collect::<Vec<_>>())
        };
        assert_eq!(target("192.0.2.1").unwrap(), ["192.0.2.1"]);
        assert_eq!(target("192.0.2.1:50222").unwrap(), ["192.0.2.1"]);
        assert_eq!(target("::ffff:192.0.2.1").unwrap(), ["192.0.2.1"]);
        assert_eq!(target("[2001:db8::1]:7").unwrap(), ["2001:db8::/64", "2001:db8::/48"]);
        assert_eq!(target("[2001:db8::1]").unwrap(), target("2001:db8::1").unwrap());
        assert_eq!(target("2001:db8::/48").unwrap(), ["2001:db8::/48"]);
        let mut point = [0x66; 32];
        point[0] = 0x58;
        let key = NodeKey::from_bytes(point).unwrap();
        assert_eq!(target(&key.node_id()).unwrap(), [Fingerprint::from(key).to_string()]);
        for bad in ["", "alice", "300.0.0.1", "10.0.0.0/8", "fe80::1%eth0", "127.1"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_covers_what_its_bits_say() {
        let range = |text: &str| text.parse::<AddressRange>();
        let covers = |text: &str, ip: &str| range(text).unwrap().contains(ip.parse().unwrap());
        assert!(covers("10.0.0.0/8", "10.255.0.1") && !covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(covers("192.0.2.7", "192.0.2.7") && !covers("192.0.2.7", "192.0.2.8"));
        assert!(covers("0.0.0.0/0", "203.0.113.1") && !covers("0.0.0.0/0", "2001:db8::1"));
        assert!(covers("::/0", "2001:db8::1") && !covers("::/0", "10.0.0.1"));
        assert!(covers("2001:db8::/33", "2001:db8:7fff::1") && !covers("2001:db8::/33", "2001:db8:8000::"));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08.0", "::/129", "localhost", "10/8"] {
            assert_eq!(range(bad), Err(InvalidAddressRange::Text), "{bad}");
        }
        assert_eq!(range("10.0.0.1/8").unwrap_err().to_string(), "the range begins at 10.0.0.0/8: write that");
        assert_eq!(range("::ffff:10.0.0.0/104"), Err(InvalidAddressRange::Mapped));
    }
}
