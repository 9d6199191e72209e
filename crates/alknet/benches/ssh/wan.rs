//! Long paths: a stock client and ours beside OpenSSH, over IP packets that are delayed and lost for TCP and QUIC alike.
//!
//! Buffers of TCP may grow to 32 MiB at both ends, for every server: with Linux's 4 MiB for sending, the sender's kernel is the limit at these
//! round trips, whoever serves. The congestion control of TCP is cubic, Linux's default. Needs root.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use alknet_testkit::{
    measure::{Bar, Comparison},
    wan::{Conditions, Namespace, Wan, WanError},
};

use crate::{
    client::{Key, Server, Site, Sites, done, ssh, timed},
    node::{Node, alknet_at},
    sshd::Sshd,
};

const RUNS: usize = 2;
const ROUND_TRIPS_MS: [u64; 2] = [50, 100];
/// So much that the beginning, in which TCP finds out what the path carries, is a small part of it.
const MIB: u64 = 256;
/// Over a path that loses packets, where TCP crawls.
const LOSSY_MIB: u64 = 4;
const CIPHER: &str = "Ciphers=aes128-gcm@openssh.com";
const SEED: u64 = 7;

pub fn run(folder: &Path, key: &Key) {
    for milliseconds in ROUND_TRIPS_MS {
        let Some(wan) = open(Conditions { round_trip: Duration::from_millis(milliseconds), loss: 0.0 }) else { return };
        beside_openssh(&wan, folder, key, milliseconds);
    }
    if let Some(wan) = open(Conditions { round_trip: Duration::from_millis(50), loss: 0.01 }) {
        quic_beside_tcp(&wan, folder, key);
    }
}

fn open(conditions: Conditions) -> Option<Wan> {
    let wan = match Wan::open(conditions, SEED) {
        Ok(wan) => wan,
        Err(WanError::NotRoot) => {
            println!("SKIPPED wan: {}", WanError::NotRoot);
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    [wan.near(), wan.far()].into_iter().for_each(widen);
    Some(wan)
}

fn widen(end: &Namespace) {
    let settings = ["net.ipv4.tcp_wmem=4096 16384 33554432", "net.ipv4.tcp_rmem=4096 131072 33554432"];
    for setting in settings {
        done(end.command("sysctl").args(["-q", "-w", setting]));
    }
    // What a namespace may choose is up to net.ipv4.tcp_allowed_congestion_control outside of it.
    let choose = |control: &str| {
        let mut sysctl = end.command("sysctl");
        sysctl.args(["-q", "-w", &format!("net.ipv4.tcp_congestion_control={control}")]).stderr(Stdio::null());
        sysctl.status().unwrap().success()
    };
    let chosen = ["cubic", "reno"].into_iter().find(|control| choose(control));
    println!("        TCP in {} is controlled by {}", end.name(), chosen.unwrap_or("the kernel's default"));
}

/// A file that lies in the page cache and has no content of its own to read.
fn load(folder: &Path, mebibytes: u64) -> PathBuf {
    let path = folder.join(format!("load-{mebibytes}"));
    File::create(&path).unwrap().set_len(mebibytes << 20).unwrap();
    path
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Way {
    const BOTH: [(Self, &'static str); 2] = [(Self::Up, "up"), (Self::Down, "down")];

    /// MiB in a second of a client that takes the remote command as its last argument.
    fn rate(self, mut client: Command, load: &Path) -> f64 {
        match self {
            Self::Up => client.arg("cat >/dev/null").stdin(File::open(load).unwrap()),
            Self::Down => client.arg(format!("cat {}", load.display())),
        };
        let mebibytes = load.metadata().unwrap().len() as f64 / f64::from(1 << 20);
        mebibytes / timed(&mut client).as_secs_f64()
    }
}

/// Our client, up to the remote command.
fn ours(site: Site<'_>, data: &Path, carrier: &str) -> Command {
    let mut client = alknet_at(site, data);
    client.args(["ssh", "--carrier", carrier, "box"]);
    client
}

fn sites(wan: &Wan) -> Sites<'_> {
    Sites { servers: Site::End(wan.far()), clients: Site::End(wan.near()) }
}

fn beside_openssh(wan: &Wan, folder: &Path, key: &Key, milliseconds: u64) {
    let (load, sites) = (load(folder, MIB), sites(wan));
    let (node, sshd) = (Node::start_at(sites, folder, key), Sshd::start_at(sites, folder, key));
    let friend = node.befriend(folder);
    let peer = |way: Way| way.rate(ssh(key, &sshd, &[CIPHER]), &load);
    let compare = |what: &str, bar: Bar, measure: &dyn Fn() -> f64, way: Way| {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(measure());
            theirs.push(peer(way));
        }
        let name = format!("{milliseconds} ms, {what}");
        println!("{}", Comparison { name: &name, unit: "MiB/s", ours: &ours, peer: &theirs, bar });
    };
    let stock = |way: Way| way.rate(ssh(key, &node, &[CIPHER]), &load);
    compare("stock client, up", Bar::AtLeast(2.0), &|| stock(Way::Up), Way::Up);
    // The stock client grants 2 MiB, whoever sends.
    compare("stock client, down", Bar::Open, &|| stock(Way::Down), Way::Down);
    for carrier in ["quic", "tcp"] {
        for (way, name) in Way::BOTH {
            let measure = || way.rate(ours(node.clients(), &friend, carrier), &load);
            compare(&format!("our client over {carrier}, {name}"), Bar::AtLeast(2.0), &measure, way);
        }
    }
}

fn quic_beside_tcp(wan: &Wan, folder: &Path, key: &Key) {
    let load = load(folder, LOSSY_MIB);
    let node = Node::start_at(sites(wan), folder, key);
    let friend = node.befriend(folder);
    for (way, name) in Way::BOTH {
        let rate = |carrier: &str| way.rate(ours(node.clients(), &friend, carrier), &load);
        let (mut quic, mut tcp) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            quic.push(rate("quic"));
            tcp.push(rate("tcp"));
        }
        let name = format!("50 ms, 1 % lost: QUIC beside TCP, {name}");
        println!("{}", Comparison { name: &name, unit: "MiB/s", ours: &quic, peer: &tcp, bar: Bar::AtLeast(2.0) });
    }
}
