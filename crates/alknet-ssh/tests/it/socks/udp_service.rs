//! A node that serves nothing but datagrams, on connections in memory.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use alknet_core::{
    AccessRule, Alpn, AuditLog, Authorizer, BoxFuture, Caller, Carrier, Connection, Credential, Demand, DialError,
    DialTarget, Dialer, Effect, Identity, Peer, ProtocolHandler, ServeError, Sessions,
};
use alknet_ssh::{Cleared, Judge, ReachError, Target, UDP, UdpService, UdpTunnels};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, peer_with_key, stranger},
    memory,
};
use tokio::{net::lookup_host, task::JoinHandle};

/// What one connection's service came to.
pub type Ending = JoinHandle<Result<(), ServeError>>;

/// The node, and whoever dials it.
pub struct Datagrams {
    service: Arc<UdpService<TestJudge>>,
    pub judge: Arc<TestJudge>,
    pub sessions: Sessions,
    pub carrier: Carrier,
    pub client: Peer,
    pub connections: Mutex<Vec<Connection>>,
    pub endings: Mutex<Vec<Ending>>,
}

/// Lets everything through but port 9.
pub struct TestJudge {
    authorizer: Authorizer,
    pub asked: AtomicUsize,
}

impl Judge for TestJudge {
    type Account = ();
    fn admit(&self, _caller: &Caller) -> Result<(), ReachError> {
        Ok(())
    }
    async fn judge(&self, caller: &Caller, target: &Target) -> Result<Cleared, ReachError> {
        self.asked.fetch_add(1, Ordering::AcqRel);
        if target.port == 9 {
            return Err(ReachError::Denied);
        }
        let rule = AccessRule::scoped(["ssh:forward".parse().unwrap()]);
        let demand = Demand { action: "ssh/forward.dynamic", rule: &rule, resource: None, effect: Effect::Mutation };
        let permit = self.authorizer.authorize(caller, &demand).map_err(|_| ReachError::Denied)?;
        let host = target.host.to_string();
        let addrs = lookup_host((host.as_str(), target.port)).await.map_err(|_| ReachError::Unreachable)?;
        Ok(Cleared { addrs: addrs.filter(SocketAddr::is_ipv4).collect(), permit })
    }
}

impl Datagrams {
    pub fn over(carrier: Carrier) -> Arc<Self> {
        Self::for_client(carrier, peer_with_key(3))
    }

    pub fn for_client(carrier: Carrier, client: Peer) -> Arc<Self> {
        let identities = Arc::new(TestIdentities::default());
        let known = Credential::of_peer(&peer_with_key(3)).unwrap();
        identities.know(&known, Identity::owner("alice"));
        let audit: Arc<dyn AuditLog> = Arc::new(KeptAudit::default());
        let judge = Arc::new(TestJudge { authorizer: Authorizer::new(audit), asked: AtomicUsize::default() });
        let sessions = Sessions::default();
        let service = Arc::new(UdpService::new(judge.clone(), identities, sessions.clone()));
        let (connections, endings) = Default::default();
        Arc::new(Self { service, judge, sessions, carrier, client, connections, endings })
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
