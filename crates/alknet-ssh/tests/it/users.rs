//! Sessions as other users of the system. Only root can try that; without it these tests skip, saying so.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
};

use alknet_core::{AuditKind, AuditOutcome, Identity, ResourceGrants, Scope, ScopeSet};
use alknet_ssh::{HostKey, RecordingLimits, RecordingPolicy, SshConfig, SystemUser};
use alknet_testkit::skipping::{is_root, skip};

use crate::{
    node::{Client, Node, runs, wait_for},
    recording,
    stock_agent::{StockAgent, with_agent},
};

/// A user that every system has, with a home that may not exist and a shell that may let nobody in.
const USER: &str = "nobody";

/// A node at which the bearer of `me` is a peer that is no owner, mapped to [`USER`]; `None` where that cannot be.
fn mapped(to: &str) -> Option<Node> {
    mapped_with(to, |_| {})
}

fn mapped_with(to: &str, change: impl FnOnce(&mut SshConfig)) -> Option<Node> {
    if !is_root("run processes as other users") {
        return None;
    }
    let node = Node::with(|config| {
        config.users.insert("alice".into(), to.to_owned());
        change(config);
    });
    node.know("me", starter("alice"));
    Some(node)
}

/// Somebody who may start processes and nothing else.
fn starter(name: &str) -> Identity {
    let scopes: Vec<Scope> = ["ssh:exec", "ssh:shell"].map(|scope| scope.parse().unwrap()).to_vec();
    Identity::new(name, ScopeSet::from_iter(scopes), ResourceGrants::default())
}

/// A user of this machine whose shell runs commands, and who is not us.
fn with_shell() -> Option<SystemUser> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let names = users.lines().filter_map(|line| line.split(':').next());
    let usable = |user: &SystemUser| {
        let shell = user.shell.to_string_lossy().into_owned();
        user.uid != 0 && Path::new(&shell).exists() && shell.ends_with("sh")
    };
    let found = names.filter_map(|name| SystemUser::named(name).unwrap()).find(usable);
    if found.is_none() {
        skip("no user of this machine but root has a shell");
    }
    found
}

/// SES-01, SES-02: uid, gid and groups are the user's, none of the node's is left, and there is no way back.
#[test]
fn a_mapped_peers_process_is_its_users_and_nothing_else() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    std::fs::set_permissions(node.dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (uid, gid) = (user.uid, user.gid);
    let status = node.text(&[], "cat /proc/self/status");
    let line = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:"), vec![uid.to_string(); 4]);
    assert_eq!(line("Gid:"), vec![gid.to_string(); 4]);
    let mut groups: Vec<u32> = line("Groups:").iter().map(|group| group.parse().unwrap()).collect();
    let mut expected = user.groups.clone();
    groups.sort_unstable();
    expected.sort_unstable();
    assert_eq!(groups, expected);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    assert_eq!(line("CapPrm:"), ["0000000000000000"]);
    let secret = node.path("me");
    let read = node.run(&[], &format!("cat {}", secret.display()));
    assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
}

/// SES-04: home, shell and environment are the user's, and so is the terminal.
#[test]
fn a_mapped_peer_is_at_home_with_its_user() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    let env = node.text(&[], "/usr/bin/env");
    for expected in [
        format!("HOME={}\n", user.home.display()),
        format!("USER={}\n", user.name),
        format!("LOGNAME={}\n", user.name),
        format!("SHELL={}\n", user.shell.display()),
    ] {
        assert!(env.contains(&expected), "{expected}{env}");
    }
    let place = if user.home.is_dir() { user.home.to_str().unwrap() } else { "/" };
    assert_eq!(node.text(&[], "pwd -P").trim(), std::fs::canonicalize(place).unwrap().to_str().unwrap());
    let terminal = node.text(&["-tt"], "stat -c '%u %a' $(tty); (echo > $(tty)) && echo writable");
    assert!(terminal.starts_with(&format!("{} 6", user.uid)) && terminal.contains("writable"), "{terminal}");
}

/// SES-05: the user's name is a login name; another mapped name is not.
#[test]
fn the_mapped_users_name_is_a_login_name() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    for (name, status) in [(user.name.as_str(), 0), ("alice", 0), ("alknet", 0), ("daemon", 255)] {
        let out = node.ssh_as(name, &node.path("me"), &[], "true").output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{name} {out:?}");
    }
}

/// SES-02: an owner who is mapped is that user too.
#[test]
fn an_owner_can_be_mapped() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    node.know("me", Identity::owner("alice"));
    assert_eq!(
        node.ssh_as("alice", &node.path("me"), &[], "id -u").output().unwrap().stdout,
        format!("{}\n", user.uid).into_bytes()
    );
}

/// SES-03: whoever is neither an owner nor mapped gets no process, whatever the scopes say; the refusal is audited.
#[test]
fn nobody_else_gets_a_process_under_the_nodes_user() {
    let node = Node::start();
    node.know("me", starter("eve"));
    for (options, command) in [(&[][..], "id"), (&["-T"], ""), (&["-tt"], "id")] {
        let output = node.ssh_as("eve", &node.path("me"), options, command).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    let events = node.audit.events();
    let denied =
        events.iter().filter(|event| event.kind == AuditKind::Mutation && event.outcome == AuditOutcome::Denied);
    assert_eq!(denied.count(), 3);
}

/// SES-03: a mapping that leads nowhere, or back to the node's own user, is a refusal in words.
#[test]
fn a_mapping_that_leads_nowhere_is_said_so() {
    let Some(own) = SystemUser::own().unwrap() else { return };
    for (to, words) in [("no-such-user-here", "no user `no-such-user-here`"), (&own.name, "the node itself runs as")] {
        let Some(node) = mapped(to) else { return };
        let output = node.ssh_as("alice", &node.path("me"), &[], "id").output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(126), b"".as_slice()));
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{output:?}");
    }
}

/// SES-02: the user's login shell decides, even when it lets nobody in.
#[test]
fn a_user_without_a_shell_gets_none() {
    let nobody = SystemUser::named(USER).unwrap().filter(|user| user.shell.ends_with("nologin") && user.shell.exists());
    let (Some(_), Some(node)) = (nobody, mapped(USER)) else {
        return skip("`nobody` has another shell here");
    };
    let output = node.ssh_as("alice", &node.path("me"), &[], "id").output().unwrap();
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("uid="), "{output:?}");
}

/// SES-07: when somebody is mapped to another user, what runs as the old one ends; who is mapped as before notices nothing.
#[test]
fn another_mapping_ends_the_sessions_under_the_old_one() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    let config = |to: &str| {
        let mut config = SshConfig::new(HostKey::from_seed([7; 32].into()), "nodeuser", "/bin/sh", node.dir.path());
        config.users.insert("alice".into(), to.to_owned());
        config
    };
    let mut client = Client(node.ssh(&[], "exec sleep 600").spawn().unwrap());
    wait_for("the session", || node.sessions.list().len() == 1);
    node.server.set_config(config(&user.name));
    assert!(node.sessions.list().len() == 1 && client.0.try_wait().unwrap().is_none());
    node.server.set_config(config(USER));
    wait_for("the client to be cut off", || client.0.try_wait().unwrap().is_some());
}

/// SSH-41: processes of other users end with their connection too.
#[test]
fn another_users_processes_end_with_their_connection() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    let mut ssh = node.ssh_as("alice", &node.path("me"), &[], "trap '' HUP; echo $$; while :; do sleep 1; done");
    let mut client = Client(ssh.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(client.0.stdout.take().unwrap()), &mut line).unwrap();
    assert!(runs(&line));
    drop(client);
    wait_for("the process to end", || !runs(&line));
}

/// FWD-05: the socket is the user's, who can put nothing else in its place.
#[test]
fn another_users_processes_reach_the_clients_agent() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped(&user.name) else { return };
    let agent = StockAgent::start(&node);
    agent.add(&node.path("me"));
    let look =
        "ssh-add -l; S=$SSH_AUTH_SOCK; stat -c '%a %u' \"$S\" \"${S%/*}\"; rm -f \"$S\" 2>&1 | wc -l; echo \"$S\"";
    let output = with_agent(&node.ssh(&["-A"], look), &agent.socket).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("(ED25519)"), "{text}");
    assert_eq!(lines[1..4], [format!("600 {}", user.uid), "711 0".into(), "1".into()], "{text}");
    let socket = Path::new(lines[4]);
    wait_for("the socket to go with its session", || !socket.parent().unwrap().exists());
}

/// SES-40, SES-42: the session of a mapped peer is recorded, and what is recorded is the node's and not that user's.
#[test]
fn a_mapped_peers_recording_is_the_nodes() {
    let Some(user) = with_shell() else { return };
    let Some(node) = mapped_with(&user.name, |config| {
        let (folder, who) = (config.home.join("recordings"), vec!["alice".parse().unwrap()]);
        config.recording = Some(RecordingPolicy { folder, who, limits: RecordingLimits::default() });
    }) else {
        return;
    };
    assert!(node.run(&["-tt"], "id -un").status.success());
    let recording = recording::only(&node);
    assert_eq!((recording.identity.as_str(), &recording.user), ("alice", &user.name));
    let file = recording::file(&node, &recording);
    assert_eq!(recording::shown(&std::fs::read_to_string(&file).unwrap()).trim(), user.name);
    for (path, mode) in [(file, 0o600), (node.path("recordings"), 0o700)] {
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, mode));
    }
}
