//! The header of a datagram between a SOCKS5 client and its relay (RFC 1928, 7).

use super::target::{InvalidTarget, Target};

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UdpHeaderError {
    /// It ends within its header.
    #[error("a datagram that ends within its header")]
    Short,
    /// The reserved bytes are not zero.
    #[error("reserved bytes that are not zero")]
    Reserved,
    /// It is a fragment, and those are not put together here (RFC 1928 allows to drop them).
    #[error("a fragment")]
    Fragment,
    /// Its address is none.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
}

/// Takes a client's datagram apart: where to, and what.
pub fn parse_udp_header(datagram: &[u8]) -> Result<(Target, &[u8]), UdpHeaderError> {
    let (&[first, second, fragment], rest) = datagram.split_first_chunk::<3>().ok_or(UdpHeaderError::Short)?;
    if (first, second) != (0, 0) {
        return Err(UdpHeaderError::Reserved);
    }
    if fragment != 0 {
        return Err(UdpHeaderError::Fragment);
    }
    let (target, length) = Target::parse(rest)?.ok_or(UdpHeaderError::Short)?;
    Ok((target, &rest[length..]))
}

/// Puts a datagram for a client together: where from, and what.
pub fn write_udp_header(from: &Target, payload: &[u8], out: &mut Vec<u8>) {
    out.extend([0, 0, 0]);
    from.write(out);
    out.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        // SOCKS-12
        let from = Target::from("[::1]:53".parse::<std::net::SocketAddr>().unwrap());
        let mut datagram = Vec::new();
        write_udp_header(&from, b"answer", &mut datagram);
        assert_eq!(parse_udp_header(&datagram), Ok((from, &b"answer"[..])));
        for cut in 0..datagram.len() - b"answer".len() {
            assert_eq!(parse_udp_header(&datagram[..cut]), Err(UdpHeaderError::Short));
        }
    }

    #[test]
    fn fragments_and_bad_headers_are_dropped() {
        // SOCKS-12
        let table: [(&[u8], UdpHeaderError); 4] = [
            (b"\0\0\x01\x01\x7f\0\0\x01\0\x35x", UdpHeaderError::Fragment),
            (b"\0\x01\0\x01\x7f\0\0\x01\0\x35x", UdpHeaderError::Reserved),
            (b"\0\0\0\x05", UdpHeaderError::Target(InvalidTarget::Kind(5))),
            (b"\0\0\0\x03\x01 \0\x35", UdpHeaderError::Target(InvalidTarget::Name)),
        ];
        for (datagram, error) in table {
            assert_eq!(parse_udp_header(datagram), Err(error));
        }
    }
}
