//! What an entry holds and its attributes, each merged by itself.

use rusqlite::Connection;

use crate::rows::{
    blob,
    inode::{Changed, Inode},
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

/// Whether both hold the same.
pub(super) fn is_same_content(sql: &Connection, one: &Inode, other: &Inode) -> rusqlite::Result<bool> {
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
    /// Whether both changed its mode, or its extended attributes.
    pub attributes_clash: bool,
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
            Self { merged: ours.clone(), content_clashes: content == Pick::Clash, attributes_clash: false };
        if content == Pick::Theirs {
            fields.take_content(theirs);
        } else if content == Pick::Ours && base.is_some() {
            // A time alone is nothing to argue about.
            fields.merged.mtime_ns = match pick(base.map(|base| base.mtime_ns), &ours.mtime_ns, &theirs.mtime_ns) {
                Pick::Ours => ours.mtime_ns,
                Pick::Theirs => theirs.mtime_ns,
                Pick::Clash => ours.mtime_ns.max(theirs.mtime_ns),
            };
        }
        for (picked, take) in [(mode, Self::take_mode as fn(&mut Self, &Inode)), (xattrs, Self::take_xattrs)] {
            match picked {
                Pick::Ours => {}
                Pick::Theirs => take(&mut fields, theirs),
                Pick::Clash => fields.attributes_clash = true,
            }
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
    pub fn take_attributes(&mut self, theirs: &Inode) {
        self.take_mode(theirs);
        self.take_xattrs(theirs);
    }
    fn take_mode(&mut self, theirs: &Inode) {
        self.merged.mode = theirs.mode;
    }
    fn take_xattrs(&mut self, theirs: &Inode) {
        self.merged.xattrs.clone_from(&theirs.xattrs);
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
