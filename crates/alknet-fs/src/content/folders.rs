//! Where content lies in the data folder, and what its files are called.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use data_encoding::HEXLOWER;

use super::disk::Disk;
use crate::hash::ContentHash;

/// What the file with a blob's or spool's hash tree is called, after that file's name.
const OUTBOARD: &str = ".obao";
/// Begins the names of uploads that can go on after a restart.
const UPLOAD: &str = "up-";

/// Why the folders for content cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadFolders {
    /// A finished file could not be moved into its place at once.
    #[error("{spool} and {blobs} are on two file systems; they must be on one", spool = .0.join("spool").display(), blobs = .0.join("blobs").display())]
    TwoFileSystems(PathBuf),
    /// One of them cannot be made or read.
    #[error("cannot use {}: {source}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `spool/`, `blobs/` and the 256 folders in it.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    /// Those of the 256 whose own names are on the disk.
    synced: Vec<AtomicBool>,
}

/// The name of a blob's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlobName {
    pub hash: ContentHash,
    pub generation: u64,
}

/// The name of a spool file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SpoolName {
    /// It goes with the process.
    Passing([u8; 16]),
    /// It outlives the process if there is a row of this number in `fs_session`.
    Upload([u8; 16]),
}

impl Folders {
    /// Makes them where they are not yet there, and checks that a file can be moved from one to the other.
    pub fn open(disk: &dyn Disk, root: &Path) -> Result<Self, BadFolders> {
        let folders = Self { root: root.to_owned(), synced: (0..256).map(|_| AtomicBool::new(false)).collect() };
        let (spool, blobs) = (folders.spool(), folders.blobs());
        for path in [&spool, &blobs] {
            disk.make_folder(path).map_err(unusable(path))?;
        }
        disk.sync_folder(root).map_err(unusable(root))?;
        let device = |path: &Path| Ok(disk.about(path).map_err(unusable(path))?.device);
        if device(&spool)? != device(&blobs)? {
            return Err(BadFolders::TwoFileSystems(root.to_owned()));
        }
        disk.sync_folder(&blobs).map_err(unusable(&blobs))?;
        for name in disk.list(&blobs).map_err(unusable(&blobs))? {
            if let Some(first) = shard(&name) {
                folders.synced[usize::from(first)].store(true, Ordering::Relaxed);
            }
        }
        Ok(folders)
    }

    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }
    /// The folder of blobs whose hashes begin with this byte.
    pub fn shard(&self, first: u8) -> PathBuf {
        self.blobs().join(format!("{first:02x}"))
    }
    pub fn blob(&self, name: BlobName) -> PathBuf {
        Self::blob_in(&self.root, name)
    }
    pub fn blob_outboard(&self, name: BlobName) -> PathBuf {
        Self::outboard_in(&self.root, name)
    }
    /// The place of a blob below the folder of content.
    pub fn blob_in(root: &Path, name: BlobName) -> PathBuf {
        root.join(format!("blobs/{:02x}", name.first())).join(name.text())
    }
    /// The place of its outboard.
    pub fn outboard_in(root: &Path, name: BlobName) -> PathBuf {
        root.join(format!("blobs/{:02x}", name.first())).join(name.text() + OUTBOARD)
    }
    pub fn spool_file(&self, name: SpoolName) -> PathBuf {
        self.spool().join(name.text())
    }
    pub fn spool_outboard(&self, name: SpoolName) -> PathBuf {
        self.spool().join(name.text() + OUTBOARD)
    }

    /// Makes a blob's folder. Answers whether `blobs/` must be synced before the blob is there for good.
    pub fn make_shard(&self, disk: &dyn Disk, first: u8) -> io::Result<bool> {
        if self.synced[usize::from(first)].load(Ordering::Acquire) {
            return Ok(false);
        }
        disk.make_folder(&self.shard(first)).map(|_| true)
    }
    /// Says that `blobs/` was synced after the folder was made.
    pub fn shard_is_synced(&self, first: u8) {
        self.synced[usize::from(first)].store(true, Ordering::Release);
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> BadFolders + '_ {
    move |source| BadFolders::Unusable { path: path.to_owned(), source }
}

/// The first byte of the hashes in the folder of this name.
pub(super) fn shard(name: &OsStr) -> Option<u8> {
    let bytes = HEXLOWER.decode(name.as_encoded_bytes()).ok()?;
    <[u8; 1]>::try_from(bytes).ok().map(|[first]| first)
}

/// Without the ending of an outboard, and whether there was one.
fn stem(name: &OsStr) -> Option<(&str, bool)> {
    let name = name.to_str()?;
    Some(name.strip_suffix(OUTBOARD).map_or((name, false), |stem| (stem, true)))
}

impl BlobName {
    pub const fn first(self) -> u8 {
        self.hash.as_bytes()[0]
    }
    fn text(self) -> String {
        format!("{}.{:016x}", self.hash, self.generation)
    }
    /// Which blob a file in `blobs/xx/` belongs to, and whether it is its outboard.
    pub fn parse(name: &OsStr) -> Option<(Self, bool)> {
        let (stem, outboard) = stem(name)?;
        let (hash, generation) = stem.split_once('.')?;
        let generation = HEXLOWER.decode(generation.as_bytes()).ok()?;
        let generation = u64::from_be_bytes(generation.try_into().ok()?);
        Some((Self { hash: hash.parse().ok()?, generation }, outboard))
    }
}

impl SpoolName {
    pub fn random() -> io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::Passing(id))
    }
    fn text(self) -> String {
        match self {
            Self::Passing(id) => HEXLOWER.encode(&id),
            Self::Upload(id) => format!("{UPLOAD}{}", HEXLOWER.encode(&id)),
        }
    }
    /// Which spool a file in `spool/` belongs to, and whether it is its outboard.
    pub fn parse(name: &OsStr) -> Option<(Self, bool)> {
        let (stem, outboard) = stem(name)?;
        let (id, kind): (_, fn([u8; 16]) -> Self) =
            stem.strip_prefix(UPLOAD).map_or((stem, Self::Passing), |id| (id, Self::Upload));
        let id = HEXLOWER.decode(id.as_bytes()).ok()?;
        Some((kind(id.try_into().ok()?), outboard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_read_back_and_others_are_not_ours() {
        // BLOB-02
        let blob = BlobName { hash: ContentHash::of(b"x"), generation: 0x1_0000_0002 };
        assert_eq!(BlobName::parse(blob.text().as_ref()), Some((blob, false)));
        assert_eq!(BlobName::parse((blob.text() + OUTBOARD).as_ref()), Some((blob, true)));
        for spool in [SpoolName::Passing([7; 16]), SpoolName::Upload([8; 16])] {
            assert_eq!(SpoolName::parse(spool.text().as_ref()), Some((spool, false)));
            assert_eq!(SpoolName::parse((spool.text() + OUTBOARD).as_ref()), Some((spool, true)));
        }
        let text = blob.text();
        for foreign in ["", "lost+found", &text[1..], &text[..70], &text.to_uppercase(), &(text.clone() + ".tmp")] {
            assert_eq!(BlobName::parse(foreign.as_ref()), None, "{foreign}");
            assert_eq!(SpoolName::parse(foreign.as_ref()), None, "{foreign}");
        }
        assert_eq!((shard("0f".as_ref()), shard("0F".as_ref()), shard("0".as_ref())), (Some(15), None, None));
    }
}
