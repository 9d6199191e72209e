//! Setting what an entry is besides its content.

use super::{
    Txn,
    put::Set,
    resolve::Last,
    stat,
    stop::Stop,
    xattrs::{BadXattrs, Xattrs},
};
use crate::{
    error::Errno,
    path::FsPath,
    rows::{
        Kind,
        inode::{Changed, Inode},
    },
};

impl Txn<'_> {
    pub(super) fn set_xattrs(
        &mut self,
        at: &FsPath,
        set: Vec<(Vec<u8>, Vec<u8>)>,
        remove: &[Vec<u8>],
    ) -> Result<(), Stop> {
        if set.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let found = self.entry(at, Last::Keep)?;
        let kept = self.inode(found.ino)?.xattrs;
        let kept = Xattrs::decode(kept.as_deref().unwrap_or_default()).map_err(|_| Errno::Io)?;
        let is_left = |key: &[u8]| remove.iter().all(|gone| gone != key) && set.iter().all(|(new, _)| new != key);
        let left = kept.iter().filter(|(key, _)| is_left(key)).map(|(key, value)| (key.to_vec(), value.to_vec()));
        let all = Xattrs::new(left.chain(set.iter().cloned())).map_err(|bad| match bad {
            BadXattrs::TooLong => Errno::TooBig,
            BadXattrs::Key | BadXattrs::Malformed => Errno::Inval,
        })?;
        if all == kept {
            return Ok(());
        }
        self.set_attributes(at, Set { xattrs: Some(all), ..Set::default() }, Last::Keep)
    }

    pub(super) fn set_attributes(&mut self, at: &FsPath, set: Set, last: Last) -> Result<(), Stop> {
        let found = self.entry(at, last)?;
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
