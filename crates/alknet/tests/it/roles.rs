//! Whoever runs processes under the node's own uid has the owner's power, so only owners may.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::{
    folder::{Folder, errors, ssh_key},
    running::RunningNode,
};

/// `ssh` to the node with this key, through the plain gate, not asking and not remembering anything.
fn ssh(node: &RunningNode, key: &Path, command: &str) -> Output {
    let port = node.port.to_string();
    let identity = key.to_str().unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-p", &port, "-i", identity, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
    ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "alknet@127.0.0.1", command]);
    ssh.output().expect("these tests need OpenSSH's client: apt-get install openssh-client")
}

fn add_ssh_peer(folder: &Folder, name: &str, role: &str) -> std::path::PathBuf {
    let key = ssh_key(&folder.home(), name);
    let public = key.with_extension("pub");
    folder.run(&["peer", "add", name, "--key", public.to_str().unwrap(), "--role", role]);
    key
}

#[test]
fn a_role_that_covers_processes_is_refused_with_its_place() {
    let folder = Folder::with_identity();
    let file = folder.data().join("alknet.toml");
    for scope in ["ssh:exec", "ssh:shell", "ssh:*", "*:*", "*:exec"] {
        folder.configure(&format!("[roles.worker]\nscopes = [\"node:read\", \"{scope}\"]\n"));
        for words in [&["config", "check"][..], &["serve"], &["peer", "list"]] {
            let refused = folder.refused(words, 2);
            assert!(refused.contains(&format!("{}:2: ", file.display())), "{refused}");
            assert!(refused.contains("the role `worker` has the scope"), "{refused}");
        }
    }
}

#[test]
fn a_running_node_never_takes_such_a_role_over() {
    let folder = Folder::with_identity();
    folder.configure("[roles.worker]\nscopes = [\"node:read\"]\n");
    let _node = folder.serve();
    folder.configure("[roles.worker]\nscopes = [\"ssh:exec\"]\n");
    assert!(folder.refused(&["config", "reload"], 2).contains("ssh:exec"));
    // What `worker` meant before is in force still.
    let created = folder.json(&["key", "create", "w", "--role", "worker"]);
    assert!(created["key"].as_str().unwrap().starts_with("alk_"));
}

#[test]
fn the_owner_runs_commands_and_an_observer_does_not() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let owner = add_ssh_peer(&folder, "me", "owner");
    let observer = add_ssh_peer(&folder, "watcher", "observer");
    let stranger = ssh_key(&folder.home(), "stranger");

    let done = ssh(&node, &owner, "echo out; echo err >&2; exit 7");
    assert_eq!((done.status.code(), &done.stdout[..], &done.stderr[..]), (Some(7), &b"out\n"[..], &b"err\n"[..]));

    let witness = folder.home().join("witness");
    for key in [&observer, &stranger] {
        let refused = ssh(&node, key, &format!("touch {}", witness.display()));
        assert_ne!(refused.status.code(), Some(0), "{}", errors(&refused));
    }
    assert!(!witness.exists());
    let denied = folder.json(&["audit", "--denied", "--peer", "watcher"]);
    assert_eq!(denied[0]["action"], "ssh/exec", "{denied}");
}

#[test]
fn a_key_file_may_have_blanks_in_its_name() {
    let folder = Folder::with_identity();
    add_ssh_peer(&folder, "me", "owner");
    fs::rename(folder.home().join("me.pub"), folder.home().join("my key.pub")).unwrap();
    let file = folder.home().join("my key.pub");
    let refused = folder.refused(&["peer", "add", "again", "--key", file.to_str().unwrap()], 2);
    assert!(refused.contains("me"), "the key was read, and is taken: {refused}");
    let private = folder.home().join("me");
    let refused = folder.refused(&["peer", "add", "again", "--key", private.to_str().unwrap()], 2);
    assert!(refused.contains("is a private key"), "{refused}");
}
