//! Properties: what is made is read again, what is changed is refused, and no bytes make a parser panic.

use std::sync::LazyLock;
use std::time::Duration;

use alknet_vault::{
    DerivationPath, Epoch, KeyFile, Keystore, Language, Mnemonic, PathStep, SealKeyId, SealPurpose, SealedBlob,
    Secp256k1Node, SignedStatement, Unlock, Vault,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::vectors;

static VAULT: LazyLock<Vault> = LazyLock::new(|| Vault::new(&vectors::twelve_words(), "", Epoch::ZERO).unwrap());
static KEY_FILE: LazyLock<KeyFile> = LazyLock::new(|| KeyFile::generate().unwrap());
static KEYSTORE: LazyLock<String> = LazyLock::new(|| {
    Keystore::seal(&vectors::twelve_words(), "", Epoch::ZERO, Unlock::KeyFile(&KEY_FILE)).unwrap().to_json()
});

fn flipped(bytes: &[u8], at: prop::sample::Index, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    bytes
}

fn purpose() -> impl Strategy<Value = SealPurpose> {
    prop_oneof![Just(SealPurpose::VaultEntries), Just(SealPurpose::Backups), Just(SealPurpose::StoreAtRest)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entropy_survives_its_words(words in 4..=8usize, bytes in any::<[u8; 32]>(), japanese in any::<bool>()) {
        let language = if japanese { Language::Japanese } else { Language::English };
        let made = Mnemonic::from_entropy(language, &bytes[..words * 4]).unwrap();
        let parsed = Mnemonic::parse(&made.phrase()).unwrap();
        prop_assert_eq!(parsed.language(), language);
        prop_assert_eq!(parsed.word_count(), words * 3);
        prop_assert_eq!(parsed.phrase(), made.phrase());
    }

    #[test]
    fn paths_survive_their_text(indexes in vec(any::<u32>(), 0..20)) {
        let text = indexes.iter().fold("m".to_owned(), |text, index| format!("{text}/{}", PathStep::from_index(*index)));
        let path: DerivationPath = text.parse().unwrap();
        prop_assert_eq!(path.to_string(), text);
        prop_assert_eq!(path.steps().iter().map(|step| step.index()).collect::<Vec<_>>(), indexes);
    }

    #[test]
    fn blobs_survive_both_encodings(
        purpose in purpose(),
        version in 1..0x8000_0000u32,
        context in vec(any::<u8>(), 1..64),
        plaintext in vec(any::<u8>(), 0..256),
    ) {
        let key = SealKeyId::new(purpose, version).unwrap();
        let blob = VAULT.seal(key, &context, &plaintext).unwrap();
        let from_json = SealedBlob::from_json(blob.to_json().as_bytes()).unwrap();
        let from_cbor = SealedBlob::from_cbor(&blob.to_cbor()).unwrap();
        prop_assert_eq!(&from_json, &blob);
        prop_assert_eq!(&from_cbor, &blob);
        prop_assert_eq!(&VAULT.open(purpose, &context, &from_cbor).unwrap()[..], &plaintext[..]);
    }

    // VAULT-12, VAULT-14
    #[test]
    fn any_flipped_bit_keeps_a_cbor_blob_shut(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let blob = VAULT.seal(SealPurpose::VaultEntries, b"context", b"plaintext").unwrap().to_cbor();
        let opened = SealedBlob::from_cbor(&flipped(&blob, at, bit))
            .ok()
            .and_then(|blob| VAULT.open(SealPurpose::VaultEntries, b"context", &blob).ok());
        prop_assert!(opened.is_none());
    }

    // VAULT-12, VAULT-13
    #[test]
    fn any_flipped_bit_keeps_a_json_blob_shut(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let blob = VAULT.seal(SealPurpose::VaultEntries, b"context", b"plaintext").unwrap().to_json();
        let opened = SealedBlob::from_json(&flipped(blob.as_bytes(), at, bit))
            .ok()
            .and_then(|blob| VAULT.open(SealPurpose::VaultEntries, b"context", &blob).ok());
        prop_assert!(opened.is_none());
    }

    // VAULT-21, VAULT-22: white space in JSON is the one thing that may change
    #[test]
    fn a_flipped_bit_never_opens_another_keystore(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let changed = flipped(KEYSTORE.as_bytes(), at, bit);
        if let Ok(keystore) = Keystore::parse(&changed) {
            prop_assert_eq!(keystore.to_json(), KEYSTORE.as_str());
        }
    }

    // VAULT-26, VAULT-28
    #[test]
    fn any_flipped_bit_spoils_a_statement(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let encoded = VAULT.statement(1000, Duration::from_secs(1000)).unwrap().encode();
        let believed = SignedStatement::decode(&flipped(&encoded, at, bit)).ok().is_some_and(|it| it.verify(1500).is_ok());
        prop_assert!(!believed);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = Keystore::parse(&bytes);
        let _ = KeyFile::parse(&bytes);
        let _ = SealedBlob::from_json(&bytes);
        let _ = SealedBlob::from_cbor(&bytes);
        let _ = SignedStatement::decode(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = Mnemonic::parse(&text);
        let _ = Secp256k1Node::from_xprv(&text);
        let _ = text.parse::<DerivationPath>();
        let _ = text.parse::<SealKeyId>();
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,200}") {
        let _ = Mnemonic::parse(&text);
        let _ = Secp256k1Node::from_xprv(&text);
        let _ = format!("m/{text}").parse::<DerivationPath>();
        let _ = KeyFile::parse(format!("alknet-key-file-v1\n{text}").as_bytes());
        let _ = SealedBlob::from_json(format!("{{\"v\":1,{text}}}").as_bytes());
    }

    /// Half-right input reaches further into the parsers than noise does.
    #[test]
    fn no_splice_makes_a_parser_panic(
        cut in any::<prop::sample::Index>(),
        skip in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..16),
    ) {
        let splice = |whole: &[u8]| {
            let (cut, skip) = (cut.index(whole.len()), skip.index(whole.len()));
            [&whole[..cut], &noise, &whole[skip..]].concat()
        };
        let blob = VAULT.seal(SealPurpose::VaultEntries, b"context", b"plaintext").unwrap();
        let _ = SealedBlob::from_cbor(&splice(&blob.to_cbor()));
        let _ = SealedBlob::from_json(&splice(blob.to_json().as_bytes()));
        let _ = Keystore::parse(&splice(KEYSTORE.as_bytes()));
        let _ = SignedStatement::decode(&splice(&VAULT.statement(0, Duration::from_secs(9)).unwrap().encode()));
    }
}
