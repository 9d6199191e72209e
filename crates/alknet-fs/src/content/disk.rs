//! The syscalls that durability depends on, behind two traits, so that tests can lose what was not synced.

use std::{
    ffi::OsString,
    fmt, fs, io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use rustix::fs::{Advice, copy_file_range, fadvise, ioctl_ficlone};

use crate::limits::COPY_BUFFER_BYTES;

/// A file that is open.
pub type OpenFile = Arc<dyn DiskFile>;

/// Where content lies. Nothing of it is known to survive a power cut until it was synced: a file's bytes by
/// [`DiskFile::sync_data`], the names in a folder by [`Self::sync_folder`].
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes an empty file that was not there, to read and write; nobody else may.
    fn create(&self, path: &Path) -> io::Result<OpenFile>;
    /// Opens a file, to read it, and to write it too if `write`.
    fn open(&self, path: &Path, write: bool) -> io::Result<OpenFile>;
    /// Gives a file another name, which was not there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder. Answers whether it was not there.
    fn make_folder(&self, path: &Path) -> io::Result<bool>;
    /// Puts the names of a folder on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// A folder's file system, and when a name in it last came or went.
    fn about(&self, path: &Path) -> io::Result<About>;
}

/// What is known of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The number of the file system that it is on.
    pub device: u64,
    /// When a name in it last came or went.
    pub modified: SystemTime,
}

/// A file that is open.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Reads some bytes; none at its end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of the bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts it, or extends it with zeros.
    fn set_size(&self, bytes: u64) -> io::Result<()>;
    /// Its length, in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Puts its bytes on the disk. After an error nobody knows which of them are there.
    fn sync_data(&self) -> io::Result<()>;
    /// Nobody may write it from now on, but who has it open.
    fn seal(&self) -> io::Result<()>;
    /// Begins to put a range on the disk, without waiting for it; never known to be done.
    fn hint_written(&self, range: Range<u64>);
    /// Shares all bytes of `base`, without copying them, if the disk can.
    fn share_from(&self, base: &dyn DiskFile) -> io::Result<()>;
    /// The descriptor, of a real file.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Copies a range of `base` to the same place. Fails with `UnexpectedEof` when `base` ends before.
    fn copy_from(&self, base: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
        copy_through_memory(self, base, range)
    }
}

fn copy_through_memory<F: DiskFile + ?Sized>(to: &F, base: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        let count = base.read_at(&mut buffer[..wanted], at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(&buffer[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Fills the buffer. Fails with `UnexpectedEof` when the file ends before.
pub(super) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let count = read_up_to(file, buffer, offset)?;
    if count == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Fills the buffer as far as the file reaches. Answers how far.
pub(super) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<OpenFile> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<OpenFile> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(write).open(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }
    fn about(&self, path: &Path) -> io::Result<About> {
        let metadata = fs::metadata(path)?;
        Ok(About { device: metadata.dev(), modified: metadata.modified()? })
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn seal(&self) -> io::Result<()> {
        self.0.set_permissions(fs::Permissions::from_mode(0o400))
    }
    fn hint_written(&self, range: Range<u64>) {
        // Linux starts writing dirty pages of the range, and lets those stay in the cache that are not yet written.
        let length = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
        let _ = length.map(|length| fadvise(&self.0, range.start, Some(length), Advice::DontNeed));
    }
    fn share_from(&self, base: &dyn DiskFile) -> io::Result<()> {
        let base = base.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        Ok(ioctl_ficlone(&self.0, base)?)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
    fn copy_from(&self, base: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
        let Some(from) = base.descriptor() else { return copy_through_memory(self, base, range) };
        let (mut read_at, mut write_at) = (range.start, range.start);
        while write_at < range.end {
            let wanted = usize::try_from(range.end - write_at).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(from, Some(&mut read_at), &self.0, Some(&mut write_at), wanted) {
                Ok(0) => return copy_through_memory(self, base, write_at..range.end),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(
                    rustix::io::Errno::XDEV
                    | rustix::io::Errno::INVAL
                    | rustix::io::Errno::OPNOTSUPP
                    | rustix::io::Errno::NOSYS,
                ) => return copy_through_memory(self, base, write_at..range.end),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
