//! Deterministic CBOR (RFC 8949 section 4.2), read member by member in the one order that it can have.

use std::convert::Infallible;

use minicbor::encode::Error;
use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

/// Why bytes are not the CBOR that was expected. Positions are byte offsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Longer than any valid encoding.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Ends early, or holds another type than the one expected there.
    #[error("truncated or of the wrong type at byte {0}")]
    Malformed(usize),
    /// A member is missing, unknown, doubled or out of order.
    #[error(
        "expected member {expected} at byte {position}: it is missing, or another is unknown, doubled or misplaced"
    )]
    Member {
        /// The member that belongs there.
        expected: &'static str,
        /// Where it belongs.
        position: usize,
    },
    /// A map has more or fewer members than belong in it.
    #[error("a map of {found} members where {expected} belong")]
    Members {
        /// How many belong.
        expected: u64,
        /// How many it claims to have.
        found: u64,
    },
    /// A text or byte string has a length that its member does not allow.
    #[error("a string of {length} bytes at byte {position} does not have an allowed length")]
    Length {
        /// The length it has, in bytes.
        length: usize,
        /// Where it begins.
        position: usize,
    },
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
    /// The same value has a shorter or better ordered encoding.
    #[error("not in deterministic encoding (RFC 8949 section 4.2)")]
    NotDeterministic,
    /// The member `v` names a version that is not known.
    #[error("version {0} is not known")]
    UnknownVersion(u64),
}

/// Encodes what `write` writes, in minicbor's shortest forms.
pub(crate) fn encode(write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Result<(), Error<Infallible>>) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("because writing to a Vec cannot fail");
    encoder.into_writer()
}

/// Encodes secrets: reserves `max_bytes`, so that no copy is left behind by growing, and wipes in the end.
pub(crate) fn encode_secret(
    max_bytes: usize,
    write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Result<(), Error<Infallible>>,
) -> Zeroizing<Vec<u8>> {
    let mut encoder = Encoder::new(Vec::with_capacity(max_bytes));
    write(&mut encoder).expect("because writing to a Vec cannot fail");
    Zeroizing::new(encoder.into_writer())
}

/// Reads values of known types; allocates nothing.
pub(crate) struct Reader<'b> {
    decoder: Decoder<'b>,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8], max_bytes: usize) -> Result<Self, CborError> {
        if bytes.len() > max_bytes {
            return Err(CborError::TooLong(max_bytes));
        }
        Ok(Self { decoder: Decoder::new(bytes) })
    }

    /// An array of exactly that many items.
    pub(crate) fn array(&mut self, items: u64) -> Result<(), CborError> {
        let position = self.decoder.position();
        match self.decoder.array() {
            Ok(Some(found)) if found == items => Ok(()),
            _ => Err(CborError::Malformed(position)),
        }
    }

    /// The number of members of a map.
    pub(crate) fn map(&mut self) -> Result<u64, CborError> {
        let position = self.decoder.position();
        self.decoder.map().ok().flatten().ok_or(CborError::Malformed(position))
    }

    /// A map of exactly that many members.
    pub(crate) fn map_of(&mut self, expected: u64) -> Result<(), CborError> {
        match self.map()? {
            found if found == expected => Ok(()),
            found => Err(CborError::Members { expected, found }),
        }
    }

    /// The name of the member that must come next.
    pub(crate) fn member(&mut self, expected: &'static str) -> Result<(), CborError> {
        let position = self.decoder.position();
        match self.decoder.str() {
            Ok(found) if found == expected => Ok(()),
            Ok(_) => Err(CborError::Member { expected, position }),
            Err(_) => Err(CborError::Malformed(position)),
        }
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, CborError> {
        let position = self.decoder.position();
        self.decoder.u64().map_err(|_| CborError::Malformed(position))
    }

    pub(crate) fn text(&mut self, max_bytes: usize) -> Result<&'b str, CborError> {
        let position = self.decoder.position();
        let text = self.decoder.str().map_err(|_| CborError::Malformed(position))?;
        if text.len() <= max_bytes { Ok(text) } else { Err(CborError::Length { length: text.len(), position }) }
    }

    pub(crate) fn bytes(&mut self, max_bytes: usize) -> Result<&'b [u8], CborError> {
        let position = self.decoder.position();
        let bytes = self.decoder.bytes().map_err(|_| CborError::Malformed(position))?;
        if bytes.len() <= max_bytes { Ok(bytes) } else { Err(CborError::Length { length: bytes.len(), position }) }
    }

    pub(crate) fn array_of<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let position = self.decoder.position();
        let bytes = self.bytes(usize::MAX)?;
        bytes.try_into().map_err(|_| CborError::Length { length: bytes.len(), position })
    }

    /// The end of the value, which must be the end of the input.
    pub(crate) fn end(&self) -> Result<(), CborError> {
        match self.decoder.input().len() - self.decoder.position() {
            0 => Ok(()),
            left => Err(CborError::TrailingBytes(left)),
        }
    }
}
