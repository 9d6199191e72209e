//! The folder in which a node keeps everything, and the lock that makes it one node's.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

/// How long a command waits for another one that holds the folder for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// Longest pid line read from a lock file, in bytes.
const MAX_LOCK_TEXT_BYTES: u64 = 64;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// It cannot be made or entered.
    #[error("cannot use the data folder {}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("the data folder {} is in use by process {pid}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who uses it.
        pid: String,
    },
    /// A file in it cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A node's data folder.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Names the folder; touches nothing.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }
    /// Makes the folder, private to its user, if it is not there.
    pub fn create(&self) -> Result<(), DataFolderError> {
        let fault = |source| DataFolderError::Unusable { path: self.root.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(fault)?;
        // Proves that it can be written, before anything is half done.
        let probe = self.root.join(".write-test");
        File::create(&probe).and_then(|_| std::fs::remove_file(&probe)).map_err(fault)
    }
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The sealed mnemonic.
    pub fn keystore(&self) -> PathBuf {
        self.root.join("keystore.json")
    }
    /// The key that opens the keystore of a node that starts unattended.
    pub fn key_file(&self) -> PathBuf {
        self.root.join("keystore.key")
    }
    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("alknet.db")
    }
    /// The owner's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("alknet.sock")
    }
    /// The self-signed web certificate and its key.
    pub fn web_certificate(&self) -> (PathBuf, PathBuf) {
        (self.root.join("web/self-signed.crt"), self.root.join("web/self-signed.key"))
    }
    /// The log of a node that was started with `--detach`.
    pub fn log(&self) -> PathBuf {
        self.root.join("logs/alknet.log")
    }
    /// The log of an ssh-agent in the background.
    pub fn agent_log(&self) -> PathBuf {
        self.root.join("logs/agent.log")
    }
    /// The host keys of the nodes in `ssh-config`'s stanza.
    pub fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }
    /// The recordings of SSH sessions.
    pub fn recordings(&self) -> PathBuf {
        self.root.join("recordings")
    }
    /// The names of the nodes to which this one lends its operations.
    pub fn heads(&self) -> PathBuf {
        self.root.join("heads.json")
    }
    /// The configuration file beside the data.
    pub fn config(&self) -> PathBuf {
        self.root.join("alknet.toml")
    }

    /// Takes the folder for this process, until the lock is dropped. Waits a little for a command that holds it briefly.
    pub fn lock(&self) -> Result<Lock, DataFolderError> {
        let path = self.root.join("lock");
        let fault = |source| DataFolderError::File { what: "open", path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        let give_up = Instant::now() + LOCK_PATIENCE;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(fault(error.into()));
            }
            if self.is_serving() || Instant::now() > give_up {
                return Err(self.in_use(&mut file));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fault)?;
        Ok(Lock(file))
    }

    /// Keeps others from taking the folder until the lock is dropped, and writes nothing; others may read as well. `None`: nobody ever
    /// took it.
    pub fn lock_to_read(&self) -> Result<Option<Lock>, DataFolderError> {
        let path = self.root.join("lock");
        let fault = |source| DataFolderError::File { what: "open", path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(self.in_use(&mut file)),
            Err(error) => Err(fault(error.into())),
        }
    }

    /// Whether some process holds the folder at this moment.
    pub fn lock_is_held(&self) -> Result<bool, DataFolderError> {
        match self.lock_to_read() {
            Ok(_) => Ok(false),
            Err(DataFolderError::InUse { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn in_use(&self, lock: &mut File) -> DataFolderError {
        let mut pid = String::new();
        let _unreadable = lock.take(MAX_LOCK_TEXT_BYTES).read_to_string(&mut pid);
        DataFolderError::InUse { path: self.root.clone(), pid: pid.trim().to_owned() }
    }

    /// Whether a node answers on the control socket.
    pub fn is_serving(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.control_socket()).is_ok()
    }

    /// Writes a file that only its user may read, all of it or nothing: through a temporary file, a sync and a rename.
    pub fn write_private(&self, path: &Path, content: &[u8]) -> Result<(), DataFolderError> {
        let fault = |source| DataFolderError::File { what: "write", path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
        }
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        write().inspect_err(|_| drop(std::fs::remove_file(&temporary))).map_err(fault)
    }

    /// Reads a file of at most `max` bytes; `None` if it is not there.
    pub fn read_bounded(&self, path: &Path, max: u64) -> Result<Option<Vec<u8>>, DataFolderError> {
        let fault = |source| DataFolderError::File { what: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error)),
        };
        let mut content = Vec::new();
        file.take(max + 1).read_to_end(&mut content).map_err(fault)?;
        if content.len() as u64 > max {
            return Err(fault(io::Error::other(format!("larger than {max} bytes"))));
        }
        Ok(Some(content))
    }
}

/// Holds the data folder for this process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read: the kernel frees the lock with the file")] File);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_process_that_holds_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::at(folder.path().to_owned());
        let held = data.lock().unwrap();
        // A listening socket makes the second taker give up at once.
        let _node = std::os::unix::net::UnixListener::bind(data.control_socket()).unwrap();
        let refused = data.lock().unwrap_err().to_string();
        assert!(refused.ends_with(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(held);
        assert!(data.lock().is_ok());
    }

    #[test]
    fn a_private_file_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::at(folder.path().to_owned());
        let path = folder.path().join("deep/secret");
        data.write_private(&path, b"one").unwrap();
        data.write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        assert!(data.read_bounded(&path, 2).is_err());
        assert_eq!(data.read_bounded(&path, 3).unwrap().unwrap(), b"two");
        assert!(data.read_bounded(&folder.path().join("none"), 3).unwrap().is_none());
    }
}
