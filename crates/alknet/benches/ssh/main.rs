//! The node beside OpenSSH's server, both driven by the stock client: `cargo xtask bench ssh`.
//!
//! Names of parts (`start`, `login`, `bulk`, `tunnel`, `idle`, `wan`) as arguments run these only. Needs `ssh`, `ssh-keygen` and
//! `/usr/sbin/sshd`, which is started on a port of its own with a configuration of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod bulk;
mod client;
mod idle;
mod login;
mod node;
mod sshd;
mod start;
mod tunnel;
mod wan;

use client::Key;
use node::Node;
use sshd::Sshd;

const PARTS: [&str; 6] = ["start", "login", "bulk", "tunnel", "idle", "wan"];

fn main() {
    // Cargo adds arguments of its own, which begin with dashes.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let unknown: Vec<_> = wanted.iter().filter(|word| !PARTS.contains(&word.as_str())).collect();
    assert!(unknown.is_empty(), "no part is called {unknown:?}; there are: {PARTS:?}");
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);

    let folder = tempfile::tempdir().unwrap();
    let key = Key::make(folder.path());
    if wants("start") {
        start::run(folder.path());
    }
    if wants("login") {
        login::run(&key, &Node::start(folder.path(), &key), &Sshd::start(folder.path(), &key));
    }
    if wants("bulk") {
        bulk::run(folder.path(), &key, &Node::start(folder.path(), &key), &Sshd::start(folder.path(), &key));
    }
    if wants("tunnel") {
        tunnel::run(folder.path(), &key, &Node::start(folder.path(), &key), &Sshd::start(folder.path(), &key));
    }
    if wants("idle") {
        // Of its own each, so that nothing but the sessions is counted.
        idle::run(&key, &Node::start(folder.path(), &key), &Sshd::start(folder.path(), &key));
    }
    if wants("wan") {
        wan::run(folder.path(), &key);
    }
}
