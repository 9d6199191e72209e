//! The proxy on this machine: one port for SOCKS5 and HTTP CONNECT.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    client::Client,
    reach::{Reach, ReachError},
    target::Target,
};
use crate::{
    limits::{MAX_PROXY_CLIENTS, PROXY_ACCEPT_BACKOFF},
    udp::UdpTunnels,
};

/// Hears which target was refused to a client, and why.
pub type OnRefusal = Box<dyn Fn(&Target, ReachError) + Send + Sync>;

/// Serves SOCKS5 (RFC 1928) and HTTP CONNECT (RFC 9110, 9.3.6) on one port, first byte decides; connections and datagrams leave from the
/// far end.
pub struct Proxy<R>(Arc<Door<R>>);

/// What every client of a proxy shares.
pub(super) struct Door<R> {
    pub(super) reach: R,
    pub(super) udp: Option<UdpTunnels>,
    on_refusal: OnRefusal,
}

impl<R> Door<R> {
    pub(super) fn refused(&self, target: &Target, error: ReachError) {
        (self.on_refusal)(target, error);
    }
}

impl<R: Reach> Proxy<R> {
    /// Reaches out through `reach`, with datagrams through `udp`; without it UDP ASSOCIATE is refused.
    pub fn new(reach: R, udp: Option<UdpTunnels>, on_refusal: OnRefusal) -> Self {
        Self(Arc::new(Door { reach, udp, on_refusal }))
    }

    /// Serves whoever connects to `listener`, for ever. Dropping the future ends every connection.
    pub async fn serve(&self, listener: &TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_PROXY_CLIENTS));
        let mut clients = JoinSet::new();
        loop {
            // With every place taken the next waits in the kernel's queue.
            let place = places.clone().acquire_owned().await.expect("because nobody closes this semaphore");
            while clients.try_join_next().is_some() {}
            let accepted = listener.accept().await.and_then(|(socket, origin)| {
                socket.set_nodelay(true)?;
                Ok(Client::new(socket, origin))
            });
            match accepted {
                Ok(client) => {
                    let door = self.0.clone();
                    clients.spawn(async move {
                        client.serve(&door).await;
                        drop(place);
                    });
                }
                // Too many descriptors, or a client that is gone already: others may come.
                Err(error) => {
                    tracing::warn!(%error, "accepting a client of the proxy failed");
                    sleep(PROXY_ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}
