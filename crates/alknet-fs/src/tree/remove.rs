//! Taking names away. What loses its last name stays readable in the versions before, and goes when those are forgotten.

use super::{Txn, change::RemoveHow, emptying::Emptying, resolve::Last, stop::Stop};
use crate::{error::Errno, path::FsPath, rows::Kind};

impl Txn<'_> {
    pub(super) fn remove(&mut self, at: &FsPath, how: RemoveHow) -> Result<(), Stop> {
        let spot = self.resolve(at, Last::Keep)?;
        let found = match &spot.found {
            None if how == RemoveHow::FileIfAny => return Ok(()),
            found => found.as_ref().ok_or(Errno::NoEnt)?,
        };
        let dir = spot.dir()?;
        match (how, found.kind) {
            (RemoveHow::File | RemoveHow::FileIfAny, Kind::Folder) => Err(Errno::IsDir.into()),
            (RemoveHow::EmptyFolder | RemoveHow::Bare, Kind::Folder) if !self.is_empty(found.ino)? => {
                Err(Errno::NotEmpty.into())
            }
            (RemoveHow::EmptyFolder, Kind::File | Kind::Symlink) => Err(Errno::NotDir.into()),
            (RemoveHow::Recursive, Kind::Folder) => {
                Emptying::new(found.ino).go_on(self, usize::MAX)?;
                self.is_empty(found.ino)?;
                self.take(dir, found)
            }
            _ => self.take(dir, found),
        }
    }
}
