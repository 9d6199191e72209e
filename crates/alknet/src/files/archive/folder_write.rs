//! Writes a folder of the disk: nothing outside it, whatever links lie there already.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use alknet_fs::FsPath;
use rustix::{
    fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, fsetxattr, setxattr, utimensat},
    io::Errno,
};

use super::{ArchiveError, LeftOut, Sink, copy_exactly};
use crate::files::entry::{Entry, What, Xattrs, relative};

/// What is kept of an entry besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Modes, times and attributes.
    Everything,
    /// What the process's umask leaves of the nine bits of permission.
    Permissions,
}

/// A folder of the disk that entries are put into.
pub struct FolderSink {
    root: PathBuf,
    keep: Keep,
    /// Folders that are real ones.
    real: HashSet<Vec<u8>>,
    /// Folders whose mode and time are set at the end.
    folders: Vec<Entry>,
    parts: u64,
    left_out: LeftOut,
}

impl FolderSink {
    /// Puts entries below this folder, which is made if it is not there.
    pub fn new(root: &Path, keep: Keep) -> Result<Self, ArchiveError> {
        fs::create_dir_all(root).map_err(ArchiveError::disk(root))?;
        let real = HashSet::from([Vec::new()]);
        Ok(Self { root: root.to_owned(), keep, real, folders: Vec::new(), parts: 0, left_out: LeftOut::default() })
    }

    /// Leaves an entry out where its path is too long for this machine; any other error is one.
    pub fn leave_out(&mut self, entry: &Entry, error: ArchiveError) -> Result<(), ArchiveError> {
        match &error {
            ArchiveError::Disk { source, .. } if source.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                self.left_out.add(&relative(&entry.path), "its path is too long for this machine");
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Where an entry lies, once every folder above it is there and real.
    pub fn place(&mut self, path: &FsPath) -> Result<PathBuf, ArchiveError> {
        if let Some((above, _)) = path.split_last() {
            self.folder(&above, 0o777)?;
        }
        Ok(self.at(path))
    }

    fn at(&self, path: &FsPath) -> PathBuf {
        self.root.join(OsStr::from_bytes(&relative(path)))
    }

    /// Makes sure that a folder is there, and is one: a link to one is none. Says whether it was made.
    fn folder(&mut self, path: &FsPath, mode: u32) -> Result<bool, ArchiveError> {
        let key = relative(path);
        if self.real.contains(&key) {
            return Ok(false);
        }
        if let Some((above, _)) = path.split_last() {
            self.folder(&above, 0o777)?;
        }
        let place = self.at(path);
        let mut made = false;
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(ArchiveError::disk(&place)(io::ErrorKind::NotADirectory.into())),
            Err(_) => {
                // Always open to its owner while things are put into it.
                DirBuilder::new().mode(mode | 0o700).create(&place).map_err(ArchiveError::disk(&place))?;
                made = true;
            }
        }
        self.real.insert(key);
        Ok(made)
    }

    /// A name beside a place, for what is not yet whole.
    fn part(&mut self, place: &Path) -> PathBuf {
        self.parts += 1;
        place.with_file_name(format!(".alknet-{}-{}.part", std::process::id(), self.parts))
    }

    fn file(&mut self, entry: &Entry, size: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let place = self.place(&entry.path)?;
        let part = self.part(&place);
        let mode = u32::from(entry.mode) & 0o777;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode | 0o200).open(&part);
        let mut file = file.map_err(ArchiveError::disk(&place))?;
        let filled = copy_exactly(&entry.path, size, content, &mut file);
        let done = filled.and_then(|()| self.finish_file(&file, entry, &part, &place));
        done.inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// Gives a file that is filled what is kept of its entry, and its name.
    pub fn finish_file(&mut self, file: &File, entry: &Entry, part: &Path, place: &Path) -> Result<(), ArchiveError> {
        if self.keep == Keep::Everything {
            let refused = put_xattrs(&entry.xattrs, |name, value| fsetxattr(file, name, value, XattrFlags::empty()));
            self.refused(refused.map_err(ArchiveError::disk(place))?, place);
            file.set_permissions(Permissions::from_mode(entry.mode.into())).map_err(ArchiveError::disk(place))?;
            set_time(part, entry.mtime_ns).map_err(ArchiveError::disk(place))?;
        } else {
            let now = file.metadata().map_err(ArchiveError::disk(place))?.mode();
            let left = Permissions::from_mode(now & u32::from(entry.mode) & 0o777);
            file.set_permissions(left).map_err(ArchiveError::disk(place))?;
        }
        fs::rename(part, place).map_err(ArchiveError::disk(place))
    }

    /// Gives a file that is there what is kept of its entry.
    pub fn settle(&mut self, entry: &Entry, place: &Path) -> Result<(), ArchiveError> {
        if self.keep == Keep::Permissions {
            return Ok(());
        }
        let refused = put_xattrs(&entry.xattrs, |name, value| setxattr(place, name, value, XattrFlags::empty()));
        self.refused(refused.map_err(ArchiveError::disk(place))?, place);
        fs::set_permissions(place, Permissions::from_mode(entry.mode.into())).map_err(ArchiveError::disk(place))?;
        set_time(place, entry.mtime_ns).map_err(ArchiveError::disk(place))
    }

    fn refused(&mut self, refused: bool, place: &Path) {
        if refused {
            self.left_out.add(place.as_os_str().as_bytes(), "it has extended attributes that are not kept here");
        }
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<(), ArchiveError> {
        let place = self.place(&entry.path)?;
        let part = self.part(&place);
        symlink(OsStr::from_bytes(target), &part).map_err(ArchiveError::disk(&place))?;
        if self.keep == Keep::Everything {
            set_time(&part, entry.mtime_ns).map_err(ArchiveError::disk(&place))?;
        }
        settled(&part, &place)
    }

    fn hard_link(&mut self, entry: &Entry, to: &FsPath) -> Result<(), ArchiveError> {
        let place = self.place(&entry.path)?;
        let first = self.place(to)?;
        let part = self.part(&place);
        fs::hard_link(&first, &part).map_err(ArchiveError::disk(&place))?;
        settled(&part, &place)?;
        // A rename between two names of one file leaves both.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::disk(&part)(error)),
            _ => Ok(()),
        }
    }

    /// Sets the modes and times of the folders, the innermost first.
    fn finish_folders(&mut self) -> Result<(), ArchiveError> {
        for entry in std::mem::take(&mut self.folders).iter().rev() {
            let place = self.at(&entry.path);
            if self.keep == Keep::Permissions {
                let now = fs::symlink_metadata(&place).map_err(ArchiveError::disk(&place))?.mode();
                let left = Permissions::from_mode(now & u32::from(entry.mode) & 0o777);
                fs::set_permissions(&place, left).map_err(ArchiveError::disk(&place))?;
                continue;
            }
            self.settle(entry, &place)?;
        }
        Ok(())
    }
}

impl Sink for FolderSink {
    fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        match &entry.what {
            What::Folder => {
                let made = self.folder(&entry.path, u32::from(entry.mode) & 0o777)?;
                // One that was here keeps its permissions; one that is made has them all until things are in it.
                if self.keep == Keep::Everything || (made && entry.mode & 0o700 != 0o700) {
                    self.folders.push(entry.clone());
                }
                Ok(())
            }
            What::File { size } => self.file(entry, *size, content),
            What::Symlink { target } => self.symlink(entry, target),
            What::HardLink { to, .. } => self.hard_link(entry, to),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<LeftOut, ArchiveError> {
        self.finish_folders()?;
        Ok(self.left_out)
    }
}

/// Gives what was made its name, or takes it away.
fn settled(part: &Path, place: &Path) -> Result<(), ArchiveError> {
    fs::rename(part, place).map_err(ArchiveError::disk(place)).inspect_err(|_| drop(fs::remove_file(part)))
}

/// Puts attributes; says whether some stay behind: those that the file system refuses, and those that are not users' own. Who may
/// write a file elsewhere must not give it capabilities or access lists here.
fn put_xattrs(xattrs: &Xattrs, put: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>) -> io::Result<bool> {
    let mut refused = false;
    for (name, value) in xattrs {
        if !name.starts_with(b"user.") {
            refused = true;
            continue;
        }
        match put(OsStr::from_bytes(name), value) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC | Errno::RANGE | Errno::TOOBIG) => refused = true,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}

fn set_time(place: &Path, mtime_ns: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
