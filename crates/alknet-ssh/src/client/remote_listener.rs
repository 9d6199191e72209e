//! Listeners at the node whose connections come to this end.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{RwLock, mpsc};

use super::{
    connection::{Origin, SshClient},
    forward_stream::ForwardStream,
};
use crate::limits::REMOTE_LISTENER_QUEUE;

/// Why the node does not listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Its policy forbids it, or the address is taken.
    #[error("the node refuses to listen there: its policy forbids it, or the address is in use")]
    Refused,
    /// The connection has ended.
    #[error("the connection to the node has ended")]
    Ended,
}

impl From<russh::Error> for ListenError {
    fn from(error: russh::Error) -> Self {
        if matches!(error, russh::Error::RequestDenied) { Self::Refused } else { Self::Ended }
    }
}

/// An address at the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u32 },
    Unix(String),
}

type Accepted = (ForwardStream, Origin);

/// The listeners of one connection.
#[derive(Default)]
pub(super) struct Listeners {
    entries: Mutex<Vec<(Place, mpsc::Sender<Accepted>)>>,
    /// Held for writing while a request is being answered: its first connection may come before its answer was seen.
    requests: RwLock<()>,
}

/// Room for a connection at its listener.
pub(super) type Slot = mpsc::OwnedPermit<Accepted>;

impl Listeners {
    /// Room for a connection to `place`, once it is certain who listens there.
    pub(super) async fn slot(&self, place: &Place) -> Option<Slot> {
        let _settled = self.requests.read().await;
        let sender = self.find(place)?;
        sender.try_reserve_owned().ok()
    }

    /// The listener at `place`; a node may write the address differently, so the port decides where it is clear.
    fn find(&self, place: &Place) -> Option<mpsc::Sender<Accepted>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sender)) = entries.iter().find(|(listening, _)| listening == place) {
            return Some(sender.clone());
        }
        let same_port = |listening: &Place| match (listening, place) {
            (Place::Tcp { port: ours, .. }, Place::Tcp { port: theirs, .. }) => ours == theirs,
            _ => false,
        };
        let mut candidates = entries.iter().filter(|(listening, _)| same_port(listening));
        let (_, sender) = candidates.next()?;
        candidates.next().is_none().then(|| sender.clone())
    }

    fn add(&self, place: Place) -> mpsc::Receiver<Accepted> {
        let (sender, receiver) = mpsc::channel(REMOTE_LISTENER_QUEUE);
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push((place, sender));
        receiver
    }

    fn remove(&self, place: &Place) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|(listening, _)| listening != place);
    }
}

/// A listener at the node. Connections that nobody takes wait, up to a bound; more are refused. Dropping it refuses further ones, but
/// only [`Self::cancel`] tells the node.
pub struct RemoteListener {
    client: SshClient,
    place: Place,
    accepted: mpsc::Receiver<Accepted>,
}

impl RemoteListener {
    pub(super) async fn tcp(client: SshClient, host: &str, port: u16) -> Result<Self, ListenError> {
        let listeners = Arc::clone(&client.shared().listeners);
        let _settling = listeners.requests.write().await;
        let chosen = client.handle().tcpip_forward(host, u32::from(port)).await?;
        let port = if port == 0 { chosen } else { u32::from(port) };
        Ok(Self::add(client, Place::Tcp { host: host.to_owned(), port }))
    }

    pub(super) async fn unix(client: SshClient, path: &str) -> Result<Self, ListenError> {
        let listeners = Arc::clone(&client.shared().listeners);
        let _settling = listeners.requests.write().await;
        client.handle().streamlocal_forward(path).await?;
        Ok(Self::add(client, Place::Unix(path.to_owned())))
    }

    fn add(client: SshClient, place: Place) -> Self {
        let accepted = client.shared().listeners.add(place.clone());
        Self { client, place, accepted }
    }

    /// The port that the node listens on; 0 for a unix socket.
    pub fn port(&self) -> u32 {
        match &self.place {
            Place::Tcp { port, .. } => *port,
            Place::Unix(_) => 0,
        }
    }

    /// Waits for a connection; `None` once the connection to the node has ended. Cancel safe.
    pub async fn accept(&mut self) -> Option<(ForwardStream, Origin)> {
        tokio::select! {
            biased;
            accepted = self.accepted.recv() => accepted,
            _ = self.client.closed() => None,
        }
    }

    /// Has the node stop listening.
    pub async fn cancel(self) -> Result<(), ListenError> {
        match &self.place {
            Place::Tcp { host, port } => self.client.handle().cancel_tcpip_forward(host.as_str(), *port).await?,
            Place::Unix(path) => self.client.handle().cancel_streamlocal_forward(path.as_str()).await?,
        }
        Ok(())
    }
}

impl Drop for RemoteListener {
    fn drop(&mut self) {
        self.client.shared().listeners.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u32) -> Place {
        Place::Tcp { host: host.to_owned(), port }
    }

    /// CLI-12.
    #[tokio::test]
    async fn a_connection_finds_the_listener_it_came_for() {
        let listeners = Listeners::default();
        let _first = listeners.add(tcp("localhost", 80));
        assert!(listeners.slot(&tcp("127.0.0.1", 80)).await.is_some(), "the port decides");
        let _second = listeners.add(tcp("::1", 80));
        assert!(listeners.slot(&tcp("127.0.0.1", 80)).await.is_none(), "it could be either");
        assert!(listeners.slot(&tcp("::1", 80)).await.is_some());
        assert!(listeners.slot(&tcp("localhost", 81)).await.is_none());
        assert!(listeners.slot(&Place::Unix("/run/x".into())).await.is_none());
        listeners.remove(&tcp("::1", 80));
        assert!(listeners.slot(&tcp("127.0.0.1", 80)).await.is_some());
    }

    #[tokio::test]
    async fn connections_that_nobody_takes_are_bounded() {
        let listeners = Listeners::default();
        let _accepted = listeners.add(tcp("localhost", 80));
        let mut slots = Vec::new();
        for _ in 0..REMOTE_LISTENER_QUEUE {
            slots.push(listeners.slot(&tcp("localhost", 80)).await.unwrap());
        }
        assert!(listeners.slot(&tcp("localhost", 80)).await.is_none());
    }
}
