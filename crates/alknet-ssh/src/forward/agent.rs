//! The client's agent, for the processes of one session: a socket that only their user can open.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use tokio::{net::UnixListener, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Home,
    incoming::{Arrival, bring},
    tunnel::Socket,
};
use crate::{limits::ACCEPT_PAUSE, pressure::ChannelKind};

/// Where the sockets' folders are made: sockets have short names, and every user gets there.
const PARENT: &str = "/tmp";

/// A socket that leads to the client's agent. Dropping it removes it; connections that came go on.
pub(crate) struct AgentSocket {
    folder: PathBuf,
    accepting: JoinHandle<()>,
}

impl AgentSocket {
    /// Opens a socket for the node's own user.
    pub(crate) fn open(home: Home) -> io::Result<Self> {
        let folder = Path::new(PARENT).join(format!("alknet-agent-{:016x}", getrandom::u64()?));
        DirBuilder::new().mode(0o700).create(&folder)?;
        match listen(&socket_in(&folder)) {
            Ok(listener) => Ok(Self { accepting: tokio::spawn(accept(listener, home)), folder }),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    /// Makes it another user's instead. The folder stays the node's, so that nobody can put something else in the socket's place.
    pub(crate) fn give_to(&self, uid: u32) -> io::Result<()> {
        chown(self.path(), Some(uid), None)?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o711))
    }

    /// For `SSH_AUTH_SOCK`.
    pub(crate) fn path(&self) -> PathBuf {
        socket_in(&self.folder)
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.accepting.abort();
        remove(&self.folder);
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("agent")
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn remove(folder: &Path) {
    // What somebody else has tidied away is gone as well.
    let _ = fs::remove_file(socket_in(folder));
    let _ = fs::remove_dir(folder);
}

async fn accept(listener: UnixListener, home: Home) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = home.around.life.cancelled() => return,
            () = home.around.stopping.cancelled() => return,
        };
        let Ok((socket, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let around = &home.around;
        if let Some(open) = around.pressure.open_channel(ChannelKind::Forward, around.max_forwards) {
            let home = home.clone();
            tokio::spawn(async move {
                bring(Arrival::Agent, Socket::Unix(socket), home, &CancellationToken::new(), open).await;
            });
        }
    }
}
