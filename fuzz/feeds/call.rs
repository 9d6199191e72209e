//! Frames and envelopes of the call protocol.

use alknet_call::{Envelope, FrameDecoder};

/// The bound under which frames are cut here, in bytes.
const ALLOWED: usize = 4096;

/// The first byte says in which pieces the rest arrives: however it is cut, the frames are the same.
pub fn call_frame(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let whole = frames(bytes, bytes.len().max(1));
    let pieces = frames(bytes, usize::from(step).max(1));
    assert_eq!(whole, pieces);
}

/// The frames up to the first error, and whether there was one.
fn frames(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = FrameDecoder::new(ALLOWED);
    let mut frames = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    assert!(!frame.is_empty() && frame.len() <= ALLOWED);
                    frames.push(frame.to_vec());
                }
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

pub fn call_envelope(data: &[u8]) {
    if let Ok(envelope) = Envelope::decode(data) {
        let again = Envelope::decode(data).expect("because it was read a moment ago");
        assert_eq!(format!("{envelope:?}"), format!("{again:?}"));
    }
}
