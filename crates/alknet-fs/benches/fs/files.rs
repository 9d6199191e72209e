//! Many small files, each durable: as one who has them all sends them, and beside a file and its fsync each.

use std::{fs::File, io::Write as _, path::Path};

use alknet_fs::{Body, BranchName, Change, Placed, Put};
use alknet_store::Durability;
use alknet_testkit::measure::{Bar, Comparison, Figure};

use crate::{
    node::{self, Node},
    size::Scale,
    timing,
};

const FILES: u64 = 10_000;
const BYTES: usize = 4096;
/// In one commit, as `fs/write.many` takes them.
const AT_ONCE: usize = 512;
/// A file and an fsync each takes long: as many as say how long.
const SYNCED_ONE_BY_ONE: u64 = 500;
const RUNS: usize = 5;

pub fn run(folder: &Path, scale: Scale) {
    let node = Node::with_bucket(&folder.join("node"));
    let (files, one_by_one) = (scale.of(FILES), scale.of(SYNCED_ONE_BY_ONE));
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..RUNS as u64 {
        ours.push(files as f64 * 1e3 / timing::ms(|| send(&node, run, files)).0);
        peer.push(one_by_one as f64 * 1e3 / timing::ms(|| sync_each(folder, run, one_by_one)).0);
    }
    let unit = "files/s";
    println!("{}", Figure { name: "4 KiB files, durable", unit, runs: &ours, bar: Bar::AtLeast(2500.0) });
    let name = "beside one fsync each";
    println!("{}", Comparison { name, unit, ours: &ours, peer: &peer, bar: Bar::AtLeast(5.0) });
    node.close();
}

fn content(run: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![0x5a; BYTES];
    bytes[..8].copy_from_slice(&run.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn send(node: &Node, run: u64, files: u64) {
    let numbers: Vec<u64> = (0..files).collect();
    for some in numbers.chunks(AT_ONCE) {
        let put = |number: &u64| {
            let body = Body::Placed(Placed::inline(content(run, *number)).unwrap());
            let at = node::path(&format!("run-{run}/folder-{}/file-{number}", number / 1000));
            Change::Put(Put { parents: true, ..Put::new(at, body) })
        };
        let changes = some.iter().map(put).collect();
        node.runtime.block_on(node.change(&BranchName::main(), changes, Durability::Strict));
    }
}

/// What a program does that wants each of its files to be there.
fn sync_each(folder: &Path, run: u64, files: u64) {
    let folder = folder.join(format!("plain-{run}"));
    std::fs::create_dir(&folder).unwrap();
    for number in 0..files {
        let mut file = File::create(folder.join(format!("file-{number}"))).unwrap();
        file.write_all(&content(run, number)).unwrap();
        file.sync_all().unwrap();
    }
}
