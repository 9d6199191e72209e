//! Frames and envelopes of the call protocol.

use alknet_call::{Envelope, FrameDecoder, RemoteOperation, scan_json};

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

/// The first line is a specification as a worker tells it, the rest an input to check against it. What is taken is narrowed, and
/// read again it is the same.
pub fn worker_spec(data: &[u8]) {
    let (said, input) = data.split_at(data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len()));
    let Some(said) = json(said) else { return };
    let Ok(operation) = RemoteOperation::read("box", &said) else { return };
    let spec = operation.spec();
    assert!(!spec.access.is_public());
    assert!(spec.access.scopes().iter().any(|scope| scope.as_str() == "remote:box"));
    assert!(spec.name.starts_with("box/") && spec.name.ends_with(operation.local_name()));
    if let Some(input) = json(input) {
        let fits = operation.check(&input).is_ok();
        assert_eq!(fits, operation.check(&input).is_ok());
    }
}

/// JSON as it comes out of a frame.
fn json(text: &[u8]) -> Option<serde_json::Value> {
    let text = std::str::from_utf8(text).ok()?;
    scan_json(text).ok()?;
    serde_json::from_str(text).ok()
}
