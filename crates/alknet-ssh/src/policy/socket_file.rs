//! Unix sockets as files: found once, then used by what was found, so that nobody puts another in its place in between.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, openat, readlinkat, statat, unlinkat},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::spawn_blocking,
};

use super::refusal::{ForwardRefusal, Reason};
use crate::limits::LISTEN_BACKLOG;

/// A socket that is there, or the place where it would be.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The socket, when it is there.
    found: Option<OwnedFd>,
}

impl SocketFile {
    /// Looks where a path leads when every symbolic link is followed.
    pub(super) async fn find(asked: PathBuf) -> Result<Self, ForwardRefusal> {
        // A network's file system may take its time.
        let found = spawn_blocking(move || Self::look(&asked)).await;
        found.map_err(|error| ForwardRefusal::new(Reason::Failed, error.to_string()))
    }

    fn look(asked: &Path) -> Self {
        match hold(CWD, asked, OFlags::empty()).and_then(|held| Ok((real_path(&held)?, held))) {
            Ok((path, held)) => Self { path, found: Some(held) },
            Err(_) => Self { path: place_of(asked), found: None },
        }
    }

    /// Where it is, all links followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Connects to it.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let held = self.found.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if !FileType::from_raw_mode(fstat(held)?.st_mode).is_socket() {
            return Err(io::Error::other("it is no socket"));
        }
        UnixStream::connect(through(held)).await
    }
}

/// A folder in which a socket is to be, and the socket's name.
#[derive(Debug)]
pub(super) struct SocketPlace {
    path: PathBuf,
    folder: OwnedFd,
    name: PathBuf,
}

impl SocketPlace {
    /// Looks where a path leads when every symbolic link in its folder is followed.
    pub(super) async fn find(asked: PathBuf) -> Result<Self, ForwardRefusal> {
        let found = spawn_blocking(move || Self::look(&asked)).await;
        let found = found.map_err(|error| ForwardRefusal::new(Reason::Failed, error.to_string()))?;
        Ok(found?)
    }

    fn look(asked: &Path) -> io::Result<Self> {
        let (parent, name) = asked.parent().zip(asked.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        let folder = hold(CWD, parent, OFlags::DIRECTORY)?;
        let name = PathBuf::from(name);
        Ok(Self { path: real_path(&folder)?.join(&name), folder, name })
    }

    /// Where it will be, all links followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Listens there, for the node's own user alone. A socket at which nobody listens any more is replaced, nothing else is.
    pub(super) async fn listen(self) -> io::Result<(UnixListener, MadeSocket)> {
        let listener = match self.bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                self.remove_abandoned().await.ok_or(error)?;
                self.bind()?
            }
            bound => bound?,
        };
        let file = self.entry()?;
        Ok((listener, MadeSocket { place: self, file }))
    }

    fn bind(&self) -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file takes over the mode of the unbound socket.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(through(&self.folder).join(&self.name))?)?;
        listen(&socket, LISTEN_BACKLOG)?;
        UnixListener::from_std(socket.into())
    }

    /// What stands there, links not followed.
    fn entry(&self) -> io::Result<OwnedFd> {
        hold(self.folder.as_fd(), &self.name, OFlags::NOFOLLOW)
    }

    /// Removes a socket at which nobody listens.
    async fn remove_abandoned(&self) -> Option<()> {
        let file = self.entry().ok()?;
        if !FileType::from_raw_mode(fstat(&file).ok()?.st_mode).is_socket() {
            return None;
        }
        let answer = UnixStream::connect(through(&file)).await;
        let abandoned = answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if abandoned { self.remove(&file).ok() } else { None }
    }

    /// Removes what stands there if it is this file. It is held, so that no other is of its number.
    fn remove(&self, file: &OwnedFd) -> io::Result<()> {
        let (held, there) = (fstat(file)?, statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)?);
        if (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino) {
            return Err(io::Error::other("another file has taken its place"));
        }
        Ok(unlinkat(&self.folder, &self.name, AtFlags::empty())?)
    }
}

/// The file of a socket that was made. It is removed when this is dropped, wherever its folder is by then, and nothing else is.
#[derive(Debug)]
pub(super) struct MadeSocket {
    place: SocketPlace,
    file: OwnedFd,
}

impl Drop for MadeSocket {
    fn drop(&mut self) {
        let _gone_or_replaced = self.place.remove(&self.file);
    }
}

/// Holds what a path leads to, without opening it.
fn hold(at: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(at, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())?)
}

/// The way to what is held (proc(5)).
fn through(held: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

fn real_path(held: &OwnedFd) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = readlinkat(CWD, through(held), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
}

/// Where a path that leads to nothing would lead: its longest beginning that is there, links followed, and the rest.
fn place_of(asked: &Path) -> PathBuf {
    let real = |kept: &Path| Some((kept.canonicalize().ok()?, asked.strip_prefix(kept).ok()?));
    asked.ancestors().find_map(real).map_or_else(|| asked.to_owned(), |(real, rest)| real.join(rest))
}
