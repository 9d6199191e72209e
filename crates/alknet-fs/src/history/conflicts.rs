//! Where both sides of a merge changed the same thing: listed with both versions until somebody says which one stays.

use alknet_core::Identity;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::side::{Place, Side, State};
use crate::{
    access::{self, Access},
    error::{Errno, FsError},
    ids::{BranchId, Ino, Seq},
    name::BucketName,
    path::FsPath,
    rows::{
        Kind, branch,
        conflict::{self, ConflictRow, Sides},
        merge,
    },
    sight::Sight,
};

/// What both changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// What it holds.
    Content,
    /// Its mode or its extended attributes.
    Attributes,
    /// Where it is.
    Place,
    /// One side removed what the other changed.
    Removed,
    /// What the two want the same name for.
    Name,
}

/// An entry as one side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its number.
    pub ino: Ino,
    /// Where it is there.
    pub path: FsPath,
    /// Its place there.
    pub(super) place: Place,
    /// What it is there.
    pub state: State,
    /// What its side is called.
    pub label: String,
    /// A number under which its content is kept on the branch of the conflict, without a name.
    pub(super) aside: Option<Ino>,
}

impl Subject {
    /// An entry of a version, under the name that is meant if it has that there.
    pub(super) fn of(
        side: &mut Side<'_>,
        label: &str,
        (ino, meant): (Ino, Option<&Place>),
    ) -> rusqlite::Result<Option<Self>> {
        let mut places = if ino == Ino::ROOT { vec![(ino, Box::default())] } else { side.places(ino)? };
        let index = places.iter().position(|place| Some(place) == meant).unwrap_or(0);
        let place = (index < places.len()).then(|| places.swap_remove(index));
        let (Some(place), Some(state)) = (place, side.state(ino)?) else { return Ok(None) };
        let path = if ino == Ino::ROOT { Some(FsPath::ROOT) } else { side.path(place.0, &place.1)? };
        Ok(path.map(|path| Self { ino, path, place, state, label: label.to_owned(), aside: None }))
    }
}

/// A conflict of a merge that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What both changed.
    pub about: About,
    /// Where it is after the merge.
    pub path: FsPath,
    pub(super) place: Option<Place>,
    /// What it is here; `None`: removed.
    pub ours: Option<Subject>,
    /// What it is there; `None`: removed.
    pub theirs: Option<Subject>,
    pub(super) more: More,
}

/// What it takes to settle a conflict, besides its sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct More {
    /// Of a name: what theirs has there, by its number here, and where it is until it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Put>,
    /// Of a name: where ours had what theirs moved there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Put>,
    /// Of attributes: which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clash: Option<Clash>,
}

/// An entry under one of its names, by the numbers of the branch that a conflict is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Put {
    ino: u64,
    dir: u64,
    name: Vec<u8>,
}

impl Put {
    pub fn new(ino: Ino, (dir, name): &Place) -> Self {
        Self { ino: ino.get(), dir: dir.get(), name: name.to_vec() }
    }
    pub fn ino(&self) -> Option<Ino> {
        Ino::known(self.ino)
    }
    pub fn place(&self) -> Option<Place> {
        Some((Ino::known(self.dir)?, self.name.clone().into()))
    }
}

/// Which attributes both sides changed in different ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clash {
    /// The permission bits.
    pub mode: bool,
    /// The extended attributes.
    pub xattrs: bool,
}

impl Clash {
    pub fn is_any(self) -> bool {
        self.mode || self.xattrs
    }
}

/// A conflict that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its number.
    pub id: u64,
    /// The merge.
    pub seq: Seq,
    /// The branch that was merged, and its version.
    pub from: Option<(BranchId, Seq)>,
    /// Whether that branch is there.
    pub is_there: bool,
    /// Whether whoever asks may see what it was then. Of a removed branch the name is free: only who may read the whole bucket may.
    pub is_seen: bool,
    /// What it is about, as it was then.
    pub draft: Draft,
}

impl Draft {
    /// What is written down of it.
    pub(super) fn row(&self, theirs: Option<Subject>) -> Sides {
        let side = |subject: Option<&Subject>| {
            let (path, more) = (self.path.to_bytes(), self.more.clone());
            let written = Written { about: self.about, path, side: subject.map(Facts::of), more };
            serde_json::to_string(&written).expect("because it has words, numbers and lists of them only")
        };
        let (dir, name) = self.place.clone().unwrap_or_else(|| (Ino::ROOT, Box::default()));
        Sides { dir, name, ours: side(self.ours.as_ref()), theirs: side(theirs.as_ref()) }
    }
}

/// At most `count` conflicts of a branch that are not settled, by number, after this one.
pub fn open(
    sql: &Connection,
    (branch, bucket, who): (BranchId, &BucketName, &Identity),
    (after, count): (u64, usize),
) -> Result<Vec<Conflict>, FsError> {
    conflict::open(sql, branch, after, count)?.into_iter().map(|row| read(sql, row, (bucket, who))).collect()
}

/// The conflict of this number that a branch has not settled.
pub(super) fn get(
    sql: &Connection,
    (branch, bucket, who): (BranchId, &BucketName, &Identity),
    id: u64,
) -> Result<Conflict, FsError> {
    let row = conflict::get(sql, branch, id)?;
    let no = || FsError::At {
        errno: Errno::NoEnt,
        what: "cannot find an open conflict with the number",
        path: id.to_string(),
    };
    read(sql, row.ok_or_else(no)?, (bucket, who))
}

fn read(sql: &Connection, row: ConflictRow, (bucket, who): (&BucketName, &Identity)) -> Result<Conflict, FsError> {
    let unreadable = || FsError::At { errno: Errno::Io, what: "cannot read the conflict", path: row.id.to_string() };
    let written = |text: &str| serde_json::from_str::<Written>(text).map_err(|_| unreadable());
    let (ours, theirs) = (written(&row.about.ours)?, written(&row.about.theirs)?);
    let path = FsPath::parse(&ours.path).map_err(|_| unreadable())?;
    let subject = |side: Option<Facts>| side.map(|facts| facts.subject().ok_or_else(unreadable)).transpose();
    let draft = Draft {
        about: ours.about,
        path,
        place: Some((row.about.dir, row.about.name.clone())),
        ours: subject(ours.side)?,
        theirs: subject(theirs.side)?,
        more: ours.more,
    };
    let from = merge::of_commit(sql, row.branch, row.seq)?;
    let known = from.map(|(id, _)| branch::get(sql, id)).transpose()?.flatten();
    let known = known.filter(|row| !row.hidden);
    let sees = |branch| Access::sees(Some(who), access::Place { bucket, branch });
    let is_seen = match (&known, from) {
        (Some(known), Some((_, at))) if sees(Some(&known.name)) => {
            let sight = Sight::of_identity(sql, bucket, known, Some(who))?;
            !sight.is_capped() && at >= sight.oldest()
        }
        _ => sees(None),
    };
    Ok(Conflict { id: row.id, seq: row.seq, from, is_there: known.is_some(), is_seen, draft })
}

#[derive(Serialize, Deserialize)]
struct Written {
    about: About,
    path: Vec<u8>,
    side: Option<Facts>,
    #[serde(flatten)]
    more: More,
}

/// A side of a conflict as it is written down.
#[derive(Serialize, Deserialize)]
struct Facts {
    ino: u64,
    path: Vec<u8>,
    dir: u64,
    name: Vec<u8>,
    kind: u8,
    size: u64,
    mode: u16,
    mtime_ns: i64,
    hash: Option<String>,
    target: Option<Vec<u8>>,
    xattrs: Option<Vec<u8>>,
    label: String,
    aside: Option<u64>,
}

impl Facts {
    fn of(subject: &Subject) -> Self {
        let State { kind, size, mode, mtime_ns, hash, target, xattrs, .. } = &subject.state;
        Self {
            ino: subject.ino.get(),
            path: subject.path.to_bytes(),
            dir: subject.place.0.get(),
            name: subject.place.1.to_vec(),
            kind: *kind as u8,
            size: *size,
            mode: *mode,
            mtime_ns: *mtime_ns,
            hash: hash.map(|hash| hash.to_string()),
            target: target.as_ref().map(|target| target.to_vec()),
            xattrs: xattrs.as_ref().map(|xattrs| xattrs.to_vec()),
            label: subject.label.clone(),
            aside: subject.aside.map(Ino::get),
        }
    }

    fn subject(self) -> Option<Subject> {
        let ino = Ino::known(self.ino)?;
        let state = State {
            ino,
            kind: Kind::of(self.kind.into())?,
            size: self.size,
            mode: self.mode,
            mtime_ns: self.mtime_ns,
            hash: self.hash.map(|hash| hash.parse()).transpose().ok()?,
            target: self.target.map(Into::into),
            xattrs: self.xattrs.map(Into::into),
        };
        let aside = self.aside.map(Ino::known);
        Some(Subject {
            ino,
            path: FsPath::parse(&self.path).ok()?,
            place: (Ino::known(self.dir)?, self.name.into()),
            state,
            label: self.label,
            aside: aside.flatten(),
        })
    }
}
