//! Hashes of files of the disk, made by as many threads as there are cores.

use std::{fs::File, io::Read, path::Path};

use alknet_fs::ContentHash;

use super::{
    archive::ArchiveError,
    limits::MAX_KEPT_BYTES,
    progress::Done,
    steady::{Stamp, changed},
};

const CHUNK_BYTES: usize = 1024 * 1024;

/// What was read of a file.
#[derive(Debug)]
pub struct Hashed {
    /// Its hash.
    pub hash: ContentHash,
    /// Its length, in bytes.
    pub size: u64,
    /// Its bytes, if they are few.
    pub kept: Option<Vec<u8>>,
    /// When it was so.
    pub stamp: Stamp,
}

/// Reads a file once; blocks. Says how much it has read. A file that changes meanwhile is an error.
pub fn hash_file(path: &Path, done: &Done) -> Result<Hashed, ArchiveError> {
    let disk = |source| ArchiveError::Disk { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(disk)?;
    let stamp = Stamp::of(&file).map_err(disk)?;
    let steady = |file: &File| if Stamp::of(file)? == stamp { Ok(()) } else { Err(changed()) };
    let mut kept = Vec::new();
    Read::by_ref(&mut file).take(MAX_KEPT_BYTES + 1).read_to_end(&mut kept).map_err(disk)?;
    if kept.len() as u64 <= MAX_KEPT_BYTES {
        steady(&file).map_err(disk)?;
        let hash = ContentHash::of(&kept);
        return Ok(Hashed { hash, size: kept.len() as u64, kept: Some(kept), stamp });
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&kept);
    let mut size = kept.len() as u64;
    done.looked(size);
    drop(kept);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).map_err(disk)? {
            0 => break,
            read => {
                hasher.update(&chunk[..read]);
                size += read as u64;
                done.looked(read as u64);
                // One that grows as fast as it is read has no end.
                if size > stamp.size {
                    steady(&file).map_err(disk)?;
                }
            }
        }
    }
    steady(&file).map_err(disk)?;
    let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
    Ok(Hashed { hash, size, kept: None, stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_kept_and_large_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        for size in [0, 1, MAX_KEPT_BYTES, MAX_KEPT_BYTES + 1, 3 * CHUNK_BYTES as u64 + 7] {
            let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            let hashed = hash_file(&path, &Done::default()).unwrap();
            assert_eq!((hashed.hash, hashed.size), (ContentHash::of(&content), size));
            assert_eq!(hashed.kept, (size <= MAX_KEPT_BYTES).then_some(content));
        }
        assert!(hash_file(&folder.path().join("none"), &Done::default()).is_err());
    }
}
