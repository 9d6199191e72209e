//! What a branch shows: its own rows, and through them those of the branches that it was made from.
//!
//! The newest row at or before a level's bound counts, the nearest level first; a whiteout ends the search. A branch that was made
//! `pinned` sees its parent as it was at the fork. One that follows sees later rows too, under three rules that keep every folder in
//! one place and the tree free of loops: a folder that the parent makes appears where it was made and stays there; no folder moves or
//! vanishes; and once a nearer level has changed the names of a file, the parent's later changes of its names do not count.

use std::{
    borrow::Cow,
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use rusqlite::Connection;

use crate::{
    folding::Names,
    hash::ContentHash,
    ids::{BranchId, Ino, Seq},
    limits::{MAX_CHAIN_LEVELS, PAGE_ROWS_AT_ONCE},
    path::{EntryName, FsPath},
    rows::{
        Kind, blob,
        branch::{self, Below, BranchRow, Fork, Mode},
        dent::{self, Dent, Standing},
        inode::{self, Inode},
    },
};

/// A branch in a chain, and how much of it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The branch.
    pub branch: BranchId,
    /// Rows after this are not seen.
    pub bound: Seq,
    /// The nearer level follows this one since here; `None`: it does not, or there is none.
    pub fork: Option<Seq>,
}

/// A branch at a version, with everything that it reads through; its own level comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    levels: Arc<[Level]>,
    names: Names,
}

impl Chain {
    /// The chain of a branch at a version of its bucket, or `None` where there is no such branch or nothing is left of it. It shows
    /// everything: what is done for somebody asks [`Sight::chain`](crate::Sight::chain).
    ///
    /// # Errors
    /// Fails when there are more than [`MAX_CHAIN_LEVELS`] levels, and when one of them is missing.
    pub fn of(sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Self>> {
        let Some(row) = branch::get(sql, branch)?.filter(|row| !row.gone) else { return Ok(None) };
        let names = row.names;
        let levels = levels(sql, row, bound, MAX_CHAIN_LEVELS, BranchRow::base)?.into();
        Ok(Some(Self { levels, names }))
    }

    /// As [`Self::of`], or where nothing is left of the branch that of one made from it which shows the same version.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn standing_for(sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Self>> {
        let mut open = vec![branch];
        while let Some(branch) = open.pop() {
            if let Some(chain) = Self::of(sql, branch, bound)? {
                return Ok(Some(chain));
            }
            let shows = |fork: Fork| fork.mode == Mode::Pinned && fork.at >= bound;
            let children = branch::children(sql, branch)?;
            open.extend(children.iter().filter(|child| child.fork.is_some_and(shows)).map(|child| child.id));
        }
        Ok(None)
    }

    /// The same, with fewer commits seen of the branches that have a cap.
    pub(crate) fn capped(&self, cap: impl Fn(BranchId) -> Option<Seq>) -> Self {
        let lower = |level: &Level| match cap(level.branch) {
            Some(cap) => Level { bound: level.bound.min(cap), ..*level },
            None => *level,
        };
        Self { levels: self.levels.iter().map(lower).collect(), names: self.names }
    }

    /// Its levels, the branch itself first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Which names are one and the same: a name may be given to it in any of its forms, and comes from it in the one that is compared.
    pub fn names(&self) -> Names {
        self.names
    }

    /// A name in a folder as it was written.
    pub fn written<'a>(&self, sql: &Connection, dir: Ino, name: &'a [u8]) -> rusqlite::Result<Cow<'a, [u8]>> {
        if self.names != Names::Fold {
            return Ok(Cow::Borrowed(name));
        }
        let shown = self.entry(sql, 0, dir, name)?.and_then(|dent| dent.shown);
        Ok(shown.map_or(Cow::Borrowed(name), |shown| Cow::Owned(shown.into())))
    }

    /// A path with each name as it was written, as far as it leads; `None` where it does not lead to what is there or was.
    pub fn spelled(&self, sql: &Connection, path: &FsPath) -> rusqlite::Result<Option<FsPath>> {
        if self.names == Names::Bytes {
            return Ok(Some(path.clone()));
        }
        let (mut spelled, mut dir) = (FsPath::ROOT, Ino::ROOT);
        for name in path.names() {
            let Some(dent) = self.entry(sql, 0, dir, name.as_bytes())? else { return Ok(None) };
            spelled = spelled.below(EntryName::parse(dent.written()).unwrap_or_else(|_| name.clone()));
            dir = dent.ino;
        }
        Ok(Some(spelled))
    }

    /// What a name in a folder stands for.
    pub fn dent(&self, sql: &Connection, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Dent>> {
        Ok(self.entry(sql, 0, dir, name)?.filter(|dent| !dent.gone))
    }

    /// The names of a folder after this one (the empty one: from the first), in the order of their bytes, at most `count`.
    pub fn page(&self, sql: &Connection, dir: Ino, after: &[u8], count: usize) -> rusqlite::Result<Vec<Dent>> {
        // Few names may be wanted, and many that are gone lie before them.
        let (after, batch) = (&*self.names.key(after), count.clamp(1, PAGE_ROWS_AT_ONCE));
        if let [level] = self.levels() {
            // What is gone hides nothing there.
            return dent::page_there(sql, (level.branch, dir), after, level.bound, count);
        }
        let mut cursors: Vec<_> = self.levels.iter().map(|level| Cursor::new(*level, dir, after, batch)).collect();
        let follows = self.levels.iter().any(|level| level.fork.is_some());
        let mut page = Vec::new();
        while page.len() < count {
            let Some(nearest) = next_name(sql, &mut cursors)? else { break };
            let shown = if follows { self.entry(sql, 0, dir, &nearest.name)? } else { Some(nearest) };
            page.extend(shown.filter(|dent| !dent.gone));
        }
        Ok(page)
    }

    /// What an inode is. Under a branch that follows, what it has not changed itself comes from its parent.
    pub fn inode(&self, sql: &Connection, ino: Ino) -> rusqlite::Result<Option<Inode>> {
        self.inode_from(sql, 0, ino)
    }

    /// As [`Self::inode`], with the hash of its content.
    pub fn inode_hashed(
        &self,
        sql: &Connection,
        hashed: &mut inode::Hashed<'_>,
        ino: Ino,
    ) -> rusqlite::Result<Option<(Inode, Option<ContentHash>)>> {
        for (index, level) in self.levels.iter().enumerate() {
            if self.levels.get(index + 1).is_some_and(|next| next.fork.is_some()) {
                let Some(inode) = self.inode_from(sql, index, ino)? else { return Ok(None) };
                let hash = inode.blob.map(|blob| blob::hash(sql, blob)).transpose()?.flatten();
                return Ok(Some((inode, hash)));
            }
            if let Some(own) = hashed.newest(level.branch, ino, level.bound)? {
                return Ok(Some(own));
            }
        }
        Ok(None)
    }

    /// Every folder and name that stands for an inode: as many as it has links.
    pub fn places(&self, sql: &Connection, ino: Ino) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
        self.places_by(sql, &mut Standing::new(sql)?, ino)
    }

    /// As [`Self::places`], for many.
    pub fn places_by(
        &self,
        sql: &Connection,
        standing: &mut Standing<'_>,
        ino: Ino,
    ) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
        if self.levels.iter().all(|level| level.fork.is_none()) {
            return self.pinned_places(sql, standing, ino);
        }
        let mut known = BTreeSet::new();
        for level in self.levels.iter() {
            known.extend(dent::places(sql, level.branch, ino, level.bound)?);
        }
        let mut places = Vec::new();
        for (dir, name) in known {
            if self.dent(sql, dir, &name)?.is_some_and(|dent| dent.ino == ino) {
                places.push((dir, name));
            }
        }
        Ok(places)
    }

    /// As [`Self::places`], where no level is followed: what stands on a level is seen unless a nearer one says something of the name.
    fn pinned_places(
        &self,
        sql: &Connection,
        standing: &mut Standing<'_>,
        ino: Ino,
    ) -> rusqlite::Result<Vec<(Ino, Box<[u8]>)>> {
        let mut places = Vec::new();
        for (index, level) in self.levels.iter().enumerate() {
            'standing: for (dir, name) in standing.of(level.branch, ino, level.bound)? {
                for nearer in &self.levels[..index] {
                    if dent::newest(sql, nearer.branch, dir, &name, nearer.bound)?.is_some() {
                        continue 'standing;
                    }
                }
                places.push((dir, name));
            }
        }
        places.sort_unstable();
        Ok(places)
    }

    /// The row that counts for a name, from a level on; a whiteout is one.
    pub(crate) fn entry(&self, sql: &Connection, from: usize, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Dent>> {
        let name = &*self.names.key(name);
        for (index, level) in self.levels.iter().enumerate().skip(from) {
            if let Some(fork) = level.fork {
                return self.followed(sql, (index, fork), dir, name);
            }
            if let Some(dent) = dent::newest(sql, level.branch, dir, name, level.bound)? {
                return Ok(Some(dent));
            }
        }
        Ok(None)
    }

    /// As [`Self::entry`], from a level that the nearer one follows.
    fn followed(
        &self,
        sql: &Connection,
        (index, fork): (usize, Seq),
        dir: Ino,
        name: &[u8],
    ) -> rusqlite::Result<Option<Dent>> {
        let Level { branch, bound, .. } = self.levels[index];
        let base = match dent::newest(sql, branch, dir, name, bound.min(fork))? {
            Some(dent) => Some(dent),
            None => self.entry(sql, index + 1, dir, name)?,
        };
        let mut shown = None;
        for later in dent::between(sql, (branch, dir), name, fork, bound)? {
            let stays = |dent: &Dent| dent.kind == Kind::Folder && !dent.gone && dent.seq < later.seq;
            if shown.is_none() && base.as_ref().is_some_and(stays) {
                break;
            }
            if later.kind == Kind::Folder {
                // One that came here by a merge may have come to a nearer level before.
                if later.made && !later.gone && !self.is_placed_before(sql, index, &later)? {
                    return Ok(Some(later));
                }
            } else if !self.is_placed_before(sql, index, &later)? {
                shown = Some(later);
            }
        }
        Ok(shown.or(base))
    }

    /// Whether a nearer level had changed the names of an inode before this row did.
    fn is_placed_before(&self, sql: &Connection, index: usize, later: &Dent) -> rusqlite::Result<bool> {
        for level in &self.levels[..index] {
            if dent::places_it(sql, level.branch, later.ino, level.bound.min(later.seq))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn inode_from(&self, sql: &Connection, from: usize, ino: Ino) -> rusqlite::Result<Option<Inode>> {
        for (index, level) in self.levels.iter().enumerate().skip(from) {
            let Some(own) = inode::newest(sql, level.branch, ino, level.bound)? else { continue };
            if self.levels.get(index + 1).is_none_or(|next| next.fork.is_none()) {
                return Ok(Some(own));
            }
            let changed = inode::changed(sql, level.branch, ino, level.bound)?;
            if changed == inode::Changed::ALL {
                return Ok(Some(own));
            }
            let inherited = self.inode_from(sql, index + 1, ino)?;
            return Ok(Some(inherited.map_or_else(|| own.clone(), |theirs| overridden(&own, theirs, changed))));
        }
        Ok(None)
    }
}

/// A branch with those that it came from, whether it reads through them or was flattened: whose commits led to what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    levels: Vec<Level>,
    /// For each level, the nearest one that has its rows.
    holders: Vec<BranchId>,
}

impl Lineage {
    /// The lineage of a branch at a version of its bucket, or `None` where there is no such branch.
    ///
    /// # Errors
    /// Fails when one of its branches is missing.
    pub fn of(sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Self>> {
        let Some(row) = branch::get(sql, branch)? else { return Ok(None) };
        let levels = levels(sql, row, bound, usize::MAX, |row| row.fork)?;
        let (mut holders, mut flat) = (Vec::with_capacity(levels.len()), None);
        for level in &levels {
            let row = branch::get(sql, level.branch)?;
            if flat.is_some_and(|(_, below)| below == Some(level.branch)) {
                flat = None;
            }
            if flat.is_none()
                && let Some(Below(below)) = row.as_ref().and_then(|row| row.flat)
            {
                flat = Some((level.branch, below.map(|(branch, _)| branch)));
            }
            let is_gone = row.is_some_and(|row| row.gone);
            holders.push(flat.filter(|_| is_gone).map_or(level.branch, |(branch, _)| branch));
        }
        Ok(Some(Self { levels, holders }))
    }

    /// Its levels, the branch itself first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Up to which of its commits a branch is shown; `None`: it is not in the lineage.
    pub fn bound(&self, branch: BranchId) -> Option<Seq> {
        self.levels.iter().find(|level| level.branch == branch).map(|level| level.bound)
    }

    /// The branch that has the rows which another one of the lineage wrote: that one itself, unless nothing is left of it.
    pub fn holder(&self, branch: BranchId) -> BranchId {
        let at = self.levels.iter().position(|level| level.branch == branch);
        at.map_or(branch, |at| self.holders[at])
    }
}

/// A branch and what `next` leads to from there, each with how much of it is seen.
fn levels(
    sql: &Connection,
    mut row: BranchRow,
    mut bound: Seq,
    most: usize,
    next: impl Fn(&BranchRow) -> Option<Fork>,
) -> rusqlite::Result<Vec<Level>> {
    let mut levels = vec![Level { branch: row.id, bound, fork: None }];
    while let Some(origin) = next(&row) {
        // A level that is left out would show less than there is.
        let broken = || rusqlite::Error::IntegralValueOutOfRange(0, origin.parent.0);
        if levels.len() == most {
            return Err(broken());
        }
        let fork = match origin.mode {
            Mode::Pinned => {
                bound = bound.min(origin.at);
                None
            }
            Mode::Follow => Some(origin.at),
        };
        levels.push(Level { branch: origin.parent, bound, fork });
        row = branch::get(sql, origin.parent)?.ok_or_else(broken)?;
    }
    Ok(levels)
}

/// What is inherited, with what the branch has changed itself in its place.
fn overridden(own: &Inode, theirs: Inode, changed: inode::Changed) -> Inode {
    let seq = own.seq.max(theirs.seq);
    if changed.content {
        return Inode { mode: theirs.mode, xattrs: theirs.xattrs, seq, ..own.clone() };
    }
    // Content that came later brings its time along.
    let mtime_ns = if theirs.seq > own.seq { theirs.mtime_ns } else { own.mtime_ns };
    Inode { blob: theirs.blob, size: theirs.size, target: theirs.target, mtime_ns, seq, ..own.clone() }
}

/// The names of one level, a few at a time.
struct Cursor {
    level: Level,
    dir: Ino,
    after: Box<[u8]>,
    batch: usize,
    rows: VecDeque<Dent>,
    is_done: bool,
}

impl Cursor {
    fn new(level: Level, dir: Ino, after: &[u8], batch: usize) -> Self {
        Self { level, dir, after: after.into(), batch, rows: VecDeque::new(), is_done: false }
    }

    fn head(&mut self, sql: &Connection) -> rusqlite::Result<Option<&Dent>> {
        if self.rows.is_empty() && !self.is_done {
            let at = (self.level.branch, self.dir);
            self.rows = dent::page(sql, at, &self.after, self.level.bound, self.batch)?.into();
            self.is_done = self.rows.len() < self.batch;
            self.batch = (4 * self.batch).min(PAGE_ROWS_AT_ONCE);
            if let Some(last) = self.rows.back() {
                self.after = last.name.clone();
            }
        }
        Ok(self.rows.front())
    }
}

/// Takes the first name off all levels that have it. Answers the nearest level's row.
fn next_name(sql: &Connection, cursors: &mut [Cursor]) -> rusqlite::Result<Option<Dent>> {
    let mut first: Option<Box<[u8]>> = None;
    for cursor in cursors.iter_mut() {
        if let Some(head) = cursor.head(sql)?
            && first.as_ref().is_none_or(|name| head.name < *name)
        {
            first = Some(head.name.clone());
        }
    }
    let Some(name) = first else { return Ok(None) };
    let same = cursors.iter_mut().filter(|cursor| cursor.rows.front().is_some_and(|head| head.name == name));
    let rows: Vec<_> = same.filter_map(|cursor| cursor.rows.pop_front()).collect();
    Ok(rows.into_iter().next())
}
