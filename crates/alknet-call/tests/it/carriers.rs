//! Hostile and unlucky peers over the carriers themselves: TLS over TCP, QUIC, and the control socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CALL, CallClient, CallError, CallOptions, ErrorCode, Item, Nothing, Operation, Registry,
    limits::{MAX_CALLS_IN_FLIGHT, MAX_QUEUED_BYTES},
};
use alknet_core::{
    AccessRule, Authorizer, Caller, Carrier, Connection, Credential, DialTarget, Dialer, HostPort, Identity,
    IdentityProvider, PeerAddr, Router, Service, Sessions,
};
use alknet_net::{
    AbuseGate, CarrierPolicy, Endpoint, EndpointConfig, NetDialer, NodeCredentials, WebCertificate, connect_local,
    generate_self_signed,
};
use alknet_testkit::identities::{KeptAudit, TestKeys};
use futures_util::{future::join_all, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::node::{ALICE, NODE, Node, RawPeer, Text, alice, key, requested, soon, until};

const CARRIERS: [Carrier; 3] = [Carrier::Tls, Carrier::Quic, Carrier::Local];

/// A node that listens.
struct Listening {
    node: Node,
    endpoint: Endpoint,
    folder: TempDir,
}

impl Listening {
    async fn with(operations: Vec<Operation>) -> Self {
        let (node, folder) = (Node::with(operations), tempfile::tempdir().unwrap());
        node.identities.know(&Credential::LocalOwner, alice());
        let identities: Arc<dyn IdentityProvider> = node.identities.clone();
        let service = Service::node().on_control_socket();
        let router = Router::builder(identities.clone()).service(CALL, service, node.handler.clone()).unwrap().build();
        let config = EndpointConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            plain_ssh: None,
            public_url: None,
            gate: AbuseGate::default(),
        };
        let (credentials, sessions) = (credentials(NODE), node.sessions.clone());
        let endpoint = Endpoint::bind(config, router, identities, sessions, &credentials, web(&folder)).await.unwrap();
        endpoint.listen_locally(&folder.path().join("sock")).unwrap();
        Self { node, endpoint, folder }
    }

    /// A connection of alice, or of this machine's user.
    async fn dial(&self, carrier: Carrier) -> Connection {
        let policy = match carrier {
            Carrier::Local => return connect_local(&self.folder.path().join("sock"), &CALL).await.unwrap(),
            Carrier::Quic => CarrierPolicy::QuicOnly,
            _ => CarrierPolicy::TcpOnly,
        };
        let addr = self.endpoint.local_addr();
        let address = HostPort::new(&addr.ip().to_string(), addr.port()).unwrap();
        let target = DialTarget { key: Some(key(NODE)), addresses: vec![address] };
        NetDialer::new(credentials(ALICE), policy).dial(&target, &CALL).await.unwrap()
    }

    fn running(&self) -> usize {
        self.node.waits.running.load(Ordering::Acquire)
    }
}

fn credentials(seed: u8) -> NodeCredentials {
    NodeCredentials::new(Arc::new(TestKeys::new(seed))).unwrap()
}

fn web(folder: &TempDir) -> WebCertificate {
    let made = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    WebCertificate::from_pem_files(&chain, &key).unwrap()
}

/// What of this process lies in memory, in bytes.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

const MIB: usize = 1024 * 1024;

/// What the dialling side offers.
fn offered() -> Arc<Registry> {
    let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), Sessions::default());
    let echo = |_, input: Text| async move { Ok::<_, CallError>(input) };
    builder.register(Operation::query("own/echo").access(AccessRule::public()).handler(echo)).unwrap();
    builder.build().unwrap()
}

// CALL-19: 256 large calls each way at once on one stream, with answers as large: neither side waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_call_in_bulk() {
    let large = Arc::new("x".repeat(40_000));
    let text = large.clone();
    let bulk = Operation::query("test/bulk").access(AccessRule::public()).handler(move |context, _: Nothing| {
        let text = text.clone();
        async move {
            let peer = context.peer().ok_or_else(|| CallError::unavailable("in process"))?;
            let calls = (0..256).map(|_| peer.call("own/echo", json!({ "text": *text }), CallOptions::default()));
            Ok::<_, CallError>(join_all(calls).await.iter().filter(|answer| answer.is_ok()).count())
        }
    });
    let listening = Listening::with(vec![bulk]).await;
    for carrier in CARRIERS {
        let nobody = Caller {
            identity: Some(Arc::new(Identity::owner("head"))),
            credential: None,
            addr: PeerAddr::LocalOwner { pid: 1 },
        };
        let client = CallClient::connect_offering(listening.dial(carrier).await, offered(), nobody).await.unwrap();
        let back = client.call("test/bulk", json!({}), CallOptions::default());
        let calls = (0..255).map(|_| client.call("test/echo", json!({ "text": *large }), CallOptions::default()));
        let all = async { tokio::join!(back, join_all(calls)) };
        let (back, answers) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("a deadlock");
        assert_eq!(back, Ok(json!(256)), "{carrier:?}");
        assert!(answers.iter().all(Result::is_ok), "{carrier:?}");
    }
}

// CALL-43 CALL-19: a subscriber that stops reading, with all the credit there is, stops its stream only; memory stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_stalls_its_stream_only() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let flood = Operation::subscription("test/flood").access(AccessRule::public()).items(move |_, _: Nothing| {
        let asked = counting.clone();
        let items = stream::repeat_with(move || {
            asked.fetch_add(1, Ordering::AcqRel);
            Ok(Item::new("x".repeat(10_000)))
        });
        std::future::ready(Ok(items))
    });
    let listening = Listening::with(vec![flood]).await;
    for carrier in CARRIERS {
        asked.store(0, Ordering::Release);
        let connection = listening.dial(carrier).await;
        let mut deaf = RawPeer::open(connection.clone()).await;
        let before = resident_bytes();
        for id in 0..20 {
            let payload = json!({"operationId": "/test/flood", "credit": u32::MAX});
            deaf.send(json!({"type": "call.requested", "id": id.to_string(), "payload": payload})).await;
        }
        // Streams of one connection do not wait for each other; carriers with one stream have other connections.
        let beside = if carrier == Carrier::Quic { connection } else { listening.dial(carrier).await };
        let beside = CallClient::connect(beside).await.unwrap();
        let mut last = 0;
        loop {
            soon(beside.call("test/echo", json!({"text": ""}), CallOptions::default())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = asked.load(Ordering::Acquire);
            if now == last {
                break;
            }
            last = now;
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(last * 10_000 < 2 * MAX_QUEUED_BYTES + 20 * 30_000 + 24 * MIB, "{carrier:?}: {last} items");
        assert!(grown < 48 * MIB, "{carrier:?}: {grown} bytes");
        drop((deaf, beside));
    }
}

// CALL-18 CALL-19: 10,000 open requests: 256 run, the others are refused, and memory stays; also of a peer that reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_open_requests_cost_little() {
    let listening = Listening::with(Vec::new()).await;
    for carrier in CARRIERS {
        let mut peer = RawPeer::open(listening.dial(carrier).await).await;
        let before = resident_bytes();
        let flood: Vec<u8> = (0..10_000)
            .flat_map(|n| {
                let content = requested(&n.to_string(), "/test/wait", json!({})).to_string();
                [&u32::try_from(content.len()).unwrap().to_be_bytes(), content.as_bytes()].concat()
            })
            .collect();
        // Nothing of the answers is read meanwhile: a megabyte of requests is well within what a callee reads.
        soon(peer.bytes(&flood)).await;
        until(|| listening.running() == MAX_CALLS_IN_FLIGHT).await;
        for _ in MAX_CALLS_IN_FLIGHT..10_000 {
            let refused = peer.next().await.unwrap();
            assert_eq!(refused["payload"]["code"], "OVERLOADED", "{refused}");
        }
        assert_eq!(listening.running(), MAX_CALLS_IN_FLIGHT);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 48 * MIB, "{carrier:?}: {grown} bytes");
        drop(peer);
        until(|| listening.running() == 0).await;
    }
}

// CALL-16: a peer that vanishes in the middle of calls: who waits gets UNAVAILABLE, what ran for it is called off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_leaves_nobody_waiting() {
    let listening = Listening::with(Vec::new()).await;
    for carrier in CARRIERS {
        let connection = listening.dial(carrier).await;
        let client = CallClient::connect(connection.clone()).await.unwrap();
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.call("test/wait", json!({}), CallOptions::default()).await })
            })
            .collect();
        until(|| listening.running() == 20).await;
        connection.close(9, b"gone");
        drop(connection);
        for call in calls {
            assert_eq!(soon(call).await.unwrap().unwrap_err().code, ErrorCode::Unavailable, "{carrier:?}");
        }
        soon(client.closed()).await;
        until(|| listening.running() == 0).await;
    }
}

// CALL-02 CALL-06 CALL-08 CALL-13 CALL-37: each broken rule ends its stream within a second, and the node goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_rule_ends_its_stream_within_a_second() {
    let listening = Listening::with(Vec::new()).await;
    let frame = |envelope: Value| {
        let content = envelope.to_string();
        [&u32::try_from(content.len()).unwrap().to_be_bytes(), content.as_bytes()].concat()
    };
    let wait = || requested("twice", "/test/wait", json!({}));
    let broken = [
        vec![0xff; 8],
        vec![0; 4],
        frame(json!({"type": "call.unheard", "id": "1"})),
        frame(json!({"type": "call.responded", "id": "0.1", "payload": {"output": 1}})),
        frame(json!({"type": "call.completed", "id": "nobody"})),
        frame(json!({"type": "call.error", "id": "nobody", "payload": {"code": "X"}})),
        [frame(wait()), frame(wait())].concat(),
        frame(json!({"type": "call.batch", "id": "b", "payload": {"requests": [
            {"id": "same", "operationId": "/test/wait"}, {"id": "same", "operationId": "/test/wait"}
        ]}})),
    ];
    for carrier in CARRIERS {
        for bytes in &broken {
            let mut peer = RawPeer::open(listening.dial(carrier).await).await;
            let start = std::time::Instant::now();
            peer.stream.send.write_all(bytes).await.unwrap();
            peer.stream.send.flush().await.unwrap();
            assert_eq!(peer.next().await, None, "{carrier:?} {}", bytes.escape_ascii());
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }
        assert!(RawPeer::open(listening.dial(carrier).await).await.is_alive().await);
        until(|| listening.running() == 0).await;
    }
}
