//! What becomes of each entry that theirs changed.

use super::{
    Merge, Plan, Strategy,
    fields::{self, Fields, is_same_attributes, is_same_content},
    identity::{Identity, Unit},
    overlay::Entry,
    placing::Addition,
};
use crate::{
    error::FsError,
    history::{
        conflicts::{About, Draft, More, Subject},
        side::{Place, Side},
    },
    ids::Ino,
    limits::MAX_MERGE_CHANGES,
    path::FsPath,
    rows::{
        Kind,
        inode::{Changed, Inode},
    },
};

impl Merge<'_> {
    pub(super) fn run(mut self) -> Result<Plan, FsError> {
        let mut units = Vec::new();
        for unit in self.identity.units()? {
            units.push((unit, self.identity.ours_of(unit)?));
        }
        self.examined = units.len();
        for (unit, ours) in units {
            self.decide(unit, ours)?;
        }
        self.remove_folders()?;
        self.place_all()?;
        self.finish()
    }

    fn decide(&mut self, unit: Unit, ours: Option<Ino>) -> rusqlite::Result<()> {
        match (unit.base, unit.theirs, ours) {
            (_, None, None) => Ok(()),
            (None, None, Some(_)) => Ok(()),
            (Some(base), None, Some(ours)) => self.removed(base, ours),
            (Some(base), Some(theirs), None) => self.revived(base, theirs),
            (None, Some(theirs), None) => self.bring(theirs),
            (base, Some(theirs), Some(ours)) => {
                if unit.is_placed {
                    self.moved(base, theirs, ours)?;
                }
                self.changed(base, theirs, ours)
            }
        }
    }

    /// Theirs removed what ours has.
    fn removed(&mut self, base: Ino, ours: Ino) -> rusqlite::Result<()> {
        let places = self.identity.ours.places(ours)?;
        if self.has_changed(base, ours, &places)? && self.strategy != Strategy::Theirs {
            if self.strategy == Strategy::Conflict {
                self.conflict(About::Removed, (Some(ours), None), (None, None))?;
            }
            return Ok(());
        }
        if self.identity.ours.kind(ours)? == Some(Kind::Folder) {
            self.removals.push(ours);
            return Ok(());
        }
        places.iter().try_for_each(|(dir, name)| self.overlay.take(*dir, name).map(|_| ()))
    }

    /// Whether ours is other than the base.
    fn has_changed(&mut self, base: Ino, ours: Ino, places: &[Place]) -> rusqlite::Result<bool> {
        let identity = &mut self.identity;
        let mut known = Vec::new();
        for place in identity.base.places(base)? {
            known.push(identity.mapped(&place)?);
        }
        let is_moved = known.len() != places.len() || known.iter().flatten().any(|place| !places.contains(place));
        let (Some(old), Some(new)) = (identity.base.inode(base)?, identity.ours.inode(ours)?) else {
            return Ok(is_moved);
        };
        Ok(is_moved || !is_same_content(identity.base.sql, &old, &new)? || !is_same_attributes(&old, &new))
    }

    /// Theirs changed what ours removed: the change survives.
    fn revived(&mut self, base: Ino, theirs: Ino) -> rusqlite::Result<()> {
        let identity = &mut self.identity;
        if self.strategy == Strategy::Ours || !identity.base.shows(base)? {
            return Ok(());
        }
        let is_moved = identity.base.places(base)? != identity.theirs.places(theirs)?;
        let (Some(old), Some(new)) = (identity.base.inode(base)?, identity.theirs.inode(theirs)?) else {
            return Ok(());
        };
        let is_changed = !is_same_content(identity.base.sql, &old, &new)? || !is_same_attributes(&old, &new);
        if is_moved || is_changed {
            self.bring(theirs)?;
            if self.strategy == Strategy::Conflict {
                self.conflict(About::Removed, (None, None), (Some(theirs), None))?;
            }
        }
        Ok(())
    }

    /// Takes something over that ours does not have, with all its names.
    pub(super) fn bring(&mut self, theirs: Ino) -> rusqlite::Result<()> {
        let Some(inode) = self.identity.theirs.timed_inode(theirs)? else { return Ok(()) };
        let entry = Entry { ino: theirs, kind: inode.kind };
        self.inodes.insert(theirs, Inode { changed: Changed::ALL, ..inode });
        self.overlay.clear(entry)?;
        for place in self.identity.theirs.places(theirs)? {
            self.additions.push(Addition { place, entry, theirs, source: None });
        }
        Ok(())
    }

    /// Brings the names of an entry together.
    fn moved(&mut self, base: Option<Ino>, theirs: Ino, ours: Ino) -> rusqlite::Result<()> {
        if base.is_none() && theirs == ours {
            return Ok(());
        }
        let identity = &mut self.identity;
        let Some(kind) = identity.ours.kind(ours)? else { return Ok(()) };
        let entry = Entry { ino: ours, kind };
        let mut gone = base.map(|base| identity.base.places(base)).transpose()?.unwrap_or_default();
        let mut come = identity.theirs.places(theirs)?;
        let known = gone.clone();
        gone.retain(|place| !come.contains(place));
        come.retain(|place| !known.contains(place));
        // The same place in folders that became one is the same.
        for place in come.clone() {
            let Some(there) = identity.mapped(&place)? else { continue };
            for was in gone.clone() {
                if identity.mapped(&was)?.as_ref() == Some(&there) {
                    gone.retain(|other| *other != was);
                    come.retain(|other| *other != place);
                }
            }
        }
        let here = identity.ours.places(ours)?;
        // What ours did with the same names: what has the same index moved.
        let mut left = Vec::new();
        for place in &known {
            left.extend(identity.mapped(place)?);
        }
        let taken: Vec<_> = here.iter().filter(|place| !left.contains(place)).cloned().collect();
        left.retain(|place| !here.contains(place));
        let moved_to =
            |place: &Place| left.iter().position(|gone| gone == place).and_then(|index| taken.get(index).cloned());
        for (index, place) in come.iter().enumerate() {
            let was_moved = gone.get(index).is_some();
            let source = gone.get(index).map(|place| self.identity.mapped(place)).transpose()?.flatten();
            let is_there = self.identity.mapped(place)?.is_some_and(|place| here.contains(&place));
            if let Some(source) = source.clone().filter(|source| here.contains(source)) {
                self.detach(&source, entry)?;
                self.additions.push(Addition { place: place.clone(), entry, theirs, source: Some(source) });
            } else if is_there {
            } else if was_moved {
                self.moved_by_both(source.as_ref().and_then(moved_to), place, (entry, theirs))?;
            } else if kind != Kind::Folder {
                self.additions.push(Addition { place: place.clone(), entry, theirs, source: None });
            }
        }
        for place in gone.iter().skip(come.len()) {
            let Some(place) = self.identity.mapped(place)? else { continue };
            let now = match self.strategy {
                _ if here.contains(&place) => Some(place),
                // Ours moved it: that survives, unless theirs is to win.
                Strategy::Theirs => moved_to(&place),
                _ => None,
            };
            if let Some((dir, name)) = now {
                self.overlay.take(dir, &name)?;
            }
        }
        Ok(())
    }

    /// Theirs moved a name that ours moved elsewhere, or took away.
    fn moved_by_both(
        &mut self,
        elsewhere: Option<Place>,
        place: &Place,
        (entry, theirs): (Entry, Ino),
    ) -> rusqlite::Result<()> {
        match (self.strategy, elsewhere) {
            (Strategy::Ours, _) => {}
            (Strategy::Theirs, Some(source)) => {
                self.detach(&source, entry)?;
                self.additions.push(Addition { place: place.clone(), entry, theirs, source: Some(source) });
            }
            (Strategy::Conflict, Some(here)) => {
                self.conflict(About::Place, (Some(entry.ino), Some(&here)), (Some(theirs), Some(place)))?;
            }
            // A folder has one place.
            (_, _) if entry.kind == Kind::Folder => {}
            (_, _) => self.additions.push(Addition { place: place.clone(), entry, theirs, source: None }),
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, source: &Place, entry: Entry) -> rusqlite::Result<()> {
        self.overlay.take(source.0, &source.1)?;
        self.detached.insert(entry.ino, source.clone());
        Ok(())
    }

    /// Brings what an entry holds and its attributes together.
    fn changed(&mut self, base: Option<Ino>, theirs: Ino, ours: Ino) -> rusqlite::Result<()> {
        let identity = &self.identity;
        let sql = identity.base.sql;
        let old = base.map(|base| identity.base.inode(base)).transpose()?.flatten();
        let Some(new) = identity.theirs.inode(theirs)? else { return Ok(()) };
        let Some(own) = identity.ours.inode(ours)? else {
            // The root alone is something before it has a row.
            if ours == Ino::ROOT {
                self.inodes.insert(ours, Inode { changed: Changed::ALL, ..new });
            }
            return Ok(());
        };
        let mut fields = Fields::merge(sql, old.as_ref(), &own, &new)?;
        if fields.content_clashes {
            match self.strategy {
                Strategy::Theirs => fields.take_content(&new),
                Strategy::Ours => {}
                Strategy::Both => self.beside.push((ours, Inode { changed: Changed::ALL, ..new.clone() })),
                Strategy::Conflict => {
                    self.aside.insert(self.conflicts.len(), Inode { changed: Changed::ALL, ..new.clone() });
                    self.conflict(About::Content, (Some(ours), None), (Some(theirs), None))?;
                }
            }
        }
        if fields.clash.is_any() {
            match self.strategy {
                Strategy::Theirs => fields.take_clashing(&new),
                Strategy::Conflict => {
                    self.conflict(About::Attributes, (Some(ours), None), (Some(theirs), None))?.more.clash =
                        Some(fields.clash);
                }
                Strategy::Ours | Strategy::Both => {}
            }
        }
        if let Some(mut merged) = fields.outcome(sql, &own)? {
            if merged.kind == Kind::Folder {
                merged.mtime_ns = self.folder_time(base, theirs, ours)?.unwrap_or(merged.mtime_ns);
            }
            self.inodes.insert(ours, merged);
        }
        Ok(())
    }

    /// The time of a folder that gets a row, which then counts instead of the times of its names.
    fn folder_time(&self, base: Option<Ino>, theirs: Ino, ours: Ino) -> rusqlite::Result<Option<i64>> {
        let Identity { base: old, ours: own, theirs: new, .. } = &self.identity;
        let time =
            |side: &Side<'_>, ino| -> rusqlite::Result<_> { Ok(side.timed_inode(ino)?.map(|inode| inode.mtime_ns)) };
        let before = base.map(|base| time(old, base)).transpose()?.flatten();
        Ok(time(own, ours)?.zip(time(new, theirs)?).map(|(ours, theirs)| fields::merged_time(before, ours, theirs)))
    }

    /// Notes that both sides changed the same thing of an entry, each side with the name that is meant if it is about that.
    pub(super) fn conflict(
        &mut self,
        about: About,
        (ours, here): (Option<Ino>, Option<&Place>),
        (theirs, there): (Option<Ino>, Option<&Place>),
    ) -> rusqlite::Result<&mut Draft> {
        let of = |side: &mut Side<'_>, label: &str, ino: Option<Ino>, meant| match ino {
            Some(ino) => Subject::of(side, label, (ino, meant)),
            None => Ok(None),
        };
        let ours = of(&mut self.identity.ours, "", ours, here)?;
        let theirs = of(&mut self.identity.theirs, self.label, theirs, there)?;
        let (place, more) = (here.cloned(), More::default());
        Ok(self.conflicts.push_mut(Draft { about, ours, theirs, place, path: FsPath::ROOT, more }))
    }

    pub(super) fn finish(mut self) -> Result<Plan, FsError> {
        let names = self.overlay.changes()?;
        if names.len() > 2 * MAX_MERGE_CHANGES {
            return Err(super::too_big(self.label));
        }
        let given: std::collections::HashSet<Ino> = names.iter().filter_map(|name| Some(name.now?.ino)).collect();
        let mut inodes = std::mem::take(&mut self.inodes);
        let mut left = Vec::new();
        for ino in inodes.keys() {
            // Under a branch that follows, a name in a folder that came by this merge was there before, and is seen from now on.
            if !given.contains(ino) && !self.identity.is_in_ours(*ino)? && self.overlay.place_of(*ino)?.is_none() {
                left.push(*ino);
            }
        }
        left.iter().for_each(|ino| {
            inodes.remove(ino);
        });
        let mut copies = Vec::new();
        for (ino, inode) in std::mem::take(&mut self.beside) {
            let Some((dir, name)) = self.overlay.place_of(ino)? else { continue };
            let name = self.overlay.beside(dir, &name, self.label)?;
            self.overlay.give(dir, &name, Entry { ino: inode.ino, kind: inode.kind });
            copies.push(((dir, name), inode));
        }
        let mut conflicts = std::mem::take(&mut self.conflicts);
        for draft in &mut conflicts {
            for subject in [&draft.ours, &draft.theirs].into_iter().flatten() {
                if draft.place.is_none() {
                    draft.place = self.overlay.place_of(subject.ino)?;
                }
            }
            if let Some((dir, name)) = draft.place.as_ref().filter(|(_, name)| !name.is_empty()) {
                draft.path = self.overlay.path(*dir, name)?;
            }
        }
        Ok(Plan {
            examined: self.examined,
            looked: self.identity.looked,
            names,
            shown: self.shown,
            inodes,
            aside: self.aside,
            copies,
            conflicts,
        })
    }
}
