//! Setting what an entry is besides its content.

use super::{Txn, put::Set, resolve::Last, stat, stop::Stop};
use crate::{
    error::Errno,
    path::FsPath,
    rows::{
        Kind,
        inode::{Changed, Inode},
    },
};

impl Txn<'_> {
    pub(super) fn set_attributes(&mut self, at: &FsPath, set: Set, last: Last) -> Result<(), Stop> {
        let found = self.here().entry(at, last)?;
        if found.kind == Kind::Symlink && set.mode.is_some() {
            return Err(Errno::Inval.into());
        }
        if set.is_nothing() {
            return Ok(());
        }
        let old = self.inode(found.ino)?;
        let changed = Changed { content: false, attributes: true };
        if found.kind != Kind::Folder {
            let mut inode = Inode { changed, ..old };
            set.apply(&mut inode)?;
            return self.write(inode);
        }
        // The row is newer than the folder's entries: the time that they gave it goes into it.
        let mtime_ns = stat::folder_mtime(&self.here(), &old)?;
        let mut inode = Inode { changed, mtime_ns, ..old };
        set.apply(&mut inode)?;
        self.write_timed(inode)
    }
}
