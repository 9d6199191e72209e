//! Branches that were flattened: every version of every branch reads the same before, half way and after.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use alknet_core::Maintenance;
use alknet_fs::{
    BranchId, Change, Errno, FsError, FsPath, Ino, RemoveHow, Right, Seq, Sight, Terms,
    events::{self, PathFilter, Reach},
    failpoints,
    history::{
        Flattened, History,
        diff::{self, Wanted},
        flatten::{self, Cursor, Source},
        log,
        merge::base,
        retention::{self, Kept},
    },
    limits::{MAX_CHAIN_LEVELS, MAX_UNFLATTENED_LEVELS},
    rows::{Kind, branch, branch::Mode, bucket, dent, inode},
};
use proptest::prelude::*;

use crate::{
    fixture::{self, on, seq},
    node::{Node, errno, put, remove},
    random_tree::{Map, Step, map, steps},
    tree_writer::Tree,
    world::{Folder, World},
};

const TASK: Maintenance = Maintenance::of("test");

impl Tree {
    /// Copies at most `count` rows at a time, and says after each time how far it came.
    fn flatten(&self, of: BranchId, count: usize, mut half_way: impl FnMut(&Self)) -> bool {
        let (mut at, mut steps) = (self.resumed(of), 0);
        if at.is_none() {
            return false;
        }
        while let Some(cursor) = at.take() {
            at = self.copy(of, cursor, count);
            steps += 1;
            // Once, as after a crash: only what is written down is known.
            if steps == 3 && at.is_some() {
                at = self.resumed(of);
            }
            half_way(self);
        }
        flatten::finish(&self.sql, of).unwrap();
        half_way(self);
        true
    }
    /// Where the copying goes on by what is written down; `None`: there is nothing to copy.
    fn resumed(&self, of: BranchId) -> Option<Cursor> {
        let row = branch::get(&self.sql, of).unwrap().unwrap();
        Some(Cursor::resumed(&row, Source::of(&self.sql, &row).ok()??))
    }
    fn copy(&self, of: BranchId, at: Cursor, count: usize) -> Option<Cursor> {
        flatten::step(&self.sql, on(self.bucket, of), at, count).unwrap().0
    }
    /// A commit on a branch that makes many files.
    fn files(&self, of: BranchId, prefix: &str, count: usize) {
        let seq = self.begin(of);
        for number in 0..count {
            let ino = bucket::next_ino(&self.sql, self.bucket, 0).unwrap();
            let name = format!("{prefix}{number}");
            let row = dent::Dent {
                name: name.as_bytes().into(),
                seq,
                ino,
                kind: Kind::File,
                gone: false,
                made: true,
                shown: None,
            };
            dent::write(&self.sql, of, Ino::ROOT, &row).unwrap();
            inode::write(&self.sql, on(self.bucket, of), &fixture::file(ino.get(), seq.get(), None, 0)).unwrap();
        }
    }
    /// Takes the rows away of removed branches that nobody reads through.
    fn reap(&self) {
        while let Some(row) = branch::doomed(&self.sql, 1).unwrap().into_iter().next() {
            for (ino, at) in inode::some(&self.sql, row.id, 10_000).unwrap() {
                inode::prune(&self.sql, on(self.bucket, row.id), ino, at).unwrap();
            }
            dent::prune_some(&self.sql, row.id, 10_000).unwrap();
            branch::remove(&self.sql, row.id).unwrap();
        }
    }
    fn is_shown(&self, of: BranchId) -> bool {
        branch::get(&self.sql, of).unwrap().is_some_and(|row| !row.hidden)
    }
    fn versions(&self, of: BranchId) -> Vec<Map> {
        self.versions_from(of, 0)
    }
    fn versions_from(&self, of: BranchId, first: u64) -> Vec<Map> {
        (first..=self.head().get()).map(|at| map(self, &self.chain_at(of, seq(at)))).collect()
    }
}

/// The same tree twice: in one of them branches are flattened.
struct Twins {
    plain: Tree,
    flat: Tree,
    branches: Vec<BranchId>,
}

impl Twins {
    fn new() -> Self {
        let (plain, flat) = (Tree::new(), Tree::new());
        let branches = vec![plain.main];
        Self { plain, flat, branches }
    }
    fn both(&self) -> [&Tree; 2] {
        [&self.plain, &self.flat]
    }
    fn shown(&self) -> Vec<BranchId> {
        self.branches.iter().copied().filter(|of| self.plain.is_shown(*of)).collect()
    }
    fn step(&self, step: Step) {
        let shown = self.shown();
        let of = shown[step.0 % shown.len()];
        for tree in self.both() {
            tree.random(of, step);
        }
    }
    fn fork(&mut self, parent: usize, at: u64, follows: bool) {
        let shown = self.shown();
        let head = self.plain.head().get();
        // Now and then from the newest version, now and then from an old one.
        let at = if at.is_multiple_of(3) && !follows { seq(at % (head + 1)) } else { seq(head) };
        let (parent, mode) = (shown[parent % shown.len()], if follows { Mode::Follow } else { Mode::Pinned });
        let name = format!("b{}", self.branches.len());
        let made = self.both().map(|tree| tree.fork(&name, parent, at, mode));
        assert_eq!(made[0], made[1]);
        self.branches.push(made[0]);
    }
    fn hide(&self, which: usize) {
        let shown = self.shown();
        if shown.len() > 1 {
            for tree in self.both() {
                branch::hide(&tree.sql, shown[which % shown.len()]).unwrap();
            }
        }
    }
    fn agree(&self) {
        for of in self.shown() {
            assert_eq!(self.plain.versions(of), self.flat.versions(of), "{of:?}");
        }
    }
    /// What is told of how the branches came to be what they are.
    fn histories_agree(&self, pairs: &[(usize, usize, u64, u64)]) {
        let shown = self.shown();
        let head = self.plain.head().get();
        for (one, other, old, new) in pairs {
            let (one, other) = (shown[one % shown.len()], shown[other % shown.len()]);
            let (old, new) = (seq(old % (head + 1)), seq(new % (head + 1)));
            let told = self.both().map(|tree| {
                let (old, new) = (tree.chain_at(one, old), tree.chain_at(other, new));
                let wanted = Wanted { within: &FsPath::ROOT, after: None, limit: 10_000 };
                let differences = diff::between(&tree.sql, &old, &new, wanted).unwrap();
                format!("{:?}", differences.all)
            });
            assert_eq!(told[0], told[1], "differences of {one:?} and {other:?}");
            let common = self.both().map(|tree| {
                let head = tree.head();
                base::common(&tree.sql, (one, head), (other, head)).unwrap().map(|(branch, at)| {
                    let chain = alknet_fs::Chain::standing_for(&tree.sql, branch, at).unwrap().unwrap();
                    map(tree, &chain)
                })
            });
            assert_eq!(common[0], common[1], "what {one:?} and {other:?} have in common");
        }
        for of in shown {
            let logs = self
                .both()
                .map(|tree| log::commits(&tree.sql, tree.bucket, &tree.chain(of), Seq::MAX, 10_000).unwrap().all);
            assert_eq!(logs[0], logs[1]);
            for path in ["/a", "/b", "/a/b"] {
                let path = FsPath::parse(path.as_bytes()).unwrap();
                let versions = self.both().map(|tree| {
                    let chain = tree.chain(of);
                    log::versions(&tree.sql, (tree.bucket, of), (&chain, &Sight::default()), &path, (Seq::MAX, 1000))
                        .unwrap()
                });
                assert_eq!(format!("{:?}", versions[0]), format!("{:?}", versions[1]));
            }
            for commit in &logs[0] {
                let told = self.both().map(|tree| {
                    let reach = Reach { rows: 1000, changes: 1000 };
                    events::tell(&tree.sql, (of, &Sight::default()), commit, &PathFilter::default(), reach).unwrap()
                });
                assert_eq!(told[0], told[1], "what is told of {commit:?} on {of:?}");
            }
        }
    }
}

fn recounted(tree: &Tree) -> [i64; 3] {
    let one = |text: &str| tree.sql.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap();
    [
        one(
            "SELECT used_bytes - (SELECT coalesce(sum(iif(changed & 1, size, 0) + ifnull(length(xattrs), 0)), 0) FROM fs_inode) FROM fs_bucket",
        ),
        one("SELECT used_files - (SELECT count(*) FROM (SELECT DISTINCT branch, ino FROM fs_inode)) FROM fs_bucket"),
        one("SELECT count(*) FROM fs_blob WHERE refs <> (SELECT count(*) FROM fs_inode WHERE blob = fs_blob.id)
             OR refs <> (SELECT coalesce(sum(count), 0) FROM fs_ref WHERE blob = fs_blob.id)"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn a_flattened_branch_is_what_it_was_and_goes_on_as_if_nothing_had_been(
        first in steps(40),
        forks in proptest::collection::vec((0..6usize, 0..60u64, 0..8u8), 2..6),
        which in proptest::collection::vec(0..6usize, 1..4),
        count in 1..12usize,
        begun in proptest::collection::vec((0..6usize, 1..9usize), 0..4),
        later in steps(25),
        hidden in proptest::collection::vec(0..6usize, 0..3),
        pairs in proptest::collection::vec((0..6usize, 0..6usize, 0..200u64, 0..200u64), 4),
        horizon in 0..200u64,
    ) {
        // HIST-50, HIST-51, HIST-52, HIST-53, HIST-54
        let mut twins = Twins::new();
        let every = first.len() / forks.len() + 1;
        for (number, step) in first.into_iter().enumerate() {
            if number % every == every - 1 {
                let (parent, at, follows) = forks[number / every % forks.len()];
                twins.fork(parent, at, follows == 0);
            }
            twins.step(step);
        }
        // Cut off anywhere, and not gone on with before others are flattened.
        for (which, rows) in begun {
            let of = twins.shown()[which % twins.shown().len()];
            if let Some(at) = twins.flat.resumed(of) {
                twins.flat.copy(of, at, rows);
            }
        }
        for which in which {
            let of = twins.shown()[which % twins.shown().len()];
            let before = twins.plain.versions(of);
            let mut times = 0;
            twins.flat.flatten(of, count, |tree| {
                times += 1;
                if times % 5 == 1 {
                    assert_eq!(before, tree.versions(of), "half way");
                }
            });
            prop_assert_eq!(recounted(&twins.flat), [0, 0, 0]);
        }
        twins.agree();
        twins.histories_agree(&pairs);
        for (number, step) in later.into_iter().enumerate() {
            if number == 3 {
                twins.fork(forks[0].0, forks[0].1, false);
            }
            twins.step(step);
        }
        for which in hidden {
            twins.hide(which);
        }
        twins.flat.reap();
        twins.agree();
        twins.histories_agree(&pairs);
        // What is forgotten is no more than without.
        let horizon = seq(horizon % (twins.plain.head().get() + 1));
        let kept = Kept::of(&twins.flat.sql, twins.flat.bucket, horizon, &[]).unwrap();
        for of in &twins.branches {
            let mut at = Some(retention::Cursor::start());
            while let Some(cursor) = at {
                let on = on(twins.flat.bucket, *of);
                let (next, going) = retention::look(&twins.flat.sql, on, &kept, cursor).unwrap();
                at = next;
                for some in going.parts(3) {
                    retention::take(&twins.flat.sql, on, &some).unwrap();
                }
            }
        }
        for of in twins.shown() {
            let [plain, flat] = twins.both().map(|tree| tree.versions_from(of, horizon.get()));
            prop_assert_eq!(plain, flat);
        }
        prop_assert_eq!(recounted(&twins.flat), [0, 0, 0]);
    }
}

#[test]
fn a_branch_over_one_whose_flattening_was_cut_in_the_middle_of_a_commit_gets_all_rows() {
    // HIST-50, HIST-51
    for cut in 1..14 {
        let tree = Tree::new();
        for prefix in ["old", "new"] {
            tree.files(tree.main, prefix, 3);
        }
        let parent = tree.fork("parent", tree.main, tree.head(), Mode::Pinned);
        tree.files(parent, "own", 2);
        let begun = tree.resumed(parent).unwrap();
        tree.copy(parent, begun, cut);
        let child = tree.fork("child", parent, tree.head(), Mode::Pinned);
        tree.files(child, "more", 1);
        let before = tree.versions(child);
        assert_eq!(before.last().unwrap().len(), 9);
        assert!(tree.flatten(child, 4, |tree| assert_eq!(tree.versions(child), before, "cut after {cut}")));
        assert_eq!(tree.chain(child).levels().len(), 1);
        for gone in [parent, tree.main] {
            branch::hide(&tree.sql, gone).unwrap();
        }
        tree.reap();
        assert_eq!(tree.versions(child), before, "cut after {cut}");
        assert_eq!(recounted(&tree), [0, 0, 0]);
    }
}

#[test]
fn a_branch_whose_parent_is_flattened_while_it_is_itself_gets_all_rows_though_what_is_below_goes() {
    // HIST-50, HIST-51
    for cut in 1..20 {
        let tree = Tree::new();
        for prefix in ["old", "new"] {
            tree.files(tree.main, prefix, 3);
        }
        let parent = tree.fork("parent", tree.main, tree.head(), Mode::Pinned);
        tree.files(parent, "own", 2);
        let child = tree.fork("child", parent, tree.head(), Mode::Pinned);
        let before = tree.versions(child);
        let mut at = tree.copy(child, tree.resumed(child).unwrap(), cut);
        assert!(at.is_some() || cut > 15, "it was cut off");
        tree.flatten(parent, 4, |_| {});
        branch::hide(&tree.sql, tree.main).unwrap();
        tree.reap();
        assert!(branch::get(&tree.sql, tree.main).unwrap().unwrap().gone);
        while let Some(cursor) = at {
            at = tree.copy(child, cursor, 4);
        }
        flatten::finish(&tree.sql, child).unwrap();
        assert_eq!(tree.versions(child), before, "cut after {cut}");
        assert_eq!(recounted(&tree), [0, 0, 0]);
    }
}

async fn chain_of(node: &Node, count: usize) -> String {
    let mut last = "main".to_owned();
    for number in 1..count {
        let name = format!("b{number}");
        node.branch(&name, &format!("proj:{last}"), Mode::Pinned).await.unwrap();
        node.change(&name, vec![put(&format!("/{number}"), &name)]).await.unwrap();
        last = name;
    }
    last
}

impl Node {
    async fn flatten(&self, name: &str) -> Result<Flattened, FsError> {
        let permit = self.permit(Right::Branch, Some(name));
        let (bucket, of) = ("proj".parse().unwrap(), name.parse().unwrap());
        History::new(self.tree.clone()).flatten(&permit, (&bucket, &of)).await
    }
    async fn levels(&self, name: &str) -> usize {
        self.view(&format!("proj:{name}")).await.unwrap().chain().levels().len()
    }
}

#[tokio::test]
async fn a_chain_that_is_full_goes_on_after_its_last_branch_is_flattened() {
    // HIST-55, TREE-40
    let node = Node::with_bucket().await;
    node.main(put("/0", "main")).await.unwrap();
    let last = chain_of(&node, MAX_CHAIN_LEVELS).await;
    assert_eq!(errno(node.branch("more", &format!("proj:{last}"), Mode::Pinned).await), Errno::TooMany);
    let names = node.names(&format!("proj:{last}/")).await.unwrap();
    let flattened = node.flatten(&last).await.unwrap();
    assert_eq!(flattened, Flattened { levels: 1, rows: 2 * (MAX_CHAIN_LEVELS as u64 - 1) });
    assert_eq!(node.flatten(&last).await.unwrap(), Flattened { levels: 1, rows: 0 }, "it is flat already");
    assert_eq!(node.flatten("main").await.unwrap(), Flattened { levels: 1, rows: 0 });
    assert_eq!(node.names(&format!("proj:{last}/")).await.unwrap(), names);
    node.branch("more", &format!("proj:{last}"), Mode::Pinned).await.unwrap();
    assert_eq!((node.levels("more").await, node.names("proj:more/").await.unwrap()), (2, names));
    let listed = node.tree.branches(&node.permit(Right::Read, None), &"proj".parse().unwrap()).await.unwrap();
    let of_last = listed.iter().find(|branch| branch.name.as_str() == last).unwrap();
    assert_eq!(
        of_last.origin.as_ref().unwrap().parent.as_ref().unwrap().as_str(),
        format!("b{}", MAX_CHAIN_LEVELS - 2)
    );
}

#[tokio::test]
async fn what_follows_another_branch_stays_as_it_is_and_what_was_made_from_it_reads_through_it() {
    // HIST-55
    let node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    node.branch("live", "proj", Mode::Follow).await.unwrap();
    node.branch("one", "proj:live", Mode::Pinned).await.unwrap();
    node.branch("two", "proj:one", Mode::Pinned).await.unwrap();
    node.branch("three", "proj:two", Mode::Pinned).await.unwrap();
    node.change("one", vec![put("/b", "2")]).await.unwrap();
    node.change("two", vec![put("/c", "3")]).await.unwrap();
    for name in ["live", "one"] {
        assert_eq!(errno(node.flatten(name).await), Errno::Inval, "{name}");
    }
    assert_eq!(errno(node.flatten("none").await), Errno::NoEnt);
    assert_eq!(node.names("proj:three/").await.unwrap(), ["a"]);
    assert_eq!(node.levels("three").await, 5);
    assert_eq!(node.flatten("three").await.unwrap().levels, 3);
    assert_eq!((node.levels("three").await, node.names("proj:three/").await.unwrap()), (3, vec!["a".to_owned()]));
    node.main(put("/late", "4")).await.unwrap();
    assert_eq!(node.names("proj:three/").await.unwrap(), ["a"]);
    for name in ["one", "two", "live"] {
        node.remove_branch(name).await.unwrap();
    }
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(node.names("proj:three/").await.unwrap(), ["a"], "what it still reads through is kept");
    node.remove_branch("three").await.unwrap();
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(node.rows_left().iter().find(|(table, _)| *table == "fs_branch"), Some(&("fs_branch", 1)));
}

#[tokio::test]
async fn copies_are_charged_and_those_they_were_made_of_are_given_back_with_their_branch() {
    // HIST-54
    let node = Node::new();
    node.create_bucket(Terms { quota_bytes: Some(25), ..Terms::default() }).await.unwrap();
    node.main(put("/a", "0123456789")).await.unwrap();
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    node.change("dev", vec![put("/b", "012345")]).await.unwrap();
    assert_eq!(errno(node.flatten("dev").await), Errno::Quota, "16 + 10 bytes");
    assert_eq!(node.levels("dev").await, 2);
    node.change("dev", vec![remove("/b", RemoveHow::File)]).await.unwrap();
    let usage = async || {
        let usage = node.tree.usage(&node.permit(Right::Read, None), &"proj".parse().unwrap()).await.unwrap();
        (usage.bucket.used_bytes, usage.bucket.used_files)
    };
    assert_eq!(usage().await, (16, 2));
    let admin = node.permit(Right::Admin, None);
    let more = |terms: &mut Terms| terms.quota_bytes = Some(26);
    node.tree.set_bucket(&admin, &"proj".parse().unwrap(), more).await.unwrap();
    node.flatten("dev").await.unwrap();
    assert_eq!(usage().await, (26, 3));
    node.remove_branch("main").await.unwrap();
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!((usage().await, node.names("proj:dev/").await.unwrap()), ((16, 2), vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_merge_finds_what_two_branches_have_in_common_when_nothing_is_left_of_it() {
    // HIST-53
    let node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    node.branch("base", "proj", Mode::Pinned).await.unwrap();
    node.change("base", vec![put("/b", "2")]).await.unwrap();
    node.branch("ours", "proj:base", Mode::Pinned).await.unwrap();
    node.branch("theirs", "proj:base", Mode::Pinned).await.unwrap();
    node.change("ours", vec![put("/ours", "3")]).await.unwrap();
    node.change("theirs", vec![put("/theirs", "4"), remove("/b", RemoveHow::File)]).await.unwrap();
    for name in ["ours", "theirs"] {
        node.flatten(name).await.unwrap();
    }
    node.remove_branch("base").await.unwrap();
    while node.tree.reap(&TASK).await.unwrap() {}
    let history = History::new(node.tree.clone());
    let merge = async |into: &str, from: &str| {
        let permit = node.permit(Right::Write, Some(into));
        let (into, from) =
            (node.view(&format!("proj:{into}")).await.unwrap(), node.view(&format!("proj:{from}")).await.unwrap());
        history.merge(&permit, &into, &from, alknet_fs::history::How::default()).await.unwrap()
    };
    let merged = merge("ours", "theirs").await;
    assert_eq!((merged.entries, merged.conflicts.len()), (2, 0), "only what was changed since the base");
    assert_eq!(node.names("proj:ours/").await.unwrap(), ["a", "ours", "theirs"]);
    merge("main", "ours").await;
    assert_eq!(node.names("proj/").await.unwrap(), ["a", "ours", "theirs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_that_read_through_many_others_are_flattened_in_the_background() {
    // HIST-55
    let world = World::new().await;
    let permit = |right, branch: &str| world.permit(right, "proj", Some(branch));
    world.put("proj/a", "1").await.unwrap();
    let mut last = "main".to_owned();
    for number in 0..3 * MAX_CHAIN_LEVELS {
        let at = crate::world::address(&format!("proj:{last}"));
        let view = world.fs.tree().view(&permit(Right::Read, &last), &at).await.unwrap();
        let name = format!("b{number}");
        let make = async || {
            let permit = permit(Right::Branch, &name);
            world.fs.tree().create_branch(&permit, &name.parse().unwrap(), &view, Mode::Pinned).await
        };
        // Day after day: the branch of yesterday goes.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Err(error) = make().await {
            assert!(tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let bucket = "proj".parse().unwrap();
        world.fs.tree().remove_branch(&permit(Right::Branch, &last), &bucket, &last.parse().unwrap()).await.unwrap();
        last = name;
    }
    let levels = async |last: &str| {
        let at = crate::world::address(&format!("proj:{last}"));
        world.fs.tree().view(&permit(Right::Read, last), &at).await.unwrap().chain().levels().len()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while levels(&last).await > MAX_UNFLATTENED_LEVELS {
        assert!(tokio::time::Instant::now() < deadline, "it never came to be flat");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.get(&format!("proj:{last}/a")).await.unwrap(), "1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_leaves_every_version_and_a_branch_that_can_be_flattened() {
    // HIST-51
    let world = World::new().await;
    let change = |path: &str, text: &'static str| (path.to_owned(), text);
    for (path, text) in [change("a", "1"), change("b", "2"), change("a", "33")] {
        world.put(&format!("proj/{path}"), text).await.unwrap();
    }
    world.branch("dev").await;
    world.put("proj:dev/b", "4444").await.unwrap();
    world.change(Change::Remove { at: crate::world::path("a"), how: RemoveHow::File }).await;
    let look = async |world: &World| -> BTreeMap<String, Option<String>> {
        let mut seen = BTreeMap::new();
        for branch in ["main", "dev"] {
            for at in 1..=6 {
                for name in ["a", "b"] {
                    let address = format!("proj:{branch}@{at}/{name}");
                    let text = world.get(&address).await.ok().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                    seen.insert(address, text);
                }
            }
        }
        seen
    };
    let flatten = async |world: &World| {
        let permit = world.permit(Right::Branch, "proj", Some("dev"));
        let (bucket, of) = ("proj".parse().unwrap(), "dev".parse().unwrap());
        History::new(world.fs.tree().clone()).flatten(&permit, (&bucket, &of)).await.unwrap()
    };
    let before = look(&world).await;
    assert!(before.values().filter(|text| text.is_some()).count() > 12);
    let left = Arc::new(Mutex::new(Vec::new()));
    let armed = failpoints::arm({
        let (folder, left) = (world.folder.clone(), left.clone());
        move |step| {
            if step.starts_with("flatten.") {
                let to = tempfile::tempdir().unwrap();
                crate::crash::copy(folder.path(), to.path());
                left.lock().unwrap().push((step, Folder::new(to)));
            }
        }
    });
    flatten(&world).await;
    drop(armed);
    assert_eq!(look(&world).await, before);
    world.end().await;
    let left = std::mem::take(&mut *left.lock().unwrap());
    let steps: Vec<_> = left.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, ["flatten.rows", "flatten.copied", "flatten.done"]);
    for (step, folder) in left {
        let world = World::open(folder).await;
        assert_eq!(look(&world).await, before, "killed at {step}");
        assert_eq!(flatten(&world).await.levels, 1);
        assert_eq!(look(&world).await, before, "killed at {step}, and flattened");
        world.end().await;
    }
}
