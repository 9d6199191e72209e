//! Random changes of random branches, judged by the model: every read of every branch is compared after each, with restarts between.
//!
//! What is changed by changes, sessions ([`crate::model_sessions`]) and restores is known in advance. What a merge makes of two branches
//! that both changed, and what flows into a branch that follows, is not: there the rules are judged that hold for all of them, what came of
//! it is read, and from then on it is judged as everything else is ([`crate::model_history`]). A model of merges would be the merge again;
//! it has properties of its own in `merge.rs`, as flowing has in `follow.rs`. Conflicts are listed here, and settled in `history_changes.rs`.
//!
//! `ALKNET_SEED=7` before this test plays that world alone; `cargo xtask soak fs` plays thousands.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use alknet_core::Maintenance;
use alknet_fs::{
    Change, ContentHash, FsError, FsPath, Here, Ino, Names, OnConflict, Policy, Put, RemoveHow, RenameHow, Retention,
    Right, Seq, Terms, When, Xattrs,
    rows::{Kind, branch::Mode},
};
use alknet_store::Durability;
use alknet_testkit::simulation::{Chance, seeds};

use crate::{
    model::{self, Model, Op, Seen, Set, names},
    model_sessions::Open,
    node::{BEGIN_NS, Node, bytes, errno, proj},
    spelling::Spelling,
};

/// The first world of an ordinary run, and how many: these have every kind of names, one fails on conflicts, two forget.
const WORLDS: (u64, u64) = (4, 3);
/// Steps of one world.
const STEPS: u64 = 80;
/// Branches that a world has at a time.
const BRANCHES: usize = 5;
/// How long versions are kept, in the worlds that forget.
const RETENTION: Duration = Duration::from_secs(12);
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
pub const TASK: Maintenance = Maintenance::of("test");

/// A branch, and what it must show at each commit since it was made; `None`: it is gone, and nobody looked.
pub struct Line {
    pub states: Vec<(u64, Option<Rc<Model>>)>,
    pub fork: Option<(usize, u64, Mode)>,
}

pub struct World {
    pub node: Node,
    pub chance: Chance,
    pub lines: Vec<Line>,
    /// Those that are there, by name.
    pub names: BTreeMap<String, usize>,
    pub snapshots: BTreeMap<String, (String, u64)>,
    pub head: u64,
    pub spelling: Spelling,
    /// All that was ever written.
    pub contents: HashMap<ContentHash, String>,
    pub sessions: Vec<Open>,
    /// Whether what somebody else wrote since is never written over.
    pub fails: bool,
    pub forgets: bool,
    /// When each commit was made.
    times: Vec<(u64, i64)>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let (node, chance) = (Node::with_files().await, Chance::new(seed));
        let names = [Names::Bytes, Names::Nfc, Names::Fold][usize::try_from(seed % 3).unwrap()];
        let (fails, forgets) = (seed.is_multiple_of(5), seed.is_multiple_of(2));
        let conflict = if fails { OnConflict::Fail } else { OnConflict::Lww };
        let retention = forgets.then(|| Retention::new(RETENTION));
        let policy = Policy { durability: Durability::Lazy, names, conflict, retention, ..Policy::default() };
        node.create_bucket(Terms { policy, ..Terms::default() }).await.unwrap();
        let begin = i64::try_from(BEGIN_NS).unwrap();
        let main = Line { states: vec![(0, Some(Rc::new(Model::new(begin))))], fork: None };
        Self {
            node,
            lines: vec![main],
            names: BTreeMap::from([("main".to_owned(), 0)]),
            snapshots: BTreeMap::new(),
            head: 1,
            spelling: Spelling::of(names, &chance),
            chance,
            contents: HashMap::new(),
            sessions: Vec::new(),
            fails,
            forgets,
            times: vec![(1, begin)],
        }
    }

    /// Versions before this one may have been forgotten.
    pub fn horizon(&self) -> u64 {
        let before = self.node.now() - i64::try_from(RETENTION.as_nanos()).unwrap();
        let old = self.times.iter().rev().find(|(_, at)| *at <= before);
        old.filter(|_| self.forgets).map_or(0, |(seq, _)| *seq)
    }
    /// A commit whose version is kept, since there is a bucket.
    pub fn version(&self) -> u64 {
        let horizon = self.horizon();
        (horizon + self.chance.below(self.head + 1 - horizon)).max(1)
    }
    pub fn line(&self) -> (String, usize) {
        let names: Vec<_> = self.names.iter().map(|(name, line)| (name.clone(), *line)).collect();
        self.chance.of(&names).clone()
    }
    pub fn salt(&self) -> u64 {
        self.chance.below(12)
    }
    pub fn spelled(&self, path: &str, salt: u64) -> FsPath {
        FsPath::parse(&self.spelling.write(path, salt)).unwrap()
    }
    /// Content for a file, which is known from now on.
    pub fn content(&mut self, letter: &str) -> String {
        let length = if self.chance.below(12) == 0 { 17_000 } else { self.chance.below(4) };
        let content = letter.repeat(usize::try_from(length).unwrap());
        self.contents.insert(ContentHash::of(content.as_bytes()), content.clone());
        content
    }

    /// What a branch shows at a commit, if that is known.
    pub fn state(&self, line: usize, at: u64) -> Option<Rc<Model>> {
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

    /// A path: mostly one where something is, or where something could be made.
    pub fn path(&self) -> String {
        let name = *self.chance.of(&NAMES);
        let known = self.state(self.line().1, self.head).map(|model| model.folders_and_files()).unwrap_or_default();
        let is_plain = |path: &String| names(path).count() < 4 && names(path).all(|name| NAMES.contains(&name));
        let [folders, files] = known.map(|paths| paths.into_iter().filter(is_plain).collect::<Vec<_>>());
        match self.chance.below(6) {
            0 | 1 if !files.is_empty() => self.chance.of(&files).clone(),
            2 | 3 if !folders.is_empty() => format!("{}/{name}", self.chance.of(&folders).trim_end_matches('/')),
            4 if folders.len() > 1 => self.chance.of(&folders[1..]).clone(),
            _ => {
                let depth = 1 + self.chance.below(3);
                (0..depth).map(|_| format!("/{}", self.chance.of(&NAMES))).collect()
            }
        }
    }
    fn mode(&self) -> u16 {
        *self.chance.of(&[0o600, 0o644, 0o755, 0o4711])
    }
    fn mtime(&self) -> Option<i64> {
        (self.chance.below(4) == 0).then(|| i64::try_from(self.chance.below(1000)).unwrap() - 500)
    }

    fn xattrs(&self) -> model::Xattrs {
        let pair = |_| (self.chance.of(&["user.a", "user.b"]).to_string(), "v".repeat(self.chance.below(3) as usize));
        (0..self.chance.below(3)).map(pair).collect()
    }
    /// Attributes; of those that are set, one in `of` of each kind.
    pub fn set(&self, of: u64) -> Set {
        let mode = (self.chance.below(of) == 0).then(|| self.mode());
        Set { mode, mtime: self.mtime(), xattrs: (self.chance.below(2 * of) == 0).then(|| self.xattrs()) }
    }

    fn op(&mut self) -> Op {
        let at = self.path();
        match self.chance.below(21) {
            0..=3 => Op::Folder { at, mode: self.mode(), parents: self.chance.below(3) == 0 },
            4..=7 => {
                let content = "x".repeat(usize::try_from(self.chance.below(4)).unwrap());
                self.contents.insert(ContentHash::of(content.as_bytes()), content.clone());
                Op::Put { at, content, set: self.set(3), exclusive: self.chance.below(4) == 0 }
            }
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
            17 | 18 => Op::Set { at, set: self.set(2), follow: self.chance.below(2) == 0 },
            19 => {
                let gone = (0..self.chance.below(2)).map(|_| self.chance.of(&["user.a", "user.b"]).to_string());
                Op::SetXattrs { at, remove: gone.collect(), set: self.xattrs().into_iter().collect() }
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
        let salt = self.salt();
        let path = |text: &str| self.spelled(text, salt);
        match op.clone() {
            Op::Folder { at, mode, parents } => Change::MakeFolder { at: path(&at), mode, parents },
            Op::Put { at, content, set: Set { mode, mtime, xattrs }, exclusive } => {
                let expect = if exclusive { alknet_fs::Expect::Absent } else { alknet_fs::Expect::Anything };
                let xattrs = xattrs.map(written);
                Change::Put(Put { mode, mtime_ns: mtime, xattrs, expect, ..Put::new(path(&at), bytes(&content)) })
            }
            Op::Symlink { at, target } => {
                Change::Symlink { at: path(&at), target: self.spelling.write(&target, salt), mtime_ns: None }
            }
            Op::HardLink { from, to } => Change::HardLink { from: path(&from), to: path(&to) },
            Op::Rename { from, to, how } => Change::Rename { from: path(&from), to: path(&to), how },
            Op::Remove { at, how } => Change::Remove { at: path(&at), how },
            Op::Set { at, set: Set { mode, mtime, xattrs }, follow } => {
                Change::SetAttributes { at: path(&at), mode, mtime_ns: mtime, xattrs: xattrs.map(written), follow }
            }
            Op::SetXattrs { at, set, remove } => {
                let set = set.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
                Change::SetXattrs { at: path(&at), set, remove: remove.into_iter().map(String::into_bytes).collect() }
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
        let (name, line) = self.line();
        let now = self.node.tick();
        let ops: Vec<_> = (0..=self.chance.below(3)).map(|_| self.op()).collect();
        let mut changes = Vec::new();
        for op in &ops {
            changes.push(self.change(op).await);
        }
        let outcome = self.node.change(&name, changes).await;
        let Some(before) = self.state(line, self.head) else {
            if let Ok(committed) = outcome {
                self.keep(line, committed.seq.get(), None).await;
            }
            return;
        };
        let mut model = Model::clone(&before);
        let wanted = ops.iter().try_fold(false, |any, op| Ok(model.apply(op, now)? | any));
        match (outcome, wanted) {
            (Ok(committed), Ok(true)) => {
                assert_eq!(committed.seq.get(), self.head + 1, "{ops:?}");
                self.keep(line, committed.seq.get(), Some(model)).await;
            }
            (Ok(committed), Ok(false)) => assert_eq!(committed.seq.get(), self.head, "{ops:?}"),
            (Err(error), Err(wanted)) => assert_eq!(errno::<()>(Err(error)), wanted, "{ops:?}"),
            (outcome, wanted) => panic!("{outcome:?}, but POSIX says {wanted:?} to {ops:?}"),
        }
    }

    /// Notes what a branch shows since a commit; `None`: what it does show.
    pub async fn keep(&mut self, line: usize, seq: u64, state: Option<Model>) {
        if seq == self.head {
            return;
        }
        self.head = seq;
        self.times.push((seq, self.node.now()));
        let state = match state {
            Some(state) => Some(state),
            None => self.adopt(line).await,
        };
        self.lines[line].states.push((seq, state.map(Rc::new)));
        // Whoever follows it is changed with it.
        let mut changed = vec![line];
        while let Some(parent) = changed.pop() {
            for child in 0..self.lines.len() {
                if matches!(self.lines[child].fork, Some((of, _, Mode::Follow)) if of == parent) {
                    let state = self.adopt(child).await;
                    self.lines[child].states.push((seq, state.map(Rc::new)));
                    changed.push(child);
                }
            }
        }
    }

    /// What a branch shows, as a model; whoever has a file of it open has lost sight of it.
    async fn adopt(&mut self, line: usize) -> Option<Model> {
        self.sessions.iter_mut().filter(|open| open.line == line).for_each(|open| open.is_lost = true);
        let name = self.names.iter().find(|(_, of)| **of == line)?.0;
        let seen = self.seen(&format!("proj:{name}")).await.unwrap();
        Some(Model::of_seen(&seen, |hash| self.contents[&hash].clone()))
    }

    async fn fork(&mut self) {
        let (parent, line) = self.line();
        let mode = if self.chance.below(3) == 0 { Mode::Follow } else { Mode::Pinned };
        let at = if mode == Mode::Pinned && self.chance.below(3) == 0 { self.version() } else { self.head };
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
            let line = self.names.remove(name).unwrap();
            self.close_on_removed(line).await;
        }
        while self.node.tree.reap(&TASK).await.unwrap() {}
    }

    async fn snapshot(&mut self) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        let (of, at) = (self.chance.of(&names), self.version());
        let name = format!("s{}", self.snapshots.len());
        let when = if at == self.head { When::Now } else { When::Seq(Seq::new(at).unwrap()) };
        let taken = self.node.snapshot(of, &name, when).await.unwrap();
        self.snapshots.insert(name, (of.clone(), taken.seq.get()));
    }

    async fn step(&mut self) {
        match self.chance.below(40) {
            0 | 1 if self.names.len() < BRANCHES => self.fork().await,
            2 => self.snapshot().await,
            3 => self.unfork().await,
            4 | 5 => self.restart().await,
            6..=9 => self.open().await,
            10..=13 => self.close().await,
            14 | 15 => self.merge().await,
            16 => self.restore().await,
            17 if self.forgets => self.forget().await,
            _ => self.commit().await,
        }
    }

    /// Every branch as it is, one as it was, and a snapshot.
    async fn judge(&self) {
        for (name, line) in &self.names {
            self.compare(&format!("proj:{name}"), self.state(*line, self.head)).await.unwrap();
        }
        let ((name, line), at) = (self.line(), self.chance.below(self.head + 1));
        let compared = self.compare(&format!("proj:{name}@{at}"), self.state(line, at)).await;
        assert!(compared.is_ok() || at < self.horizon(), "{name}@{at} {compared:?}");
        let snapshots: Vec<_> = self.snapshots.iter().collect();
        if !snapshots.is_empty() {
            let (snapshot, (name, at)) = *self.chance.of(&snapshots);
            self.compare(&format!("proj:{name}@{snapshot}"), self.state(self.names[name], *at)).await.unwrap();
        }
    }

    pub async fn seen(&self, address: &str) -> Result<BTreeMap<String, Seen>, FsError> {
        let view = self.node.view(address).await?;
        Ok(view.here(|here| seen(here, &self.spelling)).unwrap())
    }

    async fn compare(&self, address: &str, wanted: Option<Rc<Model>>) -> Result<(), FsError> {
        let seen = self.seen(address).await?;
        if let Some(wanted) = wanted {
            is_same(&seen, &wanted.seen(), address);
        }
        Ok(())
    }
}

fn written(xattrs: model::Xattrs) -> Xattrs {
    Xattrs::new(xattrs).unwrap()
}

pub fn is_same(seen: &BTreeMap<String, Seen>, wanted: &BTreeMap<String, Seen>, what: &str) {
    for path in seen.keys().chain(wanted.keys()) {
        assert_eq!(seen.get(path), wanted.get(path), "{what} {path}");
    }
}

/// Everything that a view shows, by its path; and each folder of it in exactly one place.
fn seen(here: &Here<'_>, spelling: &Spelling) -> Result<BTreeMap<String, Seen>, FsError> {
    let (mut open, mut all, mut folders) = (vec![FsPath::ROOT], BTreeMap::new(), BTreeMap::new());
    let mut first: BTreeMap<Ino, String> = BTreeMap::new();
    while let Some(path) = open.pop() {
        let stat = here.stat(&path, false)?;
        let shown = spelling.read(&path.to_bytes());
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
        let target = stat.target.as_ref().map(|target| spelling.read(target));
        let seen = Seen {
            kind: stat.kind,
            mode: stat.mode,
            mtime: stat.mtime_ns,
            size: target.as_ref().map_or(stat.size, |target| target.len() as u64),
            hash: stat.hash,
            target,
            nlink: stat.nlink.unwrap(),
            xattrs: stat.xattrs.iter().map(|(key, value)| (text(key), text(value))).collect(),
            same_as: String::new(),
        };
        all.insert(shown, (stat.ino, seen));
    }
    Ok(all.into_iter().map(|(path, (ino, seen))| (path, Seen { same_as: first[&ino].clone(), ..seen })).collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
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
    world.end_all().await;
    world.node.close_files().await;
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
    for seed in seeds(WORLDS.0, WORLDS.1) {
        let playing = Playing(seed);
        runtime.block_on(play(seed));
        drop(playing);
    }
}
