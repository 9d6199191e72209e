//! What a commit changed, as paths: told from its rows, by how a branch looked before it and after.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{filter::PathFilter, paths::Paths};
use crate::{
    chain::{Chain, Lineage},
    folding::Names,
    ids::{BranchId, Ino, Seq},
    limits::MAX_LISTED_BYTES,
    rows::{Kind, commit::CommitRow, dent, dent::Dent, inode, inode::Inode},
    sight::Sight,
};

/// A way in which an entry was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// There was none of that path.
    Added,
    /// It is not there any more, or another has its place.
    Removed,
    /// It had another path.
    Renamed,
    /// It has other content, or a link another target.
    Content,
    /// Its mode, time or extended attributes are others.
    Attributes,
}

/// A path that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldChange {
    /// Where; of a removed entry, where it was. With a `/` before each name.
    pub path: Vec<u8>,
    /// In which ways, at least one; removed with another: something else has its place now.
    pub ways: Vec<Way>,
    /// What it is, or was.
    pub kind: Kind,
    /// Where a renamed entry was.
    pub from: Option<Vec<u8>>,
}

/// What a commit changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// By path.
    pub changes: Vec<ToldChange>,
    /// Whether there is more than what is told.
    pub more: bool,
}

/// How far a telling goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Rows that are looked at, of names and of inodes each.
    pub rows: usize,
    /// Changes that are told.
    pub changes: usize,
}

/// A name of an inode.
type Spot = (Ino, Box<[u8]>);

/// What a commit made of what a branch shows within somebody's sight, as far as the filter admits it and the reach goes.
///
/// A commit of another branch counts as far as `branch` shows it. What was forgotten since cannot be told.
pub fn tell(
    sql: &Connection,
    (branch, sight): (BranchId, &Sight),
    commit: &CommitRow,
    filter: &PathFilter,
    reach: Reach,
) -> rusqlite::Result<Told> {
    let before = Seq::new(commit.seq.get().saturating_sub(1)).unwrap_or(Seq::ZERO);
    let chains = (sight.chain(sql, branch, before)?, sight.chain(sql, branch, commit.seq)?);
    let (Some(before), Some(after)) = chains else { return Ok(Told::default()) };
    let holder = if commit.branch == branch {
        branch
    } else {
        Lineage::of(sql, branch, commit.seq)?.map_or(commit.branch, |lineage| lineage.holder(commit.branch))
    };
    let mut names = dent::of_commit(sql, holder, commit.seq, reach.rows + 1)?;
    let mut inodes = inode::of_commit(sql, holder, commit.seq, reach.rows + 1)?;
    let more = names.len() > reach.rows || inodes.len() > reach.rows;
    names.truncate(reach.rows);
    inodes.truncate(reach.rows);
    let mut telling = Telling {
        sql,
        before: &before,
        after: &after,
        old: Paths::new(sql, &before),
        new: Paths::new(sql, &after),
        told: BTreeMap::new(),
    };
    let moved = telling.names(names)?;
    telling.inodes(inodes, &moved)?;
    let names = after.names();
    let filters = (filter, &filter.compared_by(names));
    let mut changes: Vec<_> = telling.told.into_values().filter(|change| wanted(change, filters, names)).collect();
    let more = more || changes.len() > reach.changes;
    changes.truncate(reach.changes);
    let mut bytes = 0;
    let fitting = changes.iter().take_while(|change| {
        // A byte of a path becomes six in JSON at the most.
        bytes += 6 * (change.path.len() + change.from.as_ref().map_or(0, Vec::len)) + 256;
        bytes <= MAX_LISTED_BYTES
    });
    let fitting = fitting.count().max(1);
    let more = more || changes.len() > fitting;
    changes.truncate(fitting);
    Ok(Told { changes, more })
}

/// Whether a change is asked for, by its path as it is written or as its names are compared: a part of a name that is no UTF-8 may be text.
fn wanted(change: &ToldChange, (written, compared): (&PathFilter, &PathFilter), names: Names) -> bool {
    let paths = || std::iter::once(&change.path).chain(&change.from).map(|path| (path, names.written_key(path)));
    let whole = change.kind == Kind::Folder && change.ways.iter().any(|way| matches!(way, Way::Removed | Way::Renamed));
    paths().any(|(path, key)| written.admits(path) || compared.admits(&key))
        || whole && paths().any(|(path, key)| written.reaches_below(path) || compared.reaches_below(&key))
}

struct Telling<'a> {
    sql: &'a Connection,
    before: &'a Chain,
    after: &'a Chain,
    old: Paths<'a>,
    new: Paths<'a>,
    told: BTreeMap<Vec<u8>, ToldChange>,
}

impl Telling<'_> {
    /// What became of names. Answers the inodes that got a name for the first time, of which nothing more is to be told.
    fn names(&mut self, rows: Vec<(Ino, Dent)>) -> rusqlite::Result<Vec<Ino>> {
        let (mut gone, mut here) = (BTreeMap::<Ino, Vec<(Spot, Dent)>>::new(), Vec::new());
        for (dir, row) in rows {
            let was = self.before.dent(self.sql, dir, &row.name)?;
            let is = self.after.dent(self.sql, dir, &row.name)?;
            let same = was.as_ref().map(|dent| dent.ino) == is.as_ref().map(|dent| dent.ino);
            if same {
                continue;
            }
            let spot = (dir, row.name);
            if let Some(was) = was {
                gone.entry(was.ino).or_default().push((spot.clone(), was));
            }
            here.extend(is.map(|is| (spot, is)));
        }
        let mut made = Vec::new();
        for (spot, dent) in here {
            let from = gone.get_mut(&dent.ino).and_then(Vec::pop);
            match from {
                Some((from, _)) => {
                    let from = self.old.of(from.0, &from.1)?;
                    self.note_new(&spot, dent.kind, Way::Renamed, from)?;
                }
                None => {
                    made.push(dent.ino);
                    self.note_new(&spot, dent.kind, Way::Added, None)?;
                }
            }
        }
        for (spot, dent) in gone.into_values().flatten() {
            if let Some(path) = self.old.of(spot.0, &spot.1)? {
                self.note(path, dent.kind, Way::Removed, None);
            }
        }
        made.sort_unstable();
        Ok(made)
    }

    /// What became of content and attributes.
    fn inodes(&mut self, rows: Vec<Inode>, made: &[Ino]) -> rusqlite::Result<()> {
        for row in rows.into_iter().filter(|row| made.binary_search(&row.ino).is_err()) {
            let was = self.before.inode(self.sql, row.ino)?;
            let is = self.after.inode(self.sql, row.ino)?;
            let (Some(was), Some(is)) = (was, is) else { continue };
            let content = (was.blob, was.size, &was.target) != (is.blob, is.size, &is.target);
            let attributes = (was.mode, was.mtime_ns, &was.xattrs) != (is.mode, is.mtime_ns, &is.xattrs);
            let ways = [(content, Way::Content), (attributes, Way::Attributes)];
            for (_, way) in ways.into_iter().filter(|(changed, _)| *changed) {
                for spot in self.after.places(self.sql, row.ino)? {
                    self.note_new(&spot, row.kind, way, None)?;
                }
            }
        }
        Ok(())
    }

    fn note_new(&mut self, spot: &Spot, kind: Kind, way: Way, from: Option<Vec<u8>>) -> rusqlite::Result<()> {
        if let Some(path) = self.new.of(spot.0, &spot.1)? {
            self.note(path, kind, way, from);
        }
        Ok(())
    }

    fn note(&mut self, path: Vec<u8>, kind: Kind, way: Way, from: Option<Vec<u8>>) {
        let new = || ToldChange { path: path.clone(), ways: Vec::new(), kind, from: None };
        let change = self.told.entry(path.clone()).or_insert_with(new);
        change.ways.push(way);
        change.ways.sort_unstable();
        change.ways.dedup();
        if way != Way::Removed {
            change.kind = kind;
        }
        change.from = change.from.take().or(from);
    }
}
