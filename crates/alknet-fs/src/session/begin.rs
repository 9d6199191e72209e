//! Opening files.

use std::sync::Arc;

use alknet_core::{Identity, Permit};

use super::{
    Handle,
    draft::Draft,
    how::{Create, OpenWrite, Start},
    opened::{self, Opened},
    quota::Allowance,
    read::ReadHandle,
    write::{Shared, WriteSession, no},
};
use crate::{
    access::{Access, Pass, Place, Right},
    address::{Address, When},
    content::BlobReader,
    error::{Errno, FsError},
    file_system::FileSystem,
    ids::{BranchId, BucketId},
    name::{BranchName, BucketName},
    path::FsPath,
    rows::{Kind, branch, bucket},
    tree::Expect,
};

/// How often a file is looked for whose content vanishes before it is held.
const TRIES: usize = 3;

/// A file that is there is edited.
const EDIT: OpenWrite = OpenWrite {
    start: Start::Existing,
    create: Create::Never,
    parents: false,
    beneath: None,
    expect: Expect::Anything,
    mode: None,
    mtime_ns: None,
    xattrs: None,
    durability: None,
};

/// What it takes to begin again.
pub(super) struct Again {
    pub pass: Pass,
    pub op: Arc<str>,
    pub opened: Opened,
}

/// What is known before the first byte.
pub(super) struct Prepared {
    pub pass: Pass,
    /// Whether the session's user may see what the file holds.
    pub shows: bool,
    pub opened: Opened,
    /// What the session begins with.
    pub base: Option<BlobReader>,
    pub handle: Handle,
    pub allowance: Allowance,
}

/// Begins a write.
pub(crate) async fn begin(
    file_system: &FileSystem,
    permit: &Permit,
    at: &Address,
    how: OpenWrite,
) -> Result<WriteSession, FsError> {
    let prepared = prepare(file_system, permit, at, &how).await?;
    Ok(session(file_system, prepared, how, permit.action().into()))
}

/// Begins a write of the file that a path leads to, as somebody who need not write it.
pub(super) async fn edit(
    file_system: &FileSystem,
    (pass, op): (Pass, Arc<str>),
    names: &(BucketName, BranchName),
    path: &FsPath,
) -> Result<WriteSession, FsError> {
    let sought = Sought::Path(names.clone(), path.clone());
    let prepared = prepare_as(file_system, (pass, true), &sought, &EDIT).await?;
    Ok(session(file_system, prepared, EDIT, op))
}

/// Begins another write of the file that a session is of.
pub(super) async fn edit_again(file_system: &FileSystem, again: Again) -> Result<WriteSession, FsError> {
    let Again { pass, op, opened } = again;
    let prepared = prepare_as(file_system, (pass, true), &Sought::File(opened), &EDIT).await?;
    Ok(session(file_system, prepared, EDIT, op))
}

fn session(file_system: &FileSystem, prepared: Prepared, how: OpenWrite, op: Arc<str>) -> WriteSession {
    let Prepared { pass, shows, opened, base, handle, allowance } = prepared;
    let spool = match base {
        Some(base) => file_system.content().spool_over(base),
        None => file_system.content().spool(),
    };
    let tables = file_system.tree().tables().clone();
    let draft = Shared::new(Draft::new(spool, allowance, opened.bucket.0, tables, opened.path.clone()));
    let file_system = file_system.clone();
    WriteSession { file_system, pass, handle, opened, how, op, shows, received: 0, expected: None, draft }
}

/// Finds what is to be written.
pub(super) async fn prepare(
    file_system: &FileSystem,
    permit: &Permit,
    at: &Address,
    how: &OpenWrite,
) -> Result<Prepared, FsError> {
    if at.when != When::Now {
        return Err(no(Errno::ReadOnly, &at.path));
    }
    let names = (at.bucket.clone(), at.branch_or_main());
    let place = Place { bucket: &names.0, branch: Some(&names.1) };
    let pass = Pass::of(permit, Right::Write, place)?;
    let reads = Access::sees(permit.identity().map(AsRef::as_ref), place);
    prepare_as(file_system, (pass, reads), &Sought::Path(names, at.path.clone()), how).await
}

/// What is to be written: what a path leads to, or a file that was found before, whatever it is called by now.
#[derive(Clone)]
enum Sought {
    Path((BucketName, BranchName), FsPath),
    File(Opened),
}

impl Sought {
    const fn path(&self) -> &FsPath {
        match self {
            Self::Path(_, path) => path,
            Self::File(opened) => &opened.path,
        }
    }
    fn open(self, sql: &rusqlite::Connection, how: &OpenWrite, who: &Identity) -> Result<Opened, FsError> {
        match self {
            Self::Path(names, path) => opened::open(sql, names, &path, how, who),
            Self::File(opened) => opened::open_again(sql, opened, who),
        }
    }
}

async fn prepare_as(
    file_system: &FileSystem,
    (pass, reads): (Pass, bool),
    sought: &Sought,
    how: &OpenWrite,
) -> Result<Prepared, FsError> {
    let before = *file_system.tree().tables().watch().borrow();
    let (opened, base) = find(file_system, sought, how, pass.identity()).await?;
    let handle = enter(file_system, (opened.bucket.0, opened.branch.0), before).await?;
    let mut allowance = file_system.allowances().begin(opened.bucket.0, opened.standing);
    if opened.began.base.is_none() {
        allowance.hold(0, 1).map_err(|_| no(Errno::Quota, sought.path()))?;
    }
    let shows = reads || how.start == Start::Empty;
    Ok(Prepared { pass, shows, opened, base, handle, allowance })
}

/// What is to be written, and the content that it begins with.
async fn find(
    file_system: &FileSystem,
    sought: &Sought,
    how: &OpenWrite,
    who: &Arc<Identity>,
) -> Result<(Opened, Option<BlobReader>), FsError> {
    let path = sought.path();
    for _ in 0..TRIES {
        let (sought, looked, who) = (sought.clone(), how.clone(), who.clone());
        let opened = file_system.tree().tables().read(move |sql| sought.open(sql, &looked, &who)).await?;
        let Some(blob) = opened.base.filter(|_| how.start == Start::Existing) else { return Ok((opened, None)) };
        match file_system.content().reader(blob, path.to_string()).await {
            // It was replaced, forgotten and collected since it was found.
            Err(FsError::At { errno: Errno::Stale, .. }) => {}
            base => return Ok((opened, Some(base?))),
        }
    }
    Err(no(Errno::Again, path))
}

/// Opens a file to be read.
pub(crate) async fn open_to_read(
    file_system: &FileSystem,
    permit: &Permit,
    at: &Address,
) -> Result<ReadHandle, FsError> {
    let tree = file_system.tree();
    let before = *tree.tables().watch().borrow();
    let view = tree.view(permit, at).await?;
    let path = at.path.clone();
    let (attributes, blob) = view.look(move |here| here.file(&path)).await?;
    if attributes.kind != Kind::File {
        return Err(FsError::At { errno: Errno::IsDir, what: "cannot read", path: at.path.to_string() });
    }
    let handle = enter(file_system, (view.bucket_id(), view.branch_id()), before).await?;
    let content = match blob {
        None => None,
        Some(blob) => Some(file_system.content().reader(blob, at.path.to_string()).await?),
    };
    Ok(ReadHandle::new(view, handle, at.path.clone(), attributes, content))
}

/// Enters a handle on a branch that was found when there were `before` commits.
async fn enter(file_system: &FileSystem, on: (BucketId, BranchId), before: u64) -> Result<Handle, FsError> {
    let handle = file_system.handles().enter(on.0, on.1);
    let tables = file_system.tree().tables();
    // Handles are told after the commit that removes their branch; one that came before this entry has been counted by now.
    if *tables.watch().borrow() != before {
        let is_there = move |sql: &rusqlite::Connection| -> Result<bool, FsError> {
            let is_shown = branch::get(sql, on.1)?.is_some_and(|branch| !branch.hidden);
            Ok(is_shown && bucket::exists(sql, on.0)?)
        };
        if !tables.read(is_there).await? {
            return Err(FsError::At {
                errno: Errno::Stale,
                what: "cannot open",
                path: "a branch that was removed".into(),
            });
        }
    }
    Ok(handle)
}
