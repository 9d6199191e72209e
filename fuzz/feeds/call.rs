//! Frames and envelopes of the call protocol.

use alknet_call::{Envelope, FrameDecoder, RemoteOperation, RequestId, Requested, scan_json};

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

/// Whatever is read as an envelope keeps its bounds, and reads the same again.
pub fn call_envelope(data: &[u8]) {
    let Ok(envelope) = Envelope::decode(data) else { return };
    let again = Envelope::decode(data).expect("because it was read a moment ago");
    assert_eq!(format!("{envelope:?}"), format!("{again:?}"));
    match &envelope {
        Envelope::Requested(requested) => bounded(requested),
        Envelope::Batch { requests, .. } => {
            assert!((1..=64).contains(&requests.len()));
            let ids: std::collections::HashSet<_> = requests.iter().map(|requested| &requested.id).collect();
            assert_eq!(ids.len(), requests.len());
            requests.iter().for_each(bounded);
        }
        Envelope::Hello { hello, .. } => assert!(hello.features.len() <= 64),
        Envelope::Error { error, .. } => assert!(error.message.len() <= 1024 && error.code.as_str().len() <= 64),
        _ => {}
    }
}

fn bounded(requested: &Requested) {
    let id = |id: &RequestId| assert!((1..=64).contains(&id.as_str().len()));
    id(&requested.id);
    requested.parent_id.iter().chain(&requested.traceparent).for_each(id);
    assert!(requested.via.len() <= 5, "one more than are allowed");
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
