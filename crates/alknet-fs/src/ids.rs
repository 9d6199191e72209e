//! Numbers that rows are known by.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

macro_rules! stored_as_integer {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.into())
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    )*};
}

macro_rules! row_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) i64);
    )*};
}

row_ids! {
    /// A bucket's number in this database: never given twice, never shown.
    BucketId;
    /// A branch's number in this database: never given twice, never shown. Higher than its parent's.
    BranchId;
    /// The number of a blob's row in this database: never given twice, never shown.
    BlobId;
    /// The number of a hook in this database: never given twice, never shown.
    HookId;
}

/// The number of a commit in its bucket: 1 and on, without gaps. 0 is before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(i64);

impl Seq {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);
    /// After every commit that there can be.
    pub const MAX: Self = Self(i64::MAX);

    /// The number as one, if there can be so many commits.
    pub fn new(number: u64) -> Option<Self> {
        i64::try_from(number).ok().map(Self)
    }
    /// The number.
    pub const fn get(self) -> u64 {
        self.0.unsigned_abs()
    }
    /// The commit before it; of the first, and of none, none.
    pub(crate) fn before(self) -> Self {
        Self((self.0 - 1).max(0))
    }
    /// The commit after it.
    pub(crate) const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a file, folder or symbolic link is, whatever it is called: unique in its bucket over all branches and nodes, never given
/// twice. The number of the replica that made it (16 bits), then that replica's own count (47 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(i64);

const COUNT_BITS: u32 = 47;

impl Ino {
    /// The root folder of every bucket.
    pub const ROOT: Self = Self(1);

    /// Before every other.
    pub(crate) const FIRST: Self = Self(0);

    /// The `count`th of a plan's entries that are given their numbers when it is written.
    pub(crate) fn pending(count: u32) -> Self {
        Self(-1 - i64::from(count))
    }
    pub(crate) const fn is_pending(self) -> bool {
        self.0 < 0
    }
    /// The number that a replica gives; `None` once its count is used up.
    pub fn new(replica: u16, count: u64) -> Option<Self> {
        let count = i64::try_from(count).ok().filter(|count| *count < 1 << COUNT_BITS)?;
        Some(Self(i64::from(replica) << COUNT_BITS | count))
    }
    /// The one that was written down as this number.
    pub(crate) fn known(number: u64) -> Option<Self> {
        i64::try_from(number).ok().map(Self)
    }
    /// As one number, as POSIX shows it.
    pub const fn get(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// A hybrid clock's reading: milliseconds since 1970 (48 bits), then a count of readings within one (16 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hlc(i64);

impl Hlc {
    /// The reading after `self` that is not before the clock's time. Never goes back, whatever the clock does.
    pub fn next(self, now_ms: u64) -> Self {
        let now = i64::try_from(now_ms).unwrap_or(i64::MAX >> 16).min(i64::MAX >> 16) << 16;
        Self(now.max(self.0.saturating_add(1)))
    }
}

stored_as_integer!(BucketId, BranchId, BlobId, HookId, Seq, Ino, Hlc);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inode_numbers_of_different_replicas_never_meet() {
        assert_eq!(Ino::new(0, 1), Some(Ino::ROOT));
        let last = (1 << COUNT_BITS) - 1;
        assert!(Ino::new(0, last).unwrap() < Ino::new(1, 0).unwrap());
        assert_eq!(Ino::new(u16::MAX, last).unwrap().get(), i64::MAX.unsigned_abs(), "63 bits hold them all");
        assert_eq!(Ino::new(0, last + 1), None);
    }

    #[test]
    fn the_hybrid_clock_never_goes_back() {
        let first = Hlc::default().next(5_000);
        let (same, back, later) = (first.next(5_000), first.next(1_000), first.next(5_001));
        assert!(same > first && back > first && later > same);
        assert_eq!(later, Hlc::default().next(5_001));
        assert!(Hlc::default().next(u64::MAX) > later);
    }

    #[test]
    fn seqs_are_what_sqlite_can_count() {
        assert_eq!(Seq::new(u64::MAX), None);
        assert_eq!(Seq::new(i64::MAX.unsigned_abs()), Some(Seq::MAX));
        assert_eq!((Seq::ZERO.get(), Seq::new(7).unwrap().to_string()), (0, "7".to_owned()));
    }
}
