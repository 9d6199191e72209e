//! Bytes that end in their own BLAKE3: nothing counts until the last 32 have arrived and match.

use bytes::{Bytes, BytesMut};

/// Length of the hash at the end.
pub(crate) const TRAILER_BYTES: usize = 32;

/// Hashes what arrives and holds the last 32 bytes back, for they may be the hash.
pub(crate) struct TrailedBytes {
    held: BytesMut,
    /// `None` where somebody else hashes.
    hasher: Option<blake3::Hasher>,
    size: u64,
}

impl Default for TrailedBytes {
    fn default() -> Self {
        Self { held: BytesMut::new(), hasher: Some(blake3::Hasher::new()), size: 0 }
    }
}

/// Why the bytes do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrailerError {
    #[error("the bytes end before their hash")]
    Cut,
    #[error("the bytes do not match their hash")]
    Mismatch,
}

impl TrailedBytes {
    /// Holds the hash at the end back, and leaves it to somebody else to hash the bytes.
    pub(crate) fn unhashed() -> Self {
        Self { hasher: None, ..Self::default() }
    }
    /// Where arriving bytes are read into.
    pub(crate) const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.held
    }
    /// Takes out what is certainly content.
    pub(crate) fn content(&mut self) -> Bytes {
        let certain = self.held.len().saturating_sub(TRAILER_BYTES);
        let content = self.held.split_to(certain).freeze();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&content);
        }
        self.size += content.len() as u64;
        content
    }
    /// How many bytes wait to be taken out.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len().saturating_sub(TRAILER_BYTES)
    }
    /// How many bytes of content were taken out.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }
    /// Says whether the hash at the end matches, where it is made here; gives it. All content must have been taken out.
    pub(crate) fn finish(&self) -> Result<[u8; 32], TrailerError> {
        let trailer: [u8; TRAILER_BYTES] = self.held[..].try_into().map_err(|_| TrailerError::Cut)?;
        match &self.hasher {
            Some(hasher) if hasher.finalize() != trailer => Err(TrailerError::Mismatch),
            _ => Ok(trailer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // CALL-34
        #[test]
        fn any_fragmentation_gives_the_content_and_every_cut_is_noticed(
            content in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1..50_usize,
            cut in 1..50_usize,
        ) {
            let whole = [&content[..], blake3::hash(&content).as_bytes()].concat();
            let read = |bytes: &[u8]| {
                let mut trailed = TrailedBytes::default();
                let mut seen = Vec::new();
                for piece in bytes.chunks(piece) {
                    trailed.buffer().extend_from_slice(piece);
                    seen.extend_from_slice(&trailed.content());
                }
                (seen, trailed.finish(), trailed.size())
            };
            let (seen, outcome, size) = read(&whole);
            prop_assert_eq!(outcome, Ok(*blake3::hash(&content).as_bytes()));
            prop_assert_eq!(size, content.len() as u64);
            prop_assert_eq!(seen, content);
            let cut = &whole[..whole.len().saturating_sub(cut)];
            prop_assert!(read(cut).1.is_err());
        }
    }
}
