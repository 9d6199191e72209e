//! Keystores and key files, against vectors that a second implementation made.

use std::time::{Duration, Instant};

use alknet_vault::{
    Argon2Params, Epoch, KeyFile, KeyPurpose, Keystore, KeystoreError, Mnemonic, SealKeystoreError, Unlock,
    UnlockError, UnlockKind, Vault,
};
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Case {
    name: String,
    unlock: String,
    entropy: String,
    passphrase: String,
    epoch: u32,
}

/// The weakest parameters that are allowed, for speed.
fn quick() -> Argon2Params {
    Argon2Params::new(19 * 1024, 2, 1).unwrap()
}

fn key_file() -> KeyFile {
    KeyFile::parse(&vectors::bytes("ok/key-file/key-file.txt")).unwrap()
}

fn load(name: &str) -> Keystore {
    Keystore::parse(&vectors::bytes(name)).unwrap()
}

// VAULT-18, VAULT-19, VAULT-21
#[test]
fn vectors_open_and_keep_their_bytes() {
    for case in vectors::json::<Vec<Case>>("ok/keystore/contents.json") {
        let keystore = load(&format!("ok/keystore/{}.json", case.name));
        let key_file;
        let unlock = match KeyFile::parse(case.unlock.as_bytes()) {
            Ok(parsed) => {
                key_file = parsed;
                Unlock::KeyFile(&key_file)
            }
            Err(_) => Unlock::Passphrase(&case.unlock),
        };
        let revealed = keystore.reveal(unlock).unwrap();
        let entropy = vectors::hex(&case.entropy);
        let expected = Mnemonic::from_entropy(revealed.mnemonic.language(), &entropy).unwrap();
        assert_eq!(revealed.mnemonic.phrase(), expected.phrase(), "{}", case.name);
        assert_eq!(revealed.passphrase.as_str(), case.passphrase);

        let vault = keystore.open(unlock).unwrap();
        assert_eq!(vault.epoch(), Epoch::new(case.epoch).unwrap());
        assert_eq!(vault.public_key(KeyPurpose::Node), keystore.node_key());
        assert_eq!(
            load(&format!("ok/keystore/{}.json", case.name)),
            Keystore::parse(keystore.to_json().as_bytes()).unwrap()
        );
    }
}

// VAULT-18
#[test]
fn bad_files_are_refused() {
    vectors::all_fail("keystore/parse", Keystore::parse);
    vectors::all_fail("keystore/derivation", Keystore::parse);
}

// VAULT-20: refused by parsing, so before any work
#[test]
fn weak_and_costly_parameters_are_refused_before_any_work() {
    let start = Instant::now();
    vectors::all_fail("keystore/weak", Keystore::parse);
    vectors::all_fail("keystore/costly", Keystore::parse);
    assert!(start.elapsed().as_secs() < 1, "parsing stretched something");
}

// VAULT-22
#[test]
fn damage_is_told_from_a_wrong_passphrase() {
    vectors::all_fail("keystore/damaged", |content| {
        Keystore::parse(content).inspect_err(|error| assert_eq!(*error, KeystoreError::Damaged))
    });
    let keystore = load("ok/keystore/passphrase.json");
    assert_eq!(keystore.open(Unlock::Passphrase("wrong")).unwrap_err(), UnlockError::WrongPassphrase);
    let other = KeyFile::parse(&vectors::bytes("ok/key-file/other.txt")).unwrap();
    let keystore = load("ok/keystore/key-file.json");
    assert_eq!(keystore.open(Unlock::KeyFile(&other)).unwrap_err(), UnlockError::WrongKeyFile);
}

// VAULT-21: whoever repairs the sum after a change still cannot make the file open
#[test]
fn forged_files_stay_shut() {
    let key_file = key_file();
    vectors::all_fail("keystore/forged", |content| Keystore::parse(content).unwrap().open(Unlock::KeyFile(&key_file)));
}

// VAULT-21, VAULT-23: made by a holder of the key file
#[test]
fn strange_contents_are_refused() {
    let key_file = key_file();
    vectors::all_fail("keystore/content", |content| Keystore::parse(content).unwrap().open(Unlock::KeyFile(&key_file)));
}

// VAULT-19
#[test]
fn a_passphrase_seals_and_opens() {
    let mnemonic = vectors::twelve_words();
    let unlock = Unlock::Passphrase("caf\u{e9}");
    let epoch = Epoch::new(2).unwrap();
    let content = Keystore::seal_with(&mnemonic, "TREZOR", epoch, unlock, quick()).unwrap().to_json();
    let keystore = Keystore::parse(content.as_bytes()).unwrap();
    assert_eq!(keystore.unlocked_by(), UnlockKind::Passphrase);

    let vault = keystore.open(Unlock::Passphrase("cafe\u{301}")).unwrap();
    let expected = Vault::new(&mnemonic, "TREZOR", epoch).unwrap();
    assert_eq!(vault.public_key(KeyPurpose::Node), expected.public_key(KeyPurpose::Node));
    assert_eq!(keystore.reveal(unlock).unwrap().mnemonic.phrase().as_str(), vectors::TWELVE_WORDS);
    assert_eq!(keystore.open(Unlock::Passphrase("cafe")).unwrap_err(), UnlockError::WrongPassphrase);
    let error = keystore.open(Unlock::KeyFile(&key_file())).unwrap_err();
    assert_eq!(error, UnlockError::OtherMeans(UnlockKind::Passphrase));
}

// VAULT-19
#[test]
fn a_key_file_seals_and_opens() {
    let key_file = KeyFile::generate().unwrap();
    let unlock = Unlock::KeyFile(&key_file);
    let content = Keystore::seal(&vectors::twelve_words(), "", Epoch::ZERO, unlock).unwrap().to_json();
    let keystore = Keystore::parse(content.as_bytes()).unwrap();
    assert_eq!(keystore.unlocked_by(), UnlockKind::KeyFile);
    let again = KeyFile::parse(key_file.to_text().as_bytes()).unwrap();
    assert_eq!(keystore.open(Unlock::KeyFile(&again)).unwrap().public_key(KeyPurpose::Node), keystore.node_key());
    assert_eq!(keystore.open(Unlock::Passphrase("x")).unwrap_err(), UnlockError::OtherMeans(UnlockKind::KeyFile));
}

// VAULT-19: fresh salt and nonce
#[test]
fn every_keystore_is_another_file() {
    let key_file = key_file();
    let seal = || Keystore::seal(&vectors::twelve_words(), "", Epoch::ZERO, Unlock::KeyFile(&key_file)).unwrap();
    assert_ne!(seal().to_json(), seal().to_json());
}

// VAULT-20
#[test]
fn the_default_parameters_are_stored() {
    let unlock = Unlock::Passphrase("a passphrase");
    let content = Keystore::seal(&vectors::twelve_words(), "", Epoch::ZERO, unlock).unwrap().to_json();
    let file: serde_json::Value = serde_json::from_str(&content).unwrap();
    let params = Argon2Params::default();
    assert_eq!(
        file["kdf"],
        serde_json::json!({
            "name": "argon2id", "memory_kib": params.memory_kib(), "passes": params.passes(), "lanes": params.lanes(),
        })
    );
}

/// Resident memory of this process, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// VAULT-20: of 64 MiB nothing stays; tests beside this one may hold their own for a while
#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_argon2_is_released() {
    let before = resident_kib();
    let unlock = Unlock::Passphrase("a passphrase");
    let keystore = Keystore::seal(&vectors::twelve_words(), "", Epoch::ZERO, unlock).unwrap();
    keystore.open(unlock).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while resident_kib() > before + 16 * 1024 {
        assert!(Instant::now() < deadline, "{} KiB before, {} KiB after", before, resident_kib());
        std::thread::yield_now();
    }
}

#[test]
fn useless_passphrases_are_refused() {
    let seal = |passphrase: &str| {
        Keystore::seal_with(&vectors::twelve_words(), "", Epoch::ZERO, Unlock::Passphrase(passphrase), quick())
    };
    assert!(matches!(seal(""), Err(SealKeystoreError::EmptyPassphrase)));
    assert!(matches!(seal(&"x".repeat(1025)), Err(SealKeystoreError::PassphraseTooLong)));
    let keystore = load("ok/keystore/passphrase.json");
    let long = "x".repeat(1025);
    assert_eq!(keystore.open(Unlock::Passphrase(&long)).unwrap_err(), UnlockError::PassphraseTooLong);
}

// VAULT-24
#[test]
fn key_files_keep_their_bytes() {
    let content = vectors::text("ok/key-file/key-file.txt");
    assert_eq!(KeyFile::parse(content.as_bytes()).unwrap().to_text().as_str(), content);
    let bare = KeyFile::parse(&vectors::bytes("ok/key-file/without-last-line-feed.txt")).unwrap();
    assert_eq!(bare.to_text().as_str(), content);
    assert_ne!(KeyFile::generate().unwrap().to_text(), KeyFile::generate().unwrap().to_text());
}

// VAULT-24
#[test]
fn bad_key_files_are_refused() {
    vectors::all_fail("key-file", KeyFile::parse);
}

// VAULT-03
#[test]
fn debug_shows_public_things_only() {
    let shown = format!("{:?}", load("ok/keystore/key-file.json"));
    assert!(shown.contains("epoch 3") && shown.contains("a key file") && shown.len() < 150, "{shown}");
}
