//! Content beside a copy of the database: which files belong to it, and laying them into a data folder.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use alknet_core::{Maintenance, NodeKey};
use alknet_store::node_key_of_copy;
use rusqlite::{Connection, OpenFlags};

use super::{
    BlobReader, Content,
    folders::{BlobName, Folders, shard},
    hasher::TreeHasher,
};
use crate::{
    error::{Errno, FsError},
    hash::ContentHash,
    ids::BlobId,
    limits::{COPY_BUFFER_BYTES, FILES_LOOKED_UP_AT_ONCE},
    rows::blob::{self, BlobRow, Class, State},
};

impl Content {
    /// Opens content by its hash alone, for a task of the node itself; `None`: there is none, or no longer. What was set aside is
    /// opened as well: as far as it is whole, it can be read.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub async fn by_hash(&self, task: &Maintenance, hash: ContentHash) -> Result<Option<BlobReader>, FsError> {
        tracing::debug!(task = task.task(), %hash, "opening content by its hash");
        let find = move |sql: &Connection| -> Result<_, FsError> { Ok(blob::kept(sql, &hash, MAX_KEPT_TRIED)?) };
        let mut failed = None;
        for row in self.0.tables.read(find).await? {
            match self.reader(row.id, hash.to_string()).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(FsError::At { errno: Errno::Stale, .. }) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

/// Rows of one hash that are tried: each but one was set aside.
const MAX_KEPT_TRIED: usize = 16;
/// Ends the name of a file that is not whole yet.
const PART: &str = "part";

/// A copy of the database, to be asked whose it is and which files belong to it.
pub struct CopiedDatabase {
    sql: Connection,
    /// One from before there were files has none.
    has_files: bool,
}

/// A file of content that belongs to a copy of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFile {
    id: BlobId,
    name: BlobName,
    /// Its bytes.
    pub size: u64,
}

/// Why a file of content was not laid into a data folder.
#[derive(Debug, thiserror::Error)]
pub enum LayError {
    /// It is not there.
    #[error("the file of content {0} is missing")]
    Missing(ContentHash),
    /// It is not what its name says.
    #[error("the file of content {0} is damaged")]
    Damaged(ContentHash),
    /// The disk failed.
    #[error("cannot copy {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CopiedDatabase {
    /// Opens it, and writes nothing beside it.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        // A copy has no log, and nobody writes to it: SQLite need not make the files for both.
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*byte)),
                _ => uri.push_str(&format!("%{byte:02x}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let sql = Connection::open_with_flags(uri, flags)?;
        let has_files = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'fs_blob')";
        let has_files = sql.query_row(has_files, [], |row| row.get(0))?;
        Ok(Self { sql, has_files })
    }

    /// The node that it is bound to.
    ///
    /// # Errors
    /// Fails when the copy cannot be read.
    pub fn node_key(&self) -> rusqlite::Result<Option<NodeKey>> {
        node_key_of_copy(&self.sql)
    }

    /// Some of the files after this one; none: these were all. What was set aside is among them unless equal content took its place:
    /// the node may have no good file of it any more, and a folder that is copied to still has.
    ///
    /// # Errors
    /// Fails when the copy cannot be read.
    pub fn files(&self, after: Option<&CopiedFile>) -> rusqlite::Result<Vec<CopiedFile>> {
        if !self.has_files {
            return Ok(Vec::new());
        }
        let mut after = after.map_or(BlobId(0), |file| file.id);
        loop {
            let rows = blob::page(&self.sql, after, FILES_LOOKED_UP_AT_ONCE)?;
            let Some(last) = rows.last() else { return Ok(Vec::new()) };
            after = last.id;
            let mut files = Vec::new();
            for BlobRow { id, hash, generation, size, class, state, .. } in rows {
                let is_read = match state {
                    State::Live => true,
                    State::Missing => blob::live(&self.sql, &hash)?.is_none(),
                    State::Dying => false,
                };
                if class == Class::Whole && is_read {
                    files.push(CopiedFile { id, name: BlobName { hash, generation }, size });
                }
            }
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }

    /// Removes the files of content in a folder that this copy does not name. Answers how many.
    ///
    /// # Errors
    /// Fails with the disk, and when the copy cannot be read.
    pub fn remove_others(&self, folder: &Path) -> io::Result<u64> {
        let mut removed = 0;
        for shard_folder in list(&folder.join("blobs"))? {
            if shard_folder.file_name().and_then(shard).is_none() {
                continue;
            }
            for path in list(&shard_folder)? {
                let name = path.file_name().and_then(BlobName::parse);
                // What a copying left that was cut short.
                let is_left = path.extension().is_some_and(|ending| ending == PART);
                let is_unnamed = match name {
                    Some((name, _)) if self.has_files => {
                        !blob::names(&self.sql, &name.hash, name.generation).map_err(io::Error::other)?
                    }
                    Some(_) => true,
                    None => false,
                };
                if is_left || is_unnamed {
                    fs::remove_file(&path)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl CopiedFile {
    /// The hash of its content.
    pub const fn hash(&self) -> ContentHash {
        self.name.hash
    }

    /// Where it lies in a data folder, or in a copy of one.
    pub fn path(&self, folder: &Path) -> PathBuf {
        Folders::blob_in(folder, self.name)
    }

    /// Whether it lies in a folder with its length.
    pub fn is_in(&self, folder: &Path) -> bool {
        fs::symlink_metadata(self.path(folder)).is_ok_and(|found| found.is_file() && found.len() == self.size)
    }

    /// Copies it from a folder into a data folder, if it is what its name says, and makes its outboard. It is on the disk afterwards;
    /// its name is once [`sync_names`] was called.
    ///
    /// # Errors
    /// As [`LayError`] says; nothing is left of it then.
    pub fn lay(&self, from: &Path, into: &Path) -> Result<(), LayError> {
        let (source, data) = (self.path(from), self.path(into));
        let outboard = Folders::outboard_in(into, self.name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LayError::Io { path, source }
        };
        let mut reader = match fs::File::open(&source) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayError::Missing(self.hash())),
            Err(error) => return Err(failed(&source)(error)),
        };
        let (mut to, mut tree) =
            (Part::make(&data).map_err(failed(&data))?, Part::make(&outboard).map_err(failed(&outboard))?);
        let (mut hasher, mut buffer, mut size) = (TreeHasher::new(), vec![0; COPY_BUFFER_BYTES], 0);
        loop {
            let count = reader.read(&mut buffer).map_err(failed(&source))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
            to.file.write_all(&buffer[..count]).map_err(failed(&data))?;
            tree.file.write_all(&hasher.take_pairs()).map_err(failed(&outboard))?;
        }
        let (hash, pairs) = hasher.finish();
        if (hash, size) != (self.hash(), self.size) {
            return Err(LayError::Damaged(self.hash()));
        }
        tree.file.write_all(&pairs).map_err(failed(&outboard))?;
        tree.put().map_err(failed(&outboard))?;
        to.put().map_err(failed(&data))
    }
}

/// A file that gets its name once it is whole and on the disk.
pub struct Part {
    path: PathBuf,
    to: PathBuf,
    /// What is written.
    pub file: fs::File,
}

impl Part {
    /// Begins one, in a folder that is made if need be.
    ///
    /// # Errors
    /// Fails with the disk.
    pub fn make(to: &Path) -> io::Result<Self> {
        if let Some(folder) = to.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let path = to.with_added_extension(PART);
        // One that an earlier attempt left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, to: to.to_owned(), file })
    }

    /// Where it lies until then.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it on the disk and in its place, where it is only read.
    ///
    /// # Errors
    /// Fails with the disk, and leaves nothing.
    pub fn put(self) -> io::Result<()> {
        self.put_as(0o400)
    }

    /// As [`Self::put`], with this mode.
    ///
    /// # Errors
    /// As there.
    pub fn put_as(self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(mode))?;
        self.file.sync_all()?;
        fs::rename(&self.path, &self.to)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is in its place this name is no more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Puts the names of the files of content in a folder on the disk.
///
/// # Errors
/// Fails with the disk.
pub fn sync_names(folder: &Path) -> io::Result<()> {
    let blobs = folder.join("blobs");
    for shard in list(&blobs)? {
        if shard.is_dir() {
            fs::File::open(shard)?.sync_all()?;
        }
    }
    if blobs.is_dir() {
        fs::File::open(blobs)?.sync_all()?;
    }
    fs::File::open(folder)?.sync_all()
}
