//! What can go wrong, in the words that each door maps once.

use std::io;

use alknet_core::PermitError;
use alknet_store::StoreError;

use crate::hash::ContentHash;

/// What POSIX would answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Errno {
    /// ENOENT.
    #[error("no such entry")]
    NoEnt,
    /// ENOENT: it is said as of a time before there was a bucket.
    #[error("there was no bucket then")]
    NoBucketThen,
    /// EEXIST.
    #[error("it exists already")]
    Exist,
    /// ENOTDIR.
    #[error("it is no folder")]
    NotDir,
    /// EISDIR.
    #[error("it is a folder")]
    IsDir,
    /// ENOTEMPTY.
    #[error("the folder is not empty")]
    NotEmpty,
    /// ENAMETOOLONG.
    #[error("the name or path is too long")]
    NameTooLong,
    /// EINVAL.
    #[error("this cannot be done with it")]
    Inval,
    /// ELOOP.
    #[error("too many symbolic links on the way")]
    Loop,
    /// EXDEV.
    #[error("the two are in different buckets")]
    XDev,
    /// EDQUOT.
    #[error("the bucket's quota is used up")]
    Quota,
    /// ENOSPC.
    #[error("the disk is full")]
    NoSpace,
    /// EIO.
    #[error("the disk failed")]
    Io,
    /// EROFS.
    #[error("a version of the past cannot be changed")]
    ReadOnly,
    /// ESTALE.
    #[error("it is gone since it was opened")]
    Stale,
    /// EPERM.
    #[error("it is not permitted")]
    Perm,
    /// EAGAIN.
    #[error("not now; try again")]
    Again,
    /// EMLINK.
    #[error("it has as many names as a file can have")]
    MLink,
    /// EFBIG.
    #[error("it is too big")]
    TooBig,
    /// E2BIG: more than is done at once; less of it can be done.
    #[error("it is more than is done at once")]
    TooMuch,
    /// ENFILE: there is no room for one more of its kind, until another goes.
    #[error("there are as many as there can be")]
    TooMany,
    /// ENOTSUP: another version of this program knows how.
    #[error("a newer version of this program has set it, and this one does not know how to go by it")]
    Newer,
}

/// What is wrong with stored content.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file is not there.
    #[error("its file is missing")]
    Missing,
    /// The file is shorter or longer than its row says.
    #[error("its file has {found} bytes instead of {wanted}")]
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be there.
        wanted: u64,
    },
    /// A group of 16 KiB does not have the hash that it should have.
    #[error("group {group} of its file does not have its hash")]
    Flipped {
        /// Which one, counted from 0.
        group: u64,
    },
    /// The hash tree that proves it is missing or damaged itself.
    #[error("the outboard beside its file is missing or damaged")]
    Outboard,
    /// The disk does not give it.
    #[error("its file cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

/// Why something was not done to a file.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The file system says no.
    #[error("{what} {path}: {errno}")]
    At {
        /// What POSIX would answer.
        errno: Errno,
        /// What was tried, as in "cannot remove".
        what: &'static str,
        /// Where, escaped for people.
        path: String,
    },
    /// It is not what its writer expected: somebody else changed it.
    #[error("cannot write {path}: it was changed meanwhile")]
    Conflict {
        /// Where, escaped for people.
        path: String,
    },
    /// The content is damaged. Other content is not affected.
    #[error("the content {hash} of {path} is damaged: {why}")]
    Damaged {
        /// Where, escaped for people.
        path: String,
        /// What should be there.
        hash: ContentHash,
        /// What is wrong with it.
        why: Damage,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Denied(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FsError {
    /// The disk said no. What it said exactly goes to the log.
    pub(crate) fn of_disk(what: &'static str, path: impl Into<String>, error: &io::Error) -> Self {
        let (path, errno) = (path.into(), Errno::of_disk(error));
        tracing::warn!(path, %error, "{what}");
        Self::At { errno, what, path }
    }

    /// The same of another place: content knows no path, who asks for it does. The path is escaped for people.
    #[must_use]
    pub fn about(self, path: impl Into<String>) -> Self {
        match self {
            Self::At { errno, what, .. } => Self::At { errno, what, path: path.into() },
            Self::Damaged { hash, why, .. } => Self::Damaged { path: path.into(), hash, why },
            Self::Conflict { .. } => Self::Conflict { path: path.into() },
            other @ (Self::Denied(_) | Self::Store(_)) => other,
        }
    }
}

impl Errno {
    fn of_disk(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::FileTooLarge => Self::TooBig,
            _ => Self::Io,
        }
    }
}

impl From<rusqlite::Error> for FsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_path_and_the_hash() {
        // FS-16
        let at = FsError::At { errno: Errno::NotEmpty, what: "cannot remove", path: "/a".into() };
        assert_eq!(at.to_string(), "cannot remove /a: the folder is not empty");
        let hash = ContentHash::of(b"x");
        let damaged = |why| FsError::Damaged { path: "/a".into(), hash, why }.to_string();
        assert_eq!(damaged(Damage::Missing), format!("the content {hash} of /a is damaged: its file is missing"));
        assert!(damaged(Damage::Length { found: 1, wanted: 2 }).ends_with("has 1 bytes instead of 2"));
        assert!(damaged(Damage::Flipped { group: 3 }).contains("group 3"));
        assert!(damaged(Damage::Unreadable(io::ErrorKind::PermissionDenied)).contains("permission denied"));
        assert!(damaged(Damage::Missing).contains("/a") && !damaged(Damage::Missing).contains("/b"));
        let full = FsError::of_disk("cannot write", "spool", &io::ErrorKind::StorageFull.into()).about("/b");
        assert_eq!(full.to_string(), "cannot write /b: the disk is full");
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        assert!(matches!(FsError::from(full), FsError::Store(StoreError::Full)));
    }
}
