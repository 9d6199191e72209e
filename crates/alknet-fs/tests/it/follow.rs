use std::collections::{BTreeMap, BTreeSet};

use alknet_fs::{
    BranchId, Ino, Seq,
    rows::{
        Kind,
        branch::Mode,
        inode::{self, Changed, Inode},
    },
};
use proptest::prelude::*;

use crate::{
    fixture::{file, inline, on},
    tree_writer::Tree,
};

const ROOT: Ino = Ino::ROOT;

fn followed() -> (Tree, BranchId) {
    let tree = Tree::new();
    tree.make(tree.main, ROOT, "d", Kind::Folder);
    tree.make(tree.main, ROOT, "f", Kind::File);
    let dev = tree.fork("dev", tree.main, tree.head(), Mode::Follow);
    (tree, dev)
}

#[test]
fn new_names_and_removed_files_flow() {
    // FS-85
    let (tree, dev) = followed();
    let inner = tree.make(tree.main, ROOT, "n", Kind::Folder);
    tree.make(tree.main, inner, "x", Kind::File);
    tree.rename(tree.main, (ROOT, "f"), (inner, "g"));
    assert_eq!(tree.names(dev, ROOT), ["d", "n"]);
    assert_eq!(tree.names(dev, inner), ["g", "x"]);
    tree.remove(tree.main, inner, "x");
    assert_eq!(tree.names(dev, inner), ["g"]);
    assert_eq!(
        tree.chain_at(dev, Seq::new(3).unwrap()).page(&tree.sql, ROOT, b"", 9).unwrap().len(),
        3,
        "and back in time"
    );
}

#[test]
fn folders_neither_move_nor_vanish() {
    // FS-86
    let (tree, dev) = followed();
    let folder = tree.find(dev, ROOT, "d").unwrap();
    let made = tree.make(tree.main, ROOT, "n", Kind::Folder);
    tree.rename(tree.main, (ROOT, "n"), (folder.ino, "n"));
    tree.rename(tree.main, (ROOT, "d"), (ROOT, "moved"));
    tree.make(tree.main, ROOT, "d", Kind::File);
    assert_eq!(tree.names(tree.main, ROOT), ["d", "f", "moved"]);
    assert_eq!(tree.names(dev, ROOT), ["d", "f", "n"]);
    assert_eq!(tree.find(dev, ROOT, "d").unwrap(), folder);
    assert_eq!(tree.names(dev, folder.ino), Vec::<String>::new());
    tree.remove(tree.main, folder.ino, "n");
    assert_eq!(tree.find(dev, ROOT, "n").unwrap().ino, made);
}

#[test]
fn names_that_the_branch_has_changed_itself_stay_as_it_left_them() {
    // FS-86
    let (tree, dev) = followed();
    tree.rename(dev, (ROOT, "f"), (ROOT, "mine"));
    tree.rename(tree.main, (ROOT, "f"), (ROOT, "theirs"));
    assert_eq!(tree.names(dev, ROOT), ["d", "mine"]);
    let (tree, dev) = followed();
    tree.rename(tree.main, (ROOT, "f"), (ROOT, "g"));
    tree.link(dev, &tree.find(dev, ROOT, "g").unwrap(), ROOT, "h");
    tree.rename(tree.main, (ROOT, "g"), (ROOT, "i"));
    assert_eq!(tree.names(dev, ROOT), ["d", "g", "h"]);
}

#[test]
fn content_and_attributes_are_overridden_apart() {
    // FS-87
    let (tree, dev) = followed();
    let ino = tree.find(dev, ROOT, "f").unwrap().ino;
    let write = |branch, changed, size: usize, mode, mtime_ns| {
        let blob = (size > 0).then(|| inline(&tree.sql, &vec![1; size]));
        let row = file(ino.get(), tree.begin(branch).get(), blob, size as u64);
        inode::write(&tree.sql, on(tree.bucket, branch), &Inode { mode, mtime_ns, changed, ..row }).unwrap();
    };
    let seen = |branch| {
        let inode = tree.chain(branch).inode(&tree.sql, ino).unwrap().unwrap();
        (inode.size, inode.mode, inode.mtime_ns)
    };
    let (attributes, content) =
        (Changed { content: false, attributes: true }, Changed { content: true, attributes: false });
    write(tree.main, content, 1, 0o644, 10);
    assert_eq!(seen(dev), (1, 0o644, 10), "nothing of its own");
    write(dev, attributes, 1, 0o600, 5);
    assert_eq!(seen(dev), (1, 0o600, 5), "its own time, as it was set");
    write(tree.main, content, 2, 0o644, 20);
    assert_eq!(seen(dev), (2, 0o600, 20), "later content brings its time");
    write(dev, content, 3, 0o600, 30);
    write(tree.main, Changed::ALL, 4, 0o666, 40);
    assert_eq!((seen(dev), seen(tree.main)), ((3, 0o600, 30), (4, 0o666, 40)));
    let (tree, dev) = followed();
    let ino = tree.find(dev, ROOT, "f").unwrap().ino;
    let row = |branch| file(ino.get(), tree.begin(branch).get(), None, 0);
    let row_of = |branch, changed, mode| Inode { changed, mode, ..row(branch) };
    inode::write(&tree.sql, on(tree.bucket, dev), &row_of(dev, content, 0o644)).unwrap();
    inode::write(&tree.sql, on(tree.bucket, tree.main), &row_of(tree.main, attributes, 0o600)).unwrap();
    assert_eq!(
        tree.chain(dev).inode(&tree.sql, ino).unwrap().unwrap().mode,
        0o600,
        "attributes flow under own content"
    );
}

/// Where every visible folder is, and how often every entry is met on the way from the root.
fn walk(tree: &Tree, branch: BranchId) -> BTreeMap<Ino, (Ino, Vec<u8>)> {
    let chain = tree.chain(branch);
    let mut folders = BTreeMap::from([(ROOT, (ROOT, Vec::new()))]);
    let mut left = vec![ROOT];
    while let Some(dir) = left.pop() {
        for dent in chain.page(&tree.sql, dir, b"", 1000).unwrap() {
            let place = (dir, dent.name.to_vec());
            assert!(chain.places(&tree.sql, dent.ino).unwrap().contains(&(dir, dent.name.clone())));
            if dent.kind == Kind::Folder {
                assert_eq!(folders.insert(dent.ino, place), None, "a folder is reached twice");
                left.push(dent.ino);
            }
        }
    }
    folders
}

fn is_under(folders: &BTreeMap<Ino, (Ino, Vec<u8>)>, mut dir: Ino, ancestor: Ino) -> bool {
    while dir != ROOT && dir != ancestor {
        dir = folders[&dir].0;
    }
    dir == ancestor
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// One random change that the branch itself would allow.
fn change(tree: &Tree, branch: BranchId, (what, dir, name, to, new): (u8, usize, usize, usize, usize)) {
    let folders = walk(tree, branch);
    let known: Vec<Ino> = folders.keys().copied().collect();
    let (dir, to, name, new) = (known[dir % known.len()], known[to % known.len()], NAMES[name], NAMES[new]);
    match (what, tree.find(branch, dir, name)) {
        (0..=2, None) => {
            tree.make(branch, dir, name, if what == 0 { Kind::File } else { Kind::Folder });
        }
        (3, Some(found)) if found.kind == Kind::File || tree.names(branch, found.ino).is_empty() => {
            tree.remove(branch, dir, name);
        }
        (4, Some(found)) if found.kind == Kind::File && tree.find(branch, to, new).is_none() => {
            tree.link(branch, &found, to, new);
        }
        (_, Some(found))
            if tree.find(branch, to, new).is_none()
                && (found.kind == Kind::File || !is_under(&folders, to, found.ino)) =>
        {
            tree.rename(branch, (dir, name), (to, new));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_follower_has_every_folder_in_one_place_whatever_its_parent_does(
        steps in proptest::collection::vec((0..3usize, 0..8u8, 0..6usize, 0..3usize, 0..6usize, 0..3usize), 1..60),
        forks in (0..12usize, 0..24usize, any::<bool>()),
    ) {
        // FS-86
        let tree = Tree::new();
        let mut branches = vec![tree.main];
        for (at, (which, what, dir, name, to, new)) in steps.into_iter().enumerate() {
            if at == forks.0 {
                branches.push(tree.fork("one", tree.main, tree.head(), Mode::Follow));
            }
            if at == forks.0 + forks.1 {
                let mode = if forks.2 { Mode::Follow } else { Mode::Pinned };
                branches.push(tree.fork("two", branches[1], tree.head(), mode));
            }
            let which = which % branches.len();
            let before: Vec<_> = branches.iter().map(|branch| walk(&tree, *branch)).collect();
            change(&tree, branches[which], (what, dir, name, to, new));
            for (index, branch) in branches.iter().enumerate() {
                let after = walk(&tree, *branch);
                if index > which {
                    let kept: BTreeSet<_> = before[index].iter().collect();
                    prop_assert!(kept.is_subset(&after.iter().collect()), "branch {index}: {kept:?} became {after:?}");
                }
            }
        }
    }
}
