//! A tree of a million files: what it costs to open it, to look at it, to branch it and to say what changed.
//!
//! It is made in one process and looked at in another, so that nothing but the looking is resident there.

use std::{path::Path, process::Command};

use alknet_fs::{
    Body, BranchName, Change, FsPath, Placed, Put, Right,
    history::diff::{self, Wanted},
    rows::branch::Mode,
};
use alknet_store::{Durability, Second, StoreError};
use alknet_testkit::measure::{Bar, Figure};
use rusqlite::Connection;

use crate::{
    memory, merge,
    node::{self, Node},
    size::Scale,
    timing,
};

const FILES: u64 = 1_000_000;
const CHANGED: u64 = 20_000;
/// In each folder, of which there are as many as it takes.
pub const FILES_PER_FOLDER: u64 = 1000;
/// Branches with that many changes, and how many of them are in a row: a folder's hundred here and there, or each somewhere else.
const SPREADS: [(&str, u64); 2] = [("gathered", 100), ("scattered", 1)];
const RUNS: usize = 7;
const LOOK_UPS: u64 = 2000;

/// As the first argument it makes this program look at a tree that is there.
pub const READER: &str = "tree-reader";

pub fn run(folder: &Path, scale: Scale) {
    let folder = &folder.join(format!("divided-by-{}", scale.word()));
    if !folder.exists() {
        make(folder, scale.of(FILES), scale.of(CHANGED));
    }
    let mut reader = Command::new(std::env::current_exe().unwrap());
    let status = reader.arg(READER).arg(folder).arg(scale.word()).status().unwrap();
    assert!(status.success());
}

fn make(folder: &Path, files: u64, changed: u64) {
    let node = Node::with_bucket(folder);
    let (took, ()) = timing::ms(|| fill(&node, &BranchName::main(), files));
    let rate = [files as f64 * 1e3 / took];
    println!("{}", Figure { name: "made in bulk, not synced", unit: "files/s", runs: &rate, bar: Bar::Open });
    for (name, spread) in SPREADS {
        let work = node::branch(name);
        make_branch(&node, &work);
        change(&node, &work, numbers(files, changed, spread), "second");
    }
    merge::prepare(&node, files, changed);
    node.close();
}

/// Makes files, each with content of its own, a thousand to a folder and a folder to a commit.
pub fn fill(node: &Node, branch: &BranchName, files: u64) {
    for first in (0..files).step_by(FILES_PER_FOLDER as usize) {
        let mut changes = vec![Change::MakeFolder { at: folder_of(first), mode: 0o755, parents: true }];
        changes.extend((first..files.min(first + FILES_PER_FOLDER)).map(|number| put(number, "first")));
        node.runtime.block_on(node.change(branch, changes, Durability::Lazy));
    }
}

/// A version of a file.
pub fn put(number: u64, version: &str) -> Change {
    let content = Placed::inline(format!("{version} {number}")).unwrap();
    Change::Put(Put::new(file(number), Body::Placed(content)))
}

fn folder_of(number: u64) -> FsPath {
    let folder = number / FILES_PER_FOLDER;
    node::path(&format!("projects/part-{:03}/folder-{folder:05}", folder / 50))
}

fn file(number: u64) -> FsPath {
    node::path(&format!("{}/file-{number:07}.txt", folder_of(number)))
}

/// What the other process does.
pub fn read(folder: &Path, scale: Scale) {
    let files = scale.of(FILES);
    // Otherwise the first figures are those of the disk.
    std::io::copy(&mut std::fs::File::open(folder.join("alknet.db")).unwrap(), &mut std::io::sink()).unwrap();
    opening(folder);
    let node = Node::open(folder);
    looking(&node, files);
    branching(&node);
    comparing(&node, scale.of(CHANGED));
    let resident = [memory::peak_mib()];
    println!("{}", Figure { name: "most that was resident", unit: "MiB", runs: &resident, bar: Bar::AtMost(200.0) });
    merge::run(&node, scale.of(CHANGED));
    let resident = [memory::peak_mib()];
    println!("{}", Figure { name: "the same, with the merge", unit: "MiB", runs: &resident, bar: Bar::AtMost(200.0) });
    node.close();
}

fn opening(folder: &Path) {
    let mut opened = Vec::new();
    for _ in 0..RUNS {
        let (took, node) = timing::ms(|| Node::open(folder));
        opened.push(took);
        node.close();
    }
    println!("{}", Figure { name: "open", unit: "ms", runs: &opened, bar: Bar::AtMost(1000.0) });
}

fn looking(node: &Node, files: u64) {
    let view = node.view(&BranchName::main());
    let mut paths = Scattered(files);
    let (mut resolved, mut looked_at) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let some: Vec<FsPath> = (0..LOOK_UPS).map(|_| file(paths.next())).collect();
        let each = |took: f64| took * 1e3 / LOOK_UPS as f64;
        // As somebody does who looks at many: in one commit.
        let (took, _) =
            timing::ms(|| view.here(|here| some.iter().try_for_each(|path| here.stat(path, true).map(drop))));
        resolved.push(each(took));
        let (took, ()) = timing::ms(|| {
            node.runtime.block_on(async {
                for path in &some {
                    view.stat(path, true).await.unwrap();
                }
            });
        });
        looked_at.push(each(took));
    }
    println!("{}", Figure { name: "resolve and stat", unit: "µs", runs: &resolved, bar: Bar::AtMost(30.0) });
    println!("{}", Figure { name: "the same, from an async task", unit: "µs", runs: &looked_at, bar: Bar::Open });
    for (name, attributes) in [("list of 1,000 with attributes", true), ("list of 1,000 names", false)] {
        let listed = timing::runs(21, |_| {
            let folder = folder_of(paths.next());
            let page = node.runtime.block_on(view.list(&folder, None, 1000, attributes)).unwrap();
            assert_eq!(page.entries.len() as u64, files.min(FILES_PER_FOLDER));
        });
        println!("{}", Figure { name, unit: "ms", runs: &listed, bar: Bar::AtMost(2.0) });
    }
}

fn branching(node: &Node) {
    let name = |run| node::branch(&format!("branch-{}-{run}", std::process::id()));
    let branched = timing::runs(21, |run| make_branch(node, &name(run)));
    println!("{}", Figure { name: "branch", unit: "ms", runs: &branched, bar: Bar::AtMost(20.0) });
}

fn comparing(node: &Node, changed: u64) {
    let limit = changed as usize + 1;
    let old = node.view(&BranchName::main());
    for (branch, spread) in SPREADS {
        let new = node.view(&node::branch(branch));
        let compared = timing::runs(RUNS, |_| {
            let (old, new) = (old.clone(), new.clone());
            let compare = move |sql: &Connection, second: Option<Second>| -> Result<_, StoreError> {
                let wanted = Wanted { within: &FsPath::ROOT, after: None, limit };
                Ok(diff::between_by_two(sql, second, (old.chain(), new.chain()), wanted)?)
            };
            let found = node.runtime.block_on(node.tree().tables().read_by_two(compare)).unwrap();
            assert_eq!((found.all.len() as u64, found.next), (changed, None));
        });
        let name = format!("diff of {changed} changes, {spread} in a row");
        println!("{}", Figure { name: &name, unit: "ms", runs: &compared, bar: Bar::AtMost(100.0) });
    }
}

/// As many files as are to change, evenly over all of them, this many in a row.
pub fn numbers(files: u64, changed: u64, in_a_row: u64) -> Vec<u64> {
    let rows = changed.div_ceil(in_a_row);
    let apart = files / rows;
    (0..changed).map(|count| count / in_a_row * apart + count % in_a_row).collect()
}

/// Gives files new content.
pub fn change(node: &Node, branch: &BranchName, numbers: Vec<u64>, version: &str) {
    for some in numbers.chunks(1000) {
        let changes = some.iter().map(|number| put(*number, version)).collect();
        node.runtime.block_on(node.change(branch, changes, Durability::Lazy));
    }
}

pub fn make_branch(node: &Node, name: &BranchName) {
    let (main, permit) = (node.view(&BranchName::main()), node.permit(Right::Branch));
    node.runtime.block_on(node.tree().create_branch(&permit, name, &main, Mode::Pinned)).unwrap();
}

/// Numbers below a bound, in an order that nothing is prepared for.
struct Scattered(u64);

impl Scattered {
    fn next(&mut self) -> u64 {
        static STATE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let count = STATE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 32) % self.0
    }
}
