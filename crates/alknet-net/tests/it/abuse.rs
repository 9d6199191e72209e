//! The abuse gate on a real port.

use std::sync::Arc;

use alknet_core::{
    AccessRule, Alpn, AuditEvent, AuditLog, Authorizer, Caller, Connection, Credential, Demand, Effect, Fingerprint,
    Identity, IdentityProvider, Offence, PeerAddr, Permit, ProtocolHandler, Router, ServeError, Service, Sessions,
};
use alknet_net::{AbuseGate, Endpoint, EndpointConfig, GateReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Offer, echoes, key_hex, line, quic, tls};
use crate::node::{CALL, Echo, PATIENCE, SSH, Seed, web_certificate};

/// The seed of the only key that is somebody's.
const KNOWN: u8 = 7;
const FLOODS: Alpn = Alpn::from_static(b"test/floods");
const PANICS: Alpn = Alpn::from_static(b"test/panics");

struct KnowsOne;

impl IdentityProvider for KnowsOne {
    fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
        let known = matches!(credential, Credential::NodeKey(key) if key.to_hex() == key_hex(KNOWN));
        known.then(|| Arc::new(Identity::owner("me")))
    }
}

/// Ends every connection as its peer's fault.
struct Blames;
impl ProtocolHandler for Blames {
    async fn serve(&self, _connection: Connection) -> Result<(), ServeError> {
        Err(ServeError::offence(Offence::Flood, "too much"))
    }
}

struct Panics;
impl ProtocolHandler for Panics {
    async fn serve(&self, _connection: Connection) -> Result<(), ServeError> {
        panic!("on purpose")
    }
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

struct World {
    gate: AbuseGate,
    endpoint: Endpoint,
}

async fn world() -> World {
    let gate = AbuseGate::default();
    let echo = Arc::new(Echo);
    let router = Router::builder(Arc::new(KnowsOne))
        .service(CALL, Service::node(), echo.clone())
        .unwrap()
        .service(SSH, Service::node().with_login(), echo)
        .unwrap()
        .service(FLOODS, Service::node(), Arc::new(Blames))
        .unwrap()
        .service(PANICS, Service::node(), Arc::new(Panics))
        .unwrap()
        .build();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = EndpointConfig { listen, plain_ssh: Some(SSH), public_url: None, gate: gate.clone() };
    let (node, web) = (Seed(1).credentials(), web_certificate());
    let endpoint = Endpoint::bind(config, router, Arc::new(KnowsOne), Sessions::default(), &node, web).await.unwrap();
    World { gate, endpoint }
}

fn permit() -> Permit {
    let rule = AccessRule::scoped(["gate:read".parse().unwrap()]);
    let caller = Caller {
        identity: Some(Arc::new(Identity::owner("me"))),
        credential: None,
        addr: PeerAddr::LocalOwner { pid: 1 },
    };
    let demand = Demand { action: "gate/list", rule: &rule, resource: None, effect: Effect::Query };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

impl World {
    fn list(&self) -> Vec<GateReport> {
        self.gate.list(&permit()).unwrap()
    }

    /// Sends what no TLS client sends, and waits until it counts.
    async fn penalise(&self) {
        for _ in 0..11 {
            let mut io = TcpStream::connect(self.endpoint.local_addr()).await.unwrap();
            io.write_all(b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x03").await.unwrap();
            let _ = timeout(PATIENCE, io.read_to_end(&mut Vec::new())).await.expect("an end in time");
        }
        let penalised = async {
            while !self.list().iter().any(|report| report.penalised_for.is_some()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, penalised).await.expect("a penalty in time");
    }

    async fn history_of(&self, source: &str) -> Vec<(Offence, String)> {
        let found = async {
            loop {
                if let Some(report) = self.list().into_iter().find(|report| report.source == source) {
                    return report.history.into_iter().map(|past| (past.offence, past.door)).collect();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.expect("a score in time")
    }
}

fn known() -> Offer {
    Offer { raw_client_key: Some(KNOWN), raw_server_key: true, ..Offer::alpns(&["alknet/call"]) }
}

// GATE-10 GATE-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_keys_are_served_from_a_penalised_address_and_strangers_have_two_places() {
    let world = world().await;
    let addr = world.endpoint.local_addr();
    world.penalise().await;
    let mut owners = Vec::new();
    for _ in 0..5 {
        let mut stream = tls(&known(), addr).await.unwrap();
        assert_eq!(line(&mut stream).await, format!("alknet/call tcp {}", key_hex(KNOWN)));
        owners.push(stream);
    }
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stream = tls(&Offer::alpns(&["alknet/call"]), addr).await.unwrap();
        assert_eq!(line(&mut stream).await, "alknet/call tcp nobody");
        strangers.push(stream);
    }
    for (number, stranger) in strangers.iter_mut().enumerate() {
        assert_eq!(echoes(stranger, b"hello").await, number >= 2, "stranger {number}");
    }
    for owner in &mut owners {
        assert!(echoes(owner, b"hello").await);
    }
    quic(&known(), addr).await.unwrap();
}

// GATE-14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_log_in_holds_a_place_until_a_newcomer_takes_it() {
    let world = world().await;
    let mut clients = Vec::new();
    for _ in 0..65 {
        let mut io = TcpStream::connect(world.endpoint.local_addr()).await.unwrap();
        io.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        assert_eq!(line(&mut io).await, "alknet/ssh plain nobody");
        assert_eq!(line(&mut io).await, "SSH-2.0-test\r");
        clients.push(io);
    }
    assert!(!echoes(&mut clients[0], b"still there?").await);
    assert!(echoes(&mut clients[1], b"still there?").await);
}

// GATE-02
#[tokio::test]
async fn what_a_handler_blames_its_peer_for_counts_and_so_does_its_panic() {
    let world = world().await;
    let addr = world.endpoint.local_addr();
    let fingerprint = Fingerprint::from(Seed(9).public()).to_string();
    let offer = Offer { raw_client_key: Some(9), raw_server_key: true, ..Offer::alpns(&["test/floods"]) };
    tls(&offer, addr).await.unwrap().read_to_end(&mut Vec::new()).await.ok();
    assert_eq!(world.history_of(&fingerprint).await, [(Offence::Flood, "test/floods".to_owned())]);
    assert_eq!(world.history_of("127.0.0.1").await, [(Offence::Flood, "test/floods".to_owned())]);
    tls(&Offer { raw_client_key: Some(KNOWN), ..offer.clone() }, addr)
        .await
        .unwrap()
        .read_to_end(&mut Vec::new())
        .await
        .ok();
    let known = Fingerprint::from(Seed(KNOWN).public()).to_string();
    assert_eq!(world.history_of(&known).await.len(), 1);
    assert_eq!(world.history_of("127.0.0.1").await.len(), 1, "its neighbours did nothing");
    let panics = Offer { alpns: vec![b"test/panics".to_vec()], raw_client_key: Some(11), ..offer };
    tls(&panics, addr).await.unwrap().read_to_end(&mut Vec::new()).await.ok();
    let third = Fingerprint::from(Seed(11).public()).to_string();
    assert_eq!(world.history_of(&third).await, [(Offence::ProtocolCrash, "test/panics".to_owned())]);
}
