//! Copies of what a view shows: new inodes that refer to the same content.

use super::{Txn, copying::Copying, resolve::Last, stop::Stop, view::View};
use crate::{
    error::Errno,
    path::FsPath,
    rows::{
        Kind,
        dent::Dent,
        inode::{Changed, Inode},
    },
};

impl Txn<'_> {
    pub(super) fn copy(&mut self, from: &View, path: &FsPath, to: &FsPath) -> Result<(), Stop> {
        let mut copying = self.begin_copy(from, path, to)?;
        copying.go_on(self, usize::MAX).map(|_| ())
    }

    /// Copies an entry. What is in it, of a folder, is still to come.
    pub(super) fn begin_copy(&mut self, from: &View, path: &FsPath, to: &FsPath) -> Result<Copying, Stop> {
        from.check()?;
        let source = from.of(self.sql()).entry(path, Last::Keep)?;
        let spot = self.resolve(to, Last::Keep)?;
        let mut copying = Copying::new(from.clone());
        match &spot.found {
            None => copying.entry(self, &source, (spot.dir()?, &spot.name))?,
            Some(found) if found.kind == Kind::File && source.kind == Kind::File => {
                self.copy_content(&copying, &source, found)?;
            }
            Some(_) => return Err(Errno::Exist.into()),
        }
        Ok(copying)
    }

    /// Gives a file the content of another, and its time; it stays the file that it is.
    fn copy_content(&mut self, copying: &Copying, source: &Dent, found: &Dent) -> Result<(), Stop> {
        let (theirs, ours) = (copying.inode(self.sql(), source.ino)?, self.inode(found.ino)?);
        let Inode { blob, size, mtime_ns, .. } = theirs;
        if (blob, size, mtime_ns) == (ours.blob, ours.size, ours.mtime_ns) {
            return Ok(());
        }
        let content = self.is_other_content(ours.ino, (blob, size))?;
        self.write(Inode { blob, size, mtime_ns, changed: Changed { content, attributes: !content }, ..ours })
    }
}
