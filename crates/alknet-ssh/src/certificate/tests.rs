use std::sync::Arc;

use alknet_core::Identity;
use russh::keys::{
    PrivateKey,
    ssh_key::{
        certificate::{Builder, CertType},
        private::Ed25519Keypair,
    },
};

use super::*;

const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A certificate of the key 2 by the authority 1, as it mostly is.
fn builder(principals: &[&str]) -> Builder {
    let mut builder = Builder::new([7; 16], key(2).public_key().key_data().clone(), NOW - 60, NOW + 60).unwrap();
    for principal in principals {
        builder.valid_principal(*principal).unwrap();
    }
    if principals.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    builder.key_id("alice's laptop").unwrap().serial(7).unwrap();
    builder
}

fn signed(principals: &[&str], change: impl FnOnce(&mut Builder)) -> Certificate {
    let mut builder = builder(principals);
    change(&mut builder);
    builder.sign(&key(1)).unwrap()
}

fn trusting(all: &[(&str, &str)]) -> Vec<SshGrant> {
    all.iter()
        .map(|(name, options)| SshGrant { identity: Arc::new(Identity::owner(*name)), options: (*options).into() })
        .collect()
}

fn attempt(user: &str) -> Attempt<'_> {
    Attempt { user, addr: PeerAddr::Ip("127.0.0.1:5".parse().unwrap()), now: NOW }
}

fn admitted(certificate: &Certificate, all: &[(&str, &str)], user: &str) -> Result<Admitted, CertificateRefusal> {
    admit(certificate, trusting(all), attempt(user))
}

fn name(certificate: &Certificate, all: &[(&str, &str)], user: &str) -> Result<String, CertificateRefusal> {
    admitted(certificate, all, user).map(|admitted| admitted.grant.identity.id().to_owned())
}

/// KEY-20, KEY-21.
#[test]
fn the_principals_say_who_it_is() {
    use CertificateRefusal::{Ambiguous, Authority, NoPrincipals, Principals};
    let alice = signed(&["alice"], |_| {});
    let ops = signed(&["ops", "alice"], |_| {});
    let nobody = signed(&[], |_| {});
    let ok = |who: &str| Ok(who.to_owned());
    let two = [("alice", ""), ("bob", "")];
    assert_eq!(name(&alice, &[("alice", "")], "root"), ok("alice"));
    assert_eq!(name(&alice, &two, "root"), ok("alice"));
    assert_eq!(name(&alice, &[("bob", "")], "bob"), Err(Principals));
    // The login name counts where only one peer can be meant.
    assert_eq!(name(&alice, &[("bob", "")], "alice"), ok("bob"));
    assert_eq!(name(&signed(&["root"], |_| {}), &two, "root"), Err(Principals));
    // A list of principals stands instead of the name.
    assert_eq!(name(&alice, &[("alice", "principals=\"ops\"")], "alice"), Err(Principals));
    assert_eq!(name(&ops, &[("bob", "principals=\"dev,ops\"")], "x"), ok("bob"));
    // Two fit: the login name decides, or nobody does.
    let both = [("alice", "principals=\"ops\""), ("bob", "principals=\"ops\"")];
    assert_eq!(name(&ops, &both, "bob"), ok("bob"));
    assert_eq!(name(&ops, &both, "root"), Err(Ambiguous));
    assert_eq!(name(&nobody, &two, "alice"), Err(NoPrincipals));
    assert_eq!(name(&nobody, &[("alice", "principals=\"\"")], "alice"), Err(NoPrincipals));
    assert_eq!(name(&alice, &[], "alice"), Err(Authority));
}

/// KEY-22.
#[test]
fn dates_hold_from_the_first_second_to_the_one_before_the_last() {
    let at = |after: u64, before: u64, now: u64| {
        let mut builder = Builder::new([7; 16], key(2).public_key().key_data().clone(), after, before).unwrap();
        builder.valid_principal("alice").unwrap();
        let certificate = builder.sign(&key(1)).unwrap();
        admit(&certificate, trusting(&[("alice", "")]), Attempt { now, ..attempt("alice") }).map(|it| it.until)
    };
    assert_eq!(at(NOW, NOW + 1, NOW), Ok(Some(NOW + 1)));
    assert_eq!(at(NOW, NOW + 1, NOW + 1), Err(CertificateRefusal::Expired));
    assert_eq!(at(NOW, NOW + 1, NOW - 1), Err(CertificateRefusal::TooEarly));
    assert_eq!(at(0, u64::MAX, NOW), Ok(None));
    // The library cannot represent this one, and would let it in.
    assert_eq!(at(u64::MAX - 1, u64::MAX, NOW), Err(CertificateRefusal::TooEarly));
    let line = admitted(&signed(&["alice"], |_| {}), &[("alice", "expiry-time=\"20300101Z\"")], "alice").unwrap();
    assert_eq!(line.until, Some(NOW + 60));
    let over = admitted(&signed(&["alice"], |_| {}), &[("alice", "expiry-time=\"20200101Z\"")], "alice");
    assert_eq!(over.unwrap_err(), CertificateRefusal::Options);
}

/// KEY-20.
#[test]
fn only_a_user_certificate_with_sound_keys_counts() {
    let host = signed(&["alice"], |builder| {
        builder.cert_type(CertType::Host).unwrap();
    });
    assert_eq!(name(&host, &[("alice", "")], "alice"), Err(CertificateRefusal::ForHost));
    let mut weak = Builder::new([7; 16], russh::keys::ssh_key::public::Ed25519PublicKey([0; 32]), 0, u64::MAX).unwrap();
    weak.valid_principal("alice").unwrap();
    let weak = weak.sign(&key(1)).unwrap();
    assert_eq!(name(&weak, &[("alice", "")], "alice"), Err(CertificateRefusal::Key));
}

/// KEY-23.
#[test]
fn critical_options_are_honoured_or_refuse() {
    use CertificateRefusal::{Address, Commands, CriticalOption, Options};
    let with = |name: &str, value: &str, line: &str| {
        let certificate = signed(&["alice"], |builder| {
            builder.critical_option(name, value).unwrap();
        });
        admitted(&certificate, &[("alice", line)], "alice").map(|it| it.uses.command)
    };
    assert_eq!(with("force-command", "id -u", ""), Ok(Some(b"id -u".to_vec())));
    assert_eq!(with("force-command", "id", "command=\"id\""), Ok(Some(b"id".to_vec())));
    assert_eq!(with("force-command", "id", "command=\"ls\""), Err(Commands));
    assert_eq!(with("source-address", "10.0.0.0/8,127.0.0.1", ""), Ok(None));
    assert_eq!(with("source-address", "10.0.0.0/8", ""), Err(Address));
    assert_eq!(with("source-address", "127.*", ""), Err(CriticalOption));
    assert_eq!(with("source-address", "", ""), Err(CriticalOption));
    assert_eq!(with("source-address", "127.0.0.1", "from=\"10.0.0.0/8\""), Err(Options));
    assert_eq!(with("verify-required", "", ""), Err(CriticalOption));
    assert_eq!(with("something@example.com", "", ""), Err(CriticalOption));
}

/// KEY-24.
#[test]
fn what_no_extension_permits_is_forbidden() {
    let uses = |extensions: &[&str], line: &str| {
        let certificate = signed(&["alice"], |builder| {
            for extension in extensions {
                builder.extension(*extension, "").unwrap();
            }
        });
        let uses = admitted(&certificate, &[("alice", line)], "alice").unwrap().uses;
        (uses.pty, uses.agent_forwarding, uses.port_forwarding)
    };
    assert_eq!(uses(&[], ""), (false, false, false));
    assert_eq!(uses(&["permit-pty", "unknown@example.com"], ""), (true, false, false));
    let all = ["permit-agent-forwarding", "permit-port-forwarding", "permit-pty"];
    assert_eq!(uses(&all, ""), (true, true, true));
    assert_eq!(uses(&all, "restrict,pty"), (true, false, false));
}

/// KEY-25.
#[test]
fn the_credential_names_the_certificate() {
    let admitted = admitted(&signed(&["alice"], |_| {}), &[("alice", "")], "alice").unwrap();
    let label = admitted.credential.label();
    assert!(label.starts_with("cert:alice\\'s laptop#7 ed25519:") && label.contains(" by ed25519:"), "{label}");
}
