//! What a session is about: found when it begins, and found again when it ends.

use alknet_core::Identity;
use rusqlite::Connection;

use super::{
    conflict::{Began, Found, Seen},
    draft,
    how::{Create, OpenWrite, Start},
    quota::Standing,
};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    hash::ContentHash,
    ids::{BlobId, BranchId, BucketId, Ino, Seq},
    name::{BranchName, BucketName},
    path::FsPath,
    rows::{Kind, blob, branch, bucket, dent::Dent, inode::Inode, upload},
    sight::Sight,
    tree::{Here, Last, Stop, is_attached},
};

const OPEN: &str = "cannot open";

/// Where a session was begun, and from what.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub bucket: (BucketId, BucketName),
    pub branch: (BranchId, BranchName),
    /// As the session's user wrote it.
    pub path: FsPath,
    /// The folder that held the name, whatever it is called by now; `None`: it was not there yet.
    pub dir: Option<Ino>,
    /// The name in it.
    pub name: Box<[u8]>,
    pub began: Began,
    /// Where that content is; `None`: there is none.
    pub base: Option<BlobId>,
    /// Its hash, of a file.
    pub hash: Option<ContentHash>,
    /// The bucket's newest commit then.
    pub head: Seq,
    pub standing: Standing,
}

/// Looks at what a session is to write.
pub(crate) fn open(
    sql: &Connection,
    names: (BucketName, BranchName),
    path: &FsPath,
    how: &OpenWrite,
    who: &Identity,
) -> Result<Opened, FsError> {
    let place = || format!("{}:{}", names.0, names.1);
    let none = || FsError::At { errno: Errno::NoEnt, what: "cannot find the branch", path: place() };
    let no_bucket = || FsError::At { errno: Errno::NoEnt, what: "cannot find the bucket", path: names.0.to_string() };
    let bucket = bucket::find(sql, &names.0)?.ok_or_else(no_bucket)?;
    let branch = branch::find(sql, bucket.id, &names.1)?.ok_or_else(none)?;
    let sight = Sight::of_identity(sql, &names.0, &branch, Some(who))?;
    let chain = sight.chain(sql, branch.id, Seq::MAX)?.ok_or_else(none)?;
    let here = Here { sql, chain: &chain, bucket: bucket.id };
    let (dir, name, inode) = find(&here, path, how).map_err(|stop| stop.at(OPEN, path))?;
    let base = inode.as_ref().map(|inode| Seen { ino: inode.ino, blob: inode.blob });
    let began = Began {
        base,
        follows: base.is_some() && how.start == Start::Existing,
        exclusive: how.create == Create::Exclusive,
    };
    let hash = match &inode {
        Some(Inode { blob: Some(blob), .. }) => blob::hash(sql, *blob)?,
        Some(_) => Some(ContentHash::of(b"")),
        None => None,
    };
    Ok(Opened {
        head: bucket.head,
        standing: draft::standing(sql, bucket.id)?.ok_or_else(none)?,
        bucket: (bucket.id, names.0),
        branch: (branch.id, names.1),
        path: path.clone(),
        dir,
        name,
        began,
        base: inode.and_then(|inode| inode.blob),
        hash,
    })
}

/// Looks again at a file that was there, whatever it is called by now, if it still has a name.
pub(crate) fn open_again(sql: &Connection, before: Opened, who: &Identity) -> Result<Opened, FsError> {
    let gone = |errno| FsError::At { errno, what: OPEN, path: before.path.to_string() };
    let branch = branch::get(sql, before.branch.0)?.filter(|branch| !branch.hidden);
    let branch = branch.ok_or_else(|| gone(Errno::Stale))?;
    let bucket = bucket::get(sql, before.bucket.0)?.ok_or_else(|| gone(Errno::Stale))?;
    let sight = Sight::of_identity(sql, &before.bucket.1, &branch, Some(who))?;
    let chain = sight.chain(sql, branch.id, Seq::MAX)?.ok_or_else(|| gone(Errno::Stale))?;
    let base = before.began.base.ok_or_else(|| gone(Errno::NoEnt))?;
    let inode = chain.inode(sql, base.ino)?.ok_or_else(|| gone(Errno::NoEnt))?;
    let hash = match inode.blob {
        Some(blob) => blob::hash(sql, blob)?,
        None => Some(ContentHash::of(b"")),
    };
    let began = Began { base: Some(Seen { ino: base.ino, blob: inode.blob }), follows: true, exclusive: false };
    let standing = Standing::of(&bucket, upload::promised(sql, bucket.id)?);
    Ok(Opened { began, base: inode.blob, hash, head: bucket.head, standing, ..before })
}

/// A folder that may not be there yet, the name in it, and the file that has it.
type Target = (Option<Ino>, Box<[u8]>, Option<Inode>);

fn find(here: &Here<'_>, path: &FsPath, how: &OpenWrite) -> Result<Target, Stop> {
    let confined = match &how.beneath {
        Some(beneath) if beneath != path => {
            here.confined(beneath, path)?;
            true
        }
        _ => false,
    };
    let last = if confined || how.create == Create::Exclusive { Last::Keep } else { Last::Follow };
    let spot = match here.resolve(path, last) {
        Ok(spot) => spot,
        Err(Stop::No(Errno::NoEnt)) if how.parents && how.create != Create::Never => {
            let (_, name) = path.split_last().ok_or(Errno::IsDir)?;
            return Ok((None, name.as_bytes().into(), None));
        }
        Err(stop) => return Err(stop),
    };
    if spot.above.is_empty() {
        return Err(Errno::IsDir.into());
    }
    let dir = spot.dir()?;
    let inode = match spot.found {
        None if how.create == Create::Never => return Err(Errno::NoEnt.into()),
        None => None,
        Some(_) if how.create == Create::Exclusive => return Err(Errno::Exist.into()),
        Some(dent) if dent.kind == Kind::Folder => return Err(Errno::IsDir.into()),
        // It will be replaced.
        Some(dent) if confined && dent.kind == Kind::Symlink => None,
        Some(dent) => Some(here.inode(dent.ino)?.ok_or(Errno::Io)?),
    };
    Ok((Some(dir), spot.name, inode))
}

/// Where a session's file is when it ends.
pub(crate) struct Spotted {
    pub found: Found,
    /// Its entry.
    pub dent: Option<Dent>,
    /// The folder, if there is one, and the name in it.
    pub place: Option<(Ino, Box<[u8]>)>,
}

impl Opened {
    /// Whether the file that was there still has a name.
    pub fn is_linked(&self, sql: &Connection) -> Result<bool, FsError> {
        let Some(chain) = Chain::of(sql, self.branch.0, Seq::MAX)? else { return Ok(false) };
        let here = Here { sql, chain: &chain, bucket: self.bucket.0 };
        let spotted = self.again(&here).map_err(|stop| stop.at(OPEN, &self.path))?;
        Ok(spotted.found != Found::Nothing)
    }

    /// Finds the file again. `None` as its place: there is no such folder any more, or not yet.
    pub fn again(&self, here: &Here<'_>) -> Result<Spotted, Stop> {
        match (self.began.follows, self.began.base) {
            (true, Some(base)) => followed(here, base.ino),
            _ => self.by_name(here),
        }
    }

    fn by_name(&self, here: &Here<'_>) -> Result<Spotted, Stop> {
        if let Some(dir) = self.dir
            && is_attached(here, dir)?
        {
            let dent = here.chain.dent(here.sql, dir, &self.name)?;
            return spotted(here, dent, Some((dir, self.name.clone())));
        }
        match here.resolve(&self.path, Last::Follow) {
            Ok(spot) => {
                let dir = spot.dir()?;
                spotted(here, spot.found, Some((dir, spot.name)))
            }
            Err(Stop::No(Errno::NoEnt)) => spotted(here, None, None),
            Err(stop) => Err(stop),
        }
    }
}

/// The file of this number, wherever it is by now.
fn followed(here: &Here<'_>, ino: Ino) -> Result<Spotted, Stop> {
    for (dir, name) in here.chain.places(here.sql, ino)? {
        if is_attached(here, dir)? {
            let dent = here.chain.dent(here.sql, dir, &name)?;
            return spotted(here, dent, Some((dir, name)));
        }
    }
    spotted(here, None, None)
}

fn spotted(here: &Here<'_>, dent: Option<Dent>, place: Option<(Ino, Box<[u8]>)>) -> Result<Spotted, Stop> {
    let found = match dent.as_ref().map(|dent| (dent.kind, dent.ino)) {
        None => Found::Nothing,
        Some((Kind::Folder, _)) => Found::Folder,
        Some((Kind::Symlink, _)) => Found::Symlink,
        Some((Kind::File, ino)) => Found::File(Seen { ino, blob: here.inode(ino)?.ok_or(Errno::Io)?.blob }),
    };
    Ok(Spotted { found, dent, place })
}
