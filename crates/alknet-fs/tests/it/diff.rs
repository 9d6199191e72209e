use alknet_fs::{
    BranchId, Chain, FsError, FsPath, Ino, RemoveHow, RenameHow, Seq,
    history::diff::{self, Change, Differences, Wanted},
    limits::LEAST_SHARED_INODES,
    rows::{Kind, branch::Mode},
};
use proptest::prelude::*;

use crate::{
    node::{Node, mkdir, put, remove},
    random_tree::{Entry, Kind2, Map, Step, map, steps},
    tree_posix::{hard_link, rename},
    tree_writer::Tree,
};

const ROOT: Ino = Ino::ROOT;

fn page(tree: &Tree, old: &Chain, new: &Chain, after: Option<&FsPath>, limit: usize) -> Differences {
    diff::between(&tree.sql, old, new, Wanted { within: &FsPath::ROOT, after, limit }).unwrap()
}

fn lines(differences: &Differences) -> Vec<String> {
    let line = |one: &diff::Difference| {
        let from = one.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        format!("{:?} {}{from}", one.changes, one.path)
    };
    differences.all.iter().map(line).collect()
}

fn path(text: &str) -> FsPath {
    FsPath::parse(text.as_bytes()).unwrap()
}

/// A tree with /d/f, /g and a branch made from it.
fn forked(mode: Mode) -> (Tree, BranchId, Ino) {
    let tree = Tree::new();
    let dir = tree.make(tree.main, ROOT, "d", Kind::Folder);
    tree.put(tree.main, dir, "f", b"1");
    tree.put(tree.main, ROOT, "g", b"2");
    let dev = tree.fork("dev", tree.main, tree.head(), mode);
    (tree, dev, dir)
}

#[test]
fn each_way_to_differ_is_told_by_path() {
    // HIST-01
    let (tree, dev, dir) = forked(Mode::Pinned);
    let before = tree.chain_at(dev, tree.head());
    let f = tree.find(dev, dir, "f").unwrap();
    let g = tree.find(dev, ROOT, "g").unwrap();
    tree.edit(dev, f.ino, Some(b"11"), Some(0o600));
    tree.rename(dev, (ROOT, "d"), (ROOT, "e"));
    tree.put(dev, dir, "new", b"3");
    tree.link(dev, &g, dir, "g2");
    let after = tree.chain(dev);
    let found = page(&tree, &before, &after, None, 100);
    assert_eq!(
        lines(&found),
        ["[Renamed] /e from /d", "[Content, Attributes] /e/f", "[Added] /e/g2", "[Added] /e/new"],
        "what a moved folder holds is no difference"
    );
    let back = page(&tree, &after, &before, None, 100);
    assert_eq!(
        lines(&back),
        ["[Renamed] /d from /e", "[Content, Attributes] /d/f", "[Removed] /e/g2", "[Removed] /e/new"]
    );
    let content = &found.all[1];
    let size = |state: &Option<alknet_fs::history::State>| state.as_ref().unwrap().size;
    assert_eq!((size(&content.old), size(&content.new)), (1, 2));
    assert!(content.old.as_ref().unwrap().hash != content.new.as_ref().unwrap().hash);
    assert_eq!(page(&tree, &after, &after, None, 100).all, []);
}

#[test]
fn a_file_that_another_one_took_the_place_of_has_changed() {
    // HIST-02
    let (tree, dev, dir) = forked(Mode::Pinned);
    let before = tree.chain_at(dev, tree.head());
    tree.put(dev, dir, "f.part", b"1 and more");
    tree.rename(dev, (dir, "f.part"), (dir, "f"));
    assert_eq!(lines(&page(&tree, &before, &tree.chain(dev), None, 100)), ["[Content] /d/f"]);
    tree.rename(dev, (ROOT, "g"), (dir, "f"));
    assert_eq!(lines(&page(&tree, &before, &tree.chain(dev), None, 100)), ["[Removed, Renamed] /d/f from /g"]);
    tree.remove(dev, dir, "f");
    tree.make(dev, dir, "f", Kind::Folder);
    assert_eq!(
        lines(&page(&tree, &before, &tree.chain(dev), None, 100)),
        ["[Removed, Added] /d/f", "[Removed] /g"],
        "a folder is no changed file"
    );
}

#[test]
fn what_was_below_a_folder_that_another_one_moved_over_is_removed() {
    // HIST-01, HIST-02
    for levels in 1..4 {
        let tree = Tree::new();
        let moved = tree.make(tree.main, ROOT, "c", Kind::Folder);
        let mut lost = tree.make(tree.main, moved, "c", Kind::Folder);
        for _ in 1..levels {
            lost = tree.make(tree.main, lost, "c", Kind::Folder);
        }
        tree.put(tree.main, lost, "d", b"lost");
        let before = tree.chain_at(tree.main, tree.head());

        // All of /c/c goes, /c takes its place, and what is made there has the paths of what went.
        tree.remove(tree.main, lost, "d");
        let mut below = vec![moved];
        for _ in 1..levels {
            below.push(tree.find(tree.main, *below.last().unwrap(), "c").unwrap().ino);
        }
        for dir in below.into_iter().rev() {
            tree.remove(tree.main, dir, "c");
        }
        let way = tree.make(tree.main, ROOT, "way", Kind::Folder);
        tree.rename(tree.main, (ROOT, "c"), (way, "c"));
        tree.rename(tree.main, (ROOT, "way"), (ROOT, "c"));
        let mut made = moved;
        for _ in 1..levels {
            made = tree.make(tree.main, made, "c", Kind::Folder);
        }
        tree.put(tree.main, made, "d", b"made");
        let after = tree.chain(tree.main);
        leads_from_one_to_the_other(&tree, &before, &after).unwrap();
        leads_from_one_to_the_other(&tree, &after, &before).unwrap();
        let told = lines(&page(&tree, &before, &after, None, 100));
        assert!(told.contains(&format!("[Removed, Added] /c{}/d", "/c".repeat(levels))), "{told:?}");
    }
}

#[test]
fn pages_go_on_after_a_path_and_stay_within_one() {
    // HIST-03
    let (tree, dev, dir) = forked(Mode::Pinned);
    let before = tree.chain_at(dev, tree.head());
    for name in ["z", "b", "a", "y"] {
        tree.put(dev, dir, name, b"");
        tree.put(dev, ROOT, name, b"");
    }
    tree.rename(dev, (ROOT, "g"), (dir, "moved"));
    let after = tree.chain(dev);
    let whole = page(&tree, &before, &after, None, 100);
    assert_eq!((whole.all.len(), &whole.next), (9, &None));
    for limit in 1..10 {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = page(&tree, &before, &after, from.as_ref(), limit);
            assert!(page.all.len() <= limit);
            all.extend(page.all);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(all, whole.all, "by {limit}");
    }
    let within = |text: &str| {
        let wanted = Wanted { within: &path(text), after: None, limit: 100 };
        lines(&diff::between(&tree.sql, &before, &after, wanted).unwrap())
    };
    assert_eq!(within("/d").len(), 5);
    assert_eq!(within("/g"), ["[Renamed] /d/moved from /g"], "what left is told too");
    assert_eq!(within("/d/z"), ["[Added] /d/z"]);
}

#[test]
fn only_what_changed_is_looked_at() {
    // HIST-04
    let tree = Tree::new();
    for number in 0..300 {
        tree.put(tree.main, ROOT, &format!("file {number}"), b"x");
    }
    let dev = tree.fork("dev", tree.main, tree.head(), Mode::Pinned);
    let before = tree.chain_at(dev, tree.head());
    tree.put(dev, ROOT, "one more", b"");
    let after = tree.chain(dev);
    // Rows of the other files are made unreadable: whoever looks at one of them fails.
    tree.sql.execute_batch("UPDATE fs_inode SET mode = -1 WHERE branch = (SELECT min(id) FROM fs_branch)").unwrap();
    assert_eq!(lines(&page(&tree, &before, &after, None, 10)), ["[Added] /one more"]);
}

/// What becomes of a map by the differences, told by paths alone.
fn applied(old: &Map, differences: &Differences) -> Map {
    let moved: Vec<_> =
        differences.all.iter().filter_map(|one| one.from.as_ref().map(|from| (from, &one.path))).collect();
    let gone = |path: &FsPath| {
        let taken = |one: &diff::Difference| one.changes.contains(&Change::Removed) && one.path == *path;
        differences.all.iter().any(taken) && !moved.iter().any(|(from, _)| *from == path)
    };
    let mut new = Map::new();
    for (path, entry) in old.iter().filter(|(path, _)| !gone(path)) {
        let nearest = moved.iter().filter(|(from, _)| path.names().starts_with(from.names()));
        let nearest = nearest.max_by_key(|(from, _)| from.names().len());
        let to = nearest.map_or_else(
            || path.clone(),
            |(from, to)| {
                let rest = &path.names()[from.names().len()..];
                rest.iter().fold((*to).clone(), |to, name| to.join(name.clone()).unwrap())
            },
        );
        new.insert(to, entry.clone());
    }
    for one in &differences.all {
        if let (Some(state), false) = (&one.new, one.path == FsPath::ROOT) {
            let before = new.get(&one.path).map(|entry| entry.bytes.clone()).unwrap_or_default();
            let kind = if state.kind == Kind::Folder { Kind2::Folder } else { Kind2::File };
            new.insert(one.path.clone(), Entry { kind, bytes: before, mode: state.mode });
        }
    }
    new
}

/// The bytes are not in a difference: their hash is.
fn hashed(map: Map, differences: Option<&Differences>) -> Vec<(FsPath, Kind2, u16, String)> {
    let hash = |path: &FsPath, entry: &Entry| {
        let told = differences.and_then(|all| all.all.iter().find(|one| one.path == *path && one.new.is_some()));
        match told.and_then(|one| one.new.as_ref()?.hash) {
            Some(hash) => hash.to_string(),
            None if entry.kind == Kind2::Folder => String::new(),
            None => alknet_fs::ContentHash::of(&entry.bytes).to_string(),
        }
    };
    map.iter().map(|(path, entry)| (path.clone(), entry.kind, entry.mode, hash(path, entry))).collect()
}

fn leads_from_one_to_the_other(tree: &Tree, old: &Chain, new: &Chain) -> Result<(), TestCaseError> {
    let differences = page(tree, old, new, None, 10_000);
    let told: Vec<_> = lines(&differences);
    prop_assert!(differences.all.is_sorted_by(|one, other| one.path < other.path));
    let result = hashed(applied(&map(tree, old), &differences), Some(&differences));
    prop_assert_eq!(result, hashed(map(tree, new), None), "by {:#?}", told);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let part = page(tree, old, new, after.as_ref(), 3);
        paged.extend(part.all);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    prop_assert_eq!(paged, differences.all);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_differences_lead_from_any_version_to_any_other(
        steps in steps(60),
        forks in (0..10usize, 0..20usize, any::<bool>(), any::<bool>(), any::<bool>()),
        bounds in proptest::collection::vec((0..3usize, 0..100u64), 2..5),
    ) {
        // HIST-01, HIST-02, HIST-03
        let tree = Tree::new();
        let mut branches = vec![tree.main];
        for (at, step) in steps.into_iter().enumerate() {
            if at == forks.0 {
                branches.push(tree.random_fork("one", tree.main, forks.2));
            }
            if at == forks.0 + forks.1 {
                branches.push(tree.random_fork("two", branches[usize::from(forks.4)], forks.3));
            }
            let step: Step = step;
            tree.random(branches[step.0 % branches.len()], step);
        }
        let versions: Vec<Chain> = bounds.into_iter().map(|(branch, seq)| {
            let bound = Seq::new(seq % (tree.head().get() + 1)).unwrap();
            tree.chain_at(branches[branch % branches.len()], bound)
        }).chain(branches.iter().map(|branch| tree.chain(*branch))).collect();
        for old in &versions {
            for new in &versions {
                leads_from_one_to_the_other(&tree, old, new)?;
            }
        }
    }
}

#[tokio::test]
async fn two_threads_find_what_one_finds() {
    // HIST-01, HIST-03, HIST-04
    let count = 2 * LEAST_SHARED_INODES;
    let node = Node::with_bucket().await;
    let file = |number: usize| format!("/d{}/{number}", number % 7);
    let mut made: Vec<_> = (0..7).map(|number| mkdir(&format!("/d{number}"))).collect();
    made.extend((0..count).map(|number| put(&file(number), "1")));
    node.change("main", made).await.unwrap();
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    let mut changes: Vec<_> = (0..count).map(|number| put(&file(number), "2")).collect();
    changes.push(hard_link(&file(0), "/d1/second"));
    changes.push(hard_link(&file(count - 1), "/second"));
    changes.push(rename("/d2", "/moved", RenameHow::Replace));
    changes.push(rename(&file(3), "/d4/moved", RenameHow::Replace));
    changes.push(remove(&file(5), RemoveHow::File));
    node.change("dev", changes).await.unwrap();
    let (main, dev) = (node.view("proj").await.unwrap(), node.view("proj:dev").await.unwrap());
    let last = path("/d3/1000");
    for (after, limit) in [(None, 10 * count), (None, 100), (Some(last), 50)] {
        let (main, dev) = (main.chain().clone(), dev.chain().clone());
        let both = node.tree.tables().read_by_two(move |sql, second| -> Result<_, FsError> {
            assert!(second.is_some());
            let wanted = Wanted { within: &FsPath::ROOT, after: after.as_ref(), limit };
            let one = diff::between(sql, &main, &dev, wanted)?;
            Ok((one, diff::between_by_two(sql, second, (&main, &dev), wanted)?))
        });
        let (one, two) = both.await.unwrap();
        assert!(one.all.len() >= limit.min(count), "{}", one.all.len());
        assert_eq!(one, two);
    }
}
