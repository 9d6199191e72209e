//! Copies of what a view shows: new inodes that refer to the same content.

use std::collections::BTreeMap;

use super::{Txn, here::Here, resolve::Last, stat, stop::Stop, view::View};
use crate::{
    error::Errno,
    ids::{Ino, Seq},
    limits::PAGE_ROWS_AT_ONCE,
    path::FsPath,
    rows::{
        Kind,
        dent::Dent,
        inode::{Changed, Inode},
    },
};

impl Txn<'_> {
    pub(super) fn copy(&mut self, from: &View, path: &FsPath, to: &FsPath) -> Result<(), Stop> {
        from.check()?;
        let theirs = from.of(self.sql());
        let source = theirs.entry(path, Last::Keep)?;
        let spot = self.here().resolve(to, Last::Keep)?;
        let mut copies = Copies { theirs, links: BTreeMap::new() };
        match &spot.found {
            None => {
                let folder = copies.entry(self, &source, spot.dir()?, &spot.name)?;
                folder.map_or(Ok(()), |folder| copies.below(self, folder))
            }
            Some(found) if found.kind == Kind::File && source.kind == Kind::File => {
                copies.content(self, &source, found)
            }
            Some(_) => Err(Errno::Exist.into()),
        }
    }
}

/// A copy under way.
struct Copies<'a> {
    theirs: Here<'a>,
    /// What became of files: one with several names in what is copied has as many in the copy.
    links: BTreeMap<Ino, Ino>,
}

/// A folder, and its copy that is to be filled.
struct Pair {
    theirs: Ino,
    ours: Ino,
}

impl Copies<'_> {
    /// Copies one entry. Answers with a folder what is still to be filled.
    fn entry(&mut self, txn: &mut Txn<'_>, source: &Dent, dir: Ino, name: &[u8]) -> Result<Option<Pair>, Stop> {
        if let Some(known) = self.links.get(&source.ino) {
            txn.give(dir, name, (*known, source.kind), false)?;
            return Ok(None);
        }
        let inode = self.inode(source.ino)?;
        let copy = Inode { ino: txn.new_ino()?, changed: Changed::ALL, ..inode };
        let ours = txn.new_entry(dir, name, copy)?;
        if source.kind == Kind::Folder {
            return Ok(Some(Pair { theirs: source.ino, ours }));
        }
        self.links.insert(source.ino, ours);
        Ok(None)
    }

    /// Copies what is below a folder.
    fn below(&mut self, txn: &mut Txn<'_>, folder: Pair) -> Result<(), Stop> {
        let mut open = vec![folder];
        while let Some(Pair { theirs, ours }) = open.pop() {
            let mut after = Box::default();
            loop {
                let page = self.theirs.chain.page(self.theirs.sql, theirs, &after, PAGE_ROWS_AT_ONCE)?;
                for dent in &page {
                    open.extend(self.entry(txn, dent, ours, &dent.name)?);
                }
                match page.into_iter().last() {
                    Some(last) => after = last.name,
                    None => break,
                }
            }
            // Its time is that of what was copied, until the same change goes on with it.
            txn.keep_time(ours);
        }
        Ok(())
    }

    /// Gives a file the content of another, and its time; it stays the file that it is.
    fn content(&self, txn: &mut Txn<'_>, source: &Dent, found: &Dent) -> Result<(), Stop> {
        let (theirs, ours) = (self.inode(source.ino)?, txn.inode(found.ino)?);
        let changed = Changed { content: true, attributes: false };
        let Inode { blob, size, mtime_ns, .. } = theirs;
        txn.write(Inode { blob, size, mtime_ns, changed, ..ours })
    }

    fn inode(&self, ino: Ino) -> Result<Inode, Stop> {
        let inode = match self.theirs.inode(ino)? {
            Some(inode) => inode,
            None if ino == Ino::ROOT => stat::root(&self.theirs)?,
            None => return Err(Errno::Io.into()),
        };
        let mtime_ns = match inode.kind {
            Kind::Folder => stat::folder_mtime(&self.theirs, &inode)?,
            Kind::File | Kind::Symlink => inode.mtime_ns,
        };
        Ok(Inode { mtime_ns, seq: Seq::ZERO, ..inode })
    }
}
