//! The sessions that are there now: what they carried, and how to end one.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::SystemTime,
};

use alknet_core::{Permit, PermitError, SessionGuard, SessionInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::pressure::Pressure;

/// The scope for looking at sessions.
pub const SESSIONS_SCOPE: &str = "ssh:sessions";
/// The scope for ending sessions.
pub const KILL_SCOPE: &str = "ssh:kill";

/// A handle on the live SSH sessions of a node.
#[derive(Clone, Default)]
pub struct LiveSessions(Arc<Mutex<BTreeMap<u64, Entry>>>);

/// One live session, as it stands at the moment.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Its number, the same as in [`alknet_core::Sessions`].
    pub info: SessionInfo,
    /// When its key was proven.
    pub since: SystemTime,
    /// Channels that are open.
    pub channels: usize,
    /// Bytes that came from the client, as they are on the wire.
    pub received: u64,
    /// Bytes that went to the client, as they are on the wire.
    pub sent: u64,
}

struct Entry {
    info: SessionInfo,
    since: SystemTime,
    pressure: Arc<Pressure>,
    meter: Arc<Meter>,
    token: CancellationToken,
}

impl LiveSessions {
    /// The sessions, oldest first. Needs [`SESSIONS_SCOPE`].
    pub fn list(&self, permit: &Permit) -> Result<Vec<LiveSession>, PermitError> {
        permit.require(SESSIONS_SCOPE)?;
        Ok(self.entries().values().map(Entry::now).collect())
    }

    /// Ends a session and everything in it; answers what it was, or `None` when there is none of that number. Needs [`KILL_SCOPE`].
    pub fn end(&self, permit: &Permit, id: u64) -> Result<Option<LiveSession>, PermitError> {
        permit.require(KILL_SCOPE)?;
        let found = self.entries().get(&id).map(|entry| (entry.now(), entry.token.clone()));
        Ok(found.map(|(session, token)| {
            // Outside the lock: whoever serves the session may leave at once.
            token.cancel();
            session
        }))
    }

    /// Enters a session whose key was proven, until the answer is dropped.
    pub(crate) fn enter(&self, guard: &SessionGuard, pressure: Arc<Pressure>, meter: Arc<Meter>) -> Entered {
        let (info, token) = (guard.info().clone(), guard.token().clone());
        let entered = Entered { live: self.clone(), id: info.id };
        self.entries().insert(info.id, Entry { info, since: SystemTime::now(), pressure, meter, token });
        entered
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // A map stays whole whoever panicked while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn now(&self) -> LiveSession {
        LiveSession {
            info: self.info.clone(),
            since: self.since,
            channels: self.pressure.channels(),
            received: self.meter.received.load(Relaxed),
            sent: self.meter.sent.load(Relaxed),
        }
    }
}

/// A session's place among the live ones.
pub(crate) struct Entered {
    live: LiveSessions,
    id: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.live.entries().remove(&self.id);
    }
}

/// What a connection carried.
#[derive(Default)]
pub(crate) struct Meter {
    received: AtomicU64,
    sent: AtomicU64,
}

/// A stream that counts.
pub(crate) struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub(crate) const fn new(inner: S, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.meter.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.meter.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.meter.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
