//! What is known of an entry.

use super::{here::Here, stop::Stop, xattrs::Xattrs};
use crate::{
    error::Errno,
    hash::ContentHash,
    ids::{Ino, Seq},
    limits::MAX_RESOLVE_STEPS,
    rows::{Kind, commit, dent, dent::Dent, inode::Changed, inode::Hashed, inode::Inode},
};

/// The permission bits of a root that nobody has set.
const ROOT_MODE: u16 = 0o755;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Its number, the same under each of its names.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Its bytes; those of the target, of a link.
    pub size: u64,
    /// The permission bits.
    pub mode: u16,
    /// When its content was last changed, in nanoseconds since 1970; of a folder: when it last gained or lost a name, unless set since.
    pub mtime_ns: i64,
    /// When it or its name was last changed, by the clock of the commits. Not told in lists.
    pub ctime_ns: Option<i64>,
    /// How many names it has on this branch; 1 for a folder. Not told in lists.
    pub nlink: Option<u32>,
    /// The hash of a file's content.
    pub hash: Option<ContentHash>,
    /// The target of a link.
    pub target: Option<Box<[u8]>>,
    /// The extended attributes.
    pub xattrs: Xattrs,
    /// The commit that last changed it, or its name.
    pub seq: Seq,
}

/// All of it.
pub(crate) fn attributes(here: &Here<'_>, dent: &Dent) -> Result<Attributes, Stop> {
    let brief = brief(here, &mut Hashed::new(here.sql)?, dent)?;
    let ctime_ns = commit::time(here.sql, here.bucket, brief.seq)?.unwrap_or(brief.mtime_ns);
    let nlink = if dent.kind == Kind::Folder { 1 } else { links(here, dent.ino)? };
    Ok(Attributes { ctime_ns: Some(ctime_ns), nlink: Some(nlink), ..brief })
}

/// What can be had with few look-ups.
pub(crate) fn brief(here: &Here<'_>, hashed: &mut Hashed<'_>, dent: &Dent) -> Result<Attributes, Stop> {
    let (inode, hash) = match here.chain.inode_hashed(here.sql, hashed, dent.ino)? {
        Some(found) => found,
        None if dent.ino == Ino::ROOT => (root(here)?, None),
        None => return Err(Errno::Io.into()),
    };
    let hash = match (inode.kind, inode.blob) {
        (Kind::File, None) => Some(ContentHash::of(b"")),
        (Kind::File, Some(_)) => hash,
        _ => None,
    };
    Ok(Attributes {
        ino: inode.ino,
        kind: inode.kind,
        size: inode.size,
        mode: inode.mode,
        mtime_ns: if inode.kind == Kind::Folder { folder_mtime(here, &inode)? } else { inode.mtime_ns },
        ctime_ns: None,
        nlink: None,
        hash,
        xattrs: Xattrs::decode(inode.xattrs.as_deref().unwrap_or_default()).map_err(|_| Errno::Io)?,
        target: inode.target,
        seq: inode.seq.max(dent.seq),
    })
}

/// The root before anybody sets anything: as old as the bucket.
pub(crate) fn root(here: &Here<'_>) -> rusqlite::Result<Inode> {
    let first = Seq::new(1).unwrap_or_default();
    let mtime_ns = commit::time(here.sql, here.bucket, first)?.unwrap_or_default();
    Ok(Inode {
        ino: Ino::ROOT,
        seq: Seq::ZERO,
        kind: Kind::Folder,
        blob: None,
        size: 0,
        mode: ROOT_MODE,
        mtime_ns,
        target: None,
        xattrs: None,
        changed: Changed::default(),
    })
}

/// When a folder last gained or lost a name, unless its time was set since.
pub(crate) fn folder_mtime(here: &Here<'_>, inode: &Inode) -> rusqlite::Result<i64> {
    let mut newest = inode.seq;
    for level in here.chain.levels() {
        newest = newest.max(dent::newest_in(here.sql, level.branch, inode.ino, level.bound)?.unwrap_or_default());
    }
    if newest == inode.seq {
        return Ok(inode.mtime_ns);
    }
    Ok(commit::time(here.sql, here.bucket, newest)?.unwrap_or(inode.mtime_ns))
}

/// The names of a file or link that can be reached.
pub(crate) fn links(here: &Here<'_>, ino: Ino) -> rusqlite::Result<u32> {
    let places = here.chain.places(here.sql, ino)?;
    if places.len() < 2 {
        return Ok(1);
    }
    let mut count = 0;
    for (dir, _) in &places {
        count += u32::from(is_attached(here, *dir)?);
    }
    Ok(count.max(1))
}

/// Whether a folder hangs on the root. Under a branch that follows, the parent's new names can come to folders that it has removed.
pub(crate) fn is_attached(here: &Here<'_>, dir: Ino) -> rusqlite::Result<bool> {
    let mut dir = dir;
    for _ in 0..MAX_RESOLVE_STEPS {
        if dir == Ino::ROOT {
            return Ok(true);
        }
        match here.chain.places(here.sql, dir)?.first() {
            Some((above, _)) => dir = *above,
            None => return Ok(false),
        }
    }
    Ok(false)
}
