//! Sealed blobs in both encodings, against vectors that a second implementation made.

use alknet_vault::{Epoch, OpenError, SealError, SealKeyId, SealPurpose, SealedBlob, Vault, limits};
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Case {
    name: String,
    purpose: u32,
    version: u32,
    context: String,
    plaintext: String,
}

const PURPOSES: [SealPurpose; 3] = [SealPurpose::VaultEntries, SealPurpose::Backups, SealPurpose::StoreAtRest];

fn vault() -> Vault {
    Vault::new(&vectors::twelve_words(), "", Epoch::ZERO).unwrap()
}

// VAULT-11, VAULT-12, VAULT-13, VAULT-14
#[test]
fn vectors_open_and_keep_their_bytes() {
    let vault = vault();
    for case in vectors::json::<Vec<Case>>("ok/sealed/plaintexts.json") {
        let purpose = PURPOSES[case.purpose as usize];
        let cbor = vectors::hex(&vectors::text(&format!("ok/sealed/{}.cbor.hex", case.name)));
        let from_json = SealedBlob::from_json(&vectors::bytes(&format!("ok/sealed/{}.json", case.name))).unwrap();
        let from_cbor = SealedBlob::from_cbor(&cbor).unwrap();
        assert_eq!(from_json, from_cbor);
        assert_eq!(from_json.to_cbor(), cbor);
        assert_eq!(SealedBlob::from_json(from_json.to_json().as_bytes()).unwrap(), from_json);
        assert_eq!(from_json.key(), SealKeyId::new(purpose, case.version).unwrap());
        let opened = vault.open(purpose, &vectors::hex(&case.context), &from_json).unwrap();
        assert_eq!(opened.as_slice(), vectors::hex(&case.plaintext), "{}", case.name);
    }
}

// VAULT-13: white space and the order of members do not matter in JSON
#[test]
fn json_may_be_spread_over_lines() {
    let spread = SealedBlob::from_json(&vectors::bytes("ok/sealed/spread-over-lines.json")).unwrap();
    assert_eq!(spread, SealedBlob::from_json(&vectors::bytes("ok/sealed/vault-entry.json")).unwrap());
}

// VAULT-13, VAULT-16
#[test]
fn bad_json_is_refused() {
    vectors::all_fail("sealed/json-parse", SealedBlob::from_json);
}

// VAULT-14, VAULT-16
#[test]
fn bad_cbor_is_refused() {
    vectors::all_fail("sealed/cbor-parse", SealedBlob::from_cbor);
}

// VAULT-11, VAULT-12, VAULT-15: well formed, but changed, or from elsewhere
#[test]
fn changed_blobs_stay_shut() {
    let vault = vault();
    let open = |blob: SealedBlob| vault.open(SealPurpose::VaultEntries, b"mail/account", &blob);
    vectors::all_fail("sealed/json-open", |content| open(SealedBlob::from_json(content).unwrap()));
    vectors::all_fail("sealed/cbor-open", |content| open(SealedBlob::from_cbor(content).unwrap()));
}

// VAULT-15
#[test]
fn the_opener_names_purpose_and_context() {
    let vault = vault();
    let blob = vault.seal(SealPurpose::Backups, b"here", b"secret").unwrap();
    assert_eq!(vault.open(SealPurpose::Backups, b"here", &blob).unwrap().as_slice(), b"secret");
    assert_eq!(vault.open(SealPurpose::Backups, b"there", &blob), Err(OpenError::WrongContext));
    assert_eq!(vault.open(SealPurpose::Backups, b"", &blob), Err(OpenError::WrongContext));
    assert_eq!(vault.open(SealPurpose::StoreAtRest, b"here", &blob), Err(OpenError::WrongPurpose));
    let other = Vault::new(&vectors::twelve_words(), "another", Epoch::ZERO).unwrap();
    assert_eq!(other.open(SealPurpose::Backups, b"here", &blob), Err(OpenError::NotAuthentic));
}

// VAULT-10: sealing keys have versions of their own
#[test]
fn blobs_open_in_every_epoch() {
    let vault = vault();
    let blob = vault.seal(SealPurpose::Backups, b"here", b"secret").unwrap();
    let later = vault.at_epoch(Epoch::new(8).unwrap());
    assert_eq!(later.open(SealPurpose::Backups, b"here", &blob).unwrap().as_slice(), b"secret");
}

// VAULT-16
#[test]
fn contexts_and_plaintexts_are_bounded() {
    let vault = vault();
    let seal = |context: &[u8], plaintext: &[u8]| vault.seal(SealPurpose::Backups, context, plaintext);
    assert!(matches!(seal(b"", b"x"), Err(SealError::Context)));
    assert!(matches!(seal(&[1; limits::MAX_CONTEXT_BYTES + 1], b"x"), Err(SealError::Context)));
    assert!(matches!(seal(b"c", &vec![0; limits::MAX_PLAINTEXT_BYTES + 1]), Err(SealError::TooLarge(_))));
}

// VAULT-16: the largest blob passes its own parsers' bounds
#[test]
fn the_largest_blob_fits_both_encodings() {
    let data_bytes = limits::MAX_PLAINTEXT_BYTES + 16;
    let rest = limits::MAX_CONTEXT_BYTES;
    assert!(limits::MAX_SEALED_CBOR_BYTES >= data_bytes + rest + 200);
    assert!(limits::MAX_SEALED_JSON_BYTES >= data_bytes.div_ceil(3) * 4 + rest.div_ceil(3) * 4 + 300);
    let long = vec![b' '; limits::MAX_SEALED_CBOR_BYTES + 1];
    assert!(SealedBlob::from_cbor(&long).unwrap_err().to_string().contains("longer than"));
    let long = vec![b' '; limits::MAX_SEALED_JSON_BYTES + 1];
    assert!(SealedBlob::from_json(&long).unwrap_err().to_string().contains("longer than"));
}

// VAULT-17
#[test]
fn every_seal_is_another_blob() {
    let vault = vault();
    let first: serde_json::Value =
        serde_json::from_str(&vault.seal(SealPurpose::Backups, b"c", b"x").unwrap().to_json()).unwrap();
    let second: serde_json::Value =
        serde_json::from_str(&vault.seal(SealPurpose::Backups, b"c", b"x").unwrap().to_json()).unwrap();
    for member in ["salt", "nonce", "data"] {
        assert_ne!(first[member], second[member], "{member}");
    }
}
