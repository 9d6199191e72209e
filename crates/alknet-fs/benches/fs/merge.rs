//! A merge of a branch's changes into another one that has ten times as many of its own, none of them the same.

use alknet_fs::{
    Right,
    history::{History, How},
};
use alknet_store::Durability;
use alknet_testkit::{
    measure::{Bar, Figure},
    skipping,
};

use crate::{
    node::{self, Node},
    tree,
};

const INTO: &str = "merged-into";
/// Each is merged once.
const FROM: [&str; 3] = ["merged-0", "merged-1", "merged-2"];
/// Changed files that are neighbours.
const IN_A_ROW: u64 = 100;

/// Makes the branches: `theirs` changes in each that is merged, ten times as many in the other.
pub fn prepare(node: &Node, files: u64, theirs: u64) {
    for name in FROM.iter().chain([&INTO]) {
        tree::make_branch(node, &node::branch(name));
    }
    let (ours, theirs) = (tree::numbers(files, 10 * theirs, IN_A_ROW), tree::numbers(files, theirs, IN_A_ROW));
    tree::change(node, &node::branch(INTO), ours, INTO);
    for (index, name) in FROM.iter().enumerate() {
        // Files that nobody else has changed.
        let beside = (index as u64 + 1) * IN_A_ROW;
        tree::change(node, &node::branch(name), theirs.iter().map(|number| number + beside).collect(), name);
    }
}

pub fn run(node: &Node, theirs: u64) {
    let history = History::new(node.tree().clone());
    let into = node.view(&node::branch(INTO));
    let mut took = Vec::new();
    for name in FROM {
        let from = node.view(&node::branch(name));
        let how = How { durability: Some(Durability::Strict), ..How::default() };
        let begun = std::time::Instant::now();
        let permit = node.permit(Right::Write);
        let merging = history.merge(&permit, &into, &from, how);
        let merged = node.runtime.block_on(merging).unwrap();
        if merged.entries == 0 {
            return skipping::skip("merge: an earlier run has merged the branches of this tree");
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!((merged.entries as u64, merged.conflicts.len()), (theirs, 0));
    }
    let name = format!("merge of {theirs} against {}", 10 * theirs);
    println!("{}", Figure { name: &name, unit: "ms", runs: &took, bar: Bar::AtMost(500.0) });
}
