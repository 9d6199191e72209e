//! A file of 1 GiB, in and out, beside the same with plain files on the same disk.

use std::{fs::File, io::Write as _, path::Path};

use alknet_fs::FsPath;
use alknet_store::Durability;
use alknet_testkit::measure::{Bar, Comparison, Figure};
use bytes::Bytes;
use futures_util::{StreamExt, pin_mut};

use crate::{
    memory,
    node::{self, Node},
    plain,
    size::Scale,
    timing,
};

const BYTES: u64 = 1 << 30;
const RUNS: usize = 5;
const UNIT: &str = "MiB/s";

pub fn run(folder: &Path, scale: Scale) {
    let bytes = scale.of(BYTES);
    put(folder, bytes);
    get(folder, bytes);
}

fn rate(bytes: u64, (took_ms, ()): (f64, ())) -> f64 {
    bytes as f64 / f64::from(1 << 20) / (took_ms / 1e3)
}

/// Each run has a node of its own, which goes with its content.
fn put(folder: &Path, bytes: u64) {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..RUNS as u64 {
        let home = folder.join(format!("put-{run}"));
        let node = Node::with_bucket(&home);
        let pieces = plain::pieces(bytes, run);
        let write = || node.runtime.block_on(node.write(&node::path("large"), pieces, Durability::Strict));
        ours.push(rate(bytes, timing::ms(write)));
        node.close();
        std::fs::remove_dir_all(&home).unwrap();
        let (pieces, file) = (plain::pieces(bytes, run), folder.join("plain"));
        peer.push(rate(bytes, timing::ms(|| plain::write_synced(&file, pieces))));
        std::fs::remove_file(&file).unwrap();
    }
    let name = "put, beside write and fsync";
    println!("{}", Comparison { name, unit: UNIT, ours: &ours, peer: &peer, bar: Bar::AtLeast(0.8) });
    memory_of_a_put(folder, bytes);
}

/// Each piece comes in memory of its own, as from a socket.
fn memory_of_a_put(folder: &Path, bytes: u64) {
    let home = folder.join("put-memory");
    let node = Node::with_bucket(&home);
    let pieces = plain::pieces(bytes, 0);
    let before = memory::now_mib();
    memory::forget_peak();
    let fresh = pieces.map(|piece| Bytes::copy_from_slice(&piece));
    node.runtime.block_on(node.write(&node::path("large"), fresh, Durability::Strict));
    let grown = [memory::peak_mib() - before];
    println!("{}", Figure { name: "memory of a put", unit: "MiB", runs: &grown, bar: Bar::AtMost(32.0) });
    node.close();
    std::fs::remove_dir_all(&home).unwrap();
}

/// Both from the page cache into a file; what is read is checked against its hash before it is written.
fn get(folder: &Path, bytes: u64) {
    let home = folder.join("get");
    let node = Node::with_bucket(&home);
    let large = &node::path("large");
    node.runtime.block_on(node.write(large, plain::pieces(bytes, 0), Durability::Strict));
    let (file, ours_to, peer_to) = (folder.join("plain"), folder.join("ours"), folder.join("peer"));
    plain::write_synced(&file, plain::pieces(bytes, 0));
    let (mut ours, mut peer, mut only_read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut to = File::create(&ours_to).unwrap();
        let read = || node.runtime.block_on(each_piece(&node, large, |piece| to.write_all(piece).unwrap()));
        ours.push(rate(bytes, timing::ms(read)));
        peer.push(rate(bytes, timing::ms(|| plain::cat(&file, &peer_to))));
        let read = || node.runtime.block_on(each_piece(&node, large, |_| {}));
        only_read.push(rate(bytes, timing::ms(read)));
        for file in [&ours_to, &peer_to] {
            std::fs::remove_file(file).unwrap();
        }
    }
    let name = "get into a file, beside cat";
    println!("{}", Comparison { name, unit: UNIT, ours: &ours, peer: &peer, bar: Bar::AtLeast(0.9) });
    println!("{}", Figure { name: "read and checked", unit: UNIT, runs: &only_read, bar: Bar::Open });
    node.close();
}

/// Opens a file and tells what is in it.
pub async fn each_piece(node: &Node, at: &FsPath, mut tell: impl FnMut(&[u8])) {
    let pieces = node.read(at).await.chunks(0..u64::MAX);
    pin_mut!(pieces);
    while let Some(piece) = pieces.next().await {
        tell(&piece.unwrap());
    }
}
