//! A node that serves nothing but datagrams, on connections in memory.

use std::sync::{Arc, Mutex};

use alknet_core::{
    Alpn, Authorizer, BoxFuture, Carrier, Connection, Credential, DialError, DialTarget, Dialer, Identity, Peer,
    ProtocolHandler, ServeError, Sessions,
};
use alknet_ssh::{ForwardPolicy, ForwardRule, UDP, UdpService, UdpTunnels};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, peer_with_key, stranger},
    memory,
};
use tokio::task::JoinHandle;

/// Alice may send anywhere but to port 9.
const RULES: &[&str] = &["deny * dynamic *:9", "allow alice dynamic *:1-65535"];

pub fn rules(texts: &[&str]) -> Vec<ForwardRule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What one connection's service came to.
pub type Ending = JoinHandle<Result<(), ServeError>>;

/// The node, and whoever dials it.
pub struct Datagrams {
    service: Arc<UdpService>,
    pub policy: Arc<ForwardPolicy>,
    pub audit: Arc<KeptAudit>,
    pub sessions: Sessions,
    pub carrier: Carrier,
    pub client: Peer,
    pub connections: Mutex<Vec<Connection>>,
    pub endings: Mutex<Vec<Ending>>,
}

impl Datagrams {
    pub fn over(carrier: Carrier) -> Arc<Self> {
        Self::for_client(carrier, peer_with_key(3))
    }

    pub fn for_client(carrier: Carrier, client: Peer) -> Arc<Self> {
        let identities = Arc::new(TestIdentities::default());
        let known = Credential::of_peer(&peer_with_key(3)).unwrap();
        identities.know(&known, Identity::owner("alice"));
        let audit = Arc::new(KeptAudit::default());
        let policy = Arc::new(ForwardPolicy::new(rules(RULES), "/nowhere".as_ref()));
        let (authorizer, sessions) = (Authorizer::new(audit.clone()), Sessions::default());
        let service = Arc::new(UdpService::new(policy.clone(), identities, authorizer, sessions.clone()));
        let (connections, endings) = Default::default();
        Arc::new(Self { service, policy, audit, sessions, carrier, client, connections, endings })
    }

    /// A new connection to the node, which serves it.
    pub fn connect(&self) -> Connection {
        let (near, far) = memory::pair_over(&UDP, self.client.clone(), stranger(), self.carrier);
        let (service, served) = (self.service.clone(), far.clone());
        let serving = tokio::spawn(async move {
            let ended = service.serve(served.clone()).await;
            served.close(0, b"");
            ended
        });
        self.connections.lock().unwrap().push(near.clone());
        self.endings.lock().unwrap().push(serving);
        near
    }

    pub fn tunnels(self: &Arc<Self>) -> UdpTunnels {
        UdpTunnels::new(Arc::new(DialHere(self.clone())), DialTarget { key: None, addresses: Vec::new() })
    }

    pub async fn shutdown(&self) {
        ProtocolHandler::shutdown(&*self.service).await;
    }
}

struct DialHere(Arc<Datagrams>);

impl Dialer for DialHere {
    fn dial<'a>(&'a self, _: &'a DialTarget, alpn: &'a Alpn) -> BoxFuture<'a, Result<Connection, DialError>> {
        assert_eq!(alpn, &UDP);
        Box::pin(async { Ok(self.0.connect()) })
    }
}
