//! Outboards as bao-tree makes them of BLAKE3's own test input, and outboards that are wrong, each named after its defect.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alknet_fs::{
    ContentHash, Damage,
    content::{hash_tree, prove, prove_outboard},
    limits::GROUP_BYTES,
};
use bao_tree::{BlockSize, io::outboard::PostOrderMemOutboard};

use crate::content_files::pattern;

/// What the wrong outboards are of.
const BAD_SIZE: usize = 5 * GROUP_BYTES as usize + 1;

fn vectors(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/outboard").join(kind);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn outboards_are_those_that_bao_tree_made() {
    // BLOB-03
    let found = vectors("ok");
    assert_eq!(found.len(), 9);
    for path in found {
        let vector: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let input = pattern(vector["input_bytes"].as_u64().unwrap() as usize);
        let (hash, outboard) = hash_tree(&input);
        let made = serde_json::json!({
            "input_bytes": input.len(),
            "hash": hash.to_string(),
            "outboard_bytes": outboard.len(),
            "outboard_blake3": ContentHash::of(&outboard).to_string(),
        });
        assert_eq!(made, vector, "{}", path.display());
        prove_outboard(hash, input.len() as u64, &outboard).unwrap();
        prove(hash, input.len() as u64, &outboard, 0, &input).unwrap();
        let oracle = PostOrderMemOutboard::create(&input, BlockSize::from_chunk_log(4));
        assert_eq!(oracle.data, outboard, "the vectors are not stale");
    }
}

#[test]
fn wrong_outboards_prove_nothing() {
    // BLOB-20, BLOB-21
    let found = vectors("bad");
    assert_eq!(found.len(), 7);
    let input = pattern(BAD_SIZE);
    let (hash, right) = hash_tree(&input);
    for path in found {
        let outboard = fs::read(&path).unwrap();
        assert_ne!(outboard, right);
        let why = prove_outboard(hash, input.len() as u64, &outboard).unwrap_err();
        assert!(matches!(why, Damage::Outboard), "{}: {why}", path.display());
        let each = (0..6).map(|group| {
            let range =
                group as usize * GROUP_BYTES as usize..((group + 1) as usize * GROUP_BYTES as usize).min(input.len());
            prove(hash, input.len() as u64, &outboard, group, &input[range])
        });
        assert!(each.into_iter().any(|proven| proven.is_err()), "{}", path.display());
    }
}

#[test]
fn what_is_no_range_of_groups_is_refused() {
    // BLOB-20
    let input = pattern(BAD_SIZE);
    let (hash, outboard) = hash_tree(&input);
    let size = input.len() as u64;
    let group = GROUP_BYTES as usize;
    let cases: [(u64, &[u8]); 6] = [
        (0, &[]),
        (0, &input[..group + 1]),
        (5, &input[5 * group..][..0]),
        (6, &input[..1]),
        (u64::MAX, &input[..group]),
        (u64::MAX / GROUP_BYTES, &input[..group]),
    ];
    for (first, bytes) in cases {
        assert!(prove(hash, size, &outboard, first, bytes).is_err(), "{first} {}", bytes.len());
    }
    assert!(prove(hash, u64::MAX, &outboard, 0, &input).is_err());
    prove(ContentHash::of(b""), 0, &[], 0, &[]).unwrap();
}
