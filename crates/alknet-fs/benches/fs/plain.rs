//! What the disk does by itself: the same jobs with plain files.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;

pub const PIECE_BYTES: u64 = 1 << 20;

/// As many pieces as make up this many bytes: 16 different ones over and over, and a first one like no other.
pub fn pieces(bytes: u64, salt: u64) -> impl Iterator<Item = Bytes> {
    let piece = |number: u64| {
        let mut state = number + 1;
        let mut word = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.to_le_bytes()
        };
        Bytes::from((0..PIECE_BYTES / 8).flat_map(|_| word()).collect::<Vec<u8>>())
    };
    let (first, others): (_, Vec<Bytes>) = (piece(1000 + salt), (0..16).map(piece).collect());
    (0..bytes.div_ceil(PIECE_BYTES)).map(move |number| {
        let whole = if number == 0 { first.clone() } else { others[number as usize % others.len()].clone() };
        whole.slice(..(bytes - number * PIECE_BYTES).min(PIECE_BYTES) as usize)
    })
}

/// Writes a file and waits until it is on the disk.
pub fn write_synced(path: &Path, pieces: impl Iterator<Item = Bytes>) {
    let mut file = File::create(path).unwrap();
    pieces.for_each(|piece| file.write_all(&piece).unwrap());
    file.sync_all().unwrap();
}

/// `cat FROM >TO`
pub fn cat(from: &Path, to: &Path) {
    let to = File::create(to).unwrap();
    assert!(Command::new("cat").arg(from).stdout(to).stdin(Stdio::null()).status().unwrap().success());
}

/// `cp FROM TO`, and waits until it is on the disk.
pub fn copy_synced(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    assert!(copy.arg("--reflink=never").arg(from).arg(to).status().unwrap().success());
    File::open(to).unwrap().sync_all().unwrap();
}
