//! The unlocked vault: its keys against a second implementation's, its signatures, and what it keeps to itself.

use std::collections::BTreeMap;

use alknet_vault::{DeviceNumber, Epoch, KeyPurpose, Mnemonic, SignError, Vault};
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Case {
    name: String,
    mnemonic: String,
    passphrase: String,
    epoch: u32,
    keys: BTreeMap<String, String>,
}

fn cases() -> Vec<Case> {
    vectors::json("ok/identity/table.json")
}

fn vault(case: &Case) -> Vault {
    let mnemonic = Mnemonic::parse(&case.mnemonic).unwrap();
    Vault::new(&mnemonic, &case.passphrase, Epoch::new(case.epoch).unwrap()).unwrap()
}

const PURPOSES: [(KeyPurpose, &str); 8] = [
    (KeyPurpose::Node, "node"),
    (KeyPurpose::SshHost, "ssh-host"),
    (KeyPurpose::SshUser, "ssh-user"),
    (KeyPurpose::Git, "git"),
    (KeyPurpose::Messaging, "messaging"),
    (KeyPurpose::Acme, "acme"),
    (KeyPurpose::SshAuthority, "ssh-authority"),
    (KeyPurpose::Root, "root"),
];

// VAULT-04, VAULT-06, VAULT-09: keys that another implementation derived
#[test]
fn all_keys_of_the_table() {
    for case in cases() {
        let vault = vault(&case);
        let device = (KeyPurpose::Device(DeviceNumber::new(1).unwrap()), "device-1");
        for (purpose, name) in PURPOSES.into_iter().chain([device]) {
            assert_eq!(HEXLOWER.encode(&vault.public_key(purpose)), case.keys[name], "{name} of {}", case.name);
        }
        assert_eq!(HEXLOWER.encode(&vault.ethereum_public_key()), case.keys["ethereum"], "{}", case.name);
    }
}

// VAULT-09
#[test]
fn an_epoch_changes_all_keys_but_the_root() {
    let vault = vault(&cases()[0]);
    let later = vault.at_epoch(Epoch::new(1).unwrap());
    assert_eq!(later.epoch().number(), 1);
    for (purpose, name) in PURPOSES {
        let same = vault.public_key(purpose) == later.public_key(purpose);
        assert_eq!(same, purpose == KeyPurpose::Root, "{name}");
    }
    assert_eq!(vault.ethereum_public_key(), later.ethereum_public_key());
}

#[test]
fn signatures_verify_under_the_public_key_of_their_purpose() {
    let vault = vault(&cases()[0]);
    for (purpose, name) in PURPOSES.into_iter().filter(|(purpose, _)| *purpose != KeyPurpose::Root) {
        let signature = Signature::from_bytes(&vault.sign(purpose, b"message").unwrap());
        let key = VerifyingKey::from_bytes(&vault.public_key(purpose)).unwrap();
        key.verify_strict(b"message", &signature).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(key.verify_strict(b"massage", &signature).is_err());
    }
}

// VAULT-10
#[test]
fn the_root_signs_nothing_but_statements() {
    let vault = vault(&cases()[0]);
    assert_eq!(vault.sign(KeyPurpose::Root, b"alknet-identity-v1\0"), Err(SignError::Root));
}

#[test]
fn the_ssh_host_seed_is_the_one_of_its_public_key() {
    let vault = vault(&cases()[0]);
    let key = SigningKey::from_bytes(&vault.ssh_host_seed());
    assert_eq!(key.verifying_key().to_bytes(), vault.public_key(KeyPurpose::SshHost));
}

// VAULT-03
#[test]
fn debug_shows_node_and_epoch_only() {
    let case = &cases()[0];
    assert_eq!(format!("{:?}", vault(case)), format!("Vault(node {}, epoch 0)", case.keys["node"]));
}
