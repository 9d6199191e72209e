//! Symbolic links, and further names of files.

use super::{Txn, resolve::Last, stop::Stop};
use crate::{
    error::Errno,
    limits::{MAX_LINKS, MAX_TARGET_BYTES},
    path::FsPath,
    rows::{Kind, inode::Inode},
};

/// The permission bits of a symbolic link, which mean nothing.
const LINK_MODE: u16 = 0o777;

impl Txn<'_> {
    pub(super) fn symlink(&mut self, at: &FsPath, target: &[u8], mtime_ns: Option<i64>) -> Result<(), Stop> {
        if target.len() > MAX_TARGET_BYTES {
            return Err(Errno::NameTooLong.into());
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Errno::Inval.into());
        }
        let spot = self.resolve(at, Last::Keep)?;
        if spot.found.is_some() {
            return Err(Errno::Exist.into());
        }
        let blank = self.blank(Kind::Symlink)?;
        let (size, mtime_ns) = (target.len() as u64, mtime_ns.unwrap_or(blank.mtime_ns));
        let inode = Inode { size, mode: LINK_MODE, mtime_ns, target: Some(target.into()), ..blank };
        self.new_entry(spot.dir()?, &spot.name, inode).map(|_| ())
    }

    pub(super) fn hard_link(&mut self, from: &FsPath, to: &FsPath) -> Result<(), Stop> {
        let found = self.entry(from, Last::Keep)?;
        if found.kind == Kind::Folder {
            return Err(Errno::Perm.into());
        }
        let spot = self.resolve(to, Last::Keep)?;
        if spot.found.is_some() {
            return Err(Errno::Exist.into());
        }
        if self.chain().places(self.sql(), found.ino)?.len() >= MAX_LINKS {
            return Err(Errno::MLink.into());
        }
        self.give(spot.dir()?, &spot.name, (found.ino, found.kind), false)
    }
}
