//! Copying what is below a folder, in one change or in several.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;

use super::{Txn, stat, stop::Stop, view::View};
use crate::{
    error::Errno,
    folding::Names,
    ids::{Ino, Seq},
    limits::PAGE_ROWS_AT_ONCE,
    rows::{
        Kind,
        dent::Dent,
        inode::{Changed, Inode},
    },
};

/// A copy under way, of a version that does not change under it.
pub(super) struct Copying {
    from: View,
    /// What became of files that have several names: those in what is copied are names of one copy.
    links: BTreeMap<Ino, Ino>,
    /// The folders on the way to where it stands.
    open: Vec<Filling>,
    /// Whether somebody else may have given names in the copy meanwhile.
    is_resumed: bool,
}

/// A folder, and its copy that is being filled.
struct Filling {
    theirs: Ino,
    ours: Ino,
    /// The commit that made the copy.
    made: Seq,
    /// Up to this name it is filled.
    after: Box<[u8]>,
    /// Names that were read and not yet copied.
    ahead: VecDeque<Dent>,
    /// Whether that are the last ones.
    is_read: bool,
}

impl Copying {
    /// Nothing is copied yet.
    pub fn new(from: View) -> Self {
        Self { from, links: BTreeMap::new(), open: Vec::new(), is_resumed: false }
    }

    /// Copies at most so many entries. Answers whether that was all.
    pub fn go_on(&mut self, txn: &mut Txn<'_>, count: usize) -> Result<bool, Stop> {
        let mut copied = 0;
        while let Some(here) = self.open.last_mut() {
            if here.ahead.is_empty() && !here.is_read {
                let chain = self.from.chain();
                let page = chain.page(txn.sql(), here.theirs, &here.after, PAGE_ROWS_AT_ONCE)?;
                here.is_read = page.len() < PAGE_ROWS_AT_ONCE;
                here.ahead = page.into();
            }
            let Some(dent) = here.ahead.pop_front() else {
                let (theirs, ours, made) = (here.theirs, here.ours, here.made);
                self.open.pop();
                self.close(txn, (theirs, ours), made)?;
                continue;
            };
            here.after = dent.name.clone();
            let dir = here.ours;
            if (self.is_resumed || txn.chain().names() != Names::Bytes)
                && txn.chain().dent(txn.sql(), dir, dent.written())?.is_some()
            {
                return Err(Errno::Exist.into());
            }
            self.entry(txn, &dent, (dir, dent.written()))?;
            copied += 1;
            if copied >= count {
                break;
            }
        }
        Ok(self.open.is_empty())
    }

    /// The time of a folder that is filled is that of what was copied, until one of its names changes.
    fn close(&self, txn: &mut Txn<'_>, (theirs, ours): (Ino, Ino), made: Seq) -> Result<(), Stop> {
        if txn.seq()? == made {
            txn.keep_time(ours);
            return Ok(());
        }
        let mtime_ns = self.inode(txn.sql(), theirs)?.mtime_ns;
        let changed = Changed { content: false, attributes: true };
        let filled = txn.inode(ours)?;
        txn.write_timed(Inode { mtime_ns, changed, ..filled })
    }

    /// Goes on in another change, if the copy is still there.
    pub fn resume(&mut self, txn: &Txn<'_>) -> Result<(), Stop> {
        self.from.check()?;
        self.is_resumed = true;
        for filling in &self.open {
            if txn.chain().places(txn.sql(), filling.ours)?.is_empty() {
                return Err(Errno::Stale.into());
            }
        }
        Ok(())
    }

    /// Copies one entry to a name that stands for nothing. Of a folder, what is in it is to be copied next.
    pub fn entry(&mut self, txn: &mut Txn<'_>, source: &Dent, (dir, name): (Ino, &[u8])) -> Result<(), Stop> {
        if let Some(known) = self.links.get(&source.ino) {
            return txn.give(dir, name, (*known, source.kind), false);
        }
        let inode = self.inode(txn.sql(), source.ino)?;
        let copy = Inode { ino: txn.new_ino()?, changed: Changed::ALL, ..inode };
        let (theirs, ours) = (source.ino, txn.new_entry(dir, name, copy)?);
        if source.kind == Kind::Folder {
            let (made, after) = (txn.seq()?, Box::default());
            self.open.push(Filling { theirs, ours, made, after, ahead: VecDeque::new(), is_read: false });
        } else if self.from.chain().places(txn.sql(), theirs)?.len() > 1 {
            self.links.insert(theirs, ours);
        }
        Ok(())
    }

    /// What an entry is there, with the time that a folder has from its entries.
    pub fn inode(&self, sql: &Connection, ino: Ino) -> Result<Inode, Stop> {
        let theirs = self.from.of(sql);
        let inode = match theirs.inode(ino)? {
            Some(inode) => inode,
            None if ino == Ino::ROOT => stat::root(&theirs)?,
            None => return Err(Errno::Io.into()),
        };
        let mtime_ns = match inode.kind {
            Kind::Folder => stat::folder_mtime(&theirs, &inode)?,
            Kind::File | Kind::Symlink => inode.mtime_ns,
        };
        Ok(Inode { mtime_ns, seq: Seq::ZERO, ..inode })
    }
}
