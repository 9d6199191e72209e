//! Reads zip, with what our own extra field says where it is there.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use zip::{ExtraField, ZipArchive, read::ZipFile, result::ZipError};

use super::{
    ArchiveError, LeftOut, Source, Take,
    budget::{Budget, tell_bomb},
    zip_extra::{Extra, ID, Kind},
};
use crate::files::{
    entry::{Entry, What, Xattrs, foreign_path},
    limits::MAX_LINK_BYTES,
};

/// A zip that is read from its directory.
pub struct ZipSource {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    pub(super) budget: Budget,
}

impl ZipSource {
    /// Opens a zip.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(ArchiveError::disk(path))?;
        let size = file.metadata().map_err(ArchiveError::disk(path))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, error))?;
        Ok(Self { path: path.to_owned(), archive, budget: Budget::new(Arc::new(AtomicU64::new(size))) })
    }

    fn entry(
        &mut self,
        at: usize,
        seen: &mut Seen,
        left_out: &mut LeftOut,
        take: Take<'_>,
    ) -> Result<(), ArchiveError> {
        let name = self.archive.by_index_data(at).map_err(|error| damaged(&self.path, error))?.name_raw().to_vec();
        let mut file = match self.archive.by_index(at) {
            Ok(file) => file,
            Err(ZipError::UnsupportedArchive(_) | ZipError::InvalidPassword) => {
                left_out.add(&name, "it is encrypted, or packed in a way that is not known here");
                return Ok(());
            }
            Err(error) => return Err(damaged(&self.path, error)),
        };
        let extra = extra_of(&file);
        let text = match (&extra, std::str::from_utf8(&name)) {
            (None, Err(_)) => file.name().map(|name| name.into_owned().into_bytes()).unwrap_or(name.clone()),
            _ => name.clone(),
        };
        let Some(path) = foreign_path(&text) else {
            left_out.add(&text, "its name leads out of the archive, or is none");
            return Ok(());
        };
        let what = match what_of(&mut file, extra.as_ref(), &path).map_err(tell_bomb)? {
            Ok(what) => what,
            Err(why) => {
                left_out.add(&text, why);
                return Ok(());
            }
        };
        if !seen.insert(blake3::hash(&path.to_bytes()).as_bytes()[..16].to_vec()) && what != What::Folder {
            left_out.add(&text, "it comes again: the last one counts");
        }
        let entry = described(&file, extra, path, what);
        if let What::File { .. } = entry.what {
            return take(entry, &mut self.budget.reading(file)).map_err(tell_bomb);
        }
        take(entry, &mut io::empty())
    }
}

type Seen = HashSet<Vec<u8>>;

impl Source for ZipSource {
    fn each(&mut self, left_out: &mut LeftOut, take: Take<'_>) -> Result<(), ArchiveError> {
        let mut seen = Seen::new();
        for at in 0..self.archive.len() {
            self.budget.entry()?;
            self.entry(at, &mut seen, left_out, &mut *take)?;
        }
        Ok(())
    }
}

fn extra_of<R: Read>(file: &ZipFile<'_, R>) -> Option<Extra> {
    file.extra_data_fields().find_map(|field| match field {
        ExtraField::Custom(custom) if custom.header_id == ID => Extra::read(&custom.data),
        _ => None,
    })
}

/// What an entry is, or why it is left out.
fn what_of<R: Read>(
    file: &mut ZipFile<'_, R>,
    extra: Option<&Extra>,
    path: &alknet_fs::FsPath,
) -> Result<Result<What, &'static str>, ArchiveError> {
    const TYPE: u32 = 0o170_000;
    let kind = match (extra, file.unix_mode().map(|mode| mode & TYPE)) {
        (Some(extra), _) => extra.kind,
        _ if file.is_dir() => Kind::Folder,
        (None, Some(0o120_000)) => Kind::Symlink,
        (None, None | Some(0 | 0o100_000)) => Kind::File,
        (None, Some(0o040_000)) => Kind::Folder,
        (None, Some(_)) => return Ok(Err("it is a device, a pipe or a socket")),
    };
    Ok(Ok(match (kind, extra) {
        (Kind::Folder, _) => What::Folder,
        (Kind::HardLink, Some(extra)) => match foreign_path(&extra.link) {
            Some(to) => What::HardLink { to, size: 0 },
            None => return Ok(Err("it is a hard link to something outside")),
        },
        (Kind::Symlink, _) => {
            let mut target = Vec::new();
            let read = file.take(MAX_LINK_BYTES as u64 + 1).read_to_end(&mut target);
            read.map_err(ArchiveError::content(path))?;
            if target.is_empty() || target.len() > MAX_LINK_BYTES || target.contains(&0) {
                return Ok(Err("it is a link to nothing that can be named"));
            }
            What::Symlink { target }
        }
        (Kind::File | Kind::HardLink, _) => What::File { size: file.size() },
    }))
}

fn described<R: Read>(file: &ZipFile<'_, R>, extra: Option<Extra>, path: alknet_fs::FsPath, what: What) -> Entry {
    if let Some(extra) = extra {
        return Entry { path, what, mode: extra.mode, mtime_ns: extra.mtime_ns, xattrs: extra.xattrs };
    }
    let usual = match what {
        What::Folder => 0o755,
        What::Symlink { .. } => 0o777,
        _ => 0o644,
    };
    let mode = file.unix_mode().map_or(usual, |mode| (mode & 0o7777) as u16);
    let known = file.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    let seconds = known.map_or_else(|| dos_seconds(file), |seconds| i64::from(seconds.cast_signed()));
    Entry { path, what, mode, mtime_ns: seconds * 1_000_000_000, xattrs: Xattrs::new() }
}

/// The time that every zip has: local, of a zone that nobody knows; taken as UTC.
fn dos_seconds<R: Read>(file: &ZipFile<'_, R>) -> i64 {
    let Some(time) = file.last_modified().filter(zip::DateTime::is_valid) else { return 0 };
    let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
    // Days from the civil date, as Howard Hinnant counts them.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
}

fn damaged(path: &Path, error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(source) => ArchiveError::Disk { path: path.to_owned(), source },
        other => ArchiveError::Damaged { format: "zip", what: other.to_string() },
    }
}
