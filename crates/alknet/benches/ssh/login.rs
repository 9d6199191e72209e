//! `ssh host true`: connect, log in, run, end.

use alknet_testkit::measure::{Bar, Comparison};

use crate::{
    client::{Key, ssh, timed},
    node::Node,
    sshd::Sshd,
};

const RUNS: usize = 31;
const BAR: Bar = Bar::AtMost(1.2);

pub fn run(key: &Key, node: &Node, sshd: &Sshd) {
    // OpenSSH's two ends prefer an exchange that is dearer than the one that all three know.
    compare("ssh true, same key exchange", key, node, sshd, &["KexAlgorithms=curve25519-sha256"]);
    compare("ssh true, as stock", key, node, sshd, &[]);
}

fn compare(name: &str, key: &Key, node: &Node, sshd: &Sshd, options: &[&str]) {
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
