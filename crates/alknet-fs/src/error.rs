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
    /// EFBIG.
    #[error("it is too big")]
    TooBig,
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
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        assert!(matches!(FsError::from(full), FsError::Store(StoreError::Full)));
    }
}
