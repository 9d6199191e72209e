//! Networks: an address and how many of its bits count (RFC 4632, RFC 4291 2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The addresses that begin with the same bits. IPv4-mapped ones are written, and meant, as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidNetwork {
    /// The part before the slash.
    #[error("not an address")]
    Address,
    /// The part behind the slash.
    #[error("the prefix length is too large or no number")]
    Prefix,
    /// The address has more bits than the prefix length says.
    #[error("more bits are set than the prefix length counts; write {0}")]
    HostBits(String),
}

impl Network {
    /// One address.
    pub(crate) const fn of(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
    /// Joins an address and a prefix length.
    fn new(address: IpAddr, prefix: u8) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if prefix >= 96 => (mapped, prefix - 96),
            _ => (address, prefix),
        };
        if prefix > Self::of(address).prefix {
            return Err(InvalidNetwork::Prefix);
        }
        let network = Self { address: first(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(InvalidNetwork::HostBits(network.to_string())) }
    }
    /// Whether it is this one address.
    pub(crate) fn is(&self, address: IpAddr) -> bool {
        *self == Self::of(address)
    }
    /// Whether the address lies in it; a mapped address is the IPv4 one.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && first(address, self.prefix) == self.address
    }
}

/// The address with all bits behind the first `prefix` cleared.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = |width: u32| width - u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(behind(32)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(behind(128)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;
    /// `10.0.0.0/8`, `fd00::/8`, or an address alone.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Address)?;
        let prefix = match prefix {
            // A sign or a leading zero is for those who would mislead.
            Some(prefix)
                if prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0')) =>
            {
                prefix.parse().map_err(|_| InvalidNetwork::Prefix)?
            }
            Some(_) => return Err(InvalidNetwork::Prefix),
            None => Self::of(address).prefix,
        };
        Self::new(address, prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::of(self.address) {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_the_addresses_that_begin_alike() {
        for (net, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "ffff::1", "1.2.3.4"),
            ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.0.0.1"),
        ] {
            assert!(network(net).contains(inside.parse().unwrap()), "{net} {inside}");
            assert!(!network(net).contains(outside.parse().unwrap()), "{net} {outside}");
        }
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        for text in ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "::1", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        use InvalidNetwork::{Address, HostBits, Prefix};
        for (text, error) in [
            ("", Address),
            ("10.0.0/8", Address),
            ("010.0.0.0/8", Address),
            ("fe80::1%eth0", Address),
            ("10.0.0.0/33", Prefix),
            ("10.0.0.0/", Prefix),
            ("10.0.0.0/+8", Prefix),
            ("10.0.0.0/08", Prefix),
            ("::/129", Prefix),
            ("10.0.0.1/8", HostBits("10.0.0.0/8".into())),
            ("fd00::1/8", HostBits("fd00::/8".into())),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }
}
