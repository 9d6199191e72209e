//! Revoked keys and certificates: lists made by `ssh-keygen -k`, and its own answers to compare with.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use alknet_core::Identity;

use crate::node::{Node, wait_for};

const SOON: Duration = Duration::from_secs(10);

/// A node that takes its revoked keys from `krl`, where `ca` certifies for `alice`, and certificates `a` to `d` of keys of that name.
fn node() -> Node {
    let node = Node::start();
    for name in ["ca", "ca2", "a", "b", "c", "d", "plain"] {
        node.make_key(name, "ed25519", &[]);
    }
    for ca in ["ca", "ca2"] {
        node.identities.trust(node.fingerprint(ca), node.standing(Identity::owner("alice")), "");
    }
    node.know("plain", Identity::owner("alice"));
    for (name, ca, serial) in [("a", "ca", "1"), ("b", "ca", "2"), ("c", "ca", "100000"), ("d", "ca2", "1")] {
        node.keygen(&[
            "-q",
            "-s",
            ca,
            "-I",
            &format!("id-{name}"),
            "-z",
            serial,
            "-n",
            "alice",
            &format!("{name}.pub"),
        ]);
    }
    node
}

/// Takes the list in force, as a reload does.
fn revoke_from(node: &Node, file: &str) {
    let mut config = alknet_ssh::SshConfig::new(
        alknet_ssh::HostKey::from_seed([7; 32].into()),
        "nodeuser",
        "/bin/sh",
        node.dir.path(),
    );
    config.revoked_keys = Some(node.path(file));
    node.runtime.block_on(async { node.server.set_config(config) });
}

fn gets_in(node: &Node, key: &str) -> bool {
    let output = node.ssh_as("alice", &node.path(key), &[], "echo in").output().unwrap();
    match output.status.code() {
        Some(0) => output.stdout == b"in\n",
        Some(255) if output.stdout.is_empty() => false,
        _ => panic!("{output:?}"),
    }
}

/// Whether `ssh-keygen -Q` finds the key, or its certificate, in the list.
fn is_listed(node: &Node, key: &str) -> bool {
    let certificate = format!("{key}-cert.pub");
    let file = if node.path(&certificate).exists() { certificate } else { format!("{key}.pub") };
    let asked = Command::new("ssh-keygen").current_dir(node.dir.path()).args(["-Q", "-f", "krl", &file]).output();
    !asked.unwrap().status.success()
}

/// KEY-30, KEY-31: every way to revoke, and the same answers as OpenSSH's.
#[test]
fn a_key_revocation_list_says_what_ssh_keygen_says() {
    let node = node();
    let sha256 = |key: &str| {
        let shown = node.keygen(&["-l", "-f", &format!("{key}.pub")]).stdout;
        String::from_utf8(shown).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let plain = std::fs::read_to_string(node.path("plain.pub")).unwrap();
    for (spec, with_ca, revoked) in [
        ("serial: 1\n".to_owned(), true, vec!["a"]),
        ("serial: 1-3\nserial: 7\nserial: 99999-100001\n".to_owned(), true, vec!["a", "b", "c"]),
        ("serial: 2\nserial: 4\nserial: 6\nserial: 8\nserial: 10\nserial: 13\n".to_owned(), true, vec!["b"]),
        ("id: id-c\n".to_owned(), true, vec!["c"]),
        (format!("key: {plain}"), false, vec!["plain"]),
        (format!("sha256: {plain}"), false, vec!["plain"]),
        (format!("sha1: {plain}"), false, vec!["plain"]),
        (format!("hash: {}\n", sha256("b")), false, vec!["b"]),
        (format!("key: {}", std::fs::read_to_string(node.path("ca2.pub")).unwrap()), false, vec!["d"]),
        (String::new(), false, vec![]),
    ] {
        std::fs::write(node.path("spec"), &spec).unwrap();
        let ca: &[&str] = if with_ca { &["-s", "ca.pub"] } else { &[] };
        node.keygen(&[&["-q", "-k", "-f", "krl"], ca, &["spec"]].concat());
        revoke_from(&node, "krl");
        for key in ["a", "b", "c", "d", "plain"] {
            let expected = revoked.contains(&key);
            assert_eq!(is_listed(&node, key), expected, "ssh-keygen, {key}: {spec}");
            assert_eq!(gets_in(&node, key), !expected, "{key}: {spec}");
        }
    }
}

/// KEY-30.
#[test]
fn a_text_of_public_keys_will_do() {
    let node = node();
    let [a, ca2] = ["a.pub", "ca2.pub"].map(|name| std::fs::read_to_string(node.path(name)).unwrap());
    std::fs::write(node.path("revoked"), format!("# gone\n{a}\n{ca2}")).unwrap();
    revoke_from(&node, "revoked");
    let found: Vec<_> = ["a", "b", "d", "plain"].into_iter().filter(|key| gets_in(&node, key)).collect();
    assert_eq!(found, ["b", "plain"]);
}

/// KEY-33: no reload and no login is needed.
#[test]
fn a_live_session_ends_within_seconds_when_its_key_is_revoked() {
    let node = node();
    std::fs::write(node.path("revoked"), "").unwrap();
    revoke_from(&node, "revoked");
    let (mut master, _) = node.master();
    let begin = Instant::now();
    std::fs::copy(node.path("me.pub"), node.path("revoked")).unwrap();
    wait_for("the client to be cut off", || master.0.try_wait().unwrap().is_some());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    wait_for("the session to be gone", || node.sessions.list().is_empty());
}

/// KEY-34.
#[test]
fn while_the_list_cannot_be_read_nobody_logs_in() {
    let node = node();
    revoke_from(&node, "not-there");
    assert!(!gets_in(&node, "plain") && !gets_in(&node, "a"));
    std::fs::write(node.path("not-there"), "no key\n").unwrap();
    assert!(!gets_in(&node, "plain"));
    std::fs::write(node.path("not-there"), "# nobody\n").unwrap();
    assert!(gets_in(&node, "plain"), "readable again, and noticed at the login");
}
