//! Without a node a command works on the data folder itself, and nobody sees a difference.

use std::{process::Stdio, thread};

use serde_json::Value;

use crate::folder::{Folder, errors};

const KEY: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// What a command came to, less what differs between any two runs.
fn outcome(folder: &Folder, words: &[&str]) -> (Option<i32>, Value, String) {
    let output = folder.output(&[words, &["--json"]].concat());
    let mut data = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    forget_times(&mut data);
    (output.status.code(), data, errors(&output))
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Object(members) => {
            for name in ["created_at", "at", "id", "key", "addr"] {
                members.entry(name).and_modify(|value| *value = Value::Null);
            }
            members.values_mut().for_each(forget_times);
        }
        _ => {}
    }
}

#[test]
fn commands_come_to_the_same_with_and_without_a_node() {
    let (folder, other) = (Folder::with_identity(), Folder::with_identity());
    let _node = other.serve();
    for words in [
        &["peer", "add", "alice", "--key", KEY, "--role", "observer"][..],
        &["peer", "add", "alice", "--key", KEY, "--role", "observer"],
        &["peer", "add", "bob", "--key", KEY],
        &["peer", "add", "bob", "--key", "nonsense"],
        &["peer", "add", "bob", "--key", KEY, "--role", "no-such-role"],
        &["peer", "list"],
        &["peer", "show", "alice"],
        &["peer", "show", "nobody"],
        &["key", "create", "backup", "--role", "observer"],
        &["key", "create", "backup", "--role", "no-such-role"],
        &["key", "list"],
        &["call", "services/list", "{\"no\":1}"],
        &["call", "no/such"],
        &["peer", "remove", "alice"],
        &["peer", "remove", "alice"],
        &["audit", "--action", "peers/"],
    ] {
        let (alone, served) = thread::scope(|scope| {
            let alone = scope.spawn(|| outcome(&folder, words));
            let served = outcome(&other, words);
            (alone.join().unwrap(), served)
        });
        assert_eq!(alone, served, "{words:?}");
    }
}

#[test]
fn what_needs_a_running_node_says_so() {
    let folder = Folder::with_identity();
    for words in [&["status"][..], &["stop"], &["config", "reload"], &["call", "node/status"]] {
        assert!(folder.refused(words, 5).contains("no node runs"), "{words:?}");
    }
}

#[test]
fn short_commands_wait_for_each_other() {
    let folder = Folder::with_identity();
    let spawn = |number: usize| {
        let key = format!("ed25519:{number:064x}");
        let mut command = folder.command(&["peer", "add", &format!("p{number}"), "--key", &key]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (1..=6).map(spawn).collect();
    let waiting: Vec<_> = children.into_iter().map(|child| thread::spawn(|| child.wait_with_output())).collect();
    for waiting in waiting {
        let output = waiting.join().unwrap().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    }
    assert_eq!(folder.json(&["peer", "list"]).as_array().unwrap().len(), 6);
}
