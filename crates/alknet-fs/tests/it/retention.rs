use std::collections::BTreeMap;

use alknet_fs::{
    BranchId, Chain, FsPath, Ino, Seq,
    history::{
        merge::{Strategy, base},
        retention::{self, Cursor, Kept},
    },
    rows::{
        Kind, bucket, commit, dent, inode,
        snapshot::{self, SnapshotRow},
    },
};
use proptest::prelude::*;

use crate::{
    fixture::{on, seq},
    merge::merge,
    random_tree::{Entry, Kind2, Step, map, numbered, steps},
    tree_writer::Tree,
};

fn pass(tree: &Tree, branch: BranchId, horizon: Seq, held: &[Seq]) -> usize {
    let (mut at, mut gone) = (Some(Cursor::start()), 0);
    while let Some(cursor) = at {
        let kept = Kept::of(&tree.sql, tree.bucket, horizon, held).unwrap();
        let on = on(tree.bucket, branch);
        let (next, going) = retention::look(&tree.sql, on, &kept, cursor).unwrap();
        at = next;
        for some in going.parts(3) {
            gone += retention::take(&tree.sql, on, &some).unwrap();
        }
    }
    gone
}

/// Forgets commits, too.
fn forget_commits(tree: &Tree, horizon: Seq, held: &[Seq]) {
    let kept = Kept::of(&tree.sql, tree.bucket, horizon, held).unwrap();
    let mut at = Some(Seq::ZERO);
    while let Some(after) = at {
        let (next, going) = retention::unnamed_commits(&tree.sql, tree.bucket, &kept, after).unwrap();
        going.iter().for_each(|seq| commit::prune(&tree.sql, tree.bucket, *seq).unwrap());
        at = next;
    }
}

/// Extended attributes, target, the commit that tells the time, names.
type Rest = (Option<Box<[u8]>>, Option<Box<[u8]>>, Seq, usize);

/// All that can be asked of what a version shows.
fn seen(tree: &Tree, chain: &Chain) -> BTreeMap<FsPath, (Option<Entry>, Rest)> {
    let newest_in = |dir: Ino| {
        let newest = |level: &alknet_fs::Level| dent::newest_in(&tree.sql, level.branch, dir, level.bound).unwrap();
        chain.levels().iter().filter_map(newest).max().unwrap_or_default()
    };
    let rest = |ino: Ino, is_folder: bool| {
        let inode = chain.inode(&tree.sql, ino).unwrap();
        let seq = inode.as_ref().map_or(Seq::ZERO, |inode| inode.seq);
        let time = if is_folder { newest_in(ino).max(seq) } else { seq };
        let names = chain.places(&tree.sql, ino).unwrap().len();
        inode.map_or((None, None, time, names), |inode| (inode.xattrs, inode.target, time, names))
    };
    let each = |(path, (ino, entry)): (FsPath, (Ino, Entry))| {
        let rest = rest(ino, entry.kind == Kind2::Folder);
        (path, (Some(entry), rest))
    };
    let mut all: BTreeMap<_, _> = numbered(tree, chain).into_iter().map(each).collect();
    all.insert(FsPath::ROOT, (None, rest(Ino::ROOT, true)));
    all
}

/// Does what [`Tree::random`] does, or what it does not.
fn act(tree: &Tree, branches: &[BranchId], step: Step, more: u8) {
    let (branch, other) = (branches[step.0 % branches.len()], branches[step.2 % branches.len()]);
    let root = |name: usize| ["a", "b", "c", "d"][name % 4];
    match more {
        0 => {
            let Some(found) = tree.find(branch, Ino::ROOT, root(step.3)) else { return };
            let before = tree.chain(branch).inode(&tree.sql, found.ino).unwrap().unwrap();
            let (seq, xattrs) = (tree.begin(branch), Some(Box::from([b'u', 1 + u8::try_from(step.5).unwrap()])));
            let changed = inode::Changed { content: false, attributes: true };
            inode::write(&tree.sql, on(tree.bucket, branch), &inode::Inode { seq, xattrs, changed, ..before }).unwrap();
        }
        1 if tree.find(branch, Ino::ROOT, root(step.3)).is_none() => {
            let ino = tree.make(branch, Ino::ROOT, root(step.3), Kind::Symlink);
            let before = tree.chain(branch).inode(&tree.sql, ino).unwrap().unwrap();
            let target = Some(Box::from(root(step.5).as_bytes()));
            inode::write(&tree.sql, on(tree.bucket, branch), &inode::Inode { target, ..before }).unwrap();
        }
        2 if branch != other => {
            let strategy = if step.1.is_multiple_of(2) { Strategy::Conflict } else { Strategy::Theirs };
            merge(tree, branch, other, strategy);
        }
        _ => tree.random(branch, step),
    }
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
    let ino = tree.put(tree.main, Ino::ROOT, "f", b"1");
    let pinned = tree.head();
    tree.edit(tree.main, ino, Some(b"22"), None);
    let held = tree.head();
    tree.edit(tree.main, ino, Some(b"333"), None);
    tree.remove(tree.main, Ino::ROOT, "f");
    snapshot(&tree, tree.main, pinned);
    assert_eq!(pass(&tree, tree.main, Seq::ZERO, &[]), 0, "nothing is older than everything");
    let size =
        |at: Seq| map(&tree, &tree.chain_at(tree.main, at)).values().map(|entry| entry.bytes.len()).sum::<usize>();
    pass(&tree, tree.main, tree.head(), &[held]);
    assert_eq!((size(pinned), size(held), size(tree.head())), (1, 2, 0));
    pass(&tree, tree.main, tree.head(), &[]);
    assert_eq!((size(pinned), count(&tree, "fs_inode")), (1, 2));
    tree.sql.execute("DELETE FROM fs_snapshot", []).unwrap();
    pass(&tree, tree.main, tree.head(), &[]);
    pass(&tree, tree.main, tree.head(), &[]);
    assert_eq!(count(&tree, "fs_inode"), 0, "what is gone for everybody is gone");
    assert_eq!(count(&tree, "fs_dent"), 1, "when the root lost its last name is still to be seen");
    tree.put(tree.main, Ino::ROOT, "g", b"");
    pass(&tree, tree.main, tree.head(), &[]);
    assert_eq!(count(&tree, "fs_dent"), 1, "and this one is newer");
}

#[test]
fn a_version_before_the_horizon_is_no_longer_given_out() {
    // HIST-43
    let tree = Tree::new();
    for name in ["a", "b", "c"] {
        tree.put(tree.main, Ino::ROOT, name, b"");
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
    let left =
        || tree.sql.query_row("SELECT count(*) FROM fs_meta WHERE key LIKE 'kept%'", [], |row| row.get::<_, i64>(0));
    assert_eq!(left().unwrap(), 1);
    while !bucket::erase(&tree.sql, tree.bucket, 100).unwrap() {}
    assert_eq!(left().unwrap(), 0);
}

/// Rows whose commit is gone, which says when they were written.
fn commitless(tree: &Tree) -> i64 {
    let text = "SELECT count(*) FROM (SELECT seq FROM fs_dent UNION ALL SELECT seq FROM fs_inode)
                WHERE seq NOT IN (SELECT seq FROM fs_commit)";
    tree.sql.query_row(text, [], |row| row.get(0)).unwrap()
}

fn recounted(tree: &Tree) -> [i64; 3] {
    let one = |text: &str| tree.sql.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap();
    [
        one(
            "SELECT used_bytes - (SELECT coalesce(sum(iif(changed & 1, size, 0) + ifnull(length(xattrs), 0)), 0) FROM fs_inode) FROM fs_bucket",
        ),
        one("SELECT used_files - (SELECT count(*) FROM (SELECT DISTINCT branch, ino FROM fs_inode)) FROM fs_bucket"),
        one("SELECT count(*) FROM fs_blob WHERE refs <> (SELECT count(*) FROM fs_inode WHERE blob = fs_blob.id)"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_forgotten_nothing_that_is_to_be_seen_changes(
        steps in steps(80),
        more in proptest::collection::vec(0..16u8, 80),
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
            act(&tree, &branches, step, more[at]);
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
        // From there the next merge begins.
        for (one, other) in branches.iter().flat_map(|one| branches.iter().map(move |other| (*one, *other))) {
            watched.extend(base::common(&tree.sql, (one, tree.head()), (other, tree.head())).unwrap());
        }
        let shown = || -> BTreeMap<_, _> {
            watched.iter().map(|(branch, at)| ((*branch, *at), seen(&tree, &tree.chain_at(*branch, *at)))).collect()
        };
        let before = shown();
        for (branch, at) in prunes {
            let horizon = seq(at % (head + 1));
            pass(&tree, branches[branch % branches.len()], horizon, &held);
            forget_commits(&tree, horizon, &held);
            prop_assert_eq!(commitless(&tree), 0);
            prop_assert_eq!(recounted(&tree), [0, 0, 0]);
        }
        let after = shown();
        for (version, map) in &before {
            prop_assert_eq!(map, &after[version], "{:?}", version);
        }
        prop_assert!(after.len() == before.len());
    }
}
