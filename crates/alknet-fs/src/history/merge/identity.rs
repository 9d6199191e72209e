//! Which entries of the three versions are one and the same.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;

use super::{Versions, regions};
use crate::{
    error::FsError,
    history::side::{Place, Side},
    ids::Ino,
    limits::MAX_MERGE_CHANGES,
    rows::Kind,
};

/// An entry that theirs may have changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    /// What it is in the base; `None`: theirs made it.
    pub base: Option<Ino>,
    /// What it is in theirs; `None`: theirs removed it.
    pub theirs: Option<Ino>,
    /// Whether names of it may have changed.
    pub is_placed: bool,
}

pub(super) struct Identity<'a> {
    versions: Versions<'a>,
    pub base: Side<'a>,
    pub ours: Side<'a>,
    pub theirs: Side<'a>,
    /// What took the place of something in theirs: of what is gone, what is there, and the way back.
    heirs: HashMap<Ino, Ino>,
    ancestors: HashMap<Ino, Ino>,
    /// Where in ours folders of the others are.
    there: HashMap<Ino, Option<Ino>>,
    /// How many rows were looked at for what theirs may have changed.
    pub looked: usize,
    /// What only ours has, and what it stands for in the others: for one thing alone.
    claimed: HashMap<Ino, Ino>,
    /// What is known to have a name in ours, or to have none.
    in_ours: HashMap<Ino, bool>,
}

impl<'a> Identity<'a> {
    pub fn new(sql: &'a Connection, versions: Versions<'a>) -> Self {
        Self {
            versions,
            base: Side::new(sql, versions.base),
            ours: Side::new(sql, versions.ours),
            theirs: Side::new(sql, versions.theirs),
            heirs: HashMap::new(),
            ancestors: HashMap::new(),
            there: HashMap::new(),
            looked: 0,
            claimed: HashMap::new(),
            in_ours: HashMap::new(),
        }
    }

    /// Every entry that theirs may have changed since the base.
    pub fn units(&mut self) -> Result<Vec<Unit>, FsError> {
        let (sql, Versions { base, theirs, .. }) = (self.base.sql, self.versions);
        let (mut placed, mut pairs, mut touched) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        let mut looked = 0;
        let told = regions::names(sql, base, theirs, |dir, name| {
            looked += 1;
            let (old, new) = (self.base.dent(dir, name)?, self.theirs.dent(dir, name)?);
            if old.as_ref().map(|dent| dent.ino) != new.as_ref().map(|dent| dent.ino) {
                placed.extend(old.iter().chain(&new).map(|dent| dent.ino));
                pairs.extend(
                    old.zip(new).filter(|(old, new)| old.kind == new.kind).map(|(old, new)| (old.ino, new.ino)),
                );
            }
            if placed.len() > MAX_MERGE_CHANGES { Err(regions::enough()) } else { Ok(()) }
        });
        let told = told.and_then(|()| {
            regions::inodes(sql, base, theirs, |ino| {
                looked += 1;
                if !placed.contains(&ino) {
                    touched.insert(ino);
                }
                if placed.len() + touched.len() > MAX_MERGE_CHANGES { Err(regions::enough()) } else { Ok(()) }
            })
        });
        if placed.len() + touched.len() > MAX_MERGE_CHANGES {
            return Err(super::too_big(self.versions.label));
        }
        told?;
        self.looked = looked;
        self.pair(pairs)?;
        let mut units = Vec::with_capacity(placed.len() + touched.len());
        for ino in placed {
            if self.ancestors.contains_key(&ino) {
                continue;
            }
            let (was, is) = (self.base.shows(ino)?, self.theirs.shows(ino)?);
            let theirs = if is { Some(ino) } else { self.heirs.get(&ino).copied() };
            let base = was.then_some(ino);
            if base.is_some() || theirs.is_some() {
                units.push(Unit { base, theirs, is_placed: true });
            }
        }
        // What was there before finds its like first.
        units.sort_by_key(|unit| unit.base.is_none());
        for ino in touched {
            if self.ancestors.contains_key(&ino) {
                continue;
            }
            let (was, is) = self.reached(ino)?;
            if is {
                units.push(Unit { base: was.then_some(ino), theirs: Some(ino), is_placed: !was });
            }
        }
        Ok(units)
    }

    /// Whether the base shows an inode none of whose names differs, and whether theirs does: what is in one of the two is in both,
    /// unless a folder above it is in one alone.
    fn reached(&mut self, ino: Ino) -> rusqlite::Result<(bool, bool)> {
        let (mut was, mut is) = (ino == Ino::ROOT, ino == Ino::ROOT);
        for (dir, _) in self.base.named(ino)? {
            was |= self.base.folder(dir)?.is_some();
            is |= self.theirs.folder(dir)?.is_some();
        }
        Ok((was, is))
    }

    /// Whether ours shows an inode.
    pub fn is_in_ours(&mut self, ino: Ino) -> rusqlite::Result<bool> {
        if let Some(known) = self.in_ours.get(&ino) {
            return Ok(*known);
        }
        let shown = self.ours.shows(ino)?;
        self.in_ours.insert(ino, shown);
        Ok(shown)
    }

    /// What took the place of something that is gone is its heir: as when a file is written anew and moved over the old one.
    fn pair(&mut self, pairs: Vec<(Ino, Ino)>) -> rusqlite::Result<()> {
        for (old, new) in pairs {
            let is_free = !self.heirs.contains_key(&old) && !self.ancestors.contains_key(&new);
            if is_free && !self.theirs.shows(old)? && !self.base.shows(new)? {
                self.heirs.insert(old, new);
                self.ancestors.insert(new, old);
            }
        }
        Ok(())
    }

    /// What a unit is in ours.
    pub fn ours_of(&mut self, unit: Unit) -> rusqlite::Result<Option<Ino>> {
        for known in [unit.base, unit.theirs].into_iter().flatten() {
            if self.is_in_ours(known)? {
                return Ok(Some(known));
            }
        }
        let place = match (unit.base, unit.theirs) {
            (Some(base), _) => self.base.place(base)?,
            (None, Some(theirs)) => self.theirs.place(theirs)?,
            (None, None) => None,
        };
        let Some(place) = place else { return Ok(None) };
        let known = unit.base.or(unit.theirs);
        let kind = match known {
            Some(ino) if unit.base.is_some() => self.base.kind(ino)?,
            Some(ino) => self.theirs.kind(ino)?,
            None => None,
        };
        match kind.zip(known) {
            Some((kind, known)) => self.namesake(known, &place, kind),
            None => Ok(None),
        }
    }

    /// What only ours has at the same path, if it is of that kind, and stands for nothing else.
    fn namesake(&mut self, known: Ino, (dir, name): &Place, kind: Kind) -> rusqlite::Result<Option<Ino>> {
        let Some(dir) = self.there(*dir)? else { return Ok(None) };
        let Some(found) = self.ours.dent(dir, name)?.filter(|dent| dent.kind == kind) else { return Ok(None) };
        if self.base.shows(found.ino)? || self.theirs.shows(found.ino)? {
            return Ok(None);
        }
        let claim = *self.claimed.entry(found.ino).or_insert(known);
        Ok((claim == known).then_some(found.ino))
    }

    /// Which folder of ours one of the others is.
    pub fn there(&mut self, dir: Ino) -> rusqlite::Result<Option<Ino>> {
        if dir == Ino::ROOT {
            return Ok(Some(dir));
        }
        if let Some(known) = self.there.get(&dir) {
            return Ok(*known);
        }
        let found = self.find_there(dir)?;
        self.there.insert(dir, found);
        Ok(found)
    }

    fn find_there(&mut self, dir: Ino) -> rusqlite::Result<Option<Ino>> {
        if self.is_in_ours(dir)? {
            return Ok(Some(dir));
        }
        if let Some(ancestor) = self.ancestors.get(&dir).copied() {
            return self.there(ancestor);
        }
        let place = match self.theirs.place(dir)? {
            Some(place) => Some(place),
            None => self.base.place(dir)?,
        };
        match place {
            Some(place) => self.namesake(dir, &place, Kind::Folder),
            None => Ok(None),
        }
    }

    /// A place of one of the others, in ours.
    pub fn mapped(&mut self, (dir, name): &Place) -> rusqlite::Result<Option<Place>> {
        Ok(self.there(*dir)?.map(|dir| (dir, name.clone())))
    }
}
