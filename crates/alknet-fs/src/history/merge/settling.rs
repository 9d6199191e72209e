//! What settles a conflict: what one side has is made so here, for the entry and the name that it is about and nothing else.
//!
//! It is planned as a merge of the side's version, which then is its own base: whatever has to make room goes where that version has
//! it, and only what that version does not have goes altogether.

use super::{Merge, Plan, fields, overlay::Entry};
use crate::{
    error::{Errno, FsError},
    history::{
        conflicts::{About, Clash, Draft, Subject},
        settle::Keep,
        side::Place,
    },
    ids::Ino,
    rows::{
        Kind,
        inode::{Changed, Inode},
    },
};

impl Merge<'_> {
    pub(super) fn settle(mut self, draft: &Draft, keep: Keep) -> Result<Plan, FsError> {
        match (draft.about, keep, &draft.ours, &draft.theirs) {
            (About::Content, Keep::Theirs, Some(ours), Some(theirs)) => self.take_content(draft, ours, theirs)?,
            (About::Content, Keep::Both, Some(ours), Some(theirs)) => self.keep_beside(draft, ours, theirs)?,
            (About::Attributes, Keep::Theirs, Some(ours), Some(theirs)) => {
                let mut inode = self.shown(draft, ours.ino)?;
                // Of a conflict that does not say which it is about, all are taken.
                let clash = draft.more.clash.unwrap_or(Clash { mode: true, xattrs: true });
                fields::take_attributes(&mut inode, clash, (theirs.state.mode, &theirs.state.xattrs));
                self.inodes.insert(ours.ino, Inode { changed: Changed { content: false, attributes: true }, ..inode });
            }
            (About::Place, Keep::Theirs | Keep::Both, Some(ours), Some(theirs)) => {
                self.take_place(draft, ours, theirs, keep)?;
            }
            (About::Removed, Keep::Theirs, Some(gone), None) | (About::Removed, Keep::Ours, None, Some(gone)) => {
                for place in self.overlay.places(gone.ino)? {
                    self.take_away(place, gone.ino)?;
                }
            }
            (About::Name, Keep::Ours, ..) => self.give_back(draft)?,
            (About::Name, Keep::Theirs, Some(ours), _) => self.take_name(draft, ours.ino)?,
            _ => {}
        }
        self.finish()
    }

    /// Theirs' content is ours now.
    fn take_content(&mut self, draft: &Draft, ours: &Subject, theirs: &Subject) -> Result<(), FsError> {
        let (own, kept) = (self.shown(draft, ours.ino)?, self.aside(draft, theirs)?);
        let (Inode { blob, size, target, mtime_ns, .. }, changed) =
            (kept, Changed { content: true, attributes: false });
        self.inodes.insert(ours.ino, Inode { blob, size, target, mtime_ns, changed, ..own });
        Ok(())
    }

    /// Theirs' content gets a name beside ours.
    fn keep_beside(&mut self, draft: &Draft, ours: &Subject, theirs: &Subject) -> Result<(), FsError> {
        let kept = self.aside(draft, theirs)?;
        let known = match self.now_at(draft.place.as_ref(), ours.ino)? {
            Some(place) => Some(place),
            // Ours is gone; where it was, theirs can be.
            None => draft.place.clone(),
        };
        let (dir, name) = known.ok_or_else(|| gone(draft))?;
        self.reached(draft, dir)?;
        self.give_beside(dir, &name, Entry { ino: kept.ino, kind: kept.kind })?;
        Ok(())
    }

    /// Ours goes where theirs has it, or is there too.
    fn take_place(&mut self, draft: &Draft, ours: &Subject, theirs: &Subject, keep: Keep) -> Result<(), FsError> {
        let kind = self.shown(draft, ours.ino)?.kind;
        let entry = Entry { ino: ours.ino, kind };
        if keep == Keep::Both && kind == Kind::Folder {
            return Err(no(Errno::IsDir, "cannot keep in both places", draft));
        }
        let from = self.now_at(draft.place.as_ref(), ours.ino)?.ok_or_else(|| gone(draft))?;
        let (dir, name) = &theirs.place;
        let home = self.home(*dir)?.ok_or_else(|| gone(draft))?;
        match self.overlay.entry(home, name)? {
            Some(there) if there.ino == entry.ino => return Ok(()),
            Some(_) => return Err(no(Errno::Exist, "cannot put where theirs has it", draft)),
            None if self.is_loop(home, entry)? => {
                return Err(no(Errno::Inval, "cannot put into itself", draft));
            }
            None => {}
        }
        if keep == Keep::Theirs {
            self.overlay.take(from.0, &from.1)?;
        }
        self.overlay.give(home, name, entry);
        Ok(())
    }

    /// What theirs has under the name goes: back to where ours had it, if theirs moved it there.
    fn give_back(&mut self, draft: &Draft) -> Result<(), FsError> {
        let Some((place, entry)) = self.beside(draft)? else { return Ok(()) };
        let source = draft.more.source.as_ref().and_then(|source| source.place());
        let Some((dir, name)) = source else { return self.take_away(place, entry.ino) };
        let Some(home) = self.home(dir)?.filter(|_| place != (dir, name.clone())) else { return Ok(()) };
        if self.is_loop(home, entry)? {
            return Ok(());
        }
        self.overlay.take(place.0, &place.1)?;
        match self.overlay.entry(home, &name)? {
            None => self.overlay.give(home, &name, entry),
            Some(there) if there.ino == entry.ino => {}
            Some(_) => {
                self.give_beside(home, &name, entry)?;
            }
        }
        Ok(())
    }

    /// What theirs has under the name gets it, and ours goes: to where theirs has it, if it is there.
    fn take_name(&mut self, draft: &Draft, ours: Ino) -> Result<(), FsError> {
        let wanted = draft.place.clone().ok_or_else(|| gone(draft))?;
        let (from, entry) = self.beside(draft)?.ok_or_else(|| gone(draft))?;
        self.reached(draft, wanted.0)?;
        if self.is_loop(wanted.0, entry)? {
            return Err(no(Errno::Inval, "cannot put into itself", draft));
        }
        match self.overlay.entry(wanted.0, &wanted.1)? {
            Some(there) if there.ino == ours => self.take_away(wanted.clone(), ours)?,
            Some(there) if there.ino != entry.ino => {
                return Err(no(Errno::Exist, "something else is there by now, at", draft));
            }
            _ => {}
        }
        match self.overlay.entry(wanted.0, &wanted.1)? {
            // It was in the folder that made room.
            Some(there) if there.ino == entry.ino => {}
            _ => {
                self.overlay.take(from.0, &from.1)?;
                self.overlay.give(wanted.0, &wanted.1, entry);
            }
        }
        Ok(())
    }

    /// Takes a name away. What it stood for goes where the side's version has it, if it has no other name.
    fn take_away(&mut self, place: Place, ino: Ino) -> Result<(), FsError> {
        let has_more = self.overlay.places(ino)?.iter().any(|other| *other != place);
        match self.overlay.entry(place.0, &place.1)? {
            Some(entry) if !has_more => self.evict(place, entry)?,
            _ => {
                self.overlay.take(place.0, &place.1)?;
            }
        }
        Ok(())
    }

    /// Where what theirs has under a name is until it is settled, if it still is there.
    fn beside(&mut self, draft: &Draft) -> rusqlite::Result<Option<(Place, Entry)>> {
        let put = draft.more.beside.as_ref();
        let (ino, place) = match (put.and_then(|put| put.ino()), &draft.theirs) {
            (Some(ino), _) => (ino, put.and_then(|put| put.place())),
            (None, Some(theirs)) => (theirs.ino, None),
            (None, None) => return Ok(None),
        };
        let Some((dir, name)) = self.now_at(place.as_ref(), ino)? else { return Ok(None) };
        let entry = self.overlay.entry(dir, &name)?;
        Ok(entry.map(|entry| ((dir, name), entry)))
    }

    /// The place of an entry that is meant, if it still is there, or its first one.
    fn now_at(&mut self, meant: Option<&Place>, ino: Ino) -> rusqlite::Result<Option<Place>> {
        let mut places = self.overlay.places(ino)?;
        let index = places.iter().position(|place| Some(place) == meant).unwrap_or(0);
        Ok((index < places.len()).then(|| places.swap_remove(index)))
    }

    /// An entry as it is now, with a folder's time.
    fn shown(&mut self, draft: &Draft, ino: Ino) -> Result<Inode, FsError> {
        let ours = &mut self.identity.ours;
        let inode = if ours.shows(ino)? { ours.timed_inode(ino)? } else { None };
        inode.ok_or_else(|| gone(draft))
    }

    fn aside(&self, draft: &Draft, theirs: &Subject) -> Result<Inode, FsError> {
        let kept = theirs.aside.map(|ino| self.identity.ours.inode(ino)).transpose()?.flatten();
        kept.ok_or_else(|| gone(draft))
    }

    fn reached(&mut self, draft: &Draft, dir: Ino) -> Result<(), FsError> {
        self.overlay.side.folder(dir)?.map(|_| ()).ok_or_else(|| gone(draft))
    }

    fn is_loop(&mut self, home: Ino, entry: Entry) -> rusqlite::Result<bool> {
        Ok(entry.kind == Kind::Folder && self.overlay.way_up(home, entry.ino)?.is_some())
    }
}

fn no(errno: Errno, what: &'static str, draft: &Draft) -> FsError {
    FsError::At { errno, what, path: draft.path.to_string() }
}

fn gone(draft: &Draft) -> FsError {
    no(Errno::NoEnt, "what the conflict is about is gone:", draft)
}
