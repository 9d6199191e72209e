//! Memory of sessions that do nothing: each a connection of its own with a process that waits for input.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use alknet_testkit::measure::{Bar, Figure};

use crate::{
    client::{Key, Server, ssh},
    node::{Node, stop},
    sshd::Sshd,
};

const SESSIONS: usize = 1000;
/// Logins at a time: fewer than either server lets wait.
const AT_A_TIME: usize = 8;

pub fn run(key: &Key, node: &Node<'_>, sshd: &Sshd<'_>) {
    let before = resident_kib(node.pid());
    let sessions = open(key, node);
    let after = resident_kib(node.pid());
    let each = (after - before) / SESSIONS as f64;
    let name = format!("idle SSH session, {SESSIONS} of them");
    println!("{}", Figure { name: &name, unit: "KiB", runs: &[each], bar: Bar::AtMost(200.0) });
    println!("        the node's process: {:.1} MiB before, {:.1} MiB with them", before / 1024.0, after / 1024.0);
    end(sessions);

    let sessions = open(key, sshd);
    let each = shared_out_kib_below(sshd.pid()) / SESSIONS as f64;
    end(sessions);
    println!("{}", Figure { name: "the same at OpenSSH, for comparison", unit: "KiB", runs: &[each], bar: Bar::Open });
}

/// Opens the sessions; each has said a word, so each process runs.
fn open(key: &Key, server: &impl Server) -> Vec<Child> {
    let mut open = Vec::new();
    while open.len() < SESSIONS {
        let begun: Vec<Child> = (0..AT_A_TIME.min(SESSIONS - open.len()))
            .map(|_| {
                let mut ssh = ssh(key, server, &[]);
                ssh.arg("echo k; exec cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for mut session in begun {
            let mut word = [0; 2];
            session.stdout.as_mut().unwrap().read_exact(&mut word).expect("a session that opens");
            open.push(session);
        }
    }
    open
}

fn end(sessions: Vec<Child>) {
    let patience = Instant::now() + Duration::from_secs(60);
    for mut session in sessions {
        drop(session.stdin.take());
        if Instant::now() > patience {
            stop(&mut session);
        }
        session.wait().unwrap();
    }
}

/// Resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> f64 {
    field_kib(&format!("/proc/{pid}/status"), "VmRSS:").expect("a process that lives")
}

/// Memory of the children and grandchildren of `pid` that run the same program, in KiB, what they share divided among them.
fn shared_out_kib_below(pid: u32) -> f64 {
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let of_same = |child: &u32| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == program);
    let own = |pid: u32| field_kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:").unwrap_or_default();
    children(pid).into_iter().filter(of_same).map(|child| own(child) + shared_out_kib_below(child)).sum()
}

fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn field_kib(path: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok())
}
