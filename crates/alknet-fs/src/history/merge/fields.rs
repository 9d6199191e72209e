//! What an entry holds and its attributes, each merged by itself.

use rusqlite::Connection;

use crate::{
    history::conflicts::Clash,
    rows::{
        blob,
        inode::{Changed, Inode},
    },
};

/// Whose it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// It stays.
    Ours,
    /// It is taken.
    Theirs,
    /// Both changed it, and not in the same way.
    Clash,
}

fn pick<T: PartialEq>(base: Option<T>, ours: &T, theirs: &T) -> Pick {
    if ours == theirs || base.as_ref() == Some(theirs) {
        Pick::Ours
    } else if base.as_ref() == Some(ours) {
        Pick::Theirs
    } else {
        Pick::Clash
    }
}

/// A time alone is nothing to argue about: of two that both changed, the later one.
pub(super) fn merged_time(base: Option<i64>, ours: i64, theirs: i64) -> i64 {
    match pick(base, &ours, &theirs) {
        Pick::Ours => ours,
        Pick::Theirs => theirs,
        Pick::Clash => ours.max(theirs),
    }
}

/// Whether both hold the same.
pub(in crate::history) fn is_same_content(sql: &Connection, one: &Inode, other: &Inode) -> rusqlite::Result<bool> {
    if (one.kind, &one.target, one.size) != (other.kind, &other.target, other.size) {
        return Ok(false);
    }
    match (one.blob, other.blob) {
        (one, other) if one == other => Ok(true),
        (Some(one), Some(other)) => blob::is_same(sql, one, other),
        _ => Ok(false),
    }
}

/// Whether mode, time and extended attributes are the same.
pub(super) fn is_same_attributes(one: &Inode, other: &Inode) -> bool {
    (one.mode, one.mtime_ns, &one.xattrs) == (other.mode, other.mtime_ns, &other.xattrs)
}

/// Three states of one entry, brought together.
pub(super) struct Fields {
    /// What ours becomes, where nothing clashes.
    pub merged: Inode,
    /// Whether both changed what it holds.
    pub content_clashes: bool,
    /// Which attributes both changed.
    pub clash: Clash,
}

impl Fields {
    pub fn merge(sql: &Connection, base: Option<&Inode>, ours: &Inode, theirs: &Inode) -> rusqlite::Result<Self> {
        let content = if is_same_content(sql, ours, theirs)? {
            Pick::Ours
        } else {
            let is_base = |side: &Inode| base.map_or(Ok(false), |base| is_same_content(sql, base, side));
            match (is_base(ours)?, is_base(theirs)?) {
                (_, true) => Pick::Ours,
                (true, false) => Pick::Theirs,
                (false, false) => Pick::Clash,
            }
        };
        let mode = pick(base.map(|base| base.mode), &ours.mode, &theirs.mode);
        let xattrs = pick(base.map(|base| base.xattrs.clone()), &ours.xattrs, &theirs.xattrs);
        let mut fields =
            Self { merged: ours.clone(), content_clashes: content == Pick::Clash, clash: Clash::default() };
        if content == Pick::Theirs {
            fields.take_content(theirs);
        } else if content == Pick::Ours && base.is_some() {
            fields.merged.mtime_ns = merged_time(base.map(|base| base.mtime_ns), ours.mtime_ns, theirs.mtime_ns);
        }
        match mode {
            Pick::Ours => {}
            Pick::Theirs => fields.merged.mode = theirs.mode,
            Pick::Clash => fields.clash.mode = true,
        }
        match xattrs {
            Pick::Ours => {}
            Pick::Theirs => fields.merged.xattrs.clone_from(&theirs.xattrs),
            Pick::Clash => fields.clash.xattrs = true,
        }
        Ok(fields)
    }

    pub fn take_content(&mut self, theirs: &Inode) {
        let merged = std::mem::replace(&mut self.merged, theirs.clone());
        self.merged = Inode {
            blob: theirs.blob,
            size: theirs.size,
            target: theirs.target.clone(),
            mtime_ns: theirs.mtime_ns,
            ..merged
        };
    }
    /// Takes the attributes that both changed.
    pub fn take_clashing(&mut self, theirs: &Inode) {
        take_attributes(&mut self.merged, self.clash, (theirs.mode, &theirs.xattrs));
    }

    /// The new version of ours, if it is another.
    pub fn outcome(mut self, sql: &Connection, ours: &Inode) -> rusqlite::Result<Option<Inode>> {
        let content = !is_same_content(sql, ours, &self.merged)?;
        let attributes = (ours.mode, &ours.xattrs) != (self.merged.mode, &self.merged.xattrs)
            || !content && ours.mtime_ns != self.merged.mtime_ns;
        self.merged.changed = Changed { content, attributes };
        Ok((content || attributes).then_some(self.merged))
    }
}

/// Takes those attributes of theirs that both changed.
pub(super) fn take_attributes(inode: &mut Inode, clash: Clash, (mode, xattrs): (u16, &Option<Box<[u8]>>)) {
    if clash.mode {
        inode.mode = mode;
    }
    if clash.xattrs {
        inode.xattrs.clone_from(xattrs);
    }
}
