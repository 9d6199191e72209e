//! `cat` of a file of 1 GiB each way, with the same cipher; plain, and through `alknet connect`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use alknet_testkit::measure::{Bar, Comparison};

use crate::{
    client::{Key, Server, ssh, timed},
    node::Node,
    sshd::Sshd,
};

const BYTES: u64 = 1 << 30;
const RUNS: usize = 5;
pub const CIPHERS: [&str; 2] = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"];

/// The file lies in the page cache: it has no content of its own to read.
struct Load(PathBuf);

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Load {
    fn make(folder: &Path) -> Self {
        let path = folder.join("load");
        File::create(&path).unwrap().set_len(BYTES).unwrap();
        Self(path)
    }
    fn command(&self, way: Way, key: &Key, server: &impl Server, options: &[&str]) -> Command {
        let mut ssh = ssh(key, server, options);
        match way {
            Way::Up => ssh.arg("cat >/dev/null").stdin(File::open(&self.0).unwrap()),
            Way::Down => ssh.arg(format!("cat {}", self.0.display())),
        };
        ssh
    }
    /// MiB in a second.
    fn rate(&self, way: Way, key: &Key, server: &impl Server, options: &[&str]) -> f64 {
        let took = timed(&mut self.command(way, key, server, options));
        BYTES as f64 / f64::from(1 << 20) / took.as_secs_f64()
    }
}

pub fn run(folder: &Path, key: &Key, node: &Node<'_>, sshd: &Sshd<'_>) {
    let load = Load::make(folder);
    for cipher in CIPHERS {
        let options = [format!("Ciphers={cipher}")];
        let options = options.each_ref().map(String::as_str);
        for way in [Way::Up, Way::Down] {
            let (mut ours, mut peer) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                ours.push(load.rate(way, key, node, &options));
                peer.push(load.rate(way, key, sshd, &options));
            }
            let name = format!("cat 1 GiB {}, {}", way.name(), short(cipher));
            let bar = Bar::AtLeast(1.0);
            println!("{}", Comparison { name: &name, unit: "MiB/s", ours: &ours, peer: &peer, bar });
        }
    }
    through_connect(folder, key, node, &load);
}

/// The time that `alknet connect` adds: both are the same node and cipher.
fn through_connect(folder: &Path, key: &Key, node: &Node<'_>, load: &Load) {
    let proxy = node.proxy_command(folder);
    let cipher = format!("Ciphers={}", CIPHERS[0]);
    for way in [Way::Up, Way::Down] {
        let (mut through, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            through.push(timed(&mut load.command(way, key, node, &[&cipher, &proxy])).as_secs_f64());
            plain.push(timed(&mut load.command(way, key, node, &[&cipher])).as_secs_f64());
        }
        let name = format!("cat 1 GiB {} through connect", way.name());
        println!("{}", Comparison { name: &name, unit: "s", ours: &through, peer: &plain, bar: Bar::AtMost(1.1) });
    }
}

fn short(cipher: &str) -> &str {
    cipher.split('@').next().unwrap_or(cipher)
}
