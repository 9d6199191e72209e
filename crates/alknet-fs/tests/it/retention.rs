use std::collections::BTreeMap;

use alknet_fs::{
    BranchId, Seq,
    history::retention::{self, Cursor, Kept},
    rows::snapshot::{self, SnapshotRow},
};
use proptest::prelude::*;

use crate::{
    fixture::{on, seq},
    random_tree::{Map, map, steps},
    tree_writer::Tree,
};

fn pass(tree: &Tree, branch: BranchId, horizon: Seq, held: &[Seq]) -> usize {
    let (mut at, mut gone) = (Some(Cursor::start()), 0);
    while let Some(cursor) = at {
        let kept = Kept::of(&tree.sql, tree.bucket, horizon, held).unwrap();
        let (next, some) = retention::step(&tree.sql, on(tree.bucket, branch), &kept, cursor).unwrap();
        (at, gone) = (next, gone + some);
    }
    gone
}

fn count(tree: &Tree, table: &str) -> i64 {
    tree.sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn snapshot(tree: &Tree, branch: BranchId, at: Seq) {
    let name = format!("s{at}-{}", count(tree, "fs_snapshot")).parse().unwrap();
    snapshot::insert(&tree.sql, tree.bucket, &SnapshotRow { name, branch, seq: at, time_ns: 0 }).unwrap();
}

#[test]
fn what_was_replaced_before_the_horizon_goes_unless_it_is_pinned() {
    // HIST-40, HIST-41
    let tree = Tree::new();
    let ino = tree.put(tree.main, alknet_fs::Ino::ROOT, "f", b"1");
    let pinned = tree.head();
    tree.edit(tree.main, ino, Some(b"22"), None);
    let held = tree.head();
    tree.edit(tree.main, ino, Some(b"333"), None);
    tree.remove(tree.main, alknet_fs::Ino::ROOT, "f");
    snapshot(&tree, tree.main, pinned);
    assert_eq!(pass(&tree, tree.main, Seq::ZERO, &[]), 0, "nothing is older than everything");
    assert_eq!(pass(&tree, tree.main, tree.head(), &[Seq::ZERO]), 0, "somebody is about to look");
    let size =
        |at: Seq| map(&tree, &tree.chain_at(tree.main, at)).values().map(|entry| entry.bytes.len()).sum::<usize>();
    pass(&tree, tree.main, tree.head(), &[held]);
    assert_eq!((size(pinned), size(held), size(tree.head())), (1, 2, 0));
    pass(&tree, tree.main, tree.head(), &[]);
    assert_eq!((size(pinned), count(&tree, "fs_inode")), (1, 2));
    tree.sql.execute("DELETE FROM fs_snapshot", []).unwrap();
    pass(&tree, tree.main, tree.head(), &[]);
    pass(&tree, tree.main, tree.head(), &[]);
    assert_eq!((count(&tree, "fs_inode"), count(&tree, "fs_dent")), (0, 0), "what is gone for everybody is gone");
}

#[test]
fn a_version_before_the_horizon_is_no_longer_given_out() {
    // HIST-43
    let tree = Tree::new();
    for name in ["a", "b", "c"] {
        tree.put(tree.main, alknet_fs::Ino::ROOT, name, b"");
    }
    snapshot(&tree, tree.main, seq(2));
    let is_kept = |at| retention::is_kept(&tree.sql, (tree.bucket, tree.main), seq(at)).unwrap();
    assert!(is_kept(1));
    assert_eq!(retention::begin(&tree.sql, tree.bucket, seq(4)).unwrap(), seq(4));
    assert_eq!([1, 2, 3, 4, 5].map(is_kept), [false, true, false, true, true]);
    assert_eq!(
        retention::begin(&tree.sql, tree.bucket, seq(3)).unwrap(),
        seq(4),
        "what was forgotten does not come back"
    );
}

fn recounted(tree: &Tree) -> [i64; 3] {
    let one = |text: &str| tree.sql.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap();
    [
        one("SELECT used_bytes - (SELECT coalesce(sum(size), 0) FROM fs_inode WHERE changed & 1) FROM fs_bucket"),
        one("SELECT used_files - (SELECT count(*) FROM (SELECT DISTINCT branch, ino FROM fs_inode)) FROM fs_bucket"),
        one("SELECT count(*) FROM fs_blob WHERE refs <> (SELECT count(*) FROM fs_inode WHERE blob = fs_blob.id)"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_forgotten_nothing_that_is_to_be_seen_changes(
        steps in steps(80),
        forks in (0..15usize, 0..25usize, any::<bool>(), any::<bool>(), any::<bool>()),
        pins in proptest::collection::vec((0..3usize, 0..200u64, any::<bool>()), 0..4),
        prunes in proptest::collection::vec((0..3usize, 0..200u64), 1..5),
    ) {
        // HIST-40, HIST-41, HIST-42
        let tree = Tree::new();
        let mut branches = vec![tree.main];
        for (at, step) in steps.into_iter().enumerate() {
            if at == forks.0 {
                branches.push(tree.random_fork("one", tree.main, forks.2));
            }
            if at == forks.0 + forks.1 {
                branches.push(tree.random_fork("two", branches[usize::from(forks.4)], forks.3));
            }
            tree.random(branches[step.0 % branches.len()], step);
        }
        let head = tree.head().get();
        let mut held = Vec::new();
        let mut watched = Vec::new();
        for (branch, at, is_snapshot) in pins {
            let (branch, at) = (branches[branch % branches.len()], seq(at % (head + 1)));
            watched.push((branch, at));
            if is_snapshot {
                snapshot(&tree, branch, at);
            } else {
                held.push(at.max(seq(1)));
                watched.last_mut().unwrap().1 = at.max(seq(1));
            }
        }
        let highest = prunes.iter().map(|(_, at)| at % (head + 1)).max().unwrap();
        watched.extend(branches.iter().flat_map(|branch| (highest..=head).map(|at| (*branch, seq(at)))));
        let shown = || -> BTreeMap<_, Map> {
            watched.iter().map(|(branch, at)| ((*branch, *at), map(&tree, &tree.chain_at(*branch, *at)))).collect()
        };
        let before = shown();
        for (branch, at) in prunes {
            pass(&tree, branches[branch % branches.len()], seq(at % (head + 1)), &held);
            prop_assert_eq!(recounted(&tree), [0, 0, 0]);
        }
        let after = shown();
        for (version, map) in &before {
            prop_assert_eq!(map, &after[version], "{:?}", version);
        }
        prop_assert!(after.len() == before.len());
    }
}
