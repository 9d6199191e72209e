//! Random changes of random branches, judged by the model: every read of every branch is compared after each, with restarts between.
//!
//! `ALKNET_SEED=7` before this test plays that world alone; `cargo xtask soak fs` plays thousands.

use std::{collections::BTreeMap, rc::Rc};

use alknet_core::Maintenance;
use alknet_fs::{
    Change, FsError, FsPath, Here, Ino, Names, Policy, Put, RemoveHow, RenameHow, Right, Seq, Terms, When,
    rows::{Kind, branch::Mode},
};
use alknet_store::Durability;
use alknet_testkit::simulation::{Chance, seeds};

use crate::{
    model::{Model, Op, Seen},
    node::{BEGIN_NS, Node, bytes, errno, path, proj},
    spelling::Spelling,
};

/// Worlds of an ordinary run.
const WORLDS: u64 = 8;
/// Steps of one world.
const STEPS: u64 = 45;
/// Branches that a world has at a time.
const BRANCHES: usize = 5;
const TASK: Maintenance = Maintenance::of("test");

/// A branch, and what it must show at each commit since it was made; `None`: it follows one that was changed, and is not judged.
struct Line {
    states: Vec<(u64, Option<Rc<Model>>)>,
    fork: Option<(usize, u64, Mode)>,
}

struct World {
    node: Node,
    chance: Chance,
    lines: Vec<Line>,
    /// Those that are there, by name.
    names: BTreeMap<String, usize>,
    snapshots: BTreeMap<String, (String, u64)>,
    head: u64,
    spelling: Spelling,
}

impl World {
    async fn new(seed: u64) -> Self {
        let node = Node::new();
        let names = [Names::Bytes, Names::Nfc, Names::Fold][usize::try_from(seed % 3).unwrap()];
        let policy = Policy { durability: Durability::Lazy, names, ..Policy::default() };
        node.create_bucket(Terms { policy, ..Terms::default() }).await.unwrap();
        let first = Rc::new(Model::new(i64::try_from(BEGIN_NS).unwrap()));
        let main = Line { states: vec![(0, Some(first))], fork: None };
        let (spelling, names) = (Spelling(names), BTreeMap::from([("main".to_owned(), 0)]));
        Self {
            node,
            chance: Chance::new(seed),
            lines: vec![main],
            names,
            snapshots: BTreeMap::new(),
            head: 1,
            spelling,
        }
    }

    /// What a branch shows at a commit, if that is known.
    fn state(&self, line: usize, at: u64) -> Option<Rc<Model>> {
        let Line { states, fork } = &self.lines[line];
        match states.iter().rev().find(|(seq, _)| *seq <= at) {
            Some((_, state)) => state.clone(),
            None => match fork {
                Some((parent, fork, Mode::Pinned)) => self.state(*parent, at.min(*fork)),
                Some((parent, _, Mode::Follow)) => self.state(*parent, at),
                None => panic!("before the beginning"),
            },
        }
    }

    fn path(&self) -> String {
        let depth = 1 + self.chance.below(3);
        (0..depth).map(|_| format!("/{}", self.chance.of(&["a", "b", "c", "d"]))).collect()
    }
    fn mode(&self) -> u16 {
        *self.chance.of(&[0o600, 0o644, 0o755, 0o4711])
    }
    fn mtime(&self) -> Option<i64> {
        (self.chance.below(4) == 0).then(|| i64::try_from(self.chance.below(1000)).unwrap() - 500)
    }

    fn op(&self) -> Op {
        let at = self.path();
        match self.chance.below(20) {
            0..=3 => Op::Folder { at, mode: self.mode(), parents: self.chance.below(3) == 0 },
            4..=7 => Op::Put {
                at,
                content: "x".repeat(usize::try_from(self.chance.below(4)).unwrap()),
                mode: (self.chance.below(3) == 0).then(|| self.mode()),
                mtime: self.mtime(),
                exclusive: self.chance.below(4) == 0,
            },
            8 | 9 => {
                let target = match self.chance.below(4) {
                    0 => self.path(),
                    1 => format!("..{}", self.path()),
                    2 => format!("{}/", self.path().trim_start_matches('/')),
                    _ => (*self.chance.of(&[".", "..", "a", "./b/../c", "../../../d"])).to_owned(),
                };
                Op::Symlink { at, target }
            }
            10 | 11 => Op::HardLink { from: self.path(), to: at },
            12..=14 => {
                let how = *self.chance.of(&[
                    RenameHow::Replace,
                    RenameHow::Replace,
                    RenameHow::NoReplace,
                    RenameHow::Exchange,
                ]);
                Op::Rename { from: self.path(), to: at, how }
            }
            15 | 16 => {
                let all = [RemoveHow::File, RemoveHow::EmptyFolder, RemoveHow::Bare, RemoveHow::Recursive];
                Op::Remove { at, how: *self.chance.of(&all) }
            }
            17 | 18 => {
                let mode = (self.chance.below(2) == 0).then(|| self.mode());
                Op::Set { at, mode, mtime: self.mtime(), follow: self.chance.below(2) == 0 }
            }
            _ => {
                let known: Vec<_> =
                    self.names.values().filter_map(|line| Some((*line, self.state(*line, self.head)?))).collect();
                if known.is_empty() {
                    return Op::Remove { at, how: RemoveHow::Bare };
                }
                let (branch, source) = self.chance.of(&known).clone();
                Op::Copy { source, branch, from: self.path(), to: at }
            }
        }
    }

    async fn change(&self, op: &Op) -> Change {
        // One spelling in a change: in a rename another is asked for.
        let salt = self.chance.below(12);
        let spelled = |text: &str| self.spelling.write(text, salt);
        let path = |text: &str| path(&spelled(text));
        match op.clone() {
            Op::Folder { at, mode, parents } => Change::MakeFolder { at: path(&at), mode, parents },
            Op::Put { at, content, mode, mtime, exclusive } => {
                let expect = if exclusive { alknet_fs::Expect::Absent } else { alknet_fs::Expect::Anything };
                Change::Put(Put { mode, mtime_ns: mtime, expect, ..Put::new(path(&at), bytes(&content)) })
            }
            Op::Symlink { at, target } => {
                Change::Symlink { at: path(&at), target: spelled(&target).into(), mtime_ns: None }
            }
            Op::HardLink { from, to } => Change::HardLink { from: path(&from), to: path(&to) },
            Op::Rename { from, to, how } => Change::Rename { from: path(&from), to: path(&to), how },
            Op::Remove { at, how } => Change::Remove { at: path(&at), how },
            Op::Set { at, mode, mtime, follow } => {
                Change::SetAttributes { at: path(&at), mode, mtime_ns: mtime, xattrs: None, follow }
            }
            Op::Copy { branch, from, to, .. } => {
                let name = self.names.iter().find(|(_, line)| **line == branch).unwrap().0;
                let view = self.node.view(&format!("proj:{name}")).await.unwrap();
                Change::Clone { from: view, path: path(&from), to: path(&to) }
            }
        }
    }

    /// A few changes as one commit, of the tree and of the model.
    async fn commit(&mut self) {
        let names: Vec<_> = self.names.iter().map(|(name, line)| (name.clone(), *line)).collect();
        let (name, line) = self.chance.of(&names).clone();
        let now = self.node.tick();
        let ops: Vec<_> = (0..=self.chance.below(3)).map(|_| self.op()).collect();
        let mut changes = Vec::new();
        for op in &ops {
            changes.push(self.change(op).await);
        }
        let outcome = self.node.change(&name, changes).await;
        let Some(before) = self.state(line, self.head) else {
            if let Ok(committed) = outcome {
                self.keep(line, committed.seq.get(), None);
            }
            return;
        };
        let mut model = Model::clone(&before);
        let wanted = ops.iter().try_fold(false, |any, op| Ok(model.apply(op, now)? | any));
        match (outcome, wanted) {
            (Ok(committed), Ok(true)) => {
                assert_eq!(committed.seq.get(), self.head + 1, "{ops:?}");
                self.keep(line, committed.seq.get(), Some(Rc::new(model)));
            }
            (Ok(committed), Ok(false)) => assert_eq!(committed.seq.get(), self.head, "{ops:?}"),
            (Err(error), Err(wanted)) => assert_eq!(errno::<()>(Err(error)), wanted, "{ops:?}"),
            (outcome, wanted) => panic!("{outcome:?}, but POSIX says {wanted:?} to {ops:?}"),
        }
    }

    fn keep(&mut self, line: usize, seq: u64, state: Option<Rc<Model>>) {
        if seq == self.head {
            return;
        }
        self.head = seq;
        self.lines[line].states.push((seq, state));
        // Whoever follows it is changed with it.
        let mut changed = vec![line];
        while let Some(parent) = changed.pop() {
            for child in 0..self.lines.len() {
                if matches!(self.lines[child].fork, Some((of, _, Mode::Follow)) if of == parent) {
                    self.lines[child].states.push((seq, None));
                    changed.push(child);
                }
            }
        }
    }

    async fn fork(&mut self) {
        let parents: Vec<_> = self.names.iter().map(|(name, line)| (name.clone(), *line)).collect();
        let (parent, line) = self.chance.of(&parents).clone();
        let mode = if self.chance.below(3) == 0 { Mode::Follow } else { Mode::Pinned };
        let at = if mode == Mode::Pinned && self.chance.below(3) == 0 {
            self.chance.below(self.head + 1)
        } else {
            self.head
        };
        let name = format!("b{}", self.lines.len());
        self.node.branch(&name, &format!("proj:{parent}@{at}"), mode).await.unwrap();
        let states = if mode == Mode::Follow { vec![(self.head, self.state(line, at))] } else { Vec::new() };
        self.lines.push(Line { states, fork: Some((line, at, mode)) });
        self.names.insert(name, self.lines.len() - 1);
    }

    async fn unfork(&mut self) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        let name = self.chance.of(&names);
        let has_snapshots = self.snapshots.values().any(|(of, _)| of == name);
        let outcome = self.node.remove_branch(name).await;
        assert_eq!(outcome.is_ok(), !has_snapshots && names.len() > 1, "{outcome:?}");
        if outcome.is_ok() {
            self.names.remove(name);
        }
        while self.node.tree.reap(&TASK).await.unwrap() {}
    }

    async fn snapshot(&mut self) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        let (of, at) = (self.chance.of(&names), self.chance.below(self.head + 1));
        let name = format!("s{}", self.snapshots.len());
        let when = if at == 0 { When::Now } else { When::Seq(Seq::new(at).unwrap()) };
        let taken = self.node.snapshot(of, &name, when).await.unwrap();
        self.snapshots.insert(name, (of.clone(), taken.seq.get()));
    }

    async fn step(&mut self) {
        match self.chance.below(40) {
            0 | 1 if self.names.len() < BRANCHES => self.fork().await,
            2 => self.snapshot().await,
            3 => self.unfork().await,
            4 | 5 => self.node.restart(),
            _ => self.commit().await,
        }
    }

    /// Every branch as it is, one as it was, and a snapshot.
    async fn judge(&self) {
        for (name, line) in &self.names {
            self.compare(&format!("proj:{name}"), self.state(*line, self.head)).await;
        }
        let names: Vec<_> = self.names.iter().collect();
        let ((name, line), at) = (*self.chance.of(&names), self.chance.below(self.head + 1));
        self.compare(&format!("proj:{name}@{at}"), self.state(*line, at)).await;
        let snapshots: Vec<_> = self.snapshots.iter().collect();
        if !snapshots.is_empty() {
            let (snapshot, (name, at)) = *self.chance.of(&snapshots);
            self.compare(&format!("proj:{name}@{snapshot}"), self.state(self.names[name], *at)).await;
        }
    }

    async fn compare(&self, address: &str, wanted: Option<Rc<Model>>) {
        let view = self.node.view(address).await.unwrap();
        let seen = view.here(|here| seen(here, self.spelling)).unwrap();
        let Some(wanted) = wanted else { return };
        let wanted = wanted.seen();
        for path in seen.keys().chain(wanted.keys()) {
            assert_eq!(seen.get(path), wanted.get(path), "{address} {path}");
        }
    }
}

/// Everything that a view shows, by its path; and each folder of it in exactly one place.
fn seen(here: &Here<'_>, spelling: Spelling) -> Result<BTreeMap<String, Seen>, FsError> {
    let (mut open, mut all, mut folders) = (vec![FsPath::ROOT], BTreeMap::new(), BTreeMap::new());
    let mut first: BTreeMap<Ino, String> = BTreeMap::new();
    while let Some(path) = open.pop() {
        let stat = here.stat(&path, false)?;
        let shown = spelling.read(&String::from_utf8_lossy(&path.to_bytes()));
        let name = first.entry(stat.ino).or_insert_with(|| shown.clone());
        if shown < *name {
            name.clone_from(&shown);
        }
        if stat.kind == Kind::Folder {
            assert_eq!(folders.insert(stat.ino, path.clone()), None, "two ways to a folder");
            let mut after = None;
            loop {
                let page = here.list(&path, after.as_ref(), 2, true)?;
                for entry in page.entries {
                    let below = path.join(entry.name.clone()).unwrap();
                    let brief = alknet_fs::Attributes { ctime_ns: None, nlink: None, ..here.stat(&below, false)? };
                    assert_eq!((entry.ino, entry.kind), (brief.ino, brief.kind));
                    assert_eq!(entry.attributes, Some(brief), "{below}");
                    open.push(below);
                }
                let Some(next) = page.next else { break };
                after = Some(next);
            }
        }
        let target = stat.target.as_ref().map(|target| spelling.read(&String::from_utf8_lossy(target)));
        let seen = Seen {
            kind: stat.kind,
            mode: stat.mode,
            mtime: stat.mtime_ns,
            size: target.as_ref().map_or(stat.size, |target| target.len() as u64),
            hash: stat.hash,
            target,
            nlink: stat.nlink.unwrap(),
            same_as: String::new(),
        };
        all.insert(shown, (stat.ino, seen));
    }
    Ok(all.into_iter().map(|(path, (ino, seen))| (path, Seen { same_as: first[&ino].clone(), ..seen })).collect())
}

/// The counters, against the rows that they count.
fn recount(sql: &rusqlite::Connection) -> Result<(), FsError> {
    let wrong = [
        "SELECT count(*) FROM fs_bucket b WHERE used_bytes <> (SELECT coalesce(sum(iif(changed & 1, size, 0) + ifnull(length(xattrs), 0)), 0)
            FROM fs_inode JOIN fs_branch ON fs_branch.id = branch WHERE fs_branch.bucket = b.id)",
        "SELECT count(*) FROM fs_bucket b WHERE used_files <> (SELECT count(DISTINCT branch || ':' || ino)
            FROM fs_inode JOIN fs_branch ON fs_branch.id = branch WHERE fs_branch.bucket = b.id)",
        "SELECT count(*) FROM fs_blob b WHERE refs <> (SELECT count(*) FROM fs_inode WHERE blob = b.id)",
        "SELECT count(*) FROM fs_ref r WHERE count <> (SELECT count(*) FROM fs_inode
            WHERE blob = r.blob AND branch = r.branch)",
        "SELECT count(*) FROM fs_inode i WHERE blob IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM fs_ref WHERE blob = i.blob AND branch = i.branch)",
    ];
    for text in wrong {
        assert_eq!(sql.query_row(text, [], |row| row.get::<_, i64>(0))?, 0, "{text}");
    }
    Ok(())
}

async fn play(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
        world.judge().await;
    }
    world.node.tree.tables().read_here(recount).unwrap();
    let admin = world.node.permit(Right::Admin, None);
    world.node.tree.remove_bucket(&admin, &proj(), true).await.unwrap();
    while world.node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(world.node.rows_left(), [], "nothing is left of a bucket");
}

/// Says which world it was.
struct Playing(u64);
#[allow(clippy::print_stderr, reason = "shown when the test fails")]
impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the world of ALKNET_SEED={}", self.0);
        }
    }
}

#[test]
fn a_tree_is_what_posix_says_on_every_branch_at_every_version() {
    // TREE-30, TREE-31, FS-91, TREE-70, TREE-71
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in seeds(1, WORLDS) {
        let playing = Playing(seed);
        runtime.block_on(play(seed));
        drop(playing);
    }
}
