use std::collections::BTreeMap;

use alknet_fs::{
    BranchId, Chain, Ino, Level, Seq,
    limits::MAX_CHAIN_LEVELS,
    rows::{
        Kind,
        branch::{self, Mode},
    },
};
use proptest::prelude::*;

use crate::{fixture::seq, tree_writer::Tree};

#[test]
fn bounds_go_down_a_pinned_chain_and_through_one_that_follows() {
    // FS-82
    let tree = Tree::new();
    let pinned = tree.fork("pinned", tree.main, seq(5), Mode::Pinned);
    let follow = tree.fork("follow", pinned, seq(7), Mode::Follow);
    let level = |branch, bound, fork: Option<u64>| Level { branch, bound: seq(bound), fork: fork.map(seq) };
    let levels = |branch, bound| tree.chain_at(branch, seq(bound)).levels().to_vec();
    assert_eq!(levels(tree.main, 9), [level(tree.main, 9, None)]);
    assert_eq!(levels(pinned, 9), [level(pinned, 9, None), level(tree.main, 5, None)]);
    assert_eq!(levels(pinned, 3), [level(pinned, 3, None), level(tree.main, 3, None)]);
    let through = [level(follow, 9, None), level(pinned, 9, Some(7)), level(tree.main, 5, None)];
    assert_eq!(levels(follow, 9), through);
    branch::remove(&tree.sql, follow).unwrap();
    assert_eq!(Chain::of(&tree.sql, follow, Seq::MAX).unwrap(), None);
}

#[test]
fn a_chain_has_a_bound() {
    let tree = Tree::new();
    let mut branch = tree.main;
    for number in 1..MAX_CHAIN_LEVELS {
        branch = tree.fork(&format!("b{number}"), branch, Seq::ZERO, Mode::Pinned);
    }
    assert_eq!(tree.chain(branch).levels().len(), MAX_CHAIN_LEVELS);
    let deeper = tree.fork("deeper", branch, Seq::ZERO, Mode::Pinned);
    assert!(Chain::of(&tree.sql, deeper, Seq::MAX).is_err());
}

#[test]
fn a_whiteout_hides_what_the_parent_has_and_a_new_name_shows_again() {
    // FS-82
    let tree = Tree::new();
    let (root, main) = (Ino::ROOT, tree.main);
    let first = tree.make(main, root, "a", Kind::File);
    let folder = tree.make(main, root, "d", Kind::Folder);
    tree.make(main, folder, "x", Kind::File);
    let dev = tree.fork("dev", main, tree.head(), Mode::Pinned);
    tree.remove(dev, root, "a");
    tree.rename(dev, (root, "d"), (root, "e"));
    assert_eq!((tree.names(dev, root), tree.names(main, root)), (vec!["e".to_owned()], vec!["a".into(), "d".into()]));
    assert_eq!(tree.names(dev, folder), ["x"], "what is in a folder moves with it, in one row");
    let second = tree.make(dev, root, "a", Kind::File);
    assert_ne!(tree.find(dev, root, "a").unwrap().ino, first);
    tree.remove(main, root, "a");
    assert_eq!(tree.find(dev, root, "a").unwrap().ino, second);
    tree.make(main, root, "later", Kind::File);
    assert_eq!(tree.find(dev, root, "later"), None, "what the parent does after the fork is not seen");
}

#[test]
fn an_inode_has_the_places_that_are_seen() {
    // FS-84
    let tree = Tree::new();
    let (root, main) = (Ino::ROOT, tree.main);
    let file = tree.make(main, root, "a", Kind::File);
    let dev = tree.fork("dev", main, tree.head(), Mode::Pinned);
    tree.link(dev, &tree.find(dev, root, "a").unwrap(), root, "b");
    tree.rename(dev, (root, "a"), (root, "c"));
    tree.rename(main, (root, "a"), (root, "m"));
    let places = |branch| {
        let places = tree.chain(branch).places(&tree.sql, file).unwrap();
        places.into_iter().map(|(_, name)| String::from_utf8(name.into_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((places(dev), places(main)), (vec!["b".to_owned(), "c".into()], vec!["m".to_owned()]));
}

#[test]
fn pages_go_on_where_the_last_one_ended_across_levels() {
    // FS-83
    let tree = Tree::new();
    let (root, main) = (Ino::ROOT, tree.main);
    let name = |number: u32| format!("f{number:04}");
    for number in 0..700 {
        tree.make(main, root, &name(number), Kind::File);
    }
    let dev = tree.fork("dev", main, tree.head(), Mode::Pinned);
    (0..700).filter(|number| number % 3 != 0).for_each(|number| tree.remove(dev, root, &name(number)));
    tree.make(dev, root, "between", Kind::File);
    let mut expected: Vec<_> = (0..700).filter(|number| number % 3 == 0).map(name).collect();
    expected.insert(0, "between".into());
    assert_eq!(tree.names(dev, root), expected);
    let chain = tree.chain(dev);
    let (mut found, mut after) = (Vec::new(), Vec::new());
    loop {
        let page = chain.page(&tree.sql, root, &after, 7).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 7);
        after = last.name.to_vec();
        found.extend(page.into_iter().map(|dent| String::from_utf8(dent.name.into_vec()).unwrap()));
    }
    assert_eq!(found, expected);
    assert_eq!(chain.page(&tree.sql, root, b"", 0).unwrap(), []);
}

type Names = BTreeMap<(Ino, String), Ino>;

/// Every state that every branch ever had, held as whole copies.
struct Model {
    branches: Vec<Copies>,
}

struct Copies {
    id: BranchId,
    /// The branch that it was made from, and at which version.
    fork: Option<(usize, Seq)>,
    /// What it showed after each of its commits.
    states: BTreeMap<Seq, Names>,
}

impl Model {
    fn view(&self, branch: usize, bound: Seq) -> Names {
        let Copies { fork, states, .. } = &self.branches[branch];
        match (states.range(..=bound).next_back(), fork) {
            (Some((_, names)), _) => names.clone(),
            (None, Some((parent, at))) => self.view(*parent, bound.min(*at)),
            (None, None) => Names::new(),
        }
    }
}

/// What a step does, with numbers that choose where.
#[derive(Debug, Clone, Copy)]
enum Step {
    Make(bool),
    Remove,
    Rename,
    Fork(u64),
}

fn step() -> impl Strategy<Value = (Step, usize, usize, usize, usize, usize)> {
    let what = prop_oneof![
        4 => any::<bool>().prop_map(Step::Make),
        2 => Just(Step::Remove),
        3 => Just(Step::Rename),
        1 => any::<u64>().prop_map(Step::Fork),
    ];
    (what, 0..8usize, 0..8usize, 0..4usize, 0..8usize, 0..4usize)
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn take(tree: &Tree, model: &mut Model, dirs: &mut Vec<Ino>, step: (Step, usize, usize, usize, usize, usize)) {
    let (what, which, dir, name, to, new) = step;
    let which = which % model.branches.len();
    let branch = model.branches[which].id;
    let (dir, to, name, new) = (dirs[dir % dirs.len()], dirs[to % dirs.len()], NAMES[name], NAMES[new]);
    let mut names = model.view(which, Seq::MAX);
    let (key, target) = ((dir, name.to_owned()), (to, new.to_owned()));
    match what {
        Step::Fork(at) => {
            if model.branches.len() < 4 {
                let at = seq(at % (tree.head().get() + 1));
                let made = tree.fork(&format!("b{}", model.branches.len()), branch, at, Mode::Pinned);
                model.branches.push(Copies { id: made, fork: Some((which, at)), states: BTreeMap::new() });
            }
            return;
        }
        Step::Make(is_folder) if !names.contains_key(&key) => {
            let ino = tree.make(branch, dir, name, if is_folder { Kind::Folder } else { Kind::File });
            if is_folder {
                dirs.push(ino);
            }
            names.insert(key, ino);
        }
        Step::Remove if names.remove(&key).is_some() => tree.remove(branch, dir, name),
        Step::Rename if names.contains_key(&key) && key != target => {
            tree.rename(branch, (dir, name), (to, new));
            let ino = names.remove(&key).unwrap();
            names.insert(target, ino);
        }
        _ => return,
    }
    model.branches[which].states.insert(tree.head(), names);
}

fn agrees(tree: &Tree, model: &Model, dirs: &[Ino], which: usize, bound: Seq) {
    let chain = tree.chain_at(model.branches[which].id, bound);
    let expected = model.view(which, bound);
    let mut found = Names::new();
    for dir in dirs {
        for dent in chain.page(&tree.sql, *dir, b"", 3).unwrap() {
            let after = chain.page(&tree.sql, *dir, &dent.name, 9).unwrap();
            for dent in after.into_iter().chain([dent]) {
                assert_eq!(chain.dent(&tree.sql, *dir, &dent.name).unwrap().as_ref(), Some(&dent));
                found.insert((*dir, String::from_utf8(dent.name.into_vec()).unwrap()), dent.ino);
            }
        }
    }
    assert_eq!(found, expected, "branch {which} at {bound}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_branch_shows_at_every_version_what_a_whole_copy_would(steps in proptest::collection::vec(step(), 1..40)) {
        // FS-81, FS-82, FS-83
        let tree = Tree::new();
        let mut dirs = vec![Ino::ROOT];
        let mut model = Model { branches: vec![Copies { id: tree.main, fork: None, states: BTreeMap::new() }] };
        for step in steps {
            take(&tree, &mut model, &mut dirs, step);
        }
        for which in 0..model.branches.len() {
            for bound in 0..=tree.head().get() {
                agrees(&tree, &model, &dirs, which, seq(bound));
            }
        }
    }
}
