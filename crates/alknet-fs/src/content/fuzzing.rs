//! What the fuzz targets feed, where no public function leads there. Not part of the API.

use super::{
    hasher::TreeHasher,
    outboard::{groups, outboard_bytes},
    proof::{Outboard, Proof},
};
use crate::{hash::ContentHash, limits::GROUP_BYTES};

/// More than four levels of pairs.
const MAX_BYTES: u64 = 40 * GROUP_BYTES;

/// Proves a range of content over an outboard that somebody changed: wrong bytes are never proven, and what nobody changed always is.
///
/// The first four bytes are the length of the content, then come the first group of the range, the number of its groups, and a
/// change of its bytes (one byte each); what is left changes the outboard: three bytes each, offset and what is added there. Where
/// the length's highest bit is set, what is left is the outboard.
pub fn outboard(data: &[u8]) {
    let Some((head, changes)) = data.split_first_chunk::<7>() else { return };
    let [a, b, c, d, first, count, spoil] = *head;
    let size = u64::from(u32::from_be_bytes([a & 0x7f, b, c, d])) % MAX_BYTES;
    let content: Vec<u8> = (0..251u8).cycle().take(size as usize).collect();
    let mut hasher = TreeHasher::new();
    hasher.update(&content);
    let (hash, mut pairs) = hasher.finish();
    let whole = pairs.clone();
    if a & 0x80 != 0 {
        pairs = changes.to_vec();
    } else {
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
            if let Some(byte) = pairs.get_mut(at) {
                *byte = byte.wrapping_add(change[2]);
            }
        }
    }
    check(&content, hash, (&whole, &pairs), (u64::from(first), u64::from(count)), spoil);
}

fn check(content: &[u8], hash: ContentHash, (whole, pairs): (&[u8], &[u8]), (first, count): (u64, u64), spoil: u8) {
    let size = content.len() as u64;
    let first = first % groups(size);
    let range = first..(first + count % 8 + 1).min(groups(size));
    let (start, end) = (range.start * GROUP_BYTES, (range.end * GROUP_BYTES).min(size));
    let mut bytes = content[start as usize..end as usize].to_vec();
    if let Some(byte) = bytes.last_mut() {
        *byte = byte.wrapping_add(spoil);
    }
    let is_true = bytes == content[start as usize..end as usize];
    let proof = Proof { hash, size, outboard: Outboard::Memory(pairs) };
    let proven = proof.prove(range, &bytes).is_ok();
    assert!(is_true || !proven, "wrong bytes are not proven");
    if pairs == whole {
        assert_eq!(proven, is_true, "true bytes are");
    }
    if groups(size) > 1 {
        let is_whole = pairs.get(..outboard_bytes(size) as usize) == Some(whole);
        assert_eq!(proof.prove_outboard().is_ok(), is_whole, "of all outboards one is proven");
    }
}
