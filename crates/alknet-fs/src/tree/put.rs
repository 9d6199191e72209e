//! New folders and files, and new content of files.

use super::{
    Txn,
    change::{Expect, Put, checked_mode},
    finding::Folder,
    resolve::Last,
    stop::Stop,
    xattrs::Xattrs,
};
use crate::{
    access::{Access, Place},
    content::Placed,
    error::{Errno, FsError},
    hash::ContentHash,
    ids::{BlobId, Ino, Seq},
    path::FsPath,
    rows::{
        Kind, blob,
        dent::Dent,
        inode::{self, Changed, Inode},
    },
    visibility::visible_among,
};

/// The permission bits of a file that its maker says nothing of.
const FILE_MODE: u16 = 0o644;
/// The permission bits of a folder that is made on the way to another.
pub(crate) const FOLDER_MODE: u16 = 0o755;

/// What a file shall hold.
#[derive(Debug, Clone)]
pub enum Body {
    /// Content that was placed for it.
    Placed(Placed),
    /// Content that the bucket has already, where whoever acts may read it; to anybody else it is not there.
    Known(ContentHash),
}

impl Txn<'_> {
    /// Makes a folder.
    pub(super) fn make_folder(&mut self, at: &FsPath, mode: u16, parents: bool) -> Result<(), Stop> {
        let mode = checked_mode(mode)?;
        if parents {
            return self.make_folders(at, mode).map(|_| ());
        }
        let spot = self.resolve(at, Last::Keep)?;
        if spot.found.is_some() {
            return Err(Errno::Exist.into());
        }
        self.new_folder(spot.dir()?, &spot.name, mode).map(|_| ())
    }

    /// The folder at a path, with those above it, made where they are missing.
    pub(crate) fn make_folders(&mut self, at: &FsPath, mode: u16) -> Result<Ino, Stop> {
        let (mut dir, left) = match self.folder(at.names())? {
            Folder::There(ino) => return Ok(ino),
            Folder::Missing(dir, left) => (dir, left),
        };
        // From the first that is not there on, none is.
        let missing = &at.names()[at.names().len() - left..];
        for (index, name) in missing.iter().enumerate() {
            let mode = if index + 1 == left { mode } else { FOLDER_MODE };
            dir = self.new_folder(dir, name.as_bytes(), mode)?;
        }
        Ok(dir)
    }

    fn new_folder(&mut self, dir: Ino, name: &[u8], mode: u16) -> Result<Ino, Stop> {
        let blank = Inode { mode, ..self.blank(Kind::Folder)? };
        self.new_entry(dir, name, blank)
    }

    /// A new inode with nothing in it.
    pub(super) fn blank(&mut self, kind: Kind) -> Result<Inode, Stop> {
        Ok(Inode {
            ino: self.new_ino()?,
            seq: Seq::ZERO,
            kind,
            blob: None,
            size: 0,
            mode: FILE_MODE,
            mtime_ns: self.now_ns(),
            target: None,
            xattrs: None,
            changed: Changed::ALL,
        })
    }

    /// Gives a new inode its first name.
    pub(crate) fn new_entry(&mut self, dir: Ino, name: &[u8], inode: Inode) -> Result<Ino, Stop> {
        let (ino, kind) = (inode.ino, inode.kind);
        self.write(inode)?;
        self.give_new(dir, name, (ino, kind), true)?;
        Ok(ino)
    }

    /// Gives a file content.
    pub(super) fn put(&mut self, put: Put) -> Result<(), FsError> {
        let Put { at, body, mode, mtime_ns, xattrs, parents, expect } = put;
        let said = |stop: Stop| stop.at("cannot write", &at);
        if parents && let Some((folder, _)) = at.split_last() {
            self.make_folders(&folder, FOLDER_MODE).map_err(said)?;
        }
        let last = if expect == Expect::Absent { Last::Keep } else { Last::Follow };
        let spot = self.resolve(&at, last).map_err(said)?;
        if !self.is_expected(spot.found.as_ref(), expect).map_err(said)? {
            return Err(FsError::Conflict { path: at.to_string() });
        }
        let set = Set { mode, mtime_ns, xattrs };
        match &spot.found {
            Some(found) => self.rewrite(found, body, set).map_err(said),
            None => {
                let dir = spot.dir().map_err(|errno| said(errno.into()))?;
                self.create(dir, &spot.name, body, set).map(|_| ()).map_err(said)
            }
        }
    }

    /// Whether what is there, if anything, is what its writer expects.
    pub(crate) fn is_expected(&self, found: Option<&Dent>, expect: Expect) -> Result<bool, Stop> {
        let found = match (found, expect) {
            (Some(_), Expect::Absent) => return Err(Errno::Exist.into()),
            (_, Expect::Anything | Expect::Absent) => return Ok(true),
            (None, Expect::Version(_) | Expect::Hash(_)) => return Ok(false),
            (Some(found), _) => found,
        };
        let inode = self.inode(found.ino)?;
        Ok(match expect {
            Expect::Version(seq) => inode.seq.max(found.seq) == seq,
            // To whoever may not read it, it is some other content.
            Expect::Hash(hash) => Access::sees(Some(self.identity()), self.place()) && self.hash(&inode)? == hash,
            Expect::Anything | Expect::Absent => true,
        })
    }

    fn place(&self) -> Place<'_> {
        Place { bucket: &self.bucket().name, branch: Some(&self.branch().name) }
    }

    fn hash(&self, inode: &Inode) -> Result<ContentHash, Stop> {
        match inode.blob {
            None => Ok(ContentHash::of(b"")),
            Some(id) => Ok(blob::hash(self.sql(), id)?.ok_or(Errno::Io)?),
        }
    }

    /// Makes a file.
    pub(crate) fn create(&mut self, dir: Ino, name: &[u8], body: Body, set: Set) -> Result<Ino, Stop> {
        let (blob, size) = self.store(body)?;
        let mut inode = Inode { blob, size, ..self.blank(Kind::File)? };
        set.apply(&mut inode)?;
        self.new_entry(dir, name, inode)
    }

    /// Gives the file that was found other content. It stays the same file under each of its names.
    pub(crate) fn rewrite(&mut self, found: &Dent, body: Body, set: Set) -> Result<(), Stop> {
        match found.kind {
            Kind::File => {}
            Kind::Folder => return Err(Errno::IsDir.into()),
            Kind::Symlink => return Err(Errno::Loop.into()),
        }
        let old = self.inode(found.ino)?;
        let (blob, size) = self.store(body)?;
        let content = self.is_other_content(old.ino, (blob, size))?;
        let mtime_ns = self.now_ns();
        let attributes = set.mode.is_some() || set.xattrs.is_some();
        let mut inode =
            Inode { blob, size, mtime_ns, changed: Changed { content, attributes: attributes || !content }, ..old };
        set.apply(&mut inode)?;
        self.write(inode)
    }

    /// Whether a file gets other content with this. The same again is none, if the branch has it of its own: on one that follows, attributes
    /// that it has set leave the content to its parent.
    pub(super) fn is_other_content(&self, ino: Ino, (blob, size): (Option<BlobId>, u64)) -> Result<bool, Stop> {
        let branch = self.branch().id;
        let follows = self.chain().levels().get(1).is_some_and(|parent| parent.fork.is_some());
        if follows && !inode::changed(self.sql(), branch, ino, Seq::MAX)?.content {
            return Ok(true);
        }
        let own = inode::newest(self.sql(), branch, ino, Seq::MAX)?;
        Ok(own.is_none_or(|own| own.blob != blob || own.size != size))
    }

    /// The row of content that may be referred to.
    fn store(&mut self, body: Body) -> Result<(Option<BlobId>, u64), Stop> {
        match body {
            Body::Placed(placed) => Ok((placed.link(self.sql(), self.on().now_ms)?, placed.size())),
            Body::Known(hash) if hash == ContentHash::of(b"") => Ok((None, 0)),
            Body::Known(hash) => {
                let mut steps = self.asked;
                let sees = |place: Place<'_>| Access::sees(Some(self.identity()), place);
                let known = visible_among(self.sql(), &hash, self.bucket().id, sees, &mut steps)?;
                self.asked = steps;
                let known = known.ok_or(Errno::NoEnt)?;
                Ok((Some(known.blob.id), known.blob.size))
            }
        }
    }
}

/// Attributes to set with content.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub mode: Option<u16>,
    pub mtime_ns: Option<i64>,
    pub xattrs: Option<Xattrs>,
}

impl Set {
    /// Whether none is given.
    pub const fn is_nothing(&self) -> bool {
        self.mode.is_none() && self.mtime_ns.is_none() && self.xattrs.is_none()
    }
    /// Sets those that are given.
    pub fn apply(self, inode: &mut Inode) -> Result<(), Stop> {
        if let Some(mode) = self.mode {
            inode.mode = checked_mode(mode)?;
        }
        if let Some(mtime_ns) = self.mtime_ns {
            inode.mtime_ns = mtime_ns;
        }
        if let Some(xattrs) = self.xattrs {
            inode.xattrs = Some(xattrs.encode()).filter(|bytes| !bytes.is_empty()).map(Into::into);
        }
        Ok(())
    }
}
