//! The names that a merge finds for what it puts beside something.

use alknet_fs::{
    history::merge::{self, Strategy, Versions},
    limits::MAX_MERGE_NAMES_TRIED,
    rows::Kind,
};

use crate::merge::{common, forked, ino, merge};

#[test]
fn names_that_are_cut_to_the_same_are_found_one_after_the_other() {
    // HIST-17, HIST-24
    let (tree, dev, dir) = forked();
    // Each of them tried from the first on, these would be more names than are tried.
    let name = |number: u32| format!("{}{number:04}", "x".repeat(251));
    const { assert!(700 * 700 / 2 > MAX_MERGE_NAMES_TRIED) };
    for number in 0..700 {
        tree.put(tree.main, dir, &name(number), b"ours");
        tree.put(dev, dir, &name(number), b"theirs");
    }
    merge(&tree, tree.main, dev, Strategy::Both);
    let text = "SELECT count(*) FROM fs_dent WHERE branch = ?1 AND dir = ?2 AND CAST(name AS TEXT) LIKE '%~dev%'";
    let beside: i64 = tree.sql.query_row(text, rusqlite::params![tree.main, dir], |row| row.get(0)).unwrap();
    assert_eq!(beside, 700);
    let last = format!("{}~dev~700", "x".repeat(247));
    assert!(tree.find(tree.main, dir, &last).is_some(), "each count is used");
}

#[test]
#[ignore = "it goes through 200,000 names"]
fn a_merge_that_finds_no_free_name_is_refused() {
    // HIST-17
    let (tree, dev, dir) = forked();
    let name = "x".repeat(255);
    tree.put(tree.main, dir, &name, b"ours");
    tree.put(dev, dir, &name, b"theirs");
    let taken = |count: usize| {
        let mark = if count == 1 { "~dev".to_owned() } else { format!("~dev~{count}") };
        format!("{}{mark}", &name[mark.len()..])
    };
    let seq = tree.begin(tree.main);
    let text = "INSERT INTO fs_dent (branch, dir, name, seq, ino, kind, made) VALUES (?1, ?2, CAST(?3 AS BLOB), ?4, ?5, ?6, 1)";
    let (mut row, other) = (tree.sql.prepare(text).unwrap(), ino(&tree, tree.main, dir, "f"));
    for count in 1..=MAX_MERGE_NAMES_TRIED {
        row.execute(rusqlite::params![tree.main, dir, taken(count), seq, other, Kind::File as i64]).unwrap();
    }
    let (base, ours, theirs) = (common(&tree, tree.main, dev), tree.chain(tree.main), tree.chain(dev));
    let versions = Versions { base: &base, ours: &ours, theirs: &theirs, label: "dev" };
    let refused = merge::plan(&tree.sql, versions, Strategy::Both).err().unwrap();
    assert_eq!(refused.to_string(), "cannot merge so many changes at once from dev: it is too big");
}
