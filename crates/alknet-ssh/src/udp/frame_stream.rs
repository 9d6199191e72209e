//! Frames on a stream.

use std::io;

use alknet_core::RecvStream;
use bytes::BytesMut;

use super::frame::{Frame, FrameError, decode_frame};
use crate::limits::UDP_READ_BYTES;

/// Reads frames. What is held grows with what arrived, never with what was announced.
pub(super) struct FrameReader {
    recv: RecvStream,
    buffer: BytesMut,
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the stream ended within a frame")]
    Cut,
    #[error(transparent)]
    Stream(#[from] io::Error),
}

impl FrameReader {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self { recv, buffer: BytesMut::new() }
    }

    /// The next frame; `None` at the stream's clean end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = decode_frame(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            match self.recv.chunk(UDP_READ_BYTES).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReadError::Cut),
            }
        }
    }
}
