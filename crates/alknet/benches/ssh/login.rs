//! `ssh host true`: connect, log in, run, end.

use std::{env, process::Command};

use alknet_testkit::measure::{Bar, Comparison, Figure};

use crate::{
    client::{Key, ssh, timed},
    node::Node,
    sshd::Sshd,
};

const RUNS: usize = 31;
const BAR: Bar = Bar::AtMost(1.0);

pub fn run(key: &Key, node: &Node<'_>, sshd: &Sshd<'_>) {
    shell_alone();
    // OpenSSH's two ends prefer an exchange that is dearer than the one that all three know.
    compare("ssh true, same key exchange", key, node, sshd, &["KexAlgorithms=curve25519-sha256"]);
    compare("ssh true, as stock", key, node, sshd, &[]);
}

/// What the user's own startup files cost, at both servers alike: where it is much, it hides the difference between them.
fn shell_alone() {
    let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    // Debian's bash runs ~/.bashrc when it sees this variable.
    let run = || timed(Command::new(&shell).args(["-c", "true"]).env("SSH_CLIENT", "bench").env_remove("SHLVL"));
    let runs: Vec<f64> = (0..5).map(|_| run().as_secs_f64() * 1e3).collect();
    println!("{}", Figure { name: "the login shell by itself", unit: "ms", runs: &runs, bar: Bar::Open });
}

fn compare(name: &str, key: &Key, node: &Node<'_>, sshd: &Sshd<'_>, options: &[&str]) {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let at_ours = timed(ssh(key, node, options).arg("true")).as_secs_f64() * 1e3;
        let at_peer = timed(ssh(key, sshd, options).arg("true")).as_secs_f64() * 1e3;
        // The first pair warms the caches.
        if run > 0 {
            ours.push(at_ours);
            peer.push(at_peer);
        }
    }
    println!("{}", Comparison { name, unit: "ms", ours: &ours, peer: &peer, bar: BAR });
}
