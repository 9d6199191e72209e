//! A branch at a version, looked at through one connection: many look-ups, one commit, no thread changed.

use std::borrow::Cow;

use rusqlite::Connection;

use super::{
    list::{self, Page},
    resolve::{Last, Spot, resolve},
    stat::{self, Attributes},
    stop::Stop,
};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    ids::{BlobId, BucketId, Ino},
    path::{EntryName, FsPath},
    rows::{Kind, dent::Dent, inode::Inode},
};

/// What a branch shows at a version.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    pub(crate) sql: &'a Connection,
    pub(crate) chain: &'a Chain,
    pub(crate) bucket: BucketId,
}

impl Here<'_> {
    /// The entry at a path. With `follow`, what a symbolic link at its end leads to.
    pub fn stat(&self, path: &FsPath, follow: bool) -> Result<Attributes, FsError> {
        let dent = self.entry(path, Last::from(follow)).map_err(|stop| stop.at("cannot look at", path))?;
        stat::attributes(self, &dent).map_err(|stop| stop.at("cannot look at", path))
    }

    /// What a path leads to, links followed, with its content if it is a file that is not empty.
    pub(crate) fn file(&self, path: &FsPath) -> Result<(Attributes, Option<BlobId>), FsError> {
        let file = || {
            let dent = self.entry(path, Last::Follow)?;
            let blob = self.inode(dent.ino)?.and_then(|inode| inode.blob);
            Ok((stat::attributes(self, &dent)?, blob))
        };
        file().map_err(|stop: Stop| stop.at("cannot open", path))
    }

    /// At most `count` entries of a folder by the bytes of their names, after this one; a link to a folder is followed.
    pub fn list(
        &self,
        path: &FsPath,
        after: Option<&EntryName>,
        count: usize,
        attributes: bool,
    ) -> Result<Page, FsError> {
        let dir = self.folder(path).map_err(|stop| stop.at("cannot list", path))?;
        list::page(self, dir, after, count, attributes).map_err(|stop| stop.at("cannot list", path))
    }

    /// The target of the symbolic link at a path.
    pub fn read_link(&self, path: &FsPath) -> Result<Box<[u8]>, FsError> {
        self.target(path).map_err(|stop| stop.at("cannot read the link", path))
    }

    fn target(&self, path: &FsPath) -> Result<Box<[u8]>, Stop> {
        let dent = self.entry(path, Last::Keep)?;
        let inode = self.inode(dent.ino)?.ok_or(Errno::NoEnt)?;
        Ok(inode.target.ok_or(Errno::Inval)?)
    }

    /// Where a path leads.
    pub(crate) fn resolve(&self, path: &FsPath, last: Last) -> Result<Spot, Stop> {
        let names = path.names().iter().map(|name| Cow::Borrowed(name.as_bytes())).collect();
        resolve(self.sql, self.chain, names, last)
    }

    /// The entry that a path leads to.
    pub(crate) fn entry(&self, path: &FsPath, last: Last) -> Result<Dent, Stop> {
        Ok(self.resolve(path, last)?.found.ok_or(Errno::NoEnt)?)
    }

    /// The folder that a path leads to.
    pub(crate) fn folder(&self, path: &FsPath) -> Result<Ino, Stop> {
        let dent = self.entry(path, Last::Follow)?;
        if dent.kind == Kind::Folder { Ok(dent.ino) } else { Err(Errno::NotDir.into()) }
    }

    /// What an inode is on the branch.
    pub(crate) fn inode(&self, ino: Ino) -> rusqlite::Result<Option<Inode>> {
        self.chain.inode(self.sql, ino)
    }
}
