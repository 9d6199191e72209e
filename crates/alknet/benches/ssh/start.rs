//! From the command to the line that says it serves, and the memory that it takes then.

use std::{path::Path, process::Stdio, time::Instant};

use alknet_testkit::measure::{Bar, Figure};

use crate::{
    client::{Server, done},
    idle::resident_kib,
    node::{Node, alknet},
};

const RUNS: usize = 11;

pub fn run(folder: &Path) {
    let data = folder.join("start");
    done(alknet(&data).args(["init", "--key-file"]).stderr(Stdio::null()));
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let node = Node::serve(&data);
        starts.push(begun.elapsed().as_secs_f64() * 1e3);
        memory.push(resident_kib(node.pid()) / 1024.0);
    }
    println!(
        "{}",
        Figure { name: "cold start to serving, key file", unit: "ms", runs: &starts, bar: Bar::AtMost(200.0) }
    );
    println!("{}", Figure { name: "idle memory", unit: "MiB", runs: &memory, bar: Bar::AtMost(40.0) });
}
