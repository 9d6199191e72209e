//! Node tickets: a node's key and where to find it, as one line to paste (`docs/spec/auth.md`).

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::{
    DialTarget, HostPort, InvalidNodeKey, NodeKey,
    limits::{MAX_TICKET_ADDRESSES, MAX_TICKET_TEXT_BYTES},
};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// A node's key and addresses. Its text is lower-case base32 and ends in a checksum, so a typing error is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    key: NodeKey,
    addresses: Vec<HostPort>,
}

/// Why a text is no ticket.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTicket {
    /// It was mistyped or cut.
    #[error("not a node ticket: {0}")]
    Malformed(&'static str),
    /// The key inside is unusable.
    #[error("not a node ticket: {0}")]
    Key(#[from] InvalidNodeKey),
}

impl Ticket {
    /// Joins a key and up to 16 addresses, best first; more are left out.
    pub fn new(key: NodeKey, mut addresses: Vec<HostPort>) -> Self {
        addresses.truncate(MAX_TICKET_ADDRESSES);
        Self { key, addresses }
    }
    /// The node's key.
    pub const fn key(&self) -> NodeKey {
        self.key
    }
    /// Where to find it.
    pub fn addresses(&self) -> &[HostPort] {
        &self.addresses
    }

    fn decode(bytes: &[u8]) -> Result<Self, InvalidTicket> {
        let malformed = InvalidTicket::Malformed;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(malformed("it is cut"))?;
        if Sha256::digest(body)[..CHECK_BYTES] != check[..] {
            return Err(malformed("its checksum is wrong, a character is missing or mistyped"));
        }
        let (&version, rest) = body.split_first().ok_or(malformed("it is cut"))?;
        if version != VERSION {
            return Err(malformed("its version is unknown; a newer alknet made it"));
        }
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(malformed("it is cut"))?;
        let (&count, mut rest) = rest.split_first().ok_or(malformed("it is cut"))?;
        if usize::from(count) > MAX_TICKET_ADDRESSES {
            return Err(malformed("it has too many addresses"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let (&len, after) = rest.split_first().ok_or(malformed("it is cut"))?;
            let (text, after) = after.split_at_checked(len.into()).ok_or(malformed("it is cut"))?;
            let text = std::str::from_utf8(text).map_err(|_| malformed("an address is not UTF-8"))?;
            addresses.push(text.parse().map_err(|_| malformed("an address is not host:port"))?);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(malformed("something follows its last address"));
        }
        Ok(Self { key: NodeKey::from_bytes(*key)?, addresses })
    }
}

impl From<Ticket> for DialTarget {
    fn from(ticket: Ticket) -> Self {
        Self { key: Some(ticket.key), addresses: ticket.addresses }
    }
}

impl FromStr for Ticket {
    type Err = InvalidTicket;
    fn from_str(text: &str) -> Result<Self, InvalidTicket> {
        if text.len() > MAX_TICKET_TEXT_BYTES {
            return Err(InvalidTicket::Malformed("it is too long"));
        }
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| InvalidTicket::Malformed("it is not base32"))?;
        Self::decode(&bytes)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.key.as_bytes());
        let texts: Vec<_> = self.addresses.iter().map(ToString::to_string).filter(|text| text.len() <= 255).collect();
        bytes.push(texts.len() as u8);
        for text in texts {
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let mut key = [0x66; 32];
        key[0] = 0x58;
        let addresses = vec!["box.lan:4433".parse().unwrap(), "[::1]:4433".parse().unwrap()];
        Ticket::new(NodeKey::from_bytes(key).unwrap(), addresses)
    }

    #[test]
    fn a_ticket_round_trips_in_either_case() {
        let text = ticket().to_string();
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(text.to_uppercase().parse(), Ok(ticket()));
    }

    #[test]
    fn a_cut_or_mistyped_ticket_is_refused() {
        // AUTH-05
        let text = ticket().to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Ticket>().is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
            let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(typo.parse::<Ticket>().is_err(), "typo at {at}");
        }
    }

    #[test]
    fn a_ticket_that_lies_about_lengths_is_refused() {
        // AUTH-05
        let key = *ticket().key.as_bytes();
        let sealed = |body: &[u8]| {
            let body = [&[VERSION], &key[..], body].concat();
            let check = Sha256::digest(&body);
            Ticket::decode(&[&body[..], &check[..CHECK_BYTES]].concat())
        };
        assert!(sealed(&[0]).is_ok(), "a key without addresses is a ticket");
        for bad in [&[][..], &[1], &[255], &[1, 255, b'a'], &[1, 3, b'a', b':'], &[0, 0], &[1, 1, 0xff], &[1, 1, b'a']]
        {
            assert!(sealed(bad).is_err(), "{bad:?}");
        }
    }
}
