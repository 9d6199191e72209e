use alknet_fs::{
    BranchId, FsPath, Ino, Seq, Sight,
    history::log::{self, Version, Versions},
    rows::{Kind, branch::Mode},
};

use crate::tree_writer::Tree;

const ROOT: Ino = Ino::ROOT;

fn versions(tree: &Tree, branch: BranchId, path: &str, page: (Seq, usize)) -> Option<Versions> {
    let path = FsPath::parse(path.as_bytes()).unwrap();
    log::versions(&tree.sql, (tree.bucket, branch), (&tree.chain(branch), &Sight::default()), &path, page).unwrap()
}

fn lines(tree: &Tree, branch: BranchId, path: &str) -> Vec<String> {
    let line = |version: Version| {
        let at = |path: Option<FsPath>| path.map_or_else(|| "nowhere".into(), |path| path.to_string());
        let size = version.state.map_or_else(|| "gone".into(), |state| state.size.to_string());
        format!("{:?} {} {size}", version.changes, at(version.path))
    };
    versions(tree, branch, path, (Seq::MAX, 100)).unwrap().all.into_iter().map(line).collect()
}

#[test]
fn the_log_of_a_branch_has_its_own_commits_and_those_that_it_sees() {
    // HIST-05
    let tree = Tree::new();
    tree.make(tree.main, ROOT, "a", Kind::File);
    let pinned = tree.fork("pinned", tree.main, tree.head(), Mode::Pinned);
    let follows = tree.fork("follows", tree.main, tree.head(), Mode::Follow);
    for branch in [tree.main, pinned, follows, tree.main] {
        tree.make(branch, ROOT, &format!("{:?}", tree.head()), Kind::File);
    }
    let page = |branch, before, limit| {
        let page = log::commits(&tree.sql, tree.bucket, &tree.chain(branch), before, limit).unwrap();
        (page.all.iter().map(|row| row.seq.get()).collect::<Vec<_>>(), page.next.map(Seq::get))
    };
    assert_eq!(page(tree.main, Seq::MAX, 9), (vec![5, 2, 1], None));
    assert_eq!(page(pinned, Seq::MAX, 9), (vec![3, 1], None));
    assert_eq!(page(follows, Seq::MAX, 9), (vec![5, 4, 2, 1], None));
    assert_eq!(page(follows, Seq::MAX, 2), (vec![5, 4], Some(4)));
    assert_eq!(page(follows, Seq::new(4).unwrap(), 2), (vec![2, 1], None));
}

#[test]
fn an_entry_has_its_versions_under_every_name_that_it_had() {
    // HIST-06
    let tree = Tree::new();
    let dir = tree.make(tree.main, ROOT, "d", Kind::Folder);
    let ino = tree.put(tree.main, dir, "a", b"1");
    let dev = tree.fork("dev", tree.main, tree.head(), Mode::Pinned);
    tree.edit(tree.main, ino, Some(b"unseen on dev"), None);
    tree.rename(dev, (dir, "a"), (ROOT, "b"));
    tree.edit(dev, ino, Some(b"12"), Some(0o600));
    tree.rename(dev, (ROOT, "d"), (ROOT, "e"));
    tree.link(dev, &tree.find(dev, ROOT, "b").unwrap(), ROOT, "link");
    assert_eq!(
        lines(&tree, dev, "/b"),
        ["[Added] /link 2", "[Content, Attributes] /b 2", "[Renamed] /b 1", "[Content] /d/a 1", "[Added] /d/a 0"]
    );
    tree.remove(dev, ROOT, "link");
    tree.remove(dev, ROOT, "b");
    assert_eq!(lines(&tree, dev, "/b")[..2], ["[Removed] /b gone", "[Removed] /link 2"], "removed ones too");
    assert_eq!(lines(&tree, dev, "/d/a")[..1], ["[Removed] /b gone"], "and by a name that they had");
    assert_eq!(versions(&tree, dev, "/never", (Seq::MAX, 9)), None);
    assert_eq!(versions(&tree, dev, "/b/below a file", (Seq::MAX, 9)), None);
}

#[test]
fn what_took_the_place_of_a_file_goes_on_with_its_log() {
    // HIST-06
    let tree = Tree::new();
    tree.put(tree.main, ROOT, "f", b"1");
    tree.put(tree.main, ROOT, "f.part", b"22");
    tree.rename(tree.main, (ROOT, "f.part"), (ROOT, "f"));
    tree.remove(tree.main, ROOT, "f");
    tree.put(tree.main, ROOT, "f", b"333");
    assert_eq!(
        lines(&tree, tree.main, "/f"),
        [
            "[Content] /f 3",
            "[Added] /f 0",
            "[Removed] /f gone",
            "[Renamed] /f 2",
            "[Content] /f.part 2",
            "[Added] /f.part 0",
            "[Content] /f 1",
            "[Added] /f 0"
        ]
    );
}

#[test]
fn the_log_of_an_entry_comes_in_pages() {
    // HIST-06
    let tree = Tree::new();
    let ino = tree.put(tree.main, ROOT, "f", b"");
    for size in 0..9 {
        tree.edit(tree.main, ino, Some(&vec![0; size + 1]), None);
        if size == 4 {
            tree.rename(tree.main, (ROOT, "f"), (ROOT, "g"));
        }
    }
    let whole = versions(&tree, tree.main, "/g", (Seq::MAX, 100)).unwrap().all;
    assert_eq!(whole.len(), 11);
    assert!(whole.iter().all(|version| version.commit.as_ref().is_some_and(|row| row.seq == version.seq)));
    let (mut all, mut before) = (Vec::new(), Some(Seq::MAX));
    while let Some(from) = before {
        let page = versions(&tree, tree.main, "/g", (from, 3)).unwrap();
        assert!(page.all.len() <= 3);
        all.extend(page.all);
        before = page.next;
    }
    assert_eq!(all, whole);
}
