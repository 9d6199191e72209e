//! What operations may ask of the running node: its status, a reload, the end.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use alknet_core::{Carrier, NodeKey, Router, SessionKind, Sessions, Ticket};
use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Change,
    operations::node::{Listen, NodeStatus},
};

/// Reloads that may wait for the node's attention.
const RELOAD_BACKLOG: usize = 4;

/// What a reload came to: the changes, or what is wrong.
pub type Reloaded = Result<Vec<Change>, String>;

/// A handle on the running node.
#[derive(Clone)]
pub struct NodeControl(Arc<Inner>);

struct Inner {
    started: Instant,
    stop: CancellationToken,
    reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
    serving: OnceLock<Serving>,
    ticket: ArcSwap<String>,
}

/// What is known once the node serves.
pub struct Serving {
    /// Each carrier and where it listens.
    pub listens: Vec<(Carrier, SocketAddr)>,
    /// The services.
    pub router: Router,
    /// What the kernel withholds.
    pub udp_warning: Option<String>,
}

impl NodeControl {
    /// Makes the handle, and the end on which the node hears of reloads.
    pub fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
        let (reloads, asked) = mpsc::channel(RELOAD_BACKLOG);
        let inner = Inner {
            started: Instant::now(),
            stop: CancellationToken::new(),
            reloads,
            serving: OnceLock::new(),
            ticket: ArcSwap::default(),
        };
        (Self(Arc::new(inner)), asked)
    }
    /// Says that the node serves; the first word stands.
    pub fn set_serving(&self, serving: Serving) {
        let _first_stands = self.0.serving.set(serving);
    }
    /// Sets the ticket that other nodes are given.
    pub fn set_ticket(&self, ticket: &Ticket) {
        self.0.ticket.store(Arc::new(ticket.to_string()));
    }
    /// Asks the node to stop.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }
    /// Waits until somebody asked the node to stop. Cancel safe.
    pub async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }
    /// Asks the node to take over the changed configuration; `None` when it is gone.
    pub async fn reload(&self) -> Option<Reloaded> {
        let (answer, answered) = oneshot::channel();
        self.0.reloads.send(answer).await.ok()?;
        answered.await.ok()
    }
    /// What the node does.
    pub fn status(&self, node: NodeKey, sessions: &Sessions) -> NodeStatus {
        let serving = self.0.serving.get();
        let listen = serving
            .iter()
            .flat_map(|serving| &serving.listens)
            .map(|(carrier, addr)| Listen { carrier: carrier.name().to_owned(), addr: addr.to_string() });
        NodeStatus {
            node_id: node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: listen.collect(),
            uptime_ms: u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            services: serving
                .iter()
                .flat_map(|serving| serving.router.services())
                .map(|(alpn, _)| alpn.to_string())
                .collect(),
            sessions: sessions.list().iter().filter(|session| session.kind != SessionKind::Call).count(),
            pid: std::process::id(),
            panics: serving.map_or(0, |serving| serving.router.panics()),
            udp_warning: serving.and_then(|serving| serving.udp_warning.clone()),
            ticket: self.0.ticket.load().to_string(),
        }
    }
}
