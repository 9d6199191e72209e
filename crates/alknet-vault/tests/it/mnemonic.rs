//! BIP39 against the official English and Japanese vectors, and against phrases that are none.

use alknet_vault::{Language, Mnemonic, MnemonicError, Secp256k1Node};
use data_encoding::HEXLOWER;
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Case {
    entropy: String,
    mnemonic: String,
    passphrase: String,
    seed: String,
    xprv: String,
}

fn check(name: &str, language: Language) {
    let cases: Vec<Case> = vectors::json(name);
    assert_eq!(cases.len(), 24);
    for case in cases {
        let mnemonic = Mnemonic::parse(&case.mnemonic).unwrap();
        assert_eq!(mnemonic.language(), language);
        let seed = mnemonic.seed(&case.passphrase).unwrap();
        assert_eq!(HEXLOWER.encode(seed.as_bytes()), case.seed);
        assert_eq!(Secp256k1Node::master(seed.as_bytes()).unwrap().to_xprv().as_str(), case.xprv);

        let made = Mnemonic::from_entropy(language, &vectors::hex(&case.entropy)).unwrap();
        assert_eq!(made.seed(&case.passphrase).unwrap().as_bytes(), seed.as_bytes());
        let printed = Mnemonic::parse(&made.phrase()).unwrap();
        assert_eq!(printed.seed(&case.passphrase).unwrap().as_bytes(), seed.as_bytes());
        if language == Language::English {
            assert_eq!(made.phrase().as_str(), case.mnemonic);
        }
    }
}

// VAULT-01, VAULT-02
#[test]
fn english_vectors() {
    check("ok/mnemonic/english.json", Language::English);
}

// VAULT-01, VAULT-02
#[test]
fn japanese_vectors() {
    check("ok/mnemonic/japanese.json", Language::Japanese);
}

// VAULT-01, VAULT-03: the errors name positions and rules
#[test]
fn bad_phrases_are_refused_without_repeating_a_word() {
    vectors::all_fail("mnemonic", |content| {
        let phrase = std::str::from_utf8(content).unwrap();
        Mnemonic::parse(phrase).inspect_err(|error| {
            let shown = format!("{error} {error:?}");
            for word in phrase.split_whitespace().filter(|word| !word.is_empty()) {
                assert!(!shown.to_lowercase().contains(&word.to_lowercase()), "{shown} repeats a word");
            }
        })
    });
}

#[test]
fn white_space_does_not_matter() {
    let spread = format!("\n  {}\t\r\n", vectors::TWELVE_WORDS.replace(' ', " \n "));
    assert_eq!(Mnemonic::parse(&spread).unwrap().phrase().as_str(), vectors::TWELVE_WORDS);
}

// VAULT-02
#[test]
fn passphrases_are_compared_in_nfkd() {
    let mnemonic = vectors::twelve_words();
    let (composed, decomposed) = (mnemonic.seed("caf\u{e9}").unwrap(), mnemonic.seed("cafe\u{301}").unwrap());
    assert_eq!(composed.as_bytes(), decomposed.as_bytes());
    assert_ne!(composed.as_bytes(), mnemonic.seed("cafe").unwrap().as_bytes());
}

#[test]
fn long_passphrases_are_refused() {
    let mnemonic = vectors::twelve_words();
    assert!(mnemonic.seed(&"x".repeat(1024)).is_ok());
    assert_eq!(mnemonic.seed(&"x".repeat(1025)).err().unwrap(), MnemonicError::PassphraseTooLong);
}
