//! From a name to its addresses.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::refusal::{ForwardRefusal, Reason};
use crate::limits::{MAX_ADDRESSES, RESOLVE_TIMEOUT};

/// Looks names up.
#[derive(Debug, Clone, Default)]
pub(crate) enum Resolver {
    /// As the system does it.
    #[default]
    System,
    /// From a table.
    #[cfg(test)]
    Table(std::collections::HashMap<String, Vec<SocketAddr>>),
    /// Never; counts the lookups that are under way.
    #[cfg(test)]
    Stuck(Arc<std::sync::atomic::AtomicUsize>),
}

impl Resolver {
    /// The addresses of a name, best first; `room` bounds how many lookups go on.
    pub(crate) async fn addresses(&self, name: &str, room: Arc<Semaphore>) -> Result<Vec<SocketAddr>, ForwardRefusal> {
        let found = match timeout(RESOLVE_TIMEOUT, self.look_up(name, room)).await {
            Ok(found) => found.map_err(|error| ForwardRefusal::new(Reason::NameNotFound, error.to_string()))?,
            Err(_) => return Err(ForwardRefusal::new(Reason::TimedOut, "the name was not found in time")),
        };
        match found.len() {
            0 => Err(ForwardRefusal::new(Reason::NameNotFound, "the name has no address")),
            1..=MAX_ADDRESSES => Ok(found),
            _ => Err(ForwardRefusal::new(
                Reason::NameNotFound,
                format!("the name has more than {MAX_ADDRESSES} addresses"),
            )),
        }
    }

    async fn look_up(&self, name: &str, room: Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
        let place = room.acquire_owned().await.map_err(io::Error::other)?;
        match self {
            Self::System => by_system(name.to_owned(), place).await,
            #[cfg(test)]
            Self::Table(table) => Ok(table.get(name).cloned().unwrap_or_default()),
            #[cfg(test)]
            Self::Stuck(under_way) => {
                under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }
}

/// Asks the system, which cannot be told to stop: the place is given back when it has answered.
async fn by_system(name: String, place: OwnedSemaphorePermit) -> io::Result<Vec<SocketAddr>> {
    let looking_up = spawn_blocking(move || {
        let found = (name.as_str(), 0).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES + 1).collect());
        drop(place);
        found
    });
    looking_up.await.map_err(io::Error::other)?
}
