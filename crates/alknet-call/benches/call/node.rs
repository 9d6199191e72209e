//! A node with one operation and a bare echo, on every carrier, behind the gate and audit that the product has.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alknet_call::{
    Authenticator, CALL, CallClient, CallError, CallHandler, HeadState, Item, Operation, ReconnectingClient, Registry,
    head_operations, stay,
};
use alknet_core::{
    AccessRule, Alpn, Authorizer, Caller, Carrier, Connection, Credential, CredentialVerifier, DialTarget, Dialer,
    HostPort, Identity, IdentityProvider, KeyPurpose, KeySigner, NodeKey, Peer, PeerAddr, PerStream, Router,
    ServeError, Service, Sessions, Stream, StreamHandler,
};
use alknet_net::{
    AbuseGate, CarrierPolicy, Endpoint, EndpointConfig, NetDialer, NodeCredentials, WebCertificate, connect_local,
    generate_self_signed,
};
use alknet_store::{Roles, Store};
use alknet_testkit::identities::{TestIdentities, TestKeys};
use futures_util::stream::iter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    sync::watch,
};

/// The operation: a number in, the next one out.
pub const OPERATION: &str = "bench/next";
/// The subscription: every number from one on.
pub const SUBSCRIPTION: &str = "bench/from";
/// The bare echo.
pub const ECHO: Alpn = Alpn::from_static(b"alknet/bench-echo");

const NODE_SEED: u8 = 1;
const CALLER_SEED: u8 = 2;
const WORKER_SEED: u8 = 3;
/// The worker's name at its head.
pub const WORKER: &str = "worker";

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Number {
    pub n: u64,
}

/// Writes back what it reads.
struct Echo;

impl StreamHandler for Echo {
    async fn serve_stream(&self, _peer: &Arc<Peer>, mut stream: Stream) -> Result<(), ServeError> {
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).await.is_ok() {
            let echoed = async { stream.write_all(&byte).await.and(stream.flush().await) };
            echoed.await.map_err(ServeError::internal)?;
        }
        Ok(())
    }
}

/// A node on threads of its own. It takes offers as a head does.
pub struct Node {
    seed: u8,
    endpoint: Endpoint,
    registry: Arc<Registry>,
    folder: TempDir,
    store: Store,
    runtime: Option<Runtime>,
}

impl Node {
    pub fn start() -> Self {
        Self::start_as(NODE_SEED)
    }

    /// Another one, which can be the worker of the first.
    pub fn start_worker() -> Self {
        Self::start_as(WORKER_SEED)
    }

    fn start_as(seed: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (endpoint, registry, store) = runtime.block_on(serve(seed, &folder));
        Self { seed, endpoint, registry, folder, store, runtime: Some(runtime) }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// A connection over one carrier, by a peer that the node knows.
    pub async fn dial(&self, carrier: Carrier, alpn: &Alpn) -> Connection {
        let policy = match carrier {
            Carrier::Local => return connect_local(&self.folder.path().join("sock"), alpn).await.unwrap(),
            Carrier::Quic => CarrierPolicy::QuicOnly,
            _ => CarrierPolicy::TcpOnly,
        };
        dial(CALLER_SEED, self.target(), policy, alpn).await
    }

    fn target(&self) -> DialTarget {
        let address = HostPort::new(&self.addr().ip().to_string(), self.addr().port()).unwrap();
        DialTarget { key: Some(public(self.seed)), addresses: vec![address] }
    }

    /// Offers its operations to `head`, over TLS, and waits until they are taken.
    pub async fn join(&self, head: &Self) {
        let (target, registry) = (head.target(), self.registry.clone());
        let client = ReconnectingClient::new(move || {
            let (target, registry) = (target.clone(), registry.clone());
            async move {
                let connection = dial(WORKER_SEED, target, CarrierPolicy::TcpOnly, &CALL).await;
                CallClient::connect_offering(connection, registry, caller()).await
            }
        });
        let (state, mut stands) = watch::channel(HeadState::default());
        self.runtime.as_ref().unwrap().spawn(Box::pin(stay(client, self.registry.clone(), caller, state)));
        stands.wait_for(|state| matches!(state, HeadState::Joined { .. })).await.unwrap();
    }

    /// A client of the operations.
    pub async fn client(&self, carrier: Carrier) -> CallClient {
        CallClient::connect(self.dial(carrier, &CALL).await).await.unwrap()
    }

    /// The node's operations, for callers in its own process.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

async fn dial(seed: u8, target: DialTarget, policy: CarrierPolicy, alpn: &Alpn) -> Connection {
    NetDialer::new(credentials(seed), policy).dial(&target, alpn).await.unwrap()
}

/// Who calls in process, or back from a head: somebody with every right.
pub fn caller() -> Caller {
    let identity = Some(Arc::new(Identity::owner("caller")));
    Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } }
}

impl Drop for Node {
    fn drop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.endpoint.shutdown(Duration::from_secs(1)));
        self.store.close();
    }
}

async fn serve(seed: u8, folder: &TempDir) -> (Endpoint, Arc<Registry>, Store) {
    let sessions = Sessions::default();
    let store = Store::open(&folder.path().join("db"), Roles::default(), sessions.clone()).unwrap();
    let identities = TestIdentities::default();
    identities.know(&Credential::NodeKey(public(CALLER_SEED)), Identity::owner("caller"));
    identities.know(&Credential::NodeKey(public(WORKER_SEED)), Identity::owner(WORKER));
    let identities: Arc<dyn IdentityProvider> = Arc::new(identities);

    let mut registry = Registry::builder(Authorizer::new(store.audit_log()), sessions.clone());
    registry.node(public(seed));
    for operation in [next(), from()].into_iter().chain(head_operations()) {
        registry.register(operation).unwrap();
    }
    let registry = registry.build().unwrap();
    let authenticator = Authenticator::new(identities.clone(), CredentialVerifier::new(public(seed), || 0));
    let calls = Arc::new(CallHandler::new(registry.clone(), authenticator));
    let router = Router::builder(identities.clone())
        .service(CALL, Service::node().on_control_socket(), calls)
        .unwrap()
        .service(ECHO, Service::node().on_control_socket(), Arc::new(PerStream(Arc::new(Echo))))
        .unwrap()
        .build();

    let config = EndpointConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        plain_ssh: None,
        public_url: None,
        gate: AbuseGate::default(),
    };
    let endpoint = Endpoint::bind(config, router, identities, sessions, &credentials(seed), web(folder)).await.unwrap();
    endpoint.listen_locally(&folder.path().join("sock")).unwrap();
    (endpoint, registry, store)
}

fn next() -> Operation {
    Operation::query(OPERATION)
        .title("Count")
        .access(AccessRule::scoped(["bench:count".parse().unwrap()]))
        .handler(|_context, Number { n }| async move { Ok::<_, CallError>(Number { n: n + 1 }) })
}

fn from() -> Operation {
    Operation::subscription(SUBSCRIPTION)
        .title("Count on")
        .access(AccessRule::scoped(["bench:count".parse().unwrap()]))
        .items(|_context, Number { n }| async move {
            Ok::<_, CallError>(iter((n..).map(|n| Ok(Item::new(Number { n })))))
        })
}

fn credentials(seed: u8) -> NodeCredentials {
    NodeCredentials::new(Arc::new(TestKeys::new(seed))).unwrap()
}

fn public(seed: u8) -> NodeKey {
    TestKeys::new(seed).public_key(KeyPurpose::Node)
}

fn web(folder: &TempDir) -> WebCertificate {
    let made = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}
