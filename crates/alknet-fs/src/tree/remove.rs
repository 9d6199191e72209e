//! Taking names away. What loses its last name stays readable in the versions before, and goes when those are forgotten.

use super::{Txn, change::RemoveHow, resolve::Last, stop::Stop};
use crate::{
    error::Errno,
    ids::Ino,
    limits::PAGE_ROWS_AT_ONCE,
    path::FsPath,
    rows::{Kind, dent::Dent},
};

impl Txn<'_> {
    pub(super) fn remove(&mut self, at: &FsPath, how: RemoveHow) -> Result<(), Stop> {
        let spot = self.here().resolve(at, Last::Keep)?;
        let found = match &spot.found {
            None if how == RemoveHow::FileIfAny => return Ok(()),
            found => found.as_ref().ok_or(Errno::NoEnt)?,
        };
        let dir = spot.dir()?;
        match (how, found.kind) {
            (RemoveHow::File | RemoveHow::FileIfAny, Kind::Folder) => Err(Errno::IsDir.into()),
            (RemoveHow::EmptyFolder | RemoveHow::Bare, Kind::Folder) if !self.here().is_empty(found.ino)? => {
                Err(Errno::NotEmpty.into())
            }
            (RemoveHow::EmptyFolder, Kind::File | Kind::Symlink) => Err(Errno::NotDir.into()),
            (RemoveHow::Recursive, Kind::Folder) => {
                self.empty(found.ino)?;
                self.take(dir, found)
            }
            _ => self.take(dir, found),
        }
    }

    /// Takes every name below a folder away, one by one: each may be one of several of its file, and is a change of its own to whoever
    /// watches, follows or merges.
    fn empty(&mut self, folder: Ino) -> Result<(), Stop> {
        let mut open = vec![Emptying { dir: folder, after: Box::default(), held: None }];
        while let Some(mut here) = open.pop() {
            let page = self.chain().page(self.sql(), here.dir, &here.after, PAGE_ROWS_AT_ONCE)?;
            let is_last = page.len() < PAGE_ROWS_AT_ONCE;
            let mut inner = None;
            for dent in page {
                here.after = dent.name.clone();
                if dent.kind == Kind::Folder {
                    inner = Some(dent);
                    break;
                }
                self.take(here.dir, &dent)?;
            }
            match (inner, here.held.take()) {
                (Some(dent), held) => {
                    let (dir, above) = (dent.ino, here.dir);
                    open.push(Emptying { held, ..here });
                    open.push(Emptying { dir, after: Box::default(), held: Some((above, dent)) });
                }
                (None, held) if !is_last => open.push(Emptying { held, ..here }),
                (None, Some((above, dent))) => self.take(above, &dent)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// A folder that is being emptied.
struct Emptying {
    dir: Ino,
    /// Up to this name it is empty.
    after: Box<[u8]>,
    /// The folder above, and the name that goes when this one is empty.
    held: Option<(Ino, Dent)>,
}
