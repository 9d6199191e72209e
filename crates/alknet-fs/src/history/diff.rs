//! What leads from one version to another.
//!
//! A difference stands at the path of the new version, that of something removed at the path of the old one. What is in a folder that
//! moved is no difference of its own. An entry is known by its number, so a rename is one; a file that was replaced by another one at
//! the same path counts as changed.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    rc::Rc,
};

use alknet_store::Second;
use rusqlite::Connection;

use super::{
    regions,
    side::{Place, Side, State},
};
use crate::{
    chain::Chain,
    ids::Ino,
    limits::{LEAST_SHARED_INODES, MAX_DIFF_PAGE},
    path::FsPath,
};

/// Which differences are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Only at this path and below it, in either version.
    pub within: &'a FsPath,
    /// Only after this path.
    pub after: Option<&'a FsPath>,
    /// At most so many.
    pub limit: usize,
}

/// A way in which two versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Only the old one has the entry.
    Removed,
    /// Only the new one has the entry.
    Added,
    /// The entry had another path.
    Renamed,
    /// Its content or target is another.
    Content,
    /// Its mode, time or extended attributes are others.
    Attributes,
}

/// How the versions differ at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: FsPath,
    /// In which ways, at least one. Removed together with added or renamed: something else was there.
    pub changes: Vec<Change>,
    /// Where a renamed entry was.
    pub from: Option<FsPath>,
    /// What it was.
    pub old: Option<State>,
    /// What it is.
    pub new: Option<State>,
}

/// Differences by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Them.
    pub all: Vec<Difference>,
    /// After which path there may be more.
    pub next: Option<FsPath>,
}

/// The first differences that are wanted.
///
/// # Errors
/// Those of the database.
pub fn between(sql: &Connection, old: &Chain, new: &Chain, wanted: Wanted<'_>) -> rusqlite::Result<Differences> {
    between_by_two(sql, None, (old, new), wanted)
}

/// As [`between`]. With a second connection, which sees the same commit, two threads look at what may differ.
///
/// # Errors
/// Those of the database.
pub fn between_by_two(
    sql: &Connection,
    second: Option<Second>,
    (old, new): (&Chain, &Chain),
    wanted: Wanted<'_>,
) -> rusqlite::Result<Differences> {
    let limit = wanted.limit.clamp(1, MAX_DIFF_PAGE);
    let wanted = Wanted { limit, ..wanted };
    let mut told = Told::default();
    let mut search = Search::new(sql, (old, new), wanted);
    regions::names(sql, old, new, |dir, name| {
        told.insert(dir, name);
        search.name(dir, name)
    })?;
    let (mut inodes, mut seen) = (Vec::new(), HashSet::new());
    regions::inodes(sql, old, new, |ino| {
        inodes.extend(seen.insert(ino).then_some(ino));
        Ok(())
    })?;
    drop(seen);
    match second.filter(|_| inodes.len() >= LEAST_SHARED_INODES) {
        None => search.inodes(&told, &inodes)?,
        Some(second) => {
            let (mine, theirs) = inodes.split_at(inodes.len() / 2);
            let told = &told;
            let beside = move || {
                let mut search = Search::new(&second, (old, new), wanted);
                search.inodes(told, theirs)?;
                Ok::<_, rusqlite::Error>(search.slots)
            };
            let found = std::thread::scope(|scope| {
                let beside = scope.spawn(beside);
                search.inodes(told, mine)?;
                beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            search.slots.extend(found?);
        }
    }
    search.finish()
}

/// The names that may stand for something else; of all others it is known that they do not. Kept as hashes: one that is taken for another
/// is looked up in vain.
#[derive(Default)]
struct Told {
    names: HashSet<u64>,
    hasher: RandomState,
}

impl Told {
    fn insert(&mut self, dir: Ino, name: &[u8]) {
        self.names.insert(self.hasher.hash_one((dir, name)));
    }
    fn contains(&self, dir: Ino, name: &[u8]) -> bool {
        !self.names.is_empty() && self.names.contains(&self.hasher.hash_one((dir, name)))
    }
}

/// What may differ at a path.
struct Slot {
    /// What is there no more, and in which folder it was.
    gone: Option<(Ino, Ino)>,
    /// What is there now.
    come: Option<Come>,
}

struct Come {
    ino: Ino,
    dir: Ino,
    origin: Origin,
}

enum Origin {
    /// It was nowhere.
    New,
    /// It had another path.
    At(FsPath),
    /// It was there; this is what it was and what it is.
    Here(Box<(Option<State>, Option<State>)>),
}

/// Where an inode is no more, and where it is now; what has the same index moved.
struct Moves {
    gone: Vec<Place>,
    come: Vec<Place>,
}

struct Search<'a> {
    old: Side<'a>,
    new: Side<'a>,
    wanted: Wanted<'a>,
    /// In any order, what is said of one path perhaps in two places; all that can be among the first.
    slots: Vec<(FsPath, Slot)>,
    /// Of one more than is wanted the last path, once there are so many.
    last: Option<FsPath>,
    moves: HashMap<Ino, Rc<Moves>>,
    /// Of a folder that was at a path and of one that is there: whether this one took the place of that.
    successors: HashMap<(Ino, Ino), bool>,
}

impl<'a> Search<'a> {
    fn new(sql: &'a Connection, (old, new): (&'a Chain, &'a Chain), wanted: Wanted<'a>) -> Self {
        Self {
            old: Side::new(sql, old),
            new: Side::new(sql, new),
            wanted,
            slots: Vec::new(),
            last: None,
            moves: HashMap::new(),
            successors: HashMap::new(),
        }
    }

    /// Looks at a name that may stand for something else.
    fn name(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<()> {
        let (old_path, new_path) = (self.old.path(dir, name)?, self.new.path(dir, name)?);
        let admitted = [&old_path, &new_path].into_iter().flatten().any(|path| self.admits(path));
        if !admitted {
            return Ok(());
        }
        let (old, new) = (self.old.dent(dir, name)?, self.new.dent(dir, name)?);
        if old.as_ref().map(|dent| dent.ino) == new.as_ref().map(|dent| dent.ino) {
            return Ok(());
        }
        let is_here = |place: &Place| place.0 == dir && *place.1 == *name;
        if let (Some(dent), Some(path)) = (old, old_path) {
            let moves = self.moves(dent.ino)?;
            let index = moves.gone.iter().position(is_here);
            if index.is_none_or(|index| index >= moves.come.len()) {
                self.slot(path, None, Slot { gone: Some((dent.ino, dir)), come: None });
            }
        }
        if let (Some(dent), Some(path)) = (new, new_path) {
            let moves = self.moves(dent.ino)?;
            let from = moves.come.iter().position(is_here).and_then(|index| moves.gone.get(index));
            let from = from.map(|(dir, name)| self.old.path(*dir, name)).transpose()?.flatten();
            let origin = from.clone().map_or(Origin::New, Origin::At);
            let come = Come { ino: dent.ino, dir, origin };
            self.slot(path, from.as_ref(), Slot { gone: None, come: Some(come) });
        }
        Ok(())
    }

    /// Looks at inodes that may be something else.
    fn inodes(&mut self, told: &Told, inodes: &[Ino]) -> rusqlite::Result<()> {
        inodes.iter().try_for_each(|ino| self.inode(told, *ino))
    }

    fn inode(&mut self, told: &Told, ino: Ino) -> rusqlite::Result<()> {
        let (old, new) = (self.old.state(ino)?, self.new.state(ino)?);
        if compared(old.as_ref(), new.as_ref()).is_empty() {
            return Ok(());
        }
        // Wanted is where it was and is. That is asked of the version that has fewer levels to ask.
        let is_old_shorter = self.old.chain.levels().len() < self.new.chain.levels().len();
        let shorter = if is_old_shorter { &mut self.old } else { &mut self.new };
        let mut places = if ino == Ino::ROOT { vec![(ino, Box::default())] } else { shorter.places(ino)? };
        let mut states = Box::new((old, new));
        while let Some((dir, name)) = places.pop() {
            let path = if ino == Ino::ROOT { Some(FsPath::ROOT) } else { self.new.path(dir, &name)? };
            let Some(path) = path.filter(|path| self.admits(path)) else { continue };
            let other = if is_old_shorter { &mut self.new } else { &mut self.old };
            let is_in_both = if ino == Ino::ROOT {
                true
            } else if told.contains(dir, &name) {
                other.dent(dir, &name)?.is_some_and(|dent| dent.ino == ino)
            } else {
                other.folder(dir)?.is_some()
            };
            if is_in_both {
                let of_this = if places.is_empty() { std::mem::take(&mut states) } else { states.clone() };
                self.slot(
                    path,
                    None,
                    Slot { gone: None, come: Some(Come { ino, dir, origin: Origin::Here(of_this) }) },
                );
            }
        }
        Ok(())
    }

    fn moves(&mut self, ino: Ino) -> rusqlite::Result<Rc<Moves>> {
        if let Some(known) = self.moves.get(&ino) {
            return Ok(known.clone());
        }
        let (mut gone, mut come) = (self.old.places(ino)?, self.new.places(ino)?);
        let links = gone.len() + come.len();
        let stay: HashSet<Place> = gone.iter().filter(|place| come.contains(place)).cloned().collect();
        gone.retain(|place| !stay.contains(place));
        come.retain(|place| !stay.contains(place));
        let moves = Rc::new(Moves { gone, come });
        if links > 2 {
            self.moves.insert(ino, moves.clone());
        }
        Ok(moves)
    }

    /// Whether what is in a folder that was at a path has that path as its own in the new version, too: the folder is the same,
    /// or it was removed and another one was made in its place, and so with all above it. Below one that moved, it has not.
    fn is_successor(&mut self, was: Ino, is: Ino) -> rusqlite::Result<bool> {
        if let Some(known) = self.successors.get(&(was, is)) {
            return Ok(*known);
        }
        let (mut old, mut new) = (was, is);
        let answer = loop {
            if old == new {
                break true;
            }
            if self.new.folder(old)?.is_some() || self.old.folder(new)?.is_some() {
                break false;
            }
            match (self.old.place(old)?, self.new.place(new)?) {
                (Some((above_old, _)), Some((above_new, _))) => (old, new) = (above_old, above_new),
                _ => break false,
            }
        };
        self.successors.insert((was, is), answer);
        Ok(answer)
    }

    /// Whether a path can still be among the first.
    fn admits(&self, path: &FsPath) -> bool {
        self.wanted.after.is_none_or(|after| path > after) && self.last.as_ref().is_none_or(|last| path <= last)
    }

    fn slot(&mut self, path: FsPath, from: Option<&FsPath>, slot: Slot) {
        let within = self.wanted.within;
        if self.admits(&path) && (path.is_within(within) || from.is_some_and(|from| from.is_within(within))) {
            self.slots.push((path, slot));
            if self.slots.len() > 2 * (self.wanted.limit + 1) {
                self.keep_first();
            }
        }
    }

    /// Puts them in order, each path once, and lets those go that are not among the first.
    fn keep_first(&mut self) {
        // What was found in one folder has come in order: a sort that knows runs.
        self.slots.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.slots.dedup_by(|(later, more), (earlier, slot)| {
            let is_same = later == earlier;
            if is_same {
                slot.gone = slot.gone.take().or(more.gone.take());
                slot.come = slot.come.take().or(more.come.take());
            }
            is_same
        });
        self.slots.truncate(self.wanted.limit + 1);
        if self.slots.len() > self.wanted.limit {
            self.last = self.slots.last().map(|(path, _)| path.clone());
        }
    }

    fn finish(mut self) -> rusqlite::Result<Differences> {
        self.keep_first();
        let mut slots = std::mem::take(&mut self.slots);
        let mut next = None;
        if slots.len() > self.wanted.limit {
            slots.pop();
            next = slots.last().map(|(path, _)| path.clone());
        }
        let mut all = Vec::with_capacity(slots.len());
        for (path, slot) in slots {
            all.extend(self.difference(path, slot)?);
        }
        Ok(Differences { all, next })
    }

    fn difference(&mut self, path: FsPath, slot: Slot) -> rusqlite::Result<Option<Difference>> {
        let gone = match slot.gone {
            Some((ino, dir)) => self.old.state(ino)?.map(|state| (state, dir)),
            None => None,
        };
        let Some(come) = slot.come else {
            let old = gone.map(|(state, _)| state);
            return Ok(Some(Difference { path, changes: vec![Change::Removed], from: None, old, new: None }));
        };
        let (from, old, new, mut changes) = match come.origin {
            Origin::Here(states) => (None, states.0, states.1, Vec::new()),
            Origin::At(from) => {
                let replaced = gone.map(|_| Change::Removed);
                let changes = replaced.into_iter().chain([Change::Renamed]).collect();
                (Some(from), self.old.state(come.ino)?, self.new.state(come.ino)?, changes)
            }
            Origin::New => {
                let new = self.new.state(come.ino)?;
                let Some((state, dir)) = gone else {
                    return Ok(Some(Difference { path, changes: vec![Change::Added], from: None, old: None, new }));
                };
                if !self.is_successor(dir, come.dir)? || new.as_ref().is_some_and(|new| new.kind != state.kind) {
                    let changes = vec![Change::Removed, Change::Added];
                    return Ok(Some(Difference { path, changes, from: None, old: Some(state), new }));
                }
                (None, Some(state), new, Vec::new())
            }
        };
        changes.extend(compared(old.as_ref(), new.as_ref()));
        Ok((!changes.is_empty()).then_some(Difference { path, changes, from, old, new }))
    }
}

/// In which ways two states of one entry differ.
pub(super) fn compared(old: Option<&State>, new: Option<&State>) -> Vec<Change> {
    match (old, new) {
        (Some(old), Some(new)) => {
            let content = (!old.is_same_content(new)).then_some(Change::Content);
            let attributes = (!old.is_same_attributes(new)).then_some(Change::Attributes);
            content.into_iter().chain(attributes).collect()
        }
        (None, None) => Vec::new(),
        _ => vec![Change::Attributes],
    }
}
