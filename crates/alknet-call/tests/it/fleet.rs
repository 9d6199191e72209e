//! Nodes with real endpoints, on loopback: a head, workers that dial it, and callers.

use std::sync::Arc;

use alknet_call::{
    Authenticator, CALL, CallClient, CallError, CallHandler, HeadState, Operation, ReconnectingClient, Registry,
    head_operations, stay,
};
use alknet_core::{
    Authorizer, Caller, Credential, CredentialVerifier, DialTarget, Dialer, HostPort, Identity, IdentityProvider,
    PeerAddr, ResourceGrants, Router, Service, Sessions,
};
use alknet_net::{
    AbuseGate, CarrierPolicy, Endpoint, EndpointConfig, NetDialer, NodeCredentials, WebCertificate,
    generate_self_signed,
};
use alknet_testkit::identities::{KeptAudit, TestIdentities, TestKeys};
use tokio::{sync::watch, task::JoinHandle};

use crate::node::{NOW, credential, key};

pub fn somebody(name: &str, scopes: &[&str]) -> Identity {
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    Identity::new(name, scopes, ResourceGrants::default())
}

pub fn credentials(seed: u8) -> NodeCredentials {
    NodeCredentials::new(Arc::new(TestKeys::new(seed))).unwrap()
}

/// A node that others reach; dropping it is as sudden as its machine's end.
pub struct Machine {
    pub seed: u8,
    pub registry: Arc<Registry>,
    pub identities: Arc<TestIdentities>,
    pub sessions: Sessions,
    authenticator: Authenticator,
    endpoint: Endpoint,
}

impl Machine {
    /// A node that may be a head, and has these operations besides.
    pub async fn start(seed: u8, operations: Vec<Operation>) -> Self {
        let (identities, sessions) = (Arc::new(TestIdentities::default()), Sessions::default());
        let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), sessions.clone());
        builder.node(key(seed));
        for operation in head_operations().into_iter().chain(operations) {
            builder.register(operation).unwrap();
        }
        let registry = builder.build().unwrap();
        let verifier = CredentialVerifier::new(key(seed), || NOW);
        let authenticator = Authenticator::new(identities.clone(), verifier);
        let calls = Arc::new(CallHandler::new(registry.clone(), authenticator.clone()));
        let provider: Arc<dyn IdentityProvider> = identities.clone();
        let router = Router::builder(provider.clone()).service(CALL, Service::node(), calls).unwrap().build();
        let config = EndpointConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            plain_ssh: None,
            public_url: None,
            gate: AbuseGate::default(),
        };
        let endpoint =
            Endpoint::bind(config, router, provider, sessions.clone(), &credentials(seed), web()).await.unwrap();
        Self { seed, registry, identities, sessions, authenticator, endpoint }
    }

    pub fn knows(&self, seed: u8, identity: Identity) {
        self.identities.know(&credential(seed), identity);
    }

    fn target(&self) -> DialTarget {
        let addr = self.endpoint.local_addr();
        let address = HostPort::new(&addr.ip().to_string(), addr.port()).unwrap();
        DialTarget { key: Some(key(self.seed)), addresses: vec![address] }
    }

    /// A caller with the keys of `seed`.
    pub async fn client(&self, seed: u8, policy: CarrierPolicy) -> CallClient {
        let connection = NetDialer::new(credentials(seed), policy).dial(&self.target(), &CALL).await.unwrap();
        CallClient::connect(connection).await.unwrap()
    }

    /// Lends what it has to `head`, over one carrier.
    pub fn join(&self, head: &Self, policy: CarrierPolicy) -> Lent {
        let dialer = Arc::new(NetDialer::new(credentials(self.seed), policy));
        let (registry, authenticator) = (self.registry.clone(), self.authenticator.clone());
        let target = head.target();
        let (held, present) = watch::channel(None);
        let held = Arc::new(held);
        let client = ReconnectingClient::new(move || {
            let (dialer, target, held) = (dialer.clone(), target.clone(), held.clone());
            let (registry, authenticator) = (registry.clone(), authenticator.clone());
            async move {
                let dialled = dialer.dial(&target, &CALL).await;
                let connection = dialled.map_err(|error| CallError::unavailable(error.to_string()))?;
                held.send_replace(Some(connection.clone()));
                CallClient::connect_serving(connection, registry, authenticator).await
            }
        });
        let (identities, head) = (self.identities.clone(), head.seed);
        let caller = move || Caller {
            identity: identities.identify(&credential(head)),
            credential: Some(Credential::NodeKey(key(head)).label()),
            addr: PeerAddr::LocalOwner { pid: 1 },
        };
        let (told, state) = watch::channel(HeadState::default());
        let task = tokio::spawn(stay(client, self.registry.clone(), caller, told));
        Lent { state, present, task }
    }
}

/// A worker's end of what it lends.
pub struct Lent {
    pub state: watch::Receiver<HeadState>,
    pub present: watch::Receiver<Option<alknet_core::Connection>>,
    task: JoinHandle<()>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn web() -> WebCertificate {
    let folder = tempfile::tempdir().unwrap();
    let made = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}
