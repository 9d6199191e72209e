//! What a client asks to be forwarded to, in the one form that rules see.
//!
//! Hosts come as texts that somebody hostile chose. A name is lower-cased and loses its final dot; an address in any form that a system
//! would understand (`127.1`, `0x7f.0.0.1`, `2130706433`, `[::ffff:127.0.0.1]`) becomes that address; everything else is refused.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::limits::{MAX_HOST_LABEL_BYTES, MAX_HOST_NAME_BYTES};

/// A host in its usual form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name: lower case, no final dot.
    Name(String),
    /// An address: never a mapped one, and never one that stands for "this machine" in general.
    Address(IpAddr),
}

/// A text that names no host, so that no rule could allow it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTarget {
    /// Nothing, or too much.
    #[error("a host has 1 to {MAX_HOST_NAME_BYTES} bytes")]
    Length,
    /// Something that is neither a name in ASCII nor an address.
    #[error("a host is a name of a-z 0-9 . - _ or an address")]
    Characters,
    /// A label is empty or too long.
    #[error("the parts of a name have 1 to {MAX_HOST_LABEL_BYTES} bytes")]
    Label,
    /// It ends in a number and is no IPv4 address.
    #[error("a name that ends in a number must be an IPv4 address")]
    Number,
    /// A name where only an address can be listened on.
    #[error("the node listens on addresses or localhost, not on other names")]
    NoAddress,
    /// Not from 1 to 65535.
    #[error("a port is from 1 to 65535")]
    Port,
}

impl Host {
    /// The address, if it is one.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Host {
    type Err = InvalidTarget;
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.is_empty() || text.len() > MAX_HOST_NAME_BYTES {
            return Err(InvalidTarget::Length);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.is_some() || text.contains(':') {
            let address: Ipv6Addr = bare.unwrap_or(text).parse().map_err(|_| InvalidTarget::Characters)?;
            return Ok(Self::Address(usual(address.into())));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(InvalidTarget::Characters);
        }
        if name.split('.').any(|label| label.is_empty() || label.len() > MAX_HOST_LABEL_BYTES) {
            return Err(InvalidTarget::Label);
        }
        if ends_in_number(&name) {
            return Ok(Self::Address(usual(loose_v4(&name).ok_or(InvalidTarget::Number)?.into())));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Reads a host as every part of the policy would: for fuzzing.
pub(crate) fn read_all(text: &str) {
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse::<Host>().as_ref(), Ok(&host), "the usual form is its own");
        if let Some(Ok(found)) = host.address().map(super::faces::faces) {
            assert!(found.iter().all(|face| usual(*face) == *face), "every face is in its usual form");
        }
    }
    if let Ok(rule) = text.parse::<super::ForwardRule>() {
        assert_eq!(rule.to_string().parse::<super::ForwardRule>().as_ref(), Ok(&rule), "a rule reads as it is written");
    }
    let _any_text_will_do = text.parse::<super::ForwardTarget>();
    let _any_path_will_do = super::path::asked(text);
}

/// A port as SSH carries it.
pub(crate) fn port(number: u32) -> Result<u16, InvalidTarget> {
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or(InvalidTarget::Port)
}

/// The address that is meant: IPv4 instead of mapped, the loopback address instead of "any of this machine's", which is where systems
/// connect to then.
pub(crate) fn usual(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Whether a system would take the name for an IPv4 address (URL Standard, "ends in a number").
pub(crate) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || last.bytes().all(|b| b.is_ascii_digit())
}

/// A number in the notation of C: octal after `0`, hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    match (digits.is_empty(), radix) {
        (true, 16) => Some(0),
        (true, _) => None,
        (false, _) => digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?,
    }
}

/// An IPv4 address as inet_aton(3) reads it: one to four numbers, the last of which fills what is left.
fn loose_v4(name: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = name.split('.').map(number).collect::<Option<_>>()?;
    let (last, before) = numbers.split_last()?;
    let room = u32::try_from(before.len()).ok().filter(|count| *count < 4)?;
    let fits = u64::from(*last) < 1u64 << (8 * (4 - room));
    if !fits || before.iter().any(|number| *number > 255) {
        return None;
    }
    let high = before.iter().zip([24, 16, 8]).fold(0, |sum, (number, shift)| sum | number << shift);
    Some(Ipv4Addr::from_bits(high | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<Host, InvalidTarget> {
        text.parse()
    }

    #[test]
    fn every_way_to_write_an_address_is_that_address() {
        // POL-20
        let loopback = Ok(Host::Address([127, 0, 0, 1].into()));
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "0X7f.0.0.1",
            "017700000001",
            "0177.0.0.01",
            "127.0.0.1.",
            "00000000177.0x0.0.1",
            "::ffff:127.0.0.1",
            "[::FFFF:7f00:1]",
            "0:0:0:0:0:ffff:7f00:0001",
            "0.0.0.0",
            "0",
            "0x0",
            "0x",
            "00",
            "0.",
            "::ffff:0.0.0.0",
        ] {
            assert_eq!(host(text), loopback, "{text}");
        }
        for text in ["::1", "[::1]", "0:0:0:0:0:0:0:1", "::", "[::]", "0::0"] {
            assert_eq!(host(text), Ok(Host::Address(Ipv6Addr::LOCALHOST.into())), "{text}");
        }
        assert_eq!(host("1.2.3.4"), Ok(Host::Address([1, 2, 3, 4].into())));
        assert_eq!(host("4294967295"), Ok(Host::Address([255; 4].into())));
    }

    #[test]
    fn names_are_lower_case_without_a_final_dot() {
        // POL-20
        for (text, name) in [("LocalHost", "localhost"), ("Example.ORG.", "example.org"), ("a_b-c.x1", "a_b-c.x1")] {
            assert_eq!(host(text), Ok(Host::Name(name.into())), "{text}");
        }
        assert_eq!(host("0xdead.beef"), Ok(Host::Name("0xdead.beef".into())), "the last part is no number");
    }

    #[test]
    fn what_is_neither_is_refused_by_its_defect() {
        // POL-21
        use InvalidTarget::{Characters, Label, Length, Number};
        let long = format!("{}.x", "a".repeat(64));
        for (text, error) in [
            ("", Length),
            (".", Label),
            ("..", Label),
            ("a..b", Label),
            (".a", Label),
            ("a..", Label),
            (&long, Label),
            (&"a.".repeat(128), Length),
            ("256.1.1.1", Number),
            ("1.2.3.256", Number),
            ("1.2.3.4.5", Number),
            ("127.0.0.0x100", Number),
            ("4294967296", Number),
            ("1.16777216", Number),
            ("08.0.0.1", Number),
            ("09", Number),
            ("a.1", Number),
            ("0xfffffffff", Number),
            ("1..1", Label),
            ("fe80::1%eth0", Characters),
            ("[fe80::1%25lo]", Characters),
            ("127.0.0.1%00", Characters),
            ("%31%32%37.0.0.1", Characters),
            ("１２７.0.0.1", Characters),
            ("127。0。0。1", Characters),
            ("lоcalhost", Characters),
            ("a b", Characters),
            (" 127.0.0.1", Characters),
            ("a\0", Characters),
            ("a\n", Characters),
            ("[127.0.0.1]", Characters),
            ("[::1", Characters),
            ("::1]", Characters),
            ("1:2", Characters),
            ("a/b", Characters),
            ("a@b", Characters),
        ] {
            assert_eq!(host(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_port_is_sixteen_bits_and_not_zero() {
        // POL-21
        assert_eq!((port(1), port(65535)), (Ok(1), Ok(65535)));
        for bad in [0, 65536, 65616, u32::MAX] {
            assert_eq!(port(bad), Err(InvalidTarget::Port), "{bad}");
        }
    }
}
