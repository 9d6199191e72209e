//! Addresses, each in a file of its own that is named after what is special, or wrong, about it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alknet_fs::Address;

const NOW_NS: i64 = 1_800_000_000_000_000_000;

fn vectors(kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/address").join(kind);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20);
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn good_addresses_are_read_and_written_back() {
    // FS-14
    for (path, bytes) in vectors("ok") {
        let address = Address::parse(&bytes, NOW_NS).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(Address::parse(&address.to_bytes(), NOW_NS).unwrap(), address, "{}", path.display());
    }
}

#[test]
fn bad_addresses_are_refused_in_few_printable_words() {
    // FS-12, FS-13, FS-14, FS-16
    for (path, bytes) in vectors("bad") {
        let Err(error) = Address::parse(&bytes, NOW_NS) else { panic!("{} was read", path.display()) };
        let said = error.to_string();
        assert!(said.len() < 600 && !said.contains(char::is_control), "{}: {said}", path.display());
    }
}
