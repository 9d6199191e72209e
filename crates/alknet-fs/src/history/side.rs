//! One of the versions that are compared, with the paths of its folders remembered.

use std::collections::HashMap;

use rusqlite::{Connection, types::Type};

use crate::{
    chain::Chain,
    hash::ContentHash,
    ids::Ino,
    limits::MAX_FOLDER_STEPS,
    path::{EntryName, FsPath},
    rows::{
        Kind, branch,
        dent::{Dent, Standing},
        inode::{Hashed, Inode},
    },
    tree::{Here, folder_mtime},
};

/// A folder and a name in it.
pub(super) type Place = (Ino, Box<[u8]>);

/// What an entry is in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// A file's length, or that of a link's target, in bytes.
    pub size: u64,
    /// The permission bits.
    pub mode: u16,
    /// When the content was last changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The hash of a file's content.
    pub hash: Option<ContentHash>,
    /// A link's target.
    pub target: Option<Box<[u8]>>,
    /// The extended attributes, encoded.
    pub xattrs: Option<Box<[u8]>>,
}

impl State {
    /// What an inode is, with the hash of its content.
    fn of((inode, hash): (Inode, Option<ContentHash>)) -> Self {
        let is_empty = inode.kind == Kind::File && inode.blob.is_none();
        let hash = if is_empty { Some(ContentHash::of(b"")) } else { hash };
        let Inode { ino, kind, size, mode, mtime_ns, target, xattrs, .. } = inode;
        Self { ino, kind, size, mode, mtime_ns, hash, target, xattrs }
    }
    /// Whether both hold the same.
    pub(super) fn is_same_content(&self, other: &Self) -> bool {
        (self.kind, self.hash, &self.target) == (other.kind, other.hash, &other.target)
    }
    /// Whether mode, time and extended attributes are the same.
    pub(super) fn is_same_attributes(&self, other: &Self) -> bool {
        (self.mode, self.mtime_ns, &self.xattrs) == (other.mode, other.mtime_ns, &other.xattrs)
    }
}

/// A version, looked at through one connection in one read transaction.
pub(super) struct Side<'a> {
    pub sql: &'a Connection,
    pub chain: &'a Chain,
    folders: HashMap<Ino, Option<FsPath>>,
    /// Statements that are kept while many are asked for.
    standing: Option<Standing<'a>>,
    hashed: Option<Hashed<'a>>,
}

impl<'a> Side<'a> {
    pub fn new(sql: &'a Connection, chain: &'a Chain) -> Self {
        let folders = HashMap::from([(Ino::ROOT, Some(FsPath::ROOT))]);
        Self { sql, chain, folders, standing: None, hashed: None }
    }

    /// The path of a folder; `None` where it is not reached from the root.
    pub fn folder(&mut self, dir: Ino) -> rusqlite::Result<Option<&FsPath>> {
        if !self.folders.contains_key(&dir) {
            self.find_folder(dir)?;
        }
        Ok(self.folders.get(&dir).and_then(Option::as_ref))
    }

    fn find_folder(&mut self, dir: Ino) -> rusqlite::Result<()> {
        let (mut walked, mut at) = (Vec::new(), dir);
        let mut path = loop {
            if let Some(known) = self.folders.get(&at) {
                break known.clone();
            }
            let place = self.chain.places(self.sql, at)?.into_iter().next();
            match place {
                Some((parent, name)) if walked.len() < MAX_FOLDER_STEPS => {
                    walked.push((at, entry_name(&self.chain.written(self.sql, parent, &name)?)?));
                    at = parent;
                }
                _ => {
                    self.folders.insert(at, None);
                    break None;
                }
            }
        };
        for (ino, name) in walked.into_iter().rev() {
            path = path.map(|folder| folder.below(name));
            self.folders.insert(ino, path.clone());
        }
        Ok(())
    }

    /// The path of a name in a folder, whether or not it stands for anything.
    pub fn path(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<FsPath>> {
        let (sql, chain) = (self.sql, self.chain);
        match self.folder(dir)? {
            Some(folder) => Ok(Some(folder.below(entry_name(&chain.written(sql, dir, name)?)?))),
            None => Ok(None),
        }
    }

    /// What a name in a folder stands for; nothing, where the folder is not reached.
    pub fn dent(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Dent>> {
        match self.folder(dir)? {
            Some(_) => self.chain.dent(self.sql, dir, name),
            None => Ok(None),
        }
    }

    /// Every place of an inode that is reached, in the order of folders and names.
    pub fn places(&mut self, ino: Ino) -> rusqlite::Result<Vec<Place>> {
        let places = self.named(ino)?;
        let mut reached = Vec::with_capacity(places.len());
        for place in places {
            if self.folder(place.0)?.is_some() {
                reached.push(place);
            }
        }
        Ok(reached)
    }

    /// Every place of an inode, in folders that are not reached too.
    pub fn named(&mut self, ino: Ino) -> rusqlite::Result<Vec<Place>> {
        let standing = match &mut self.standing {
            Some(kept) => kept,
            none => none.insert(Standing::new(self.sql)?),
        };
        self.chain.places_by(self.sql, standing, ino)
    }

    /// The first of its places.
    pub fn place(&mut self, ino: Ino) -> rusqlite::Result<Option<Place>> {
        Ok(self.places(ino)?.into_iter().next())
    }

    /// Whether an inode has a name.
    pub fn shows(&mut self, ino: Ino) -> rusqlite::Result<bool> {
        Ok(ino == Ino::ROOT || self.place(ino)?.is_some())
    }

    /// What an inode is, with its content by its number.
    pub fn inode(&self, ino: Ino) -> rusqlite::Result<Option<Inode>> {
        self.chain.inode(self.sql, ino)
    }

    /// As [`Self::inode`]; a folder with the time that is shown of it, which its names have a say in.
    pub fn timed_inode(&self, ino: Ino) -> rusqlite::Result<Option<Inode>> {
        let Some(inode) = self.inode(ino)?.filter(|inode| inode.kind == Kind::Folder) else { return self.inode(ino) };
        let Some(level) = self.chain.levels().first() else { return Ok(Some(inode)) };
        let Some(row) = branch::get(self.sql, level.branch)? else { return Ok(Some(inode)) };
        let here = Here { sql: self.sql, chain: self.chain, bucket: row.bucket };
        let mtime_ns = folder_mtime(&here, &inode)?;
        Ok(Some(Inode { mtime_ns, ..inode }))
    }

    /// What kind of entry an inode is.
    pub fn kind(&self, ino: Ino) -> rusqlite::Result<Option<Kind>> {
        Ok(self.inode(ino)?.map(|inode| inode.kind))
    }

    /// What an inode is.
    pub fn state(&mut self, ino: Ino) -> rusqlite::Result<Option<State>> {
        let hashed = match &mut self.hashed {
            Some(kept) => kept,
            none => none.insert(Hashed::new(self.sql)?),
        };
        Ok(self.chain.inode_hashed(self.sql, hashed, ino)?.map(State::of))
    }
}

/// A name as it stands in a row.
pub(super) fn entry_name(name: &[u8]) -> rusqlite::Result<EntryName> {
    EntryName::parse(name).map_err(|bad| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(bad)))
}
