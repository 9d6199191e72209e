//! Makes a path, with all that is below it, again what it was in an earlier version, and nothing else.
//!
//! What is at and below the path now stays the entry that it is, wherever below the path it was; what is elsewhere by now is copied.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::Connection;

use super::{
    merge::{
        Plan, is_same_content,
        overlay::{Entry, Overlay},
    },
    regions,
    side::{Place, Side},
};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    ids::Ino,
    limits::{MAX_MERGE_CHANGES, MAX_RESTORE_LOOKED, MAX_RESTORE_WALKED, PAGE_ROWS_AT_ONCE},
    path::FsPath,
    rows::{
        Kind,
        dent::Dent,
        inode::{Changed, Inode},
    },
};

/// How the entries are found that may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looking {
    /// All that is at and below the path is looked at.
    Below,
    /// All that the branch changed since is.
    Since,
}

/// Plans what makes a path again what it was: by what is below it if that is little, or else by what changed, or what is below it.
///
/// # Errors
/// Fails when nothing was there then, when something that is no folder is on the way now, and with [`Errno::TooBig`] when too much
/// changed.
pub(super) fn plan(sql: &Connection, now: &Chain, then: &Chain, path: &FsPath) -> Result<Plan, FsError> {
    let ways = [
        (Looking::Below, MAX_RESTORE_WALKED),
        (Looking::Since, MAX_RESTORE_LOOKED),
        (Looking::Below, MAX_RESTORE_LOOKED),
    ];
    for (looking, most) in ways {
        if let Some(plan) = plan_by(sql, (now, then), path, (looking, most))? {
            return Ok(plan);
        }
    }
    Err(too_big(path))
}

/// As a restore plans, in one way; `None`: it would have to look at more than `most` entries.
///
/// # Errors
/// Those of a restore.
pub fn plan_by(
    sql: &Connection,
    (now, then): (&Chain, &Chain),
    path: &FsPath,
    (looking, most): (Looking, usize),
) -> Result<Option<Plan>, FsError> {
    let mut restore = Restore {
        path,
        now: Side::new(sql, now),
        then: Side::new(sql, then),
        overlay: Overlay::new(Side::new(sql, now)),
        touched: None,
        known: HashMap::new(),
        used: HashSet::new(),
        folders: Vec::new(),
        open: Vec::new(),
        inodes: BTreeMap::new(),
        shown: BTreeMap::new(),
        pending: 0,
        looked: 0,
        most,
    };
    let planned = match looking {
        Looking::Below => restore.run(),
        Looking::Since => restore.find_touched().and_then(|()| restore.run()),
    };
    match planned {
        Ok(()) => restore.finish().map(Some),
        Err(Halt::Looked) => Ok(None),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn too_big(path: &FsPath) -> FsError {
    FsError::At { errno: Errno::TooBig, what: "cannot restore so much at once as", path: path.to_string() }
}

enum Halt {
    /// It was looked at as much as may be.
    Looked,
    Failed(FsError),
}

impl From<FsError> for Halt {
    fn from(error: FsError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A restore that is being planned.
struct Restore<'a> {
    path: &'a FsPath,
    now: Side<'a>,
    then: Side<'a>,
    overlay: Overlay<'a>,
    /// The names in each folder through which something can have changed; `None`: all may.
    touched: Option<HashMap<Ino, BTreeSet<Box<[u8]>>>>,
    /// What stands here for each entry of then.
    known: HashMap<Ino, Ino>,
    /// What of now stands for something.
    used: HashSet<Ino>,
    /// Folders of then with what stands for them here.
    folders: Vec<(Ino, Ino)>,
    /// Those in which nothing was looked at yet.
    open: Vec<(Ino, Ino)>,
    inodes: BTreeMap<Ino, Inode>,
    /// How the names are written that are given.
    shown: BTreeMap<Place, Option<Box<[u8]>>>,
    /// Entries that get their numbers when they are written.
    pending: u32,
    looked: usize,
    most: usize,
}

impl Restore<'_> {
    fn run(&mut self) -> Result<(), Halt> {
        let way = self.way()?;
        match way.split_last() {
            None => self.enter(Ino::ROOT, Ino::ROOT),
            Some((last, above)) => {
                let mut home = Ino::ROOT;
                for dent in above {
                    home = self.folder(home, dent)?;
                }
                self.place(home, last)?;
            }
        }
        while let Some((then, number)) = self.open.pop() {
            self.fill(then, number)?;
        }
        Ok(())
    }

    /// The entries on the path as they were then.
    fn way(&self) -> Result<Vec<Dent>, FsError> {
        let (mut dir, mut way) = (Ino::ROOT, Vec::new());
        for name in self.path.names() {
            let is_folder = way.last().is_none_or(|dent: &Dent| dent.kind == Kind::Folder);
            let found = if is_folder { self.then.chain.dent(self.then.sql, dir, name.as_bytes())? } else { None };
            let dent = found.ok_or_else(|| FsError::At {
                errno: Errno::NoEnt,
                what: "cannot restore what was not there then:",
                path: self.path.to_string(),
            })?;
            dir = dent.ino;
            way.push(dent);
        }
        Ok(way)
    }

    /// A folder above the path: the one that has the name now, or else the one that had it then, or one like it.
    fn folder(&mut self, home: Ino, dent: &Dent) -> Result<Ino, Halt> {
        match self.overlay.entry(home, &dent.name)? {
            Some(there) if there.kind == Kind::Folder => Ok(there.ino),
            Some(_) => Err(Halt::Failed(FsError::At {
                errno: Errno::NotDir,
                what: "cannot restore through what is no folder now:",
                path: self.path.to_string(),
            })),
            None => {
                let number = if self.now.shows(dent.ino)? { self.pending() } else { dent.ino };
                let entry = Entry { ino: number, kind: Kind::Folder };
                self.overlay.clear(entry)?;
                self.give(home, dent, entry);
                if let Some(inode) = self.then.timed_inode(dent.ino)? {
                    self.inodes.insert(number, Inode { ino: number, changed: Changed::ALL, ..inode });
                }
                Ok(number)
            }
        }
    }

    /// Lets a name stand for what it stood for then.
    fn place(&mut self, home: Ino, dent: &Dent) -> Result<(), Halt> {
        self.look()?;
        let there = self.overlay.entry(home, &dent.name)?;
        let is_known = self.known.contains_key(&dent.ino);
        let number = self.number(dent, there)?;
        if there.is_none_or(|there| there.ino != number) {
            if let Some(there) = there {
                self.take(home, &dent.name, there)?;
            }
            self.give(home, dent, Entry { ino: number, kind: dent.kind });
        }
        if dent.kind == Kind::Folder {
            self.enter(dent.ino, number);
        } else if !is_known {
            self.fields(dent.ino, number)?;
        }
        Ok(())
    }

    fn give(&mut self, home: Ino, dent: &Dent, entry: Entry) {
        self.overlay.give(home, &dent.name, entry);
        self.shown.insert((home, dent.name.clone()), dent.shown.clone());
    }

    fn enter(&mut self, then: Ino, number: Ino) {
        self.folders.push((then, number));
        self.open.push((then, number));
    }

    /// What is to stand for an entry of then: the same, if it is below the path now or nowhere; else what has taken its place; else a
    /// new one.
    fn number(&mut self, dent: &Dent, there: Option<Entry>) -> Result<Ino, Halt> {
        if let Some(known) = self.known.get(&dent.ino) {
            return Ok(*known);
        }
        let heir = there.filter(|there| there.kind == dent.kind && !self.used.contains(&there.ino));
        let number = if is_below(&mut self.now, dent.ino, self.path)? == Some(true) {
            dent.ino
        } else if let Some(heir) = heir
            && !self.then.shows(heir.ino)?
            && is_only_below(&mut self.now, heir.ino, self.path)?
        {
            heir.ino
        } else if !self.now.shows(dent.ino)? {
            self.overlay.clear(Entry { ino: dent.ino, kind: dent.kind })?;
            dent.ino
        } else {
            self.pending()
        };
        self.known.insert(dent.ino, number);
        self.used.insert(number);
        Ok(number)
    }

    fn pending(&mut self) -> Ino {
        self.pending += 1;
        Ino::pending(self.pending)
    }

    /// Lets a folder hold what it held then.
    fn fill(&mut self, then: Ino, number: Ino) -> Result<(), Halt> {
        let is_same = then == number && self.now.shows(number)?;
        match self.touched.as_ref().filter(|_| is_same) {
            Some(touched) => {
                for name in touched.get(&number).cloned().unwrap_or_default() {
                    match self.then.chain.dent(self.then.sql, then, &name)? {
                        Some(dent) => self.place(number, &dent)?,
                        None => self.empty(number, &name)?,
                    }
                }
            }
            None => {
                let dents = self.held(then)?;
                for name in self.surplus(number, &dents)? {
                    self.empty(number, &name)?;
                }
                for dent in &dents {
                    self.place(number, dent)?;
                }
            }
        }
        Ok(())
    }

    /// What a folder held then.
    fn held(&mut self, then: Ino) -> Result<Vec<Dent>, Halt> {
        let mut dents: Vec<Dent> = Vec::new();
        loop {
            let after = dents.last().map(|dent| dent.name.clone()).unwrap_or_default();
            let page = self.then.chain.page(self.then.sql, then, &after, PAGE_ROWS_AT_ONCE)?;
            if page.is_empty() {
                return Ok(dents);
            }
            dents.extend(page);
            if self.looked + dents.len() > self.most {
                return Err(Halt::Looked);
            }
        }
    }

    /// The names that a folder holds besides.
    fn surplus(&mut self, number: Ino, dents: &[Dent]) -> Result<Vec<Box<[u8]>>, Halt> {
        let room = self.most.saturating_sub(self.looked);
        let all = self.overlay.children(number, room.saturating_add(1))?;
        if all.len() > room {
            return Err(Halt::Looked);
        }
        self.looked += all.len();
        let is_held = |name: &[u8]| dents.binary_search_by(|dent| (*dent.name).cmp(name)).is_ok();
        Ok(all.into_iter().map(|(name, _)| name).filter(|name| !is_held(name)).collect())
    }

    fn empty(&mut self, dir: Ino, name: &[u8]) -> Result<(), Halt> {
        self.look()?;
        match self.overlay.entry(dir, name)? {
            Some(there) => self.take(dir, name, there),
            None => Ok(()),
        }
    }

    /// Takes a name away, and what is below it, but for folders that have another place.
    fn take(&mut self, dir: Ino, name: &[u8], entry: Entry) -> Result<(), Halt> {
        let mut open = vec![(dir, Box::from(name), entry)];
        while let Some((dir, name, entry)) = open.pop() {
            self.overlay.take(dir, &name)?;
            if entry.kind != Kind::Folder || is_below(&mut self.then, entry.ino, self.path)? == Some(true) {
                continue;
            }
            for name in self.surplus(entry.ino, &[])? {
                let below = self.overlay.entry(entry.ino, &name)?;
                open.extend(below.map(|below| (entry.ino, name, below)));
            }
        }
        Ok(())
    }

    /// Lets a file or link, or at the end a folder, be what it was.
    fn fields(&mut self, then: Ino, number: Ino) -> Result<(), FsError> {
        let Some(old) = self.then.timed_inode(then)? else { return Ok(()) };
        let own = if self.now.shows(number)? { self.now.timed_inode(number)? } else { None };
        let changed = match &own {
            None => Changed::ALL,
            Some(own) => {
                let content = !is_same_content(self.now.sql, own, &old)?;
                let is_timed = (!content || old.kind == Kind::Folder) && own.mtime_ns != old.mtime_ns;
                Changed { content, attributes: (own.mode, &own.xattrs) != (old.mode, &old.xattrs) || is_timed }
            }
        };
        if changed != Changed::default() {
            self.inodes.insert(number, Inode { ino: number, changed, ..old });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, FsError> {
        let names = self.overlay.changes()?;
        let renamed: HashSet<Ino> = names.iter().map(|name| name.place.0).collect();
        for (then, number) in std::mem::take(&mut self.folders) {
            self.fields(then, number)?;
            // Its time would be that of its new names.
            if renamed.contains(&number)
                && let Some(old) = self.then.timed_inode(then)?
            {
                let changed = Changed { content: false, attributes: true };
                self.inodes.entry(number).or_insert(Inode { ino: number, changed, ..old });
            }
        }
        if names.len().max(self.inodes.len()) > MAX_MERGE_CHANGES {
            return Err(too_big(self.path));
        }
        Ok(Plan { examined: self.looked, names, inodes: self.inodes, shown: self.shown, ..Plan::default() })
    }

    fn look(&mut self) -> Result<(), Halt> {
        self.looked += 1;
        if self.looked > self.most { Err(Halt::Looked) } else { Ok(()) }
    }

    /// Finds the names through which something can have changed.
    fn find_touched(&mut self) -> Result<(), Halt> {
        let (sql, most) = (self.now.sql, self.most);
        let (mut names, mut inodes) = (BTreeSet::new(), BTreeSet::new());
        let told = regions::names(sql, self.now.chain, self.then.chain, |dir, name| {
            names.insert((dir, Box::<[u8]>::from(name)));
            if names.len() > most { Err(regions::enough()) } else { Ok(()) }
        });
        let told = told.and_then(|()| {
            regions::inodes(sql, self.now.chain, self.then.chain, |ino| {
                inodes.insert(ino);
                if inodes.len() > most { Err(regions::enough()) } else { Ok(()) }
            })
        });
        if names.len().max(inodes.len()) > most {
            return Err(Halt::Looked);
        }
        told?;
        let mut touched: HashMap<Ino, BTreeSet<Box<[u8]>>> = HashMap::new();
        let mut open: Vec<Place> = names.into_iter().collect();
        for ino in inodes {
            open.extend(self.now.places(ino)?);
            open.extend(self.then.places(ino)?);
        }
        while let Some((dir, name)) = open.pop() {
            if touched.entry(dir).or_default().insert(name) && dir != Ino::ROOT {
                open.extend(self.now.place(dir)?);
                open.extend(self.then.place(dir)?);
            }
        }
        self.touched = Some(touched);
        Ok(())
    }
}

/// Whether an entry has a place at a path or below it; `None`: it has no place at all.
fn is_below(side: &mut Side<'_>, ino: Ino, path: &FsPath) -> rusqlite::Result<Option<bool>> {
    let mut answer = None;
    for (dir, name) in side.places(ino)? {
        let is_below = side.path(dir, &name)?.is_some_and(|place| place.is_within(path));
        answer = Some(answer.unwrap_or(false) || is_below);
    }
    Ok(answer)
}

fn is_only_below(side: &mut Side<'_>, ino: Ino, path: &FsPath) -> rusqlite::Result<bool> {
    for (dir, name) in side.places(ino)? {
        if !side.path(dir, &name)?.is_some_and(|place| place.is_within(path)) {
            return Ok(false);
        }
    }
    Ok(true)
}
