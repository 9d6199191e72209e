//! Gives names: in the folder that is meant in ours, beside what has the name already, and never so that folders form a loop.

use super::{Merge, Strategy, overlay::Entry};
use crate::{
    error::{Errno, FsError},
    history::{
        conflicts::{About, Put},
        side::Place,
    },
    ids::Ino,
    limits::{MAX_MERGE_CHANGES, MAX_MERGE_STEPS},
    rows::Kind,
};

/// A name that an entry is to have.
#[derive(Debug, Clone)]
pub(super) struct Addition {
    /// Where in theirs.
    pub place: Place,
    /// What, by its number in ours.
    pub entry: Entry,
    /// What it is by its number in theirs.
    pub theirs: Ino,
    /// Where in ours it was taken from.
    pub source: Option<Place>,
}

impl Merge<'_> {
    /// Gives every name that theirs gave, those of folders before those in them.
    pub(super) fn place_all(&mut self) -> Result<(), FsError> {
        let mut sorted = Vec::new();
        for addition in std::mem::take(&mut self.additions) {
            let (dir, name) = &addition.place;
            sorted.push((self.identity.theirs.path(*dir, name)?, addition));
        }
        sorted.sort_by(|one, other| one.0.cmp(&other.0));
        for (_, addition) in sorted {
            self.place(&addition)?;
            // Folders that came back for what is in them.
            while let Some(more) = self.additions.pop() {
                self.place(&more)?;
            }
        }
        Ok(())
    }

    /// Which folder of ours stands for one of theirs, now. One that ours removed comes back, if what theirs did in it is to stay.
    pub(super) fn home(&mut self, dir: Ino) -> Result<Option<Ino>, FsError> {
        if let Some(there) = self.identity.there(dir)? {
            return Ok(Some(there));
        }
        if let Some(known) = self.homes.get(&dir) {
            return Ok(*known);
        }
        if self.overlay.parent(dir)?.is_some() {
            return Ok(Some(dir));
        }
        if self.strategy == Strategy::Ours || !self.identity.base.shows(dir)? {
            return Ok(None);
        }
        // Whatever comes of it, it is brought back once.
        self.homes.insert(dir, None);
        self.bring(dir)?;
        if self.strategy == Strategy::Conflict {
            self.conflict(About::Removed, (None, None), (Some(dir), None))?;
        }
        while let Some(addition) = self.additions.pop() {
            self.place(&addition)?;
        }
        let home = self.overlay.parent(dir)?.map(|_| dir);
        self.homes.insert(dir, home);
        Ok(home)
    }

    fn place(&mut self, addition: &Addition) -> Result<(), FsError> {
        let Addition { place: (dir, name), entry, source, .. } = addition;
        let Some(home) = self.home(*dir)? else { return self.put_back(*entry, source.as_ref()) };
        if entry.kind == Kind::Folder && !self.is_free_of_loops(home, addition)? {
            return Ok(());
        }
        match self.overlay.entry(home, name)? {
            None => self.overlay.give(home, name, *entry),
            Some(there) if there.ino == entry.ino => {}
            Some(there) => self.collide((home, name), addition, there)?,
        }
        self.spell(home, addition)
    }

    /// Notes how theirs writes a name that it gave to what is another entry there: none of ours says it.
    fn spell(&mut self, home: Ino, addition: &Addition) -> Result<(), FsError> {
        let Addition { place: (dir, name), entry, theirs, .. } = addition;
        let is_given = entry.ino != *theirs && self.overlay.entry(home, name)?.is_some_and(|now| now.ino == entry.ino);
        if is_given && let Some(dent) = self.identity.theirs.dent(*dir, name)? {
            self.shown.insert((home, name.clone()), dent.shown);
        }
        Ok(())
    }

    /// Something else has the name.
    fn collide(&mut self, (home, name): (Ino, &[u8]), addition: &Addition, there: Entry) -> Result<(), FsError> {
        let Addition { entry, source, .. } = addition;
        match self.strategy {
            Strategy::Ours => self.put_back(*entry, source.as_ref())?,
            Strategy::Theirs => {
                self.evict((home, name.into()), there)?;
                if self.overlay.entry(home, name)?.is_none() {
                    self.overlay.give(home, name, *entry);
                } else {
                    self.give_beside(home, name, *entry)?;
                }
            }
            Strategy::Conflict => {
                let beside = self.give_beside(home, name, *entry)?;
                let (here, there_too) = ((home, name.into()), (Some(addition.theirs), Some(&addition.place)));
                let draft = self.conflict(About::Name, (Some(there.ino), Some(&here)), there_too)?;
                draft.more.beside = Some(Put::new(entry.ino, &beside));
                draft.more.source = source.as_ref().map(|source| Put::new(entry.ino, source));
            }
            Strategy::Both => {
                self.give_beside(home, name, *entry)?;
            }
        }
        Ok(())
    }

    /// Lets an entry have a free name like this one. Answers which.
    pub(super) fn give_beside(&mut self, dir: Ino, name: &[u8], entry: Entry) -> Result<Place, FsError> {
        let other = self.overlay.beside(dir, name, self.label)?;
        self.overlay.give(dir, &other, entry);
        Ok((dir, other))
    }

    /// Leaves an entry where ours has it; what only theirs has is not taken over.
    fn put_back(&mut self, entry: Entry, source: Option<&Place>) -> Result<(), FsError> {
        let Some((dir, name)) = source else { return Ok(()) };
        if entry.kind == Kind::Folder && self.overlay.way_up(*dir, entry.ino)?.is_some() {
            return self.give_beside(Ino::ROOT, name, entry).map(|_| ());
        }
        self.keep_folder(*dir)?;
        match self.overlay.entry(*dir, name)? {
            None => self.overlay.give(*dir, name, entry),
            Some(there) if there.ino == entry.ino => {}
            Some(_) => {
                self.give_beside(*dir, name, entry)?;
            }
        }
        Ok(())
    }

    /// Takes back that a folder of ours is removed, because something stays in it.
    fn keep_folder(&mut self, dir: Ino) -> Result<(), FsError> {
        // One that is on its way gets its place yet.
        if dir == Ino::ROOT || self.detached.contains_key(&dir) || self.overlay.parent(dir)?.is_some() {
            return Ok(());
        }
        let Some((parent, name)) = self.identity.ours.place(dir)? else { return Ok(()) };
        self.keep_folder(parent)?;
        let entry = Entry { ino: dir, kind: Kind::Folder };
        if self.overlay.entry(parent, &name)?.is_some() {
            return self.give_beside(parent, &name, entry).map(|_| ());
        }
        self.overlay.give(parent, &name, entry);
        Ok(())
    }

    /// Whether a folder can be placed in another. Where both sides moved folders so that these would be in each other, it is not: then
    /// it stays where ours has it, or, where theirs is to win, what ours moved goes back before.
    fn is_free_of_loops(&mut self, home: Ino, addition: &Addition) -> Result<bool, FsError> {
        let Addition { place, entry, theirs, source } = addition;
        let mut is_noted = false;
        while let Some(way) = self.overlay.way_up(home, entry.ino)? {
            if self.strategy == Strategy::Conflict && !is_noted {
                self.conflict(About::Place, (Some(entry.ino), None), (Some(*theirs), Some(place)))?;
                is_noted = true;
            }
            if self.strategy == Strategy::Theirs && self.unwind(&way)? {
                continue;
            }
            self.stay(*entry, source.as_ref())?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Puts the first folder of a loop that ours moved to where theirs has it.
    fn unwind(&mut self, way: &[Ino]) -> Result<bool, FsError> {
        for folder in way {
            let Some((dir, name)) = self.identity.theirs.place(*folder)? else { continue };
            let (Some(home), Some(now)) = (self.identity.there(dir)?, self.overlay.parent(*folder)?) else { continue };
            if now == (home, name.clone()) || !self.unwound.insert(*folder) {
                continue;
            }
            let entry = Entry { ino: *folder, kind: Kind::Folder };
            self.overlay.take(now.0, &now.1)?;
            if self.overlay.way_up(home, *folder)?.is_some() {
                self.give_beside(Ino::ROOT, &name, entry)?;
            } else if self.overlay.entry(home, &name)?.is_some() {
                self.give_beside(home, &name, entry)?;
            } else {
                self.overlay.give(home, &name, entry);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Leaves a folder where ours has it. What the merge has moved, so that this too would be a loop, goes back before.
    fn stay(&mut self, entry: Entry, source: Option<&Place>) -> Result<(), FsError> {
        let Some((dir, name)) = source else { return self.give_beside(Ino::ROOT, b"unplaced", entry).map(|_| ()) };
        while let Some(way) = self.overlay.way_up(*dir, entry.ino)? {
            let moved = way.iter().find(|folder| self.detached.contains_key(folder) && !self.unwound.contains(folder));
            let Some(folder) = moved.copied() else { break };
            self.unwound.insert(folder);
            if let (Some(now), Some(before)) = (self.overlay.parent(folder)?, self.detached.get(&folder).cloned()) {
                self.overlay.take(now.0, &now.1)?;
                self.stay(Entry { ino: folder, kind: Kind::Folder }, Some(&before))?;
            }
        }
        self.put_back(entry, Some(&(*dir, name.clone())))
    }

    /// Takes something of ours away that is in the way of theirs: what theirs has too goes where theirs has it, the rest goes.
    pub(super) fn evict(&mut self, (dir, name): Place, entry: Entry) -> Result<(), FsError> {
        self.overlay.take(dir, &name)?;
        if let Some((theirs, name)) = self.identity.theirs.place(entry.ino)?
            && let Some(home) = self.home(theirs)?
        {
            let is_loop = entry.kind == Kind::Folder && self.overlay.way_up(home, entry.ino)?.is_some();
            if is_loop {
                return self.give_beside(Ino::ROOT, &name, entry).map(|_| ());
            }
            return match self.overlay.entry(home, &name)? {
                None => {
                    self.overlay.give(home, &name, entry);
                    Ok(())
                }
                Some(there) if there.ino == entry.ino => Ok(()),
                Some(_) => self.give_beside(home, &name, entry).map(|_| ()),
            };
        }
        if entry.kind == Kind::Folder {
            self.empty(entry.ino)?;
        }
        Ok(())
    }

    fn empty(&mut self, dir: Ino) -> Result<(), FsError> {
        for (name, child) in self.overlay.children(dir, MAX_MERGE_CHANGES)? {
            if self.overlay.len() > MAX_MERGE_STEPS {
                return Err(super::too_big(self.label));
            }
            self.evict((dir, name), child)?;
        }
        Ok(())
    }

    /// Removes the folders that theirs removed, the deepest first; one in which ours has something stays.
    pub(super) fn remove_folders(&mut self) -> Result<(), FsError> {
        let mut sorted = Vec::new();
        for folder in std::mem::take(&mut self.removals) {
            let depth = self.identity.ours.folder(folder)?.map_or(0, |path| path.names().len());
            sorted.push((std::cmp::Reverse(depth), folder));
        }
        sorted.sort();
        for (_, folder) in sorted {
            let Some((dir, name)) = self.overlay.parent(folder)? else { continue };
            if self.strategy == Strategy::Theirs {
                self.empty(folder)?;
                if !self.overlay.children(folder, 1)?.is_empty() {
                    let path = self.overlay.path(dir, &name)?.to_string();
                    return Err(FsError::At {
                        errno: Errno::TooBig,
                        what: "cannot remove by a merge all that is in",
                        path,
                    });
                }
            }
            if self.overlay.children(folder, 1)?.is_empty() {
                self.overlay.take(dir, &name)?;
            } else if self.strategy == Strategy::Conflict {
                self.conflict(About::Removed, (Some(folder), None), (None, None))?;
            }
        }
        Ok(())
    }
}
