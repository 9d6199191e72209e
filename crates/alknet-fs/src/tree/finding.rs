//! How a change finds its way: it remembers the folder that it was in last, and how many names it has followed.

use std::borrow::Cow;

use super::{
    Txn,
    resolve::{End, Last, Spot, Way, follow, root},
    stop::Stop,
};
use crate::{
    error::Errno,
    ids::Ino,
    limits::MAX_COMMIT_STEPS,
    path::{EntryName, FsPath},
    rows::{Kind, dent::Dent},
};

/// What a change knows of the ways that it went.
#[derive(Default)]
pub(super) struct Ways {
    /// The way to a folder. What is moved or taken away makes it forget it.
    last: Option<Known>,
    /// Names that were followed.
    steps: usize,
}

/// The way to a folder.
struct Known {
    names: Vec<EntryName>,
    /// The folders on it, the root first.
    folders: Vec<Dent>,
    /// Whether there is one of them for each of the names, and no link.
    is_straight: bool,
}

impl Ways {
    /// The folders of the known way that this one shares, how many names lead there, and whether that way is straight.
    fn shared(&self, names: &[EntryName]) -> (Vec<Dent>, usize, bool) {
        if let (Some(known), Some((_, before))) = (&self.last, names.split_last()) {
            let shared = before.iter().zip(&known.names).take_while(|(one, other)| one == other).count();
            if shared == known.names.len() {
                return (known.folders.clone(), shared, known.is_straight);
            }
            if known.is_straight {
                return (known.folders[..=shared].to_vec(), shared, true);
            }
        }
        (vec![root()], 0, true)
    }
    /// A folder may be elsewhere by now.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// A folder that a path leads to, or as far as there is one.
pub(super) enum Folder {
    /// It is there.
    There(Ino),
    /// From this folder on, so many of the names are missing.
    Missing(Ino, usize),
}

impl Txn<'_> {
    /// Where a path leads.
    pub(super) fn resolve(&mut self, at: &FsPath, last: Last) -> Result<Spot, Stop> {
        match self.follow(at.names(), last)? {
            End::There(spot) | End::LeadsNowhere(spot) => Ok(spot),
            End::Missing { .. } | End::Lost => Err(Errno::NoEnt.into()),
        }
    }

    /// The entry that a path leads to.
    pub(super) fn entry(&mut self, at: &FsPath, last: Last) -> Result<Dent, Stop> {
        Ok(self.resolve(at, last)?.found.ok_or(Errno::NoEnt)?)
    }

    /// The folder that names lead to, by links too, as far as it is there.
    pub(super) fn folder(&mut self, names: &[EntryName]) -> Result<Folder, Stop> {
        match self.follow(names, Last::Follow)? {
            End::There(Spot { found: Some(found), .. }) if found.kind == Kind::Folder => Ok(Folder::There(found.ino)),
            End::There(Spot { found: None, above, .. }) => {
                Ok(Folder::Missing(above.last().map_or(Ino::ROOT, |dent| dent.ino), 1))
            }
            End::Missing { dir, left } => Ok(Folder::Missing(dir, left)),
            // A link that leads nowhere is something, and no folder.
            End::There(_) | End::LeadsNowhere(_) | End::Lost => Err(Errno::Exist.into()),
        }
    }

    /// As [`Here::confined`](super::Here::confined), of a way that may be known.
    pub(super) fn confined(&mut self, beneath: &FsPath, at: &FsPath) -> Result<Option<Dent>, Stop> {
        if let (Some(known), Some((name, above))) = (&self.ways.last, at.names().split_last())
            && known.is_straight
            && known.names == above
            && above.starts_with(beneath.names())
            && let Some(folder) = known.folders.last()
        {
            return Ok(self.chain().dent(self.sql(), folder.ino, name.as_bytes())?);
        }
        self.count_steps(at.names().len())?;
        self.here().confined(beneath, at)
    }

    fn count_steps(&mut self, steps: usize) -> Result<(), Stop> {
        self.ways.steps += steps;
        if self.ways.steps > MAX_COMMIT_STEPS { Err(Errno::TooMuch.into()) } else { Ok(()) }
    }

    fn follow(&mut self, names: &[EntryName], last: Last) -> Result<End, Stop> {
        let (above, done, was_straight) = self.ways.shared(names);
        let rest = names[done..].iter().map(|name| Cow::Borrowed(name.as_bytes())).collect();
        let Way { end, folders, is_straight, steps } = follow(self.sql(), self.chain(), (above, rest), last)?;
        self.count_steps(steps)?;
        if let (Some(folders), Some((_, before))) = (folders, names.split_last()) {
            let is_straight = was_straight && is_straight;
            self.ways.last = Some(Known { names: before.to_vec(), folders, is_straight });
        }
        Ok(end)
    }
}
