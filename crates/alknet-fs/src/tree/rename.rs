//! Moving names. What is below a folder moves with it: two rows, however much that is.

use super::{
    Txn,
    change::RenameHow,
    resolve::{Last, Spot},
    stop::Stop,
};
use crate::{
    error::Errno,
    ids::Ino,
    path::FsPath,
    rows::{Kind, dent, dent::Dent},
};

impl Txn<'_> {
    pub(super) fn rename(&mut self, from: &FsPath, to: &FsPath, how: RenameHow) -> Result<(), Stop> {
        let (old, new) = (self.resolve(from, Last::Keep)?, self.resolve(to, Last::Keep)?);
        let moved = old.found.clone().ok_or(Errno::NoEnt)?;
        let (from_dir, to_dir) = (old.dir()?, new.dir()?);
        if moved.kind == Kind::Folder && new.is_under(moved.ino) {
            return Err(Errno::Inval.into());
        }
        match (&new.found, how) {
            (None, RenameHow::Exchange) => Err(Errno::NoEnt.into()),
            (None, _) => self.shift(from_dir, &moved, (to_dir, &new.name)),
            // One and the same name, written in another way.
            (Some(there), _)
                if from_dir == to_dir
                    && there.name == moved.name
                    && old.name != new.name
                    && self.chain().names().split(&new.name).1 != there.shown =>
            {
                let made = self.is_made_here(from_dir, &moved)?;
                self.give(to_dir, &new.name, (moved.ino, moved.kind), made)
            }
            (Some(_), RenameHow::NoReplace) => Err(Errno::Exist.into()),
            // Two names of one file, or one and the same name: POSIX leaves both.
            (Some(there), _) if there.ino == moved.ino => Ok(()),
            (Some(there), RenameHow::Exchange) => {
                if there.kind == Kind::Folder && old.is_under(there.ino) {
                    return Err(Errno::Inval.into());
                }
                self.exchange((from_dir, &moved), (to_dir, there))
            }
            (Some(there), RenameHow::Replace) => {
                self.may_replace(&moved, there)?;
                self.shift(from_dir, &moved, (to_dir, &new.name))
            }
        }
    }

    fn may_replace(&self, moved: &Dent, there: &Dent) -> Result<(), Stop> {
        match (moved.kind == Kind::Folder, there.kind == Kind::Folder) {
            (false, true) => Err(Errno::IsDir.into()),
            (true, false) => Err(Errno::NotDir.into()),
            (true, true) if !self.is_empty(there.ino)? => Err(Errno::NotEmpty.into()),
            _ => Ok(()),
        }
    }

    /// Takes a name away and gives another for it.
    pub(crate) fn shift(&mut self, dir: Ino, moved: &Dent, (to, name): (Ino, &[u8])) -> Result<(), Stop> {
        let made = self.is_made_here(dir, moved)?;
        self.take(dir, moved)?;
        self.give(to, name, (moved.ino, moved.kind), made)
    }

    fn exchange(&mut self, (dir, one): (Ino, &Dent), (to, other): (Ino, &Dent)) -> Result<(), Stop> {
        let (one_made, other_made) = (self.is_made_here(dir, one)?, self.is_made_here(to, other)?);
        self.give(dir, one.written(), (other.ino, other.kind), other_made)?;
        self.give(to, other.written(), (one.ino, one.kind), one_made)
    }

    /// Whether this very change has made what a name stands for: then the name that it ends under is its first.
    fn is_made_here(&mut self, dir: Ino, dent: &Dent) -> Result<bool, Stop> {
        let seq = self.seq()?;
        let row = dent::at(self.sql(), self.branch().id, dir, &dent.name, seq)?;
        Ok(row.is_some_and(|row| row.made && row.ino == dent.ino))
    }
}

impl Spot {
    /// Whether a folder is on the way to it.
    pub fn is_under(&self, folder: Ino) -> bool {
        self.above.iter().any(|dent| dent.ino == folder)
    }
}
