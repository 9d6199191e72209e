//! The acknowledged close: first the content is on the disk for good, then one transaction makes it a version.

use alknet_store::Durability;

use super::{
    conflict::{self, Refusal, Verdict},
    draft::{self, Draft},
    how::OpenWrite,
    opened::Opened,
    quota::Allowance,
    uploads::{self, Announced, Entered},
    write::{WriteSession, no},
};
use crate::{
    access::Pass,
    content::Placed,
    error::{Errno, FsError},
    failpoints::step,
    file_system::FileSystem,
    hash::ContentHash,
    ids::{Ino, Seq},
    limits::MAX_NAMES_BESIDE,
    path::EntryName,
    rows::upload::{self, UploadId},
    tree::{Body, Committed, Expect, FOLDER_MODE, InPlace, Set, Stop, Txn},
};

const CLOSE: &str = "cannot close";

/// What became of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The commit; where nothing was changed, the newest one when the file was opened.
    pub seq: Seq,
    /// What the acknowledgement means.
    pub durability: Durability,
    /// Where the content went.
    pub kept: Kept,
    /// Its hash; `None` for whom some of it came from where they may not read.
    pub hash: Option<ContentHash>,
    /// Its length, in bytes.
    pub size: u64,
}

impl Closed {
    /// As it is told to its user, who may read what it began with, or not.
    fn told(self, shows: bool) -> Self {
        Self { hash: self.hash.filter(|_| shows), ..self }
    }
}

/// Where the content of a session went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is a version of this file.
    Version(Ino),
    /// It is a new file of this name, beside what somebody else wrote meanwhile.
    Beside(Ino, EntryName),
    /// Nowhere: nothing was written, and the file is as it was.
    Unchanged,
    /// Nowhere: the file was removed while it was open, and goes with its last handle.
    Unlinked,
}

/// Closes a session.
pub(super) async fn close(session: WriteSession) -> Result<Closed, FsError> {
    let WriteSession { file_system, pass, handle, opened, how, op, shows, expected, draft, .. } = session;
    let path = opened.path.clone();
    let mut draft = draft.take().ok_or_else(|| no(Errno::Stale, &path))?;
    if let Some(closed) = unchanged(&opened, &draft, &how) {
        return Ok(closed.told(shows));
    }
    let upload = draft.take_upload();
    let close =
        Close { file_system: &file_system, pass: &pass, op: &op, opened, how, expected, upload: upload.as_ref() };
    let outcome = close.keep(draft).await;
    drop(handle);
    if outcome.is_err()
        && let Some(upload) = upload
        && let Err(error) = uploads::forget(&file_system, upload.id()).await
    {
        tracing::warn!(%error, "an upload that failed keeps its row until its lifetime is over");
    }
    step("answered");
    match outcome {
        // Everything else that may be missing is said by the session itself.
        Err(FsError::At { errno: Errno::NoEnt, what, .. }) if what != CLOSE => Err(no(Errno::Stale, &path)),
        outcome => outcome.map(|closed| closed.told(shows)),
    }
}

/// What a close needs beside the content.
struct Close<'a> {
    file_system: &'a FileSystem,
    pass: &'a Pass,
    op: &'a str,
    opened: Opened,
    how: OpenWrite,
    expected: Option<Announced>,
    upload: Option<&'a Entered>,
}

impl Close<'_> {
    async fn keep(self, draft: Draft) -> Result<Closed, FsError> {
        let Self { file_system, pass, op, opened, how, expected, upload } = self;
        let path = opened.path.clone();
        let sealed = tokio::task::spawn_blocking(move || draft.seal()).await;
        let (sealed, allowance) = sealed.map_err(|_| no(Errno::Io, &path))??;
        let (hash, size) = (sealed.hash(), sealed.size());
        let mut announced = upload.map(Entered::announced).into_iter().chain(expected);
        if announced.any(|announced| announced != Announced { size, hash }) {
            let what = "the content is not what was announced for";
            return Err(FsError::At { errno: Errno::Inval, what, path: path.to_string() });
        }
        let placed = file_system.content().place(sealed).await.map_err(|error| error.about(path.to_string()))?;
        let names = (opened.bucket.1.clone(), opened.branch.1.clone());
        let (durability, upload) = (how.durability, upload.map(Entered::id));
        let closing = Closing { opened, how, placed: placed.clone(), allowance, upload };
        let write = move |txn: &mut Txn<'_>| closing.write(txn);
        let outcome = file_system.tree().transact(pass, op, (&names.0, &names.1), durability, write).await;
        if outcome.is_ok() {
            step("committed");
        }
        placed.settle(&outcome);
        // A file that nothing names is taken away, which waits for the disk.
        let settled = tokio::task::spawn_blocking(move || drop(placed)).await;
        settled.map_err(|_| no(Errno::Io, &path))?;
        let (Committed { seq, durability }, kept) = outcome?;
        Ok(Closed { seq, durability, kept, hash: Some(hash), size })
    }
}

/// The answer where there is nothing to keep.
fn unchanged(opened: &Opened, draft: &Draft, how: &OpenWrite) -> Option<Closed> {
    let sets = how.mode.is_some() || how.mtime_ns.is_some() || how.xattrs.is_some();
    let hash = opened.hash.filter(|_| opened.began.follows && !draft.is_changed() && !sets)?;
    let (seq, size) = (opened.head, draft.size());
    // What is there may have been kept a moment ago, by whoever asked for no more than this.
    Some(Closed { seq, durability: Durability::Lazy, kept: Kept::Unchanged, hash: Some(hash), size })
}

/// A session whose content is on the disk for good.
struct Closing {
    opened: Opened,
    how: OpenWrite,
    placed: Placed,
    allowance: Allowance,
    upload: Option<UploadId>,
}

impl Closing {
    fn write(self, txn: &mut Txn<'_>) -> Result<Kept, FsError> {
        let path = self.opened.path.clone();
        if txn.bucket().id != self.opened.bucket.0 || txn.branch().id != self.opened.branch.0 {
            // Another one of the same name.
            return Err(no(Errno::Stale, &path));
        }
        let kept = self.keep(txn)?;
        if let Some(upload) = &self.upload {
            upload::remove(txn.sql(), upload)?;
        }
        // From here on the row counts it. Should the commit fail, the next look at the row says so.
        if let Some(standing) = draft::standing(txn.sql(), self.opened.bucket.0)? {
            self.allowance.learn(standing);
        }
        Ok(kept)
    }

    fn keep(&self, txn: &mut Txn<'_>) -> Result<Kept, FsError> {
        let path = &self.opened.path;
        let said = |stop: Stop| stop.at(CLOSE, path);
        if let Some(beneath) = &self.how.beneath {
            let link = if self.how.expect == Expect::Anything { InPlace::Goes } else { InPlace::Stays };
            txn.confine(beneath, path, link).map_err(said)?;
        }
        let spotted = self.opened.again(&txn.here()).map_err(said)?;
        let moved = || FsError::Conflict { path: path.to_string() };
        if !txn.is_expected(spotted.dent.as_ref(), self.how.expect).map_err(said)? {
            return Err(moved());
        }
        let verdict = conflict::settle(self.opened.began, spotted.found, txn.policy().conflict);
        let (body, set) = (Body::Placed(self.placed.clone()), self.set());
        match verdict.map_err(|refusal| match refusal {
            Refusal::Moved => moved(),
            Refusal::Exists => said(Errno::Exist.into()),
            Refusal::IsFolder => said(Errno::IsDir.into()),
        })? {
            Verdict::Nowhere => Ok(Kept::Unlinked),
            Verdict::Rewrite(ino) => {
                let dent = spotted.dent.ok_or_else(|| said(Errno::Io.into()))?;
                txn.rewrite(&dent, body, set).map_err(said)?;
                Ok(Kept::Version(ino))
            }
            Verdict::Create => {
                let (dir, name) = self.place(txn, spotted.place).map_err(said)?;
                txn.create(dir, &name, body, set).map(Kept::Version).map_err(said)
            }
            Verdict::Beside => {
                let (dir, name) = self.place(txn, spotted.place).map_err(said)?;
                let name = beside(txn, dir, &name)?;
                let ino = txn.create(dir, name.as_bytes(), body, set).map_err(said)?;
                Ok(Kept::Beside(ino, name))
            }
        }
    }

    fn set(&self) -> Set {
        Set { mode: self.how.mode, mtime_ns: self.how.mtime_ns, xattrs: self.how.xattrs.clone() }
    }

    /// The folder and the name of a new file.
    fn place(&self, txn: &mut Txn<'_>, place: Option<(Ino, Box<[u8]>)>) -> Result<(Ino, Box<[u8]>), Stop> {
        if let Some(place) = place {
            return Ok(place);
        }
        let (folder, name) = self.opened.path.split_last().ok_or(Errno::IsDir)?;
        if !self.how.parents {
            return Err(Errno::NoEnt.into());
        }
        Ok((txn.make_folders(&folder, FOLDER_MODE)?, name.as_bytes().into()))
    }
}

/// A name beside another that is free.
fn beside(txn: &mut Txn<'_>, dir: Ino, name: &[u8]) -> Result<EntryName, FsError> {
    let name = txn.chain().written(txn.sql(), dir, name)?;
    let name = EntryName::parse(&name).map_err(|_| FsError::At { errno: Errno::Io, what: CLOSE, path: "/".into() })?;
    let seq = txn.seq()?;
    for attempt in 1..=MAX_NAMES_BESIDE {
        let name = conflict::beside(&name, seq, attempt);
        if txn.chain().dent(txn.sql(), dir, name.as_bytes())?.is_none() {
            return Ok(name);
        }
    }
    Err(FsError::At { errno: Errno::Exist, what: CLOSE, path: name.to_string() })
}
