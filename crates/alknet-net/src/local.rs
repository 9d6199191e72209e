//! The control socket: this machine's carrier. Each socket connection names its service in one line (a length byte and
//! the ALPN) and is one stream. Only the node's own user gets in; the kernel says who that is.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use alknet_core::{Alpn, BoxFuture, Carrier, CloseReason, Connection, ConnectionError, Link, Peer, PeerAddr, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::{ACCEPT_BACKOFF, HANDSHAKE_TIMEOUT};
use crate::serving::Serving;
use crate::single_link::{Role, SingleLink};

/// The control socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the control socket {}", path.display())]
pub struct LocalBindError {
    path: PathBuf,
    source: io::Error,
}

/// The listening end of the control socket. Its file goes when it is dropped.
pub(crate) struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalListener {
    pub(crate) fn bind(path: &Path) -> Result<Self, LocalBindError> {
        Self::try_bind(path).map_err(|source| LocalBindError { path: path.to_owned(), source })
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let this = Self { listener, path: path.to_owned() };
        // A second fence: the first is the kernel's word on each peer's uid.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(this)
    }

    /// The accept loop.
    pub(crate) async fn run(self, serving: Serving) {
        loop {
            match self.listener.accept().await {
                Ok((io, _)) => {
                    let serving_one = serving.clone();
                    serving.spawn(async move { accept_one(io, serving_one).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept_one(io: UnixStream, serving: Serving) {
    match timeout(HANDSHAKE_TIMEOUT, open(io, &serving)).await {
        Ok(Ok(connection)) => serving.serve(connection, None).await,
        Ok(Err(error)) => tracing::debug!(%error, "control socket: connection refused"),
        Err(_) => tracing::debug!("control socket: no service named in time"),
    }
}

async fn open(mut io: UnixStream, serving: &Serving) -> io::Result<Connection> {
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let credentials = io.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if credentials.uid() != own {
        return Err(refused(format!("uid {} is not the node's own", credentials.uid())));
    }
    let alpn = read_alpn(&mut io).await?;
    if !serving.router().service(&alpn).is_some_and(|service| service.local) {
        return Err(refused(format!("no local service {alpn}")));
    }
    let pid = credentials.pid().unwrap_or(0);
    let peer = Peer { key: None, addr: PeerAddr::LocalOwner { pid }, local: None, server_name: None };
    Ok(Connection::new(alpn, peer, SingleLink::new(Carrier::Local, Role::Accepted, io)))
}

/// Reads the one line: a length byte and a name.
pub(crate) async fn read_alpn(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Alpn> {
    let length = io.read_u8().await?;
    let mut name = vec![0; usize::from(length)];
    io.read_exact(&mut name).await?;
    Alpn::new(&name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Connects to the control socket at `path` for the service `alpn`.
///
/// A refused service shows as an end of the stream: the listening end closes without a word.
///
/// # Errors
/// When nothing listens there.
pub async fn connect_local(path: &Path, alpn: &Alpn) -> io::Result<Connection> {
    let first = open_stream(path, alpn).await?;
    let pid = std::process::id().try_into().unwrap_or(0);
    let peer = Peer { key: None, addr: PeerAddr::LocalOwner { pid }, local: None, server_name: None };
    let link = LocalLink {
        path: path.to_owned(),
        alpn: alpn.clone(),
        first: Mutex::new(Some(first)),
        closed: CancellationToken::new(),
    };
    Ok(Connection::new(alpn.clone(), peer, link))
}

async fn open_stream(path: &Path, alpn: &Alpn) -> io::Result<SingleLink<UnixStream>> {
    let mut io = UnixStream::connect(path).await?;
    let mut line = vec![u8::try_from(alpn.as_bytes().len()).unwrap_or(u8::MAX)];
    line.extend_from_slice(alpn.as_bytes());
    io.write_all(&line).await?;
    Ok(SingleLink::new(Carrier::Local, Role::Dialled, io))
}

/// The dialling end: a socket connection for each stream.
struct LocalLink {
    path: PathBuf,
    alpn: Alpn,
    first: Mutex<Option<SingleLink<UnixStream>>>,
    closed: CancellationToken,
}

impl Link for LocalLink {
    fn carrier(&self) -> Carrier {
        Carrier::Local
    }

    fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
        Box::pin(async { Ok(None) })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
        Box::pin(async move {
            if self.closed.is_cancelled() {
                return Err(ConnectionError::Closed(CloseReason::Local));
            }
            let ready = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let link = match ready {
                Some(link) => link,
                None => open_stream(&self.path, &self.alpn)
                    .await
                    .map_err(|error| ConnectionError::Closed(CloseReason::Transport(error.to_string())))?,
            };
            link.open_bi().await
        })
    }

    /// Opens no more streams; those that are open live as long as their holders.
    fn close(&self, _code: u64, _reason: &[u8]) {
        self.closed.cancel();
    }

    fn closed(&self) -> BoxFuture<'_, CloseReason> {
        Box::pin(async move {
            self.closed.cancelled().await;
            CloseReason::Local
        })
    }
}
