//! User certificates made by `ssh-keygen`, and the host's own, with the stock client.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU64, Ordering},
};

use alknet_core::{AuditOutcome, Identity, KeyPurpose, KeySigner};
use alknet_ssh::{HostCertificate, HostKey, known_hosts_line};
use alknet_testkit::identities::TestKeys;

use crate::{
    key_options::{Forwards, forwards},
    node::{Node, wait_for},
};

/// A node where the authority `ca` is trusted for `alice`, and a key `user` to certify.
fn node() -> Node {
    let node = Node::start();
    for name in ["ca", "user"] {
        node.make_key(name, "ed25519", &[]);
    }
    trust(&node, "alice", "");
    node
}

fn trust(node: &Node, name: &str, options: &str) {
    node.identities.trust(node.fingerprint("ca"), node.standing(Identity::owner(name)), options);
}

/// Certifies `user`, by `ca` unless `args` say otherwise; the last `-n` counts.
fn certify(node: &Node, args: &[&str]) {
    let usual = ["-q", "-s", "ca", "-I", "alice's laptop", "-z", "7", "-n", "alice", "-V", "-1m:+1h"];
    node.keygen(&[&usual, args, &["user.pub"]].concat());
}

fn ssh(node: &Node, user: &str, options: &[&str], command: &str) -> Command {
    let certificate = format!("CertificateFile={}", node.path("user-cert.pub").display());
    let options = [&["-o", certificate.as_str()], options].concat();
    node.ssh_as(user, &node.path("user"), &options, command)
}

fn run(node: &Node, user: &str, options: &[&str], command: &str) -> Output {
    ssh(node, user, options, command).output().unwrap()
}

fn gets_in(node: &Node, user: &str) -> bool {
    let output = run(node, user, &[], "echo in");
    match output.status.code() {
        Some(0) => output.stdout == b"in\n",
        Some(255) if output.stdout.is_empty() => false,
        _ => panic!("{output:?}"),
    }
}

/// KEY-20, KEY-25.
#[test]
fn a_certificate_of_a_trusted_authority_lets_in() {
    let node = node();
    certify(&node, &[]);
    for user in ["alice", "nodeuser", "alknet"] {
        assert!(gets_in(&node, user), "{user}");
    }
    let event = node.audit.events().into_iter().find(|event| event.outcome == AuditOutcome::Allowed).unwrap();
    let (key, ca) = (node.fingerprint("user"), node.fingerprint("ca"));
    assert_eq!(event.identity.as_deref(), Some("alice"));
    assert_eq!(event.credential, Some(format!("cert:alice\\'s laptop#7 {key} by {ca}")));
    assert!(!gets_in(&node, "bob"), "a wrong name fails like a wrong key");
}

/// KEY-20: the key alone is nobody's.
#[test]
fn without_its_certificate_the_key_is_nobodys() {
    let node = node();
    let output = node.ssh_as("alice", &node.path("user"), &[], "echo in").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(255), 0));
    wait_for("the failure in the audit", || node.logins(AuditOutcome::Denied) == 1);
}

/// KEY-20: types of keys, for the holder and for the authority.
#[test]
fn every_type_of_key_certifies_and_is_certified() {
    for (kind, more) in [("rsa", ["-b", "2048"]), ("ecdsa", ["-b", "384"])] {
        let node = Node::start();
        node.make_key("ca", kind, &more);
        node.make_key("user", kind, &more);
        trust(&node, "alice", "");
        certify(&node, &[]);
        assert!(gets_in(&node, "alice"), "{kind}");
        if kind == "rsa" {
            certify(&node, &["-t", "ssh-rsa"]);
            assert!(!gets_in(&node, "alice"), "an authority's signature with SHA-1");
        }
    }
}

/// KEY-20 to KEY-24: each is refused for what it is named after.
#[test]
fn bad_certificates_are_refused() {
    let node = node();
    node.make_key("other", "ed25519", &[]);
    for (name, args) in [
        ("expired", ["-V", "-2h:-1h"].as_slice()),
        ("not_yet_valid", &["-V", "+1h:+2h"]),
        ("another_principal", &["-n", "bob"]),
        ("host_certificate", &["-h"]),
        ("another_authority", &["-s", "other"]),
        ("unknown_critical_option", &["-O", "critical:unknown@example.com=1"]),
        ("verify_required", &["-O", "verify-required"]),
        ("another_address", &["-O", "source-address=10.0.0.0/8"]),
    ] {
        certify(&node, args);
        assert!(!gets_in(&node, "alice"), "{name}");
    }
    node.keygen(&["-q", "-s", "ca", "-I", "for everybody", "user.pub"]);
    assert!(!gets_in(&node, "alice"), "no_principals");
    certify(&node, &["-O", "source-address=127.0.0.0/8"]);
    assert!(gets_in(&node, "alice"), "so each was refused for its defect");
    let failures = node.logins(AuditOutcome::Denied);
    certify(&node, &["-n", "bob", "-I", "x\u{1b}y"]);
    assert!(!gets_in(&node, "alice"));
    wait_for("the failure in the audit", || node.logins(AuditOutcome::Denied) > failures);
    let detail = node.audit.events().into_iter().rev().find_map(|event| event.detail).unwrap();
    assert!(detail.contains("certificate x\\u{1b}y#7: the certificate is for somebody else"), "{detail}");
}

/// KEY-20: one bit of what was signed is another.
#[test]
fn a_tampered_certificate_is_refused() {
    let node = node();
    certify(&node, &["-n", "bobby"]);
    let path = node.path("user-cert.pub");
    let text = std::fs::read_to_string(&path).unwrap();
    let encoded = text.split(' ').nth(1).unwrap();
    // "bobby" in base64, at whichever of the three offsets it stands: made "alice" by hand.
    let decoded = decode(encoded);
    let at = decoded.windows(5).position(|window| window == b"bobby").unwrap();
    let mut forged = decoded;
    forged[at..at + 5].copy_from_slice(b"alice");
    std::fs::write(&path, text.replace(encoded, &encode(&forged))).unwrap();
    assert!(!gets_in(&node, "alice"));
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|b| *b != b'=').map(|b| ALPHABET.iter().position(|c| *c == b).unwrap() as u32);
    let digits: Vec<u32> = digits.collect();
    let group = |four: &[u32]| {
        let number = (0..4).fold(0, |sum, at| sum << 6 | four.get(at).copied().unwrap_or(0));
        number.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

fn encode(bytes: &[u8]) -> String {
    let group =
        |three: &[u8]| {
            let number = (0..3).fold(0, |sum, at| sum << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
            (0..4usize)
                .map(|at| {
                    if at <= three.len() { char::from(ALPHABET[(number >> (18 - 6 * at) & 63) as usize]) } else { '=' }
                })
                .collect::<String>()
        };
    bytes.chunks(3).map(group).collect()
}

/// KEY-23, KEY-24.
#[test]
fn options_of_the_certificate_are_honoured() {
    let node = node();
    certify(&node, &["-O", "force-command=echo forced: $SSH_ORIGINAL_COMMAND"]);
    assert_eq!(run(&node, "alice", &[], "id").stdout, b"forced: id\n");
    certify(&node, &["-O", "no-pty"]);
    let output = run(&node, "alice", &["-tt"], "tty");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("/dev/"), "{output:?}");
    certify(&node, &[]);
    assert!(String::from_utf8_lossy(&run(&node, "alice", &["-tt"], "tty").stdout).contains("/dev/"));
}

/// KEY-24.
#[test]
fn a_certificate_permits_what_its_extensions_say() {
    let node = node();
    for (options, may) in [
        (&[][..], (true, true, true)),
        (&["-O", "clear"], (false, false, false)),
        (&["-O", "clear", "-O", "permit-agent-forwarding"], (true, false, false)),
        (&["-O", "clear", "-O", "permit-port-forwarding"], (false, true, true)),
    ] {
        certify(&node, options);
        assert_eq!(forwards(&node, |args, command| ssh(&node, "alice", args, command)), may, "{options:?}");
    }
}

/// KEY-21.
#[test]
fn principals_of_the_line_stand_instead_of_the_name() {
    let node = node();
    trust(&node, "bob", "principals=\"ops,dev\"");
    certify(&node, &["-n", "ops"]);
    assert!(gets_in(&node, "bob") && !gets_in(&node, "alice"));
    let event = node.audit.events().into_iter().find(|event| event.outcome == AuditOutcome::Allowed).unwrap();
    assert_eq!(event.identity.as_deref(), Some("bob"));
}

static NOW: AtomicU64 = AtomicU64::new(0);

fn now() -> u64 {
    let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    system + NOW.load(Ordering::Relaxed)
}

/// KEY-22.
#[test]
fn nothing_new_is_authorised_once_the_certificate_has_expired() {
    let node = Node::with(|config| config.clock = now);
    node.make_key("ca", "ed25519", &[]);
    node.keygen(&["-q", "-s", "ca", "-I", "x", "-n", "alice", "-V", "-1m:+1h", "me.pub"]);
    node.identities.forget(&node.credential("me"));
    trust(&node, "alice", "");
    let (master, socket) = node.master();
    assert_eq!(node.text(&["-o", &socket], "echo in"), "in\n");
    let forwards = Forwards::of(&node, &socket);
    NOW.fetch_add(3600, Ordering::Relaxed);
    let late = node.run(&["-o", &socket], "echo in");
    assert_eq!((late.status.success(), late.stdout.len()), (false, 0), "{late:?}");
    forwards.have_ended(&node, &socket);
    drop(master);
}

/// KEY-26.
#[test]
fn sessions_end_with_the_rights_of_the_peer() {
    let node = Node::start();
    node.make_key("ca", "ed25519", &[]);
    node.keygen(&["-q", "-s", "ca", "-I", "x", "-n", "alice", "me.pub"]);
    trust(&node, "alice", "");
    let (mut master, _) = node.master();
    wait_for("the session", || node.sessions.list().len() == 1);
    assert_eq!(node.remove("me", "alice"), 1);
    wait_for("the client to be cut off", || master.0.try_wait().unwrap().is_some());
}

/// KEY-40, KEY-41: with nothing but the authority's line, and without knowing of certificates.
#[test]
fn the_host_proves_itself_by_its_certificate() {
    let host = HostKey::from_seed([7; 32].into());
    let keys = TestKeys::new(3);
    let certificate = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        HostCertificate::issue(&host, &names, now(), [1; 32], &keys).unwrap()
    };
    let node = Node::with(|config| config.host_certificate = Some(certificate(&["node.test", "127.0.0.1"])));
    let strictly = |known: &str| strictly(&node, known, &[]);
    let port = node.port;
    let ours = known_hosts_line("*", keys.public_key(KeyPurpose::SshAuthority));
    let other = known_hosts_line("*", TestKeys::new(4).public_key(KeyPurpose::SshAuthority));
    assert_eq!(strictly(&ours), b"in\n");
    assert_eq!(strictly(&format!("[127.0.0.1]:{port} {}\n", host.public_openssh())), b"in\n", "a plain entry will do");
    assert_eq!(strictly(&other), b"", "another authority");
    node.server.set_host_certificate(certificate(&["node.test"]));
    assert_eq!(strictly(&ours), b"", "another name");
    node.server.set_host_certificate(certificate(&["127.0.0.1"]));
    assert_eq!(strictly(&ours), b"in\n", "renewed");
}

/// What a client says that trusts these hosts and no others.
fn strictly(node: &Node, known: &str, options: &[&str]) -> Vec<u8> {
    std::fs::write(node.path("known"), known).unwrap();
    let known = format!("UserKnownHostsFile={}", node.path("known").display());
    // What comes first holds; the helper's own come later.
    let first = ["-o", "StrictHostKeyChecking=yes", "-o", &known, "-o", "GlobalKnownHostsFile=none"];
    node.run(&[first.as_slice(), options].concat(), "echo in").stdout
}

/// KEY-40: as `alknet ssh-config` has clients look for it.
#[test]
fn an_alias_that_the_certificate_names_is_the_host() {
    let host = HostKey::from_seed([7; 32].into());
    let keys = TestKeys::new(3);
    let certificate = |name: &str| HostCertificate::issue(&host, &[name.to_owned()], now(), [1; 32], &keys).unwrap();
    let node = Node::with(|config| config.host_certificate = Some(certificate("alknet-x")));
    let line = known_hosts_line("alknet-x", keys.public_key(KeyPurpose::SshAuthority));
    let by_alias = |alias: &str| strictly(&node, &line, &["-o", &format!("HostKeyAlias={alias}")]);
    assert_eq!(by_alias("alknet-x"), b"in\n");
    assert_eq!(by_alias("alknet-y"), b"", "the line is not about it");
    assert_eq!(strictly(&node, &line, &[]), b"", "nor about the address");
    node.server.set_host_certificate(certificate("x"));
    assert_eq!(by_alias("alknet-x"), b"", "the certificate is not about it");
}
