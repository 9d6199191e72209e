//! Lists of addresses, as in `from=` of a key line and `source-address` of a certificate (sshd(8); PROTOCOL.certkeys).

use std::net::IpAddr;

use crate::pattern::fits;

/// Addresses that are let in, and some of them that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    negated: bool,
    addresses: Addresses,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Addresses {
    Network { base: IpAddr, prefix: u8 },
    Pattern(String),
}

/// Why a text is no such list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAddressList {
    #[error("an entry is empty")]
    Empty,
    #[error("host names are not looked up: write addresses, networks (10.0.0.0/8) or patterns of addresses (10.1.*)")]
    Name,
    #[error("a network is an address and a number of bits, with no bit set behind them")]
    Network,
    #[error("only addresses and networks may stand there")]
    Pattern,
}

impl AddressList {
    /// Reads addresses, networks and patterns of addresses, separated by commas; a `!` before one shuts out what fits it.
    pub(crate) fn parse(text: &str) -> Result<Self, BadAddressList> {
        text.split(',').map(|entry| Entry::parse(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Reads addresses and networks only.
    pub(crate) fn networks(text: &str) -> Result<Self, BadAddressList> {
        let list = Self::parse(text)?;
        let plain = |entry: &Entry| !entry.negated && matches!(entry.addresses, Addresses::Network { .. });
        if list.0.iter().all(plain) { Ok(list) } else { Err(BadAddressList::Pattern) }
    }

    /// Whether an address is let in: some entry fits it, and none that shuts it out.
    pub(crate) fn lets_in(&self, address: IpAddr) -> bool {
        // A socket for both versions shows IPv4 as `::ffff:a.b.c.d`.
        let address = address.to_canonical();
        let mut fitting = self.0.iter().filter(|entry| entry.addresses.contain(address)).peekable();
        fitting.peek().is_some() && fitting.all(|entry| !entry.negated)
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, BadAddressList> {
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        Ok(Self { negated, addresses: Addresses::parse(text)? })
    }
}

impl Addresses {
    fn parse(text: &str) -> Result<Self, BadAddressList> {
        if text.is_empty() {
            return Err(BadAddressList::Empty);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network { base: address, prefix: bits(address) });
        }
        if let Some((base, prefix)) = text.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| BadAddressList::Network)?;
            let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|bits| digits && *bits <= self::bits(base));
            let prefix = prefix.ok_or(BadAddressList::Network)?;
            let exact = cut(base, prefix) == number(base);
            return if exact { Ok(Self::Network { base, prefix }) } else { Err(BadAddressList::Network) };
        }
        // Whatever else stands in it could only fit a host name.
        let of_address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':' | b'*' | b'?');
        let wild = text.contains(['*', '?']);
        if wild && text.bytes().all(of_address) {
            Ok(Self::Pattern(text.to_owned()))
        } else {
            Err(BadAddressList::Name)
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::Network { base, prefix } => {
                base.is_ipv4() == address.is_ipv4() && cut(address, *prefix) == number(*base)
            }
            Self::Pattern(pattern) => fits(pattern, &address.to_string()),
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address as a number, with the bits behind the first `prefix` cleared.
fn cut(address: IpAddr, prefix: u8) -> u128 {
    let behind = u32::from(bits(address) - prefix);
    number(address).checked_shr(behind).and_then(|kept| kept.checked_shl(behind)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(list: &str, address: &str) -> bool {
        AddressList::parse(list).unwrap().lets_in(address.parse().unwrap())
    }

    /// KEY-10.
    #[test]
    fn networks_patterns_and_exceptions() {
        for (list, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.0/8", "::ffff:10.255.0.1"),
            ("0.0.0.0/0", "1.2.3.4"),
            ("::/0", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("192.168.1.*", "192.168.1.77"),
            ("127.0.0.?", "127.0.0.1"),
            ("*", "::1"),
            ("1.2.3.4, ::1", "::1"),
            ("fe80:*", "fe80::1"),
            ("!10.1.0.0/16,10.0.0.0/8", "10.2.0.1"),
        ] {
            assert!(lets_in(list, address), "{list} {address}");
        }
        for (list, address) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "::a00:1"),
            ("0.0.0.0/0", "::1"),
            ("::/0", "1.2.3.4"),
            ("!10.1.0.0/16,10.0.0.0/8", "10.1.0.1"),
            ("10.0.0.0/8,!10.1.*", "10.1.0.1"),
            ("!10.0.0.1", "10.0.0.2"),
            ("127.0.0.?", "127.0.0.11"),
        ] {
            assert!(!lets_in(list, address), "{list} {address}");
        }
    }

    /// KEY-10.
    #[test]
    fn what_cannot_be_honoured_is_refused() {
        use BadAddressList::{Empty, Name, Network, Pattern};
        for (list, why) in [
            ("", Empty),
            ("10.0.0.1,", Empty),
            ("!", Empty),
            ("example.com", Name),
            ("*.example.com", Name),
            ("!*.evil.org,*", Name),
            ("10.0.0", Name),
            ("10.0.0.1/8", Network),
            ("10.0.0.0/33", Network),
            ("10.0.0.0/+8", Network),
            ("10.0.0.0/", Network),
            ("::/129", Network),
            ("10.*/8", Network),
        ] {
            assert_eq!(AddressList::parse(list), Err(why), "{list}");
        }
        for list in ["10.*", "!10.0.0.1", "10.0.0.0/8,*"] {
            assert_eq!(AddressList::networks(list), Err(Pattern), "{list}");
        }
        assert!(AddressList::networks("10.0.0.0/8,::1").is_ok());
    }
}
