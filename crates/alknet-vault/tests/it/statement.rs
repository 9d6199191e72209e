//! Identity statements, against vectors that a second implementation made.

use std::collections::BTreeMap;
use std::time::Duration;

use alknet_vault::{Epoch, KeyPurpose, Mnemonic, SignedStatement, StatementError, StatementVerifyError, Vault, limits};
use data_encoding::HEXLOWER;
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Case {
    name: String,
    mnemonic: String,
    epoch: u32,
    not_before: u64,
    not_after: u64,
    keys: BTreeMap<String, String>,
}

fn vault() -> Vault {
    Vault::new(&vectors::twelve_words(), "", Epoch::ZERO).unwrap()
}

// VAULT-25, VAULT-26
#[test]
fn vectors_verify_and_are_made_again_to_the_byte() {
    for case in vectors::json::<Vec<Case>>("ok/statement/cases.json") {
        let encoded = vectors::hex(&vectors::text(&format!("ok/statement/{}.hex", case.name)));
        let signed = SignedStatement::decode(&encoded).unwrap();
        let statement = signed.verify(case.not_before).unwrap();
        assert_eq!((statement.not_before(), statement.not_after()), (case.not_before, case.not_after));
        assert_eq!(statement.epoch().number(), case.epoch);
        for (purpose, name) in [
            (KeyPurpose::Root, "root"),
            (KeyPurpose::Node, "node"),
            (KeyPurpose::SshHost, "ssh-host"),
            (KeyPurpose::SshUser, "ssh-user"),
            (KeyPurpose::Git, "git"),
            (KeyPurpose::Messaging, "messaging"),
        ] {
            assert_eq!(HEXLOWER.encode(&statement.key(purpose).unwrap()), case.keys[name], "{name}");
        }
        assert_eq!(statement.key(KeyPurpose::Acme), None);

        let vault = Vault::new(&Mnemonic::parse(&case.mnemonic).unwrap(), "", Epoch::new(case.epoch).unwrap()).unwrap();
        let validity = Duration::from_secs(case.not_after - case.not_before);
        assert_eq!(vault.statement(case.not_before, validity).unwrap().encode(), encoded);
    }
}

// VAULT-25: a later version's labels are kept and covered by the signature
#[test]
fn unknown_labels_are_kept() {
    let encoded = vectors::hex(&vectors::text("ok/statement/unknown-label.hex"));
    let signed = SignedStatement::decode(&encoded).unwrap();
    let statement = signed.verify(15).unwrap();
    assert_eq!(statement.key(KeyPurpose::Git), Some(vault().public_key(KeyPurpose::Git)));
    assert_eq!(statement.key(KeyPurpose::Messaging), None);
    assert_eq!(signed.encode(), encoded);
}

// VAULT-27
#[test]
fn a_statement_is_valid_from_its_first_second_to_its_last() {
    let signed = vault().statement(1000, Duration::from_secs(60)).unwrap();
    assert_eq!(signed.verify(999), Err(StatementVerifyError::NotYet(1000)));
    assert!(signed.verify(1000).is_ok());
    assert!(signed.verify(1060).is_ok());
    assert_eq!(signed.verify(1061), Err(StatementVerifyError::Expired(1060)));
}

// VAULT-28
#[test]
fn statements_beyond_the_year_9999_are_not_made() {
    let vault = vault();
    assert!(vault.statement(0, Duration::from_secs(limits::MAX_STATEMENT_TIME)).is_ok());
    for (now, validity) in [(1, limits::MAX_STATEMENT_TIME), (u64::MAX, 1), (1, u64::MAX)] {
        let error = vault.statement(now, Duration::from_secs(validity)).unwrap_err();
        assert_eq!(error, StatementError::Validity);
    }
}

// VAULT-28
#[test]
fn bad_statements_are_refused() {
    vectors::all_fail("statement/parse", SignedStatement::decode);
}

// VAULT-26: well formed, but not what the root signed
#[test]
fn changed_statements_do_not_verify() {
    vectors::all_fail("statement/verify", |content| {
        let signed = SignedStatement::decode(content).unwrap();
        signed.verify(15).map(|statement| statement.epoch())
    });
}

// VAULT-10
#[test]
fn the_root_stays_through_the_epochs() {
    let vault = vault();
    let (first, later) = (vault.statement(0, Duration::from_secs(9)), vault.at_epoch(Epoch::new(7).unwrap()));
    let (first, later) = (first.unwrap(), later.statement(0, Duration::from_secs(9)).unwrap());
    let (first, later) = (first.verify(5).unwrap(), later.verify(5).unwrap());
    assert_eq!(first.root(), later.root());
    assert_ne!(first.node(), later.node());
    assert!(first.epoch() < later.epoch());
}
