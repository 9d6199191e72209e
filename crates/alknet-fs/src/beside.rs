//! Names for what is kept beside something that has the name already.

use crate::limits::{MAX_ENTRY_NAME_BYTES, MAX_EXTENSION_BYTES};

/// `report.txt` with a mark before its ending, shortened where it would be too long; not within a character, where the name is text.
pub(crate) fn beside(name: &[u8], mark: &str) -> Box<[u8]> {
    // A name that begins with its only dot has no ending, and a long one is no ending.
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let dot = dot.filter(|dot| *dot > 0 && name.len() - dot <= MAX_EXTENSION_BYTES);
    let (stem, end) = name.split_at(dot.unwrap_or(name.len()));
    let room = MAX_ENTRY_NAME_BYTES - mark.len() - end.len();
    [shortened(stem, room), mark.as_bytes(), end].concat().into()
}

/// The first bytes, without half a character at the end where the name is text.
fn shortened(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let end = match std::str::from_utf8(stem) {
        Ok(text) => text.floor_char_boundary(room),
        Err(_) => room,
    };
    &stem[..end]
}
