//! `-L`: listeners here.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use alknet_ssh::{ForwardStream, Origin, Tunnel, TunnelError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host},
    sync::Semaphore,
};

use super::{Complaints, LocalSpec, Place};
use crate::failure::{Failure, Kind};

/// Connections of one forward at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 1024;
/// How long accepting pauses when the system refuses.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// A listener whose connections go to the node.
pub struct LocalForward {
    listeners: Vec<Listener>,
    /// Where it listens, with the port that was chosen.
    pub listen: Place,
    /// Whether the port was left to the system.
    pub chosen: bool,
    to: Place,
}

enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A socket's file, removed when nobody listens any more.
struct SocketFile(String);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl LocalForward {
    /// Begins to listen.
    pub async fn listen(spec: LocalSpec) -> Result<Self, Failure> {
        let LocalSpec { listen, to } = spec;
        let refused = |error: io::Error, place: &Place| {
            let failure =
                Failure::caused_by(Kind::Failed, &error).while_doing(format_args!("cannot listen on {place}"));
            match error.kind() {
                io::ErrorKind::AddrInUse => {
                    failure.hint("another program has it: choose another port, or 0 to have one chosen")
                }
                _ => failure,
            }
        };
        let listeners = match &listen {
            Place::Tcp { host, port } => listen_tcp(host, *port).await,
            Place::Unix(path) => listen_unix(path).await.map(|listener| vec![listener]),
        };
        let listeners = listeners.map_err(|error| refused(error, &listen))?;
        let found = match (&listen, listeners.first()) {
            (Place::Tcp { host, .. }, Some(Listener::Tcp(listener))) => {
                Place::Tcp { host: host.clone(), port: listener.local_addr()?.port() }
            }
            _ => listen.clone(),
        };
        Ok(Self { listeners, chosen: found != listen, listen: found, to })
    }

    /// Where its connections go from the node.
    pub const fn to(&self) -> &Place {
        &self.to
    }

    /// Forwards every connection, each in a task of its own, until dropped.
    pub async fn run(self, tunnel: Arc<Tunnel>) {
        let around = Arc::new(Around { tunnel, to: self.to, complaints: Complaints::default() });
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accepting = self.listeners.into_iter().map(|listener| accept(listener, around.clone(), room.clone()));
        futures_util::future::join_all(accepting).await;
    }
}

/// `localhost` is both loopback addresses; the second is a courtesy, which a machine may not have.
async fn listen_tcp(host: &str, port: u16) -> io::Result<Vec<Listener>> {
    let wanted: Vec<SocketAddr> = match host {
        "localhost" => vec![([127, 0, 0, 1], port).into(), (std::net::Ipv6Addr::LOCALHOST, port).into()],
        "" => vec![(std::net::Ipv4Addr::UNSPECIFIED, port).into()],
        _ => lookup_host((host, port)).await?.collect(),
    };
    let mut listeners: Vec<Listener> = Vec::new();
    let mut port = port;
    for mut addr in wanted {
        addr.set_port(port);
        match TcpListener::bind(addr).await {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                listeners.push(Listener::Tcp(listener));
            }
            Err(error) if listeners.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    if listeners.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(listeners) }
}

/// A socket that only this user can use. The file of a listener that is dead is replaced.
async fn listen_unix(path: &str) -> io::Result<Listener> {
    if let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
        && is_socket(path.as_ref())
    {
        std::fs::remove_file(path)?;
    }
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    Ok(Listener::Unix { listener: bound?, _file: SocketFile(path.to_owned()) })
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// What the connections of one forward share.
struct Around {
    tunnel: Arc<Tunnel>,
    to: Place,
    complaints: Complaints,
}

async fn accept(listener: Listener, around: Arc<Around>, room: Arc<Semaphore>) {
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let around = around.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(socket, from)| {
                tokio::spawn(async move {
                    // Without it the connection is only slower.
                    let _ = socket.set_nodelay(true);
                    around.tcp(socket, from).await;
                    drop(place);
                });
            }),
            Listener::Unix { listener, .. } => listener.accept().await.map(|(socket, _)| {
                tokio::spawn(async move {
                    around.unix(socket).await;
                    drop(place);
                });
            }),
        };
        if accepted.is_err() {
            // No descriptor is left, most often.
            tokio::time::sleep(ACCEPT_BACKOFF).await;
        }
    }
}

impl Around {
    async fn tcp(&self, socket: TcpStream, from: SocketAddr) {
        if let Some(stream) = self.open(&Origin::from(from)).await {
            let (reader, writer) = socket.into_split();
            moved(stream, reader, writer).await;
        }
    }

    async fn unix(&self, socket: UnixStream) {
        let from = Origin { host: "127.0.0.1".to_owned(), port: 0 };
        if let Some(stream) = self.open(&from).await {
            let (reader, writer) = socket.into_split();
            moved(stream, reader, writer).await;
        }
    }

    async fn open(&self, from: &Origin) -> Option<ForwardStream> {
        match open(&self.tunnel, &self.to, from).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                self.complaints.say(format!("{}: {error}", self.to));
                None
            }
        }
    }
}

/// Opens a connection from the node to a place.
async fn open(tunnel: &Tunnel, to: &Place, from: &Origin) -> Result<ForwardStream, TunnelError> {
    match to {
        Place::Tcp { host, port } => tunnel.open_tcp(host, *port, from).await,
        Place::Unix(path) => tunnel.open_unix(path).await,
    }
}

async fn moved(stream: ForwardStream, reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) {
    if let Err(error) = stream.relay(reader, writer).await {
        tracing::debug!(%error, "a forwarded connection broke off");
    }
}
