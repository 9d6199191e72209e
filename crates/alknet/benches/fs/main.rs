//! Files through the command line, beside what the disk does with them: `cargo xtask bench fs`, after what goes through the library.
//!
//! A number as an argument divides every size; a word with a slash is the folder (the disk) to work in.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{
    fs::File,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use alknet_testkit::measure::{Bar, Comparison, Figure};

const LARGE_BYTES: u64 = 1 << 30;
const SMALL_FILES: u64 = 10_000;
const SMALL_BYTES: usize = 4096;
const PIECE_BYTES: u64 = 1 << 20;
const RUNS: u64 = 5;

fn main() {
    let divisor = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_u64).max(1);
    let place = std::env::args().skip(1).find(|word| word.contains('/'));
    let folder = tempfile::tempdir_in(place.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let node = Node::start(folder.path());
    large(folder.path(), &node, (LARGE_BYTES / divisor).max(PIECE_BYTES));
    small(folder.path(), &node, (SMALL_FILES / divisor).max(1));
}

/// A node with a bucket, which serves until it is dropped.
struct Node {
    child: Child,
    data: PathBuf,
}

impl Node {
    fn start(folder: &Path) -> Self {
        let data = folder.join("data");
        done(alknet(&data).args(["init", "--key-file"]));
        let mut serve = alknet(&data);
        serve.args(["--json", "serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("port"), "it says that it serves: {line:?}");
        let node = Self { child, data };
        done(&mut node.fs(&["bucket", "create", "bench"]));
        node
    }
    fn fs(&self, words: &[&str]) -> Command {
        let mut command = alknet(&self.data);
        command.arg("fs").args(words);
        command
    }
    /// The most memory that it ever had, in MiB.
    fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn alknet(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alknet"));
    command.arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn done(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn seconds(body: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    body();
    begun.elapsed().as_secs_f64()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Each run brings content that was not there before, nor anything as long.
fn large(folder: &Path, node: &Node, bytes: u64) {
    let (from, copy, got) = (folder.join("from"), folder.join("copy"), folder.join("got"));
    let (mut put, mut copied) = (Vec::new(), Vec::new());
    let (mut get, mut cat) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let bytes = bytes + run * PIECE_BYTES;
        let rate = |seconds: f64| bytes as f64 / f64::from(1 << 20) / seconds;
        write_file(&from, bytes, run);
        put.push(rate(seconds(|| done(&mut node.fs(&["put", shown(&from), "bench/large"])))));
        copied.push(rate(seconds(|| copy_synced(&from, &copy))));
        get.push(rate(seconds(|| done(&mut node.fs(&["get", "bench/large", shown(&got)])))));
        std::fs::remove_file(&got).unwrap();
        cat.push(rate(seconds(|| done_into(Command::new("cat").arg(&copy), &got))));
        for file in [&copy, &got] {
            std::fs::remove_file(file).unwrap();
        }
    }
    let unit = "MiB/s";
    let (name, bar) = ("fs put, beside copy and fsync", Bar::AtLeast(0.8));
    println!("{}", Comparison { name, unit, ours: &put, peer: &copied, bar });
    let (name, bar) = ("fs get, beside cat", Bar::AtLeast(0.9));
    println!("{}", Comparison { name, unit, ours: &get, peer: &cat, bar });
    let (peak, bar) = ([node.peak_mib()], Bar::AtMost(128.0));
    println!("{}", Figure { name: "most that was resident in the node", unit: "MiB", runs: &peak, bar });
}

fn small(folder: &Path, node: &Node, files: u64) {
    let from = folder.join("many");
    let mut rates = Vec::new();
    for run in 0..RUNS {
        for number in 0..files {
            let folder = from.join((number / 1000).to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let mut content = vec![0x5a; SMALL_BYTES];
            content[..8].copy_from_slice(&(run << 32 | number).to_le_bytes());
            std::fs::write(folder.join(number.to_string()), content).unwrap();
        }
        let to = format!("bench/run-{run}");
        rates.push(files as f64 / seconds(|| done(&mut node.fs(&["put", "-r", shown(&from), &to]))));
    }
    let (name, bar) = ("fs put -r of files of 4 KiB", Bar::AtLeast(2500.0));
    println!("{}", Figure { name, unit: "files/s", runs: &rates, bar });
}

fn write_file(path: &Path, bytes: u64, salt: u64) {
    let mut file = File::create(path).unwrap();
    let mut state = salt + 1;
    let mut piece: Vec<u8> = (0..PIECE_BYTES / 8)
        .flat_map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.to_le_bytes()
        })
        .collect();
    for number in 0..bytes / PIECE_BYTES {
        piece[..8].copy_from_slice(&(salt << 32 | number).to_le_bytes());
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
}

/// What the disk itself takes for it: `cat FROM >TO`, and an fsync.
fn copy_synced(from: &Path, to: &Path) {
    done_into(Command::new("cat").arg(from), to);
    File::open(to).unwrap().sync_all().unwrap();
}

fn done_into(command: &mut Command, to: &Path) {
    assert!(command.stdin(Stdio::null()).stdout(File::create(to).unwrap()).status().unwrap().success());
}
