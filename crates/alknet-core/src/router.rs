//! From the negotiated ALPN to the handler: the only look-up by protocol name in the program.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;

use crate::{
    Alpn, Carriers, Connection, Credential, Face, IdentityProvider, ProtocolHandler, ServeError,
    handler::DynHandler,
    limits::{DEFAULT_CONNECTIONS_PER_ALPN, OWNER_SHARE},
};

/// How a service is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The identity it is answered with.
    pub face: Face,
    /// The network carriers it is offered on.
    pub carriers: Carriers,
    /// Whether the control socket offers it too.
    pub local: bool,
    /// Whether its handler asks everybody to prove who they are, and nobody stays who does not.
    pub logs_in: bool,
    /// Connections at a time; one in eight is kept for the owner.
    pub max_connections: usize,
}

impl Service {
    /// A service on the node face, on both carriers.
    pub const fn node() -> Self {
        let max_connections = DEFAULT_CONNECTIONS_PER_ALPN;
        Self { face: Face::Node, carriers: Carriers::Both, local: false, logs_in: false, max_connections }
    }
    /// A service on the web face, on the carrier its standard names.
    pub const fn web(carriers: Carriers) -> Self {
        Self { face: Face::Web, carriers, ..Self::node() }
    }
    /// Offers it on the control socket too.
    pub const fn on_control_socket(mut self) -> Self {
        self.local = true;
        self
    }
    /// Says that its handler asks everybody to prove who they are: until then a connection counts as an unfinished handshake.
    pub const fn with_login(mut self) -> Self {
        self.logs_in = true;
        self
    }
    /// Serves at most so many connections at a time.
    pub const fn at_most(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }
}

struct Entry {
    service: Service,
    handler: Arc<dyn DynHandler>,
    open: AtomicUsize,
}

/// A second handler for a name that has one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("two handlers for the ALPN {0}")]
pub struct DuplicateAlpn(pub Alpn);

/// Collects the services of a node.
pub struct RouterBuilder {
    entries: BTreeMap<Alpn, Entry>,
    order: Vec<Alpn>,
    identities: Arc<dyn IdentityProvider>,
}

impl RouterBuilder {
    /// Offers a service, served by `handler`. TLS prefers what was offered first.
    pub fn service(
        self,
        alpn: Alpn,
        service: Service,
        handler: Arc<impl ProtocolHandler>,
    ) -> Result<Self, DuplicateAlpn> {
        self.insert(alpn, service, handler)
    }

    /// Offers the same handler under a second name.
    pub fn alias(self, alias: Alpn, of: &Alpn) -> Result<Self, DuplicateAlpn> {
        match self.entries.get(of).map(|entry| (entry.service, entry.handler.clone())) {
            Some((service, handler)) => self.insert(alias, service, handler),
            None => Ok(self),
        }
    }

    fn insert(mut self, alpn: Alpn, service: Service, handler: Arc<dyn DynHandler>) -> Result<Self, DuplicateAlpn> {
        if self.entries.contains_key(&alpn) {
            return Err(DuplicateAlpn(alpn));
        }
        self.order.push(alpn.clone());
        self.entries.insert(alpn, Entry { service, handler, open: AtomicUsize::new(0) });
        Ok(self)
    }

    /// The finished router.
    pub fn build(self) -> Router {
        let Self { entries, order, identities } = self;
        Router(Arc::new(Inner { entries, order, identities, panics: AtomicU64::new(0) }))
    }
}

/// The services of a node, by name.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    entries: BTreeMap<Alpn, Entry>,
    order: Vec<Alpn>,
    identities: Arc<dyn IdentityProvider>,
    panics: AtomicU64,
}

/// How serving a connection ended.
#[derive(Debug)]
pub enum Served {
    /// As the protocol says.
    Completed,
    /// Early.
    Failed(ServeError),
    /// The handler panicked; only this connection is lost.
    Panicked,
    /// The service has no free slot for this peer.
    Full,
    /// Nobody serves that name.
    Unknown,
}

/// A taken connection slot.
struct Slot<'a>(&'a AtomicUsize);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Entry {
    /// Takes a slot; the last eighth only for the owner.
    fn slot(&self, owner: bool) -> Option<Slot<'_>> {
        let max = self.service.max_connections;
        let reserved = if owner { 0 } else { max.div_ceil(OWNER_SHARE) };
        let fits = |open: usize| (open + reserved < max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok().map(|_| Slot(&self.open))
    }
}

impl Router {
    /// Starts an empty router that asks `identities` whose connection slots are the owner's.
    pub fn builder(identities: Arc<dyn IdentityProvider>) -> RouterBuilder {
        RouterBuilder { entries: BTreeMap::new(), order: Vec::new(), identities }
    }

    /// How a service is offered, or `None` for a name nobody serves.
    pub fn service(&self, alpn: &Alpn) -> Option<Service> {
        self.0.entries.get(alpn).map(|entry| entry.service)
    }

    /// Every service with its name, in the order of registration.
    pub fn services(&self) -> impl Iterator<Item = (&Alpn, Service)> {
        self.0.order.iter().filter_map(|alpn| self.0.entries.get(alpn).map(|entry| (alpn, entry.service)))
    }

    /// Serves a connection to its end. A panicking handler costs this connection only.
    pub async fn serve(&self, connection: Connection) -> Served {
        let Some(entry) = self.0.entries.get(connection.alpn()) else {
            return Served::Unknown;
        };
        let identity = Credential::of_peer(connection.peer()).and_then(|proven| self.0.identities.identify(&proven));
        let Some(_slot) = entry.slot(identity.is_some_and(|identity| identity.is_owner())) else {
            return Served::Full;
        };
        // Handlers share nothing mutable with the router, so a half-done connection leaves nothing torn behind.
        match AssertUnwindSafe(entry.handler.serve(connection)).catch_unwind().await {
            Ok(Ok(())) => Served::Completed,
            Ok(Err(error)) => Served::Failed(error),
            Err(_) => {
                self.0.panics.fetch_add(1, Ordering::Relaxed);
                Served::Panicked
            }
        }
    }

    /// Handler panics so far.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    /// Tells every handler that the node is stopping.
    pub async fn shutdown(&self) {
        for entry in self.0.entries.values() {
            entry.handler.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        BoxFuture, Carrier, CloseReason, ConnectionError, Identity, Link, NodeKey, Peer, PeerAddr, Stream,
        limits::OWNER_SHARE,
    };

    struct Nothing;
    impl Link for Nothing {
        fn carrier(&self) -> Carrier {
            Carrier::Tls
        }
        fn accept_bi(&self) -> BoxFuture<'_, Result<Option<Stream>, ConnectionError>> {
            Box::pin(async { Ok(None) })
        }
        fn open_bi(&self) -> BoxFuture<'_, Result<Stream, ConnectionError>> {
            Box::pin(async { Err(ConnectionError::Closed(CloseReason::Local)) })
        }
        fn close(&self, _code: u64, _reason: &[u8]) {}
        fn closed(&self) -> BoxFuture<'_, CloseReason> {
            Box::pin(async { CloseReason::Local })
        }
    }

    /// The local owner is the owner, everybody else a stranger.
    struct OnlyLocal;
    impl IdentityProvider for OnlyLocal {
        fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
            matches!(credential, Credential::LocalOwner).then(|| Arc::new(Identity::owner("o")))
        }
    }

    const PANICS: Alpn = Alpn::from_static(b"test/panics");
    const WAITS: Alpn = Alpn::from_static(b"test/waits");

    struct Panics;
    impl ProtocolHandler for Panics {
        async fn serve(&self, _connection: Connection) -> Result<(), ServeError> {
            panic!("as the test wants");
        }
    }

    struct Waits(tokio::sync::Semaphore);
    impl ProtocolHandler for Waits {
        async fn serve(&self, _connection: Connection) -> Result<(), ServeError> {
            self.0.acquire().await.map(drop).map_err(ServeError::internal)
        }
    }

    fn connection(alpn: Alpn, addr: PeerAddr) -> Connection {
        Connection::new(alpn, Peer { key: None::<NodeKey>, addr, local: None, server_name: None }, Nothing)
    }

    fn stranger() -> PeerAddr {
        PeerAddr::Ip(([127, 0, 0, 1], 9).into())
    }

    #[test]
    fn a_second_handler_for_a_name_is_an_error() {
        let router = Router::builder(Arc::new(OnlyLocal)).service(PANICS, Service::node(), Arc::new(Panics)).unwrap();
        let second = router.service(PANICS, Service::node(), Arc::new(Panics));
        assert_eq!(second.err(), Some(DuplicateAlpn(PANICS)));
    }

    #[tokio::test]
    async fn a_panicking_handler_costs_one_connection() {
        let router = Router::builder(Arc::new(OnlyLocal))
            .service(PANICS, Service::node(), Arc::new(Panics))
            .unwrap()
            .service(WAITS, Service::node(), Arc::new(Waits(tokio::sync::Semaphore::new(1))))
            .unwrap()
            .build();
        for _ in 0..3 {
            assert!(matches!(router.serve(connection(PANICS, stranger())).await, Served::Panicked));
        }
        assert_eq!(router.panics(), 3);
        assert!(matches!(router.serve(connection(WAITS, stranger())).await, Served::Completed));
        let other = Alpn::from_static(b"test/other");
        assert!(matches!(router.serve(connection(other, stranger())).await, Served::Unknown));
    }

    #[tokio::test]
    async fn the_last_eighth_of_the_slots_is_the_owners() {
        let handler = Arc::new(Waits(tokio::sync::Semaphore::new(0)));
        let router = Router::builder(Arc::new(OnlyLocal))
            .service(WAITS, Service::node().at_most(OWNER_SHARE), handler.clone())
            .unwrap()
            .build();
        let serve = |addr| {
            let router = router.clone();
            tokio::spawn(async move { router.serve(connection(WAITS, addr)).await })
        };
        let waiting: Vec<_> = (1..OWNER_SHARE).map(|_| serve(stranger())).collect();
        assert!(matches!(serve(stranger()).await.unwrap(), Served::Full));
        let owner = serve(PeerAddr::LocalOwner { pid: 1 });
        tokio::task::yield_now().await;
        assert!(matches!(serve(PeerAddr::LocalOwner { pid: 1 }).await.unwrap(), Served::Full));
        handler.0.add_permits(1);
        for served in waiting.into_iter().chain([owner]) {
            assert!(matches!(served.await.unwrap(), Served::Completed));
        }
    }
}
