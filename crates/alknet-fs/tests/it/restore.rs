//! Going back: what is at and below a path is again what it was, and nothing else changes.

use std::collections::{BTreeMap, BTreeSet};

use alknet_fs::{
    BranchId, Chain, Errno, FsError, FsPath, Ino,
    history::{
        merge::{self, Plan},
        restore::{self, Looking},
    },
    rows::{Kind, branch::Mode, bucket},
};
use proptest::prelude::*;

use crate::{
    fixture::on,
    merge::{apart, is_counted, is_whole, many_files, tried},
    node::path,
    random_tree::{Entry, Kind2, Map, map, numbered, steps},
    tree_writer::Tree,
};

fn plan(tree: &Tree, branch: BranchId, then: &Chain, at: &FsPath, looking: Looking) -> Result<Plan, FsError> {
    let planned = restore::plan_by(&tree.sql, (&tree.chain(branch), then), at, (looking, usize::MAX));
    planned.map(|plan| plan.expect("because there is no bound"))
}

fn write(tree: &Tree, branch: BranchId, plan: &Plan) {
    let seq = tree.begin(branch);
    let new_ino = || Ok(bucket::next_ino(&tree.sql, tree.bucket, 0).unwrap());
    merge::apply(&tree.sql, (on(tree.bucket, branch), &tree.chain(branch)), seq, plan, new_ino).unwrap();
}

fn split(map: &Map, at: &FsPath) -> (Map, Map) {
    let is_below = |path: &FsPath| path.names().starts_with(at.names());
    map.clone().into_iter().partition(|(path, _)| is_below(path))
}

/// The paths of files that have a name below a path and one elsewhere.
fn linked(tree: &Tree, chain: &Chain, at: &FsPath) -> BTreeSet<FsPath> {
    let all: BTreeMap<FsPath, (Ino, Entry)> = numbered(tree, chain);
    let below: BTreeSet<Ino> =
        all.iter().filter(|(path, _)| path.names().starts_with(at.names())).map(|(_, (ino, _))| *ino).collect();
    all.into_iter().filter(|(_, (ino, _))| below.contains(ino)).map(|(path, _)| path).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_restored_is_what_it_was_and_nothing_else_changes(
        before in steps(20), after in steps(30), follows in any::<bool>(), which in any::<prop::sample::Index>(),
    ) {
        // HIST-30, HIST-31
        let (tree, _, branch) = apart(before, Vec::new(), (follows, false));
        let then = tree.chain_at(branch, tree.head());
        for step in after {
            tree.random(if step.0 == 0 { tree.main } else { branch }, step);
        }
        let (old, now) = (map(&tree, &then), map(&tree, &tree.chain(branch)));
        let root = FsPath::parse(b"/").unwrap();
        let at = [root].into_iter().chain(old.keys().cloned()).nth(which.index(old.len() + 1)).unwrap();
        let links = linked(&tree, &tree.chain(branch), &at);
        for looking in [Looking::Below, Looking::Since] {
            let planned = match plan(&tree, branch, &then, &at, looking) {
                Ok(planned) => planned,
                Err(FsError::At { errno: Errno::NotDir, .. }) => {
                    let is_above = |path: &FsPath| path != &at && at.names().starts_with(path.names());
                    let is_file = now.iter().any(|(path, entry)| is_above(path) && entry.kind == Kind2::File);
                    prop_assert!(is_file);
                    continue;
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            let outcome = tried(&tree, || {
                write(&tree, branch, &planned);
                is_whole(&tree, branch)?;
                is_counted(&tree)?;
                let again = plan(&tree, branch, &then, &at, looking).unwrap();
                prop_assert!(again.is_empty(), "a second time there is nothing to do");
                Ok(map(&tree, &tree.chain(branch)))
            })?;
            let ((is, mut beside), (was, _), (_, mut others)) = (split(&outcome, &at), split(&old, &at), split(&now, &at));
            prop_assert_eq!(&is, &was, "{} {:?}", at, looking);
            // Folders on the way were made, and what is the same file elsewhere has the same content.
            beside.retain(|path, _| !links.contains(path) && (others.contains_key(path) || !at.names().starts_with(path.names())));
            others.retain(|path, _| !links.contains(path));
            prop_assert_eq!(beside, others, "{} {:?}", at, looking);
        }
    }
}

#[test]
fn a_file_is_restored_however_much_else_has_changed() {
    // HIST-30, HIST-17
    let tree = Tree::new();
    let dir = tree.make(tree.main, Ino::ROOT, "d", Kind::Folder);
    let file = tree.put(tree.main, dir, "f", b"1");
    let branch = tree.fork("dev", tree.main, tree.head(), Mode::Pinned);
    let then = tree.chain_at(branch, tree.head());
    tree.edit(branch, file, Some(b"22"), None);
    many_files(&tree, branch, Ino::ROOT, 60_000);
    let chains = (&tree.chain(branch), &then);
    let in_steps = |at: &str, looking, most| restore::plan_by(&tree.sql, chains, &path(at), (looking, most));
    let planned = in_steps("/d/f", Looking::Below, 1).unwrap().unwrap();
    assert_eq!((planned.len(), planned.conflicts.len()), (1, 0));
    assert!(in_steps("/d", Looking::Below, 2).unwrap().is_none(), "it says when it would look at more");
    assert!(in_steps("/d", Looking::Since, 1000).unwrap().is_none());
    assert_eq!(in_steps("/d", Looking::Since, 100_000).unwrap().unwrap().len(), 1);
    let refused = in_steps("/", Looking::Since, 100_000).err().unwrap();
    assert_eq!(refused.to_string(), "cannot restore so much at once as /: it is too big");
}
