//! Every address that a packet to an address may end at: some IPv6 addresses carry an IPv4 one, to which a gateway passes it on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::target::usual;

/// Why an address is reached by nobody, whatever a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NeverReached {
    /// Broadcast or multicast.
    #[error("it is an address of many")]
    Many,
    /// The prefix of local translators (RFC 8215): where the IPv4 address stands in it is theirs to say.
    #[error("it carries an IPv4 address at a place that is not known (64:ff9b:1::/48)")]
    LocalTranslation,
}

/// The address itself, in its usual form, and the IPv4 addresses in it. All of them must be allowed.
pub(crate) fn faces(address: IpAddr) -> Result<Vec<IpAddr>, NeverReached> {
    let address = usual(address);
    let mut faces = vec![address];
    if let IpAddr::V6(v6) = address {
        if v6.segments()[..3] == [0x64, 0xff9b, 1] {
            return Err(NeverReached::LocalTranslation);
        }
        faces.extend(carried(v6).into_iter().flatten().map(|v4| usual(v4.into())));
    }
    let of_many = |face: &IpAddr| face.is_multicast() || *face == IpAddr::V4(Ipv4Addr::BROADCAST);
    if faces.iter().any(of_many) { Err(NeverReached::Many) } else { Ok(faces) }
}

/// The IPv4 addresses in an IPv6 one.
fn carried(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let segments = address.segments();
    let at = |first: usize| Ipv4Addr::from_bits(u32::from(segments[first]) << 16 | u32::from(segments[first + 1]));
    match segments {
        // NAT64 (RFC 6052, 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [Some(at(6)), None],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [Some(at(1)), None],
        // Teredo (RFC 4380, 4): its server and, with all bits turned, its client.
        [0x2001, 0, ..] => [Some(at(2)), Some(Ipv4Addr::from_bits(!at(6).to_bits()))],
        // The loopback address is no IPv4-compatible one.
        [0, 0, 0, 0, 0, 0, 0, 1] => [None, None],
        // IPv4-compatible (RFC 4291, 2.5.5.1), IPv4-translated (RFC 7915), IPv4-mapped where it was not made IPv4.
        [0, 0, 0, 0, 0 | 0xffff, 0, _, _] | [0, 0, 0, 0, 0, 0xffff, _, _] => [Some(at(6)), None],
        // ISATAP (RFC 5214, 6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => [Some(at(6)), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        faces(text.parse().unwrap()).unwrap().iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn an_address_that_carries_another_has_both_faces() {
        // POL-22
        for (address, carried) in [
            ("64:ff9b::7f00:1", "127.0.0.1"),
            ("64:ff9b::", "127.0.0.1"),
            ("2002:7f00:1::", "127.0.0.1"),
            ("2002:7f00:1:5::9", "127.0.0.1"),
            ("::127.0.0.2", "127.0.0.2"),
            ("::ffff:0:a00:1", "10.0.0.1"),
            ("fe80::5efe:10.0.0.1", "10.0.0.1"),
            ("2001:db8::200:5efe:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(of(address)[1..], [carried], "{address}");
        }
        assert_eq!(of("2001:0:c000:201::80ff:fffe"), ["2001:0:c000:201::80ff:fffe", "192.0.2.1", "127.0.0.1"]);
    }

    #[test]
    fn other_addresses_have_one_face() {
        // POL-20, POL-22
        for (address, face) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("::", "::1"),
            ("0.0.0.0", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(of(address), [face], "{address}");
        }
    }

    #[test]
    fn addresses_of_many_and_of_local_translators_are_never_reached() {
        // POL-22
        for address in ["255.255.255.255", "224.0.0.1", "239.1.2.3", "ff02::1", "64:ff9b::e000:1", "2002:ffff:ffff::"] {
            assert_eq!(faces(address.parse().unwrap()), Err(NeverReached::Many), "{address}");
        }
        assert_eq!(faces("64:ff9b:1::7f00:1".parse().unwrap()), Err(NeverReached::LocalTranslation));
    }
}
