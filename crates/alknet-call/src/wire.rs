//! Frames: four bytes of length, then so many bytes of JSON (`docs/spec/call.md`, 2). Pure: no IO, no clock.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::limits::MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 4;

/// Why bytes are no frames. Nothing that follows can be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame announced no content.
    #[error("a frame of no bytes")]
    Empty,
    /// A frame announced more than is allowed.
    #[error("a frame of {announced} bytes where {allowed} are allowed")]
    TooLong {
        /// The announced length, in bytes.
        announced: usize,
        /// The bound, in bytes.
        allowed: usize,
    },
}

/// Cuts arriving bytes into frames. What it holds grows with what arrived, never with what a length announces.
#[derive(Debug)]
pub struct FrameDecoder {
    arrived: BytesMut,
    allowed: usize,
}

impl FrameDecoder {
    /// Starts at the beginning of a stream; frames may have up to `allowed` bytes.
    pub fn new(allowed: usize) -> Self {
        Self { arrived: BytesMut::new(), allowed }
    }
    /// Changes the bound, in bytes, for all frames not yet taken out.
    pub const fn allow(&mut self, allowed: usize) {
        self.allowed = allowed;
    }
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }
    /// Where a reader puts what it reads.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.arrived
    }
    /// Whether bytes of an unfinished frame wait.
    pub fn is_within_frame(&self) -> bool {
        !self.arrived.is_empty()
    }
    /// Takes the next whole frame out, without its length; `None` until more arrives.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.arrived.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*length) as usize;
        if announced == 0 {
            return Err(FrameError::Empty);
        }
        if announced > self.allowed {
            return Err(FrameError::TooLong { announced, allowed: self.allowed });
        }
        if self.arrived.len() < LENGTH_BYTES + announced {
            return Ok(None);
        }
        self.arrived.advance(LENGTH_BYTES);
        Ok(Some(self.arrived.split_to(announced).freeze()))
    }
}

/// Why a value became no frame; the buffer is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is longer than a frame may be.
    #[error("{0} bytes do not fit a frame of at most {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// It has no JSON form.
    #[error("not representable as JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// Appends a value to `out` as one frame.
pub fn encode_frame(value: &impl Serialize, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_u32(0);
    let written = serde_json::to_writer(out.writer(), value);
    let length = out.len() - start - LENGTH_BYTES;
    let refused = match written {
        Ok(()) if length <= MAX_FRAME_BYTES => {
            // 4 MiB fit 32 bits.
            out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
            return Ok(());
        }
        Ok(()) => EncodeError::TooLong(length),
        Err(error) => error.into(),
    };
    out.truncate(start);
    Err(refused)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32).to_be_bytes(), content].concat()
    }

    // CALL-03: memory follows what arrives, not what is announced.
    #[test]
    fn a_lying_length_costs_nothing() {
        let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
        decoder.push(&(MAX_FRAME_BYTES as u32).to_be_bytes());
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.push(b"{");
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.arrived.capacity() < 1024, "{}", decoder.arrived.capacity());
    }

    // CALL-02
    #[test]
    fn empty_and_too_long_frames_are_refused_by_their_length_alone() {
        let mut decoder = FrameDecoder::new(10);
        decoder.push(&[0, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Empty));
        for announced in [11_u32, 0x1603_0100, u32::MAX] {
            let mut decoder = FrameDecoder::new(10);
            decoder.push(&announced.to_be_bytes());
            let refused = FrameError::TooLong { announced: announced as usize, allowed: 10 };
            assert_eq!(decoder.next_frame(), Err(refused));
        }
    }

    #[test]
    fn a_value_too_long_for_a_frame_leaves_the_buffer_alone() {
        let mut out = BytesMut::from(&b"before"[..]);
        let long = "x".repeat(MAX_FRAME_BYTES);
        assert!(matches!(encode_frame(&long, &mut out), Err(EncodeError::TooLong(_))));
        assert_eq!(&out[..], b"before");
    }

    proptest! {
        // CALL-01
        #[test]
        fn frames_survive_any_fragmentation(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in 1..20_usize,
        ) {
            let bytes: Vec<u8> = contents.iter().flat_map(|content| framed(content)).collect();
            let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, contents);
            prop_assert!(!decoder.is_within_frame());
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = FrameDecoder::new(64);
            decoder.push(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.len() <= 64);
            }
        }
    }
}
