//! Where an ssh-agent is reached: a socket that only its own user may open.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use data_encoding::BASE32_NOPAD;
use tokio::net::UnixListener;

use crate::failure::{Failure, Kind};

/// The listening end. The socket goes when this is dropped, and the folder that was made for it alone.
pub struct AgentSocket {
    path: PathBuf,
    _folder: Option<OwnFolder>,
}

impl AgentSocket {
    /// Listens at `path`, or in a new folder of its own.
    pub fn bind(path: Option<&Path>) -> Result<(Self, UnixListener), Failure> {
        let folder = if path.is_none() { Some(OwnFolder::make()?) } else { None };
        let path = match (&folder, path) {
            (_, Some(path)) => std::path::absolute(path)?,
            (Some(folder), None) => folder.0.join("agent.sock"),
            (None, None) => return Err(Failure::failed("no place for the agent's socket")),
        };
        let listener = listen(&path).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => Failure::failed(format!("an agent answers at {} already", path.display()))
                .hint("end that one, or choose another --socket"),
            _ => Failure::caused_by(Kind::Failed, &error)
                .while_doing(format_args!("cannot make the socket {}", path.display())),
        })?;
        Ok((Self { path, _folder: folder }, listener))
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// A folder with a name that nobody can guess; it goes when this is dropped.
struct OwnFolder(PathBuf);

impl OwnFolder {
    fn make() -> Result<Self, Failure> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let base = runtime.filter(|folder| folder.is_dir()).unwrap_or_else(env::temp_dir);
        let mut name = [0; 10];
        getrandom::fill(&mut name)?;
        let folder = base.join(format!("alknet-agent-{}", BASE32_NOPAD.encode(&name).to_lowercase()));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Failure::from(error).while_doing(format_args!("cannot make {}", folder.display())))?;
        Ok(Self(folder))
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Somebody may have put something beside the socket: then it stays.
        let _ = fs::remove_dir(&self.0);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    remove_dead(path)?;
    let listener = UnixListener::bind(path)?;
    // A second fence: the first is the kernel's word on each client's uid.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes a socket at which nobody listens any more, and nothing else.
fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "something is there that is no socket"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// AGENT-03.
    #[tokio::test]
    async fn a_socket_is_private_and_goes_with_its_folder() {
        let (socket, _listener) = AgentSocket::bind(None).unwrap();
        let (path, folder) = (socket.path().to_owned(), socket.path().parent().unwrap().to_owned());
        assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
        drop(socket);
        assert!(!folder.exists());
    }

    /// AGENT-04.
    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let world = tempfile::tempdir().unwrap();
        let path = world.path().join("new/agent.sock");
        let (socket, listener) = AgentSocket::bind(Some(&path)).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let refusal = AgentSocket::bind(Some(&path)).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains("answers") && path.exists(), "{refusal}");
        // As a killed agent leaves it behind.
        std::mem::forget(socket);
        drop(listener);
        AgentSocket::bind(Some(&path)).map(|_| ()).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(AgentSocket::bind(Some(&path)).map(|_| ()).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
