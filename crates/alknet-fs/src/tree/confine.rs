//! What is written below a folder stays there, whatever links lie in the way.

use super::{Here, Last, RemoveHow, Txn, stop::Stop};
use crate::{
    error::Errno,
    path::FsPath,
    rows::{Kind, dent::Dent},
};

/// What becomes of a symbolic link at the very place that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// It goes, to make room.
    Goes,
    /// It stays; what comes next does not follow it.
    Stays,
    /// Nothing is written.
    Refused,
}

impl Here<'_> {
    /// What is at a path, if every name on the way to it from `beneath` on is a folder or not there. Up to `beneath` links are followed,
    /// since whoever named it may have meant one.
    ///
    /// # Errors
    /// `NotDir` where a link or a file is in the way; `Inval` where the path is not below.
    pub(crate) fn confined(&self, beneath: &FsPath, path: &FsPath) -> Result<Option<Dent>, Stop> {
        let rest = path.names().strip_prefix(beneath.names()).ok_or(Errno::Inval)?;
        let Some((name, above)) = rest.split_last() else { return Ok(None) };
        let mut dir = match self.resolve(beneath, Last::Follow) {
            Ok(spot) => spot.found,
            // It is made, and nothing is in it then.
            Err(Stop::No(Errno::NoEnt)) => None,
            Err(stop) => return Err(stop),
        };
        for name in above {
            dir = match &dir {
                Some(found) if found.kind != Kind::Folder => return Err(Errno::NotDir.into()),
                Some(found) => self.chain.dent(self.sql, found.ino, name.as_bytes())?,
                None => return Ok(None),
            };
        }
        match dir {
            Some(found) if found.kind != Kind::Folder => Err(Errno::NotDir.into()),
            Some(found) => Ok(self.chain.dent(self.sql, found.ino, name.as_bytes())?),
            None => Ok(None),
        }
    }
}

impl Txn<'_> {
    /// Sees to it that what is written to a path next is written there, and not where a link below `beneath` leads.
    pub(crate) fn confine(&mut self, beneath: &FsPath, at: &FsPath, link: InPlace) -> Result<(), Stop> {
        let found = self.confined(beneath, at)?;
        if found.is_none_or(|found| found.kind != Kind::Symlink) {
            return Ok(());
        }
        match link {
            InPlace::Goes => self.remove(at, RemoveHow::File),
            InPlace::Stays => Ok(()),
            InPlace::Refused => Err(Errno::NotDir.into()),
        }
    }
}
