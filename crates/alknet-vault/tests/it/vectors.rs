//! Reads the files in `tests/vectors`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use alknet_vault::Mnemonic;
use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;

/// The mnemonic whose keys sealed the blobs and signed most statements.
pub const TWELVE_WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

pub fn twelve_words() -> Mnemonic {
    Mnemonic::parse(TWELVE_WORDS).unwrap()
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(place(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

pub fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn hex(digits: &str) -> Vec<u8> {
    HEXLOWER.decode(digits.trim().as_bytes()).unwrap()
}

/// Feeds every file of `bad/<folder>` to `parse`, which must fail, and compares each error with what
/// `bad/<folder>/errors.txt` says (`UPDATE_GOLDEN=1` writes that file).
pub fn all_fail<T, E: Display>(folder: &str, parse: impl Fn(&[u8]) -> Result<T, E>) {
    let mut errors = BTreeMap::new();
    for entry in fs::read_dir(place(&format!("bad/{folder}"))).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "errors" {
            continue;
        }
        let mut content = fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "hex") {
            content = hex(std::str::from_utf8(&content).unwrap());
        }
        match parse(&content) {
            Ok(_) => panic!("bad/{folder}/{name} was accepted"),
            Err(error) => assert!(errors.insert(name, error.to_string()).is_none(), "two vectors of one name"),
        }
    }
    let found = errors.iter().fold(String::new(), |mut all, (name, error)| {
        writeln!(all, "{name}: {error}").unwrap();
        all
    });
    let golden = format!("bad/{folder}/errors.txt");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(place(&golden), &found).unwrap();
    }
    assert_eq!(found, text(&golden), "{golden}");
}
