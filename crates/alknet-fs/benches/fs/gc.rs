//! Removing content that nothing refers to, while somebody writes: how long the removing takes, and how long a writer ever waits.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use alknet_core::Maintenance;
use alknet_fs::{
    ContentHash, FsError,
    rows::blob::{self, NewBlob},
};
use alknet_store::{Durability, Noted, Rights};
use alknet_testkit::measure::{Bar, Figure, median};
use rusqlite::Connection;

use crate::{
    node::{self, Node},
    size::Scale,
    timing,
};

const BLOBS: u64 = 100_000;
const AT_ONCE: usize = 1000;
const BYTES: u64 = 20_000;
/// How long a writer is watched while nothing is removed.
const QUIET: Duration = Duration::from_secs(3);
/// Long ago.
const DEAD_SINCE_MS: u64 = 1_000_000_000_000;

pub fn run(folder: &Path, scale: Scale) {
    let node = Node::with_bucket(&folder.join("node"));
    let count = scale.of(BLOBS);
    bury(&node, &folder.join("node"), count);
    rustix::fs::sync();

    let (quiet, ()) = waits(&node, "quiet", || std::thread::sleep(QUIET));
    let (busy, took) = waits(&node, "busy", || {
        let collect = node.fs.content().collect(Duration::from_secs(60), false);
        let (took, collected) = timing::ms(|| node.runtime.block_on(collect).unwrap());
        assert_eq!((collected.blobs, collected.left), (count, 0));
        took
    });
    let rate = [count as f64 * 1e3 / took];
    println!("{}", Figure { name: "content removed", unit: "/s", runs: &rate, bar: Bar::Open });
    for (name, waits, bar) in [("without it", &quiet, Bar::Open), ("meanwhile", &busy, Bar::AtMost(50.0))] {
        let most = [waits.iter().copied().fold(0.0, f64::max)];
        println!("{}", Figure { name: &format!("a writer's longest wait {name}"), unit: "ms", runs: &most, bar });
        let usual = [median(waits)];
        println!(
            "{}",
            Figure { name: &format!("a writer's usual wait {name}"), unit: "ms", runs: &usual, bar: Bar::Open }
        );
    }
    node.close();
}

/// How long each of a writer's commits takes while `body` runs: small files, one after the other, each on the disk.
fn waits<T>(node: &Node, name: &str, body: impl FnOnce() -> T) -> (Vec<f64>, T) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut waits, mut number) = (Vec::new(), 0_u64);
            while !ended.load(Ordering::Relaxed) {
                let at = node::path(&format!("{name}/file-{number}"));
                let begun = Instant::now();
                node.runtime.block_on(node.put(at, format!("{name} {number}"), Durability::Strict));
                waits.push(begun.elapsed().as_secs_f64() * 1e3);
                number += 1;
            }
            waits
        });
        let answer = body();
        ended.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), answer)
    })
}

/// Content in files of its own that nothing has referred to for long. It is shorter than it says: nobody reads it.
fn bury(node: &Node, folder: &Path, count: u64) {
    const TASK: Maintenance = Maintenance::of("fs-bench");
    let numbers: Vec<u64> = (1..=count).collect();
    for some in numbers.chunks(AT_ONCE) {
        let some = some.to_vec();
        for number in &some {
            let hash = ContentHash::of(&number.to_le_bytes());
            let shard = folder.join("blobs").join(&hash.to_string()[..2]);
            std::fs::create_dir_all(&shard).unwrap();
            for ending in ["", ".obao"] {
                File::create(shard.join(format!("{hash}.{number:016x}{ending}"))).unwrap();
            }
        }
        let write = move |sql: &Connection, _: &mut Noted<'_>| -> Result<(), FsError> {
            for generation in some {
                let hash = ContentHash::of(&generation.to_le_bytes());
                blob::insert(sql, &NewBlob { hash, generation, size: BYTES, bytes: None }, DEAD_SINCE_MS)?;
            }
            Ok(())
        };
        let rights = Rights::maintenance(&TASK);
        node.runtime.block_on(node.tree().tables().change(&rights, Durability::Lazy, write)).unwrap();
    }
}
