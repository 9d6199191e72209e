//! Archives: a folder of the disk, tar, zip, and a Git repository, each read and written entry by entry.
//!
//! Whatever is read here may be hostile. What a format cannot hold, or what we do not take, is left out and counted.
//! The rules are in `docs/spec/fs-archives.md`.

mod budget;
mod folder_read;
mod folder_write;
mod git_read;
mod git_run;
mod git_write;
mod gzip_read;
mod pax;
pub mod sidecar;
mod tar_read;
mod tar_write;
#[cfg(test)]
mod tests;
mod zip_extra;
mod zip_read;
mod zip_write;

pub use folder_read::{Walk, Walked, read_entry};
pub use folder_write::{FolderSink, Keep};
pub use git_read::GitSource;
pub use git_write::GitSink;
pub use tar_read::TarSource;
pub use tar_write::TarSink;
pub use zip_read::ZipSource;
pub use zip_write::ZipSink;

use std::{
    borrow::Cow,
    io::{self, Read},
    path::{Path, PathBuf},
};

use alknet_fs::{Escaped, FsPath};

use super::{
    entry::{Entry, shown},
    limits::MAX_LEFT_OUT_SHOWN,
};

/// What takes the entries of an archive, with the content of files.
pub type Take<'a> = &'a mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), ArchiveError>;

/// An archive that is read.
pub trait Source {
    /// Hands every entry to `take`, folders before what is in them.
    fn each(&mut self, left_out: &mut LeftOut, take: Take<'_>) -> Result<(), ArchiveError>;
}

/// An archive that is written. Entries come as [`Source::each`] gives them.
pub trait Sink: Send {
    /// Adds an entry; a file's content must have as many bytes as the entry says.
    fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError>;
    /// Whether hard links come with their content, because the format knows none.
    fn wants_content_of_links(&self) -> bool {
        false
    }
    /// Ends the archive; only then is it whole.
    fn finish(self: Box<Self>) -> Result<LeftOut, ArchiveError>;
}

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk says no.
    #[error("{}", shown(path))]
    Disk {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The archive does not say what it should.
    #[error("the {format} archive is damaged: {what}")]
    Damaged {
        /// Which sort of archive.
        format: &'static str,
        /// What is wrong.
        what: String,
    },
    /// It unfolds to more than it may.
    #[error("the archive unfolds to more than {ratio} times its size, which no honest one does", ratio = super::limits::MAX_UNFOLDED_RATIO)]
    Bomb,
    /// It has more entries than it may.
    #[error("the archive has more than {most} entries", most = super::limits::MAX_ARCHIVE_ENTRIES)]
    TooMany,
    /// The format cannot hold an entry.
    #[error("{format} cannot hold {path}: {why}")]
    CannotHold {
        /// Which format.
        format: &'static str,
        /// Which entry, escaped.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// `git` says no.
    #[error("git {what}: {complaint}")]
    Git {
        /// What was asked of it.
        what: String,
        /// What it says, escaped.
        complaint: String,
    },
    /// The content of an entry could not be read or kept, or does not have its length.
    #[error("{path}")]
    Content {
        /// Which entry, escaped.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Whoever takes the entries does not want more, and says why itself.
    #[error("it was stopped")]
    Stopped,
}

impl ArchiveError {
    fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }
    /// The content of this entry failed.
    pub fn content(path: &FsPath) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_string();
        move |source| Self::Content { path, source }
    }
}

/// What was left out: how many of each sort, and the first names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many in all.
    pub count: u64,
    /// The first of them, escaped, each with the reason.
    pub shown: Vec<Reason>,
    /// How many of them should have come, and could not be read.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Reason>,
}

/// What was left out, escaped, and why.
pub type Reason = (String, Cow<'static, str>);

impl LeftOut {
    /// Leaves this one out.
    pub fn add(&mut self, path: &[u8], why: &'static str) {
        self.count += 1;
        note(&mut self.shown, path, why.into());
    }
    /// Leaves this one out because it cannot be read: the rest comes, and then that is a failure.
    pub fn fail(&mut self, path: &[u8], why: impl Into<Cow<'static, str>>) {
        self.count += 1;
        self.failed += 1;
        note(&mut self.failures, path, why.into());
    }
    /// Adds what another part left out.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.failed += other.failed;
        for (all, more) in [(&mut self.shown, other.shown), (&mut self.failures, other.failures)] {
            let room = MAX_LEFT_OUT_SHOWN - all.len();
            all.extend(more.into_iter().take(room));
        }
    }
}

fn note(reasons: &mut Vec<Reason>, path: &[u8], why: Cow<'static, str>) {
    if reasons.len() < MAX_LEFT_OUT_SHOWN {
        reasons.push((Escaped(&path[..path.len().min(200)]).to_string(), why));
    }
}

/// Which sort of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A folder of the disk
    Dir,
    /// tar with PAX records; compressed where the name ends in gz
    Tar,
    /// zip
    Zip,
    /// A Git repository
    Git,
}

impl Format {
    /// What a path that is there, or a name that is to be written, says.
    pub fn of(path: &Path) -> Option<Self> {
        if path.is_dir() {
            let is_repository =
                path.join(".git").exists() || (path.join("HEAD").is_file() && path.join("objects").is_dir());
            return Some(if is_repository { Self::Git } else { Self::Dir });
        }
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&[".tar", ".tar.gz", ".tgz"]) {
            Some(Self::Tar)
        } else if ends(&[".zip"]) {
            Some(Self::Zip)
        } else if ends(&[".git"]) {
            Some(Self::Git)
        } else {
            None
        }
    }
}

/// Whether a name promises an archive that is neither written nor read here; `true`: a tar that another program has compressed.
pub fn foreign(place: &Path) -> Option<bool> {
    let name = place.file_name()?.to_string_lossy().to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&[".tbz", ".tbz2", ".tb2", ".txz", ".tlz", ".tzst", ".taz", ".tz"]) {
        return Some(true);
    }
    let packed = [".zst", ".bz2", ".xz", ".lz", ".lzma", ".lz4", ".lzo", ".br", ".z"];
    if packed.iter().any(|end| name.strip_suffix(end).is_some_and(|name| name.ends_with(".tar"))) {
        return Some(true);
    }
    ends(&[".7z", ".rar", ".cpio", ".iso", ".squashfs"]).then_some(false)
}

/// The program that unpacks what begins so, where it is compressed otherwise than with gzip.
pub fn unpacks(begin: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 5] = [
        (b"\xfd7zXZ\0", "xz -dc"),
        (b"BZh", "bzip2 -dc"),
        (b"\x28\xb5\x2f\xfd", "zstd -dc"),
        (b"\x04\x22\x4d\x18", "lz4 -dc"),
        (b"LZIP", "lzip -dc"),
    ];
    known.into_iter().find(|(magic, _)| begin.starts_with(magic)).map(|(_, program)| program)
}

/// Copies the content of an entry, which has as many bytes as it says.
fn copy_exactly(path: &FsPath, size: u64, content: &mut dyn Read, out: &mut dyn io::Write) -> Result<(), ArchiveError> {
    let copied = io::copy(&mut content.take(size), out).map_err(ArchiveError::content(path))?;
    let more = content.read(&mut [0]).map_err(ArchiveError::content(path))?;
    if copied == size && more == 0 {
        return Ok(());
    }
    let changed = io::Error::new(io::ErrorKind::UnexpectedEof, "it changed its length while it was read");
    Err(ArchiveError::content(path)(changed))
}
