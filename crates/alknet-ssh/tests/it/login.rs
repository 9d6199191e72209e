use alknet_core::{AuditOutcome, Identity, ResourceGrants, ScopeSet};

use crate::node::Node;

const SSH_FAILED: Option<i32> = Some(255);

/// SSH-13.
#[test]
fn the_user_name_is_the_peers_the_systems_or_a_general_one() {
    let node = Node::start();
    for user in ["alice", "nodeuser", "alknet", "git"] {
        let output = node.ssh_as(user, &node.path("me"), &[], "echo $USER").output().unwrap();
        assert_eq!(output.stdout, b"nodeuser\n", "{user}: {output:?}");
    }
    let wrong_user = node.ssh_as("bob", &node.path("me"), &[], "echo in").output().unwrap();
    node.make_key("other", "ed25519", &[]);
    let wrong_key = node.ssh_as("alice", &node.path("other"), &[], "echo in").output().unwrap();
    for output in [&wrong_user, &wrong_key] {
        assert_eq!((output.status.code(), output.stdout.len()), (SSH_FAILED, 0));
    }
    let message = |output: std::process::Output| String::from_utf8(output.stderr).unwrap().replace("bob", "alice");
    assert_eq!(message(wrong_user), message(wrong_key), "a wrong name fails like a wrong key");
}

/// SSH-10, SSH-14: the client has the public half only, so the offer is accepted and never proven.
#[test]
fn a_key_that_is_offered_but_not_proven_gives_no_session() {
    let node = Node::start();
    let public = node.path("only");
    std::fs::copy(node.path("me.pub"), &public).unwrap();
    std::fs::copy(node.path("me.pub"), node.path("only.pub")).unwrap();
    let output = node.ssh_as("alice", &public, &[], "echo in").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (SSH_FAILED, 0));
    crate::node::wait_for("the failure in the audit", || node.logins(AuditOutcome::Denied) == 1);
    let events = node.audit.events();
    assert_eq!(events.len(), 1, "nothing was authorised: {events:?}");
    assert_eq!((&events[0].identity, &events[0].credential), (&None, &None), "nobody is blamed for an offer");
    assert!(node.sessions.list().is_empty());
}

/// SSH-14: one line per connection, however many keys an agent offers.
#[test]
fn logins_and_failures_are_audited_once() {
    let node = Node::start();
    for name in ["a", "b", "c"] {
        node.make_key(name, "ed25519", &[]);
    }
    let [b, c, me] = ["b", "c", "me"].map(|name| node.path(name).display().to_string());
    let output = node.ssh_as("alice", &node.path("a"), &["-i", &b, "-i", &c], "true").output().unwrap();
    assert_eq!(output.status.code(), SSH_FAILED);
    crate::node::wait_for("the failure", || node.logins(AuditOutcome::Denied) == 1);
    let output = node.ssh_as("alice", &node.path("a"), &["-i", &b, "-i", &c, "-i", &me], "echo in").output().unwrap();
    assert_eq!(output.stdout, b"in\n", "{output:?}");
    assert_eq!((node.logins(AuditOutcome::Allowed), node.logins(AuditOutcome::Denied)), (1, 1));
    let event = node.audit.events().into_iter().find(|e| e.outcome == AuditOutcome::Allowed).unwrap();
    assert_eq!((event.action.as_str(), event.identity.as_deref()), ("ssh", Some("alice")));
    assert_eq!(event.credential, Some(node.credential("me").label()));
}

/// SSH-15: the scope alone is not enough, since the process has the owner's power.
#[test]
fn a_role_with_the_scope_that_is_not_owner_is_refused() {
    let node = Node::start();
    node.make_key("guest", "ed25519", &[]);
    let scopes = ["ssh:exec", "ssh:shell"].map(|scope| scope.parse().unwrap());
    node.know("guest", Identity::new("guest", ScopeSet::from_iter(scopes), ResourceGrants::default()));
    for command in ["echo in", ""] {
        let output = node.ssh_as("guest", &node.path("guest"), &["-T"], command).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    let denied: Vec<_> = node.audit.events().into_iter().filter(|e| e.outcome == AuditOutcome::Denied).collect();
    let actions: Vec<_> = denied.iter().map(|e| (e.action.as_str(), e.identity.as_deref())).collect();
    assert_eq!(actions, [("ssh/exec", Some("guest")), ("ssh/shell", Some("guest"))]);
}

/// SSH-15: an owner through a credential that is limited is no owner here.
#[test]
fn a_limited_owner_is_refused() {
    let node = Node::start();
    node.make_key("part", "ed25519", &[]);
    let limit = ScopeSet::from_iter(["ssh:exec".parse().unwrap()]);
    node.know("part", Identity::owner("part").limited_to(limit));
    let output = node.ssh_as("part", &node.path("part"), &[], "echo in").output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// SSH-11, SSH-12.
#[test]
fn rsa_and_ecdsa_keys_log_in_but_not_by_sha_1() {
    let node = Node::start();
    node.make_key("rsa", "rsa", &["-b", "2048"]);
    node.make_key("ecdsa", "ecdsa", &[]);
    for name in ["rsa", "ecdsa"] {
        node.know(name, Identity::owner("alice"));
        let output = node.ssh_as("alice", &node.path(name), &[], "echo in").output().unwrap();
        assert_eq!(output.stdout, b"in\n", "{name}: {output:?}");
    }
    let sha_1 = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa"];
    let output = node.ssh_as("alice", &node.path("rsa"), &sha_1, "echo in").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (SSH_FAILED, 0));
}

/// SSH-10.
#[test]
fn only_public_keys_are_asked_for() {
    let node = Node::start();
    let output = node.run(&["-o", "PubkeyAuthentication=no"], "true");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("(publickey)"), "{said}");
}

/// SSH-03, SSH-04.
#[test]
fn only_our_algorithms_are_spoken() {
    let node = Node::start();
    let ciphers = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"];
    for cipher in ciphers {
        assert_eq!(node.text(&["-c", cipher], "echo k"), "k\n", "{cipher}");
    }
    for option in [
        "KexAlgorithms=ecdh-sha2-nistp256",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=diffie-hellman-group-exchange-sha256",
        "Ciphers=aes128-cbc",
        "HostKeyAlgorithms=rsa-sha2-512",
    ] {
        assert_eq!(node.run(&["-o", option], "true").status.code(), SSH_FAILED, "{option}");
    }
    assert_eq!(node.run(&["-o", "MACs=hmac-sha1,hmac-sha2-256", "-c", "aes128-ctr"], "true").status.code(), SSH_FAILED);
    let debug = node.ssh(&["-vvv"], "true").output().unwrap();
    let debug = String::from_utf8_lossy(&debug.stderr).into_owned();
    assert!(debug.contains("kex-strict-s-v00@openssh.com") && debug.contains("server-sig-algs"), "{debug}");
}
