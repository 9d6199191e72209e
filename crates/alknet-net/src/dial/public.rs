//! Which addresses are public: those that lead neither to this machine nor into a network of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether packets to an address can only go to a public network (IANA's registries of special-purpose addresses, RFC 6890). Of
/// IPv6 what is not handed out for public use is not public, nor is what carries an IPv4 address that is not.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224.., ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // NAT64 (RFC 6052, 2.1): the IPv4 address that it leads to counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Protocol assignments (Teredo among them), documentation, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // ISATAP (RFC 5214, 6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => false,
        // Global unicast (RFC 4291, 2.4, as far as it is handed out).
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_of_private_networks_are_not_public_however_they_are_written() {
        // NET-31
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:10.0.0.1",
            "4000::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn other_addresses_are_public() {
        // NET-31
        let public =
            ["1.1.1.1", "100.63.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255", "::ffff:8.8.8.8"];
        let public_v6 = ["64:ff9b::8.8.8.8", "2001:200::1", "2606:4700::1111", "2a00:1450:4001::1"];
        for public in public.into_iter().chain(public_v6) {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
