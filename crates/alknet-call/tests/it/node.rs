//! A node with a few operations, and raw peers that speak to it frame by frame.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    Authenticator, CALL, CallClient, CallError, CallHandler, FrameDecoder, LocalClient, Nothing, Operation, Registry,
};
use alknet_core::{
    AccessRule, Authorizer, Caller, Carrier, Connection, Credential, CredentialVerifier, Identity, KeyPurpose,
    KeySigner, NodeKey, Peer, PeerAddr, ProtocolHandler, ResourceDemand, ResourceGrants, ServeError, Sessions, Stream,
};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, TestKeys, peer_with_key, stranger},
    memory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

/// The keys of the node itself.
pub const NODE: u8 = 1;
/// The keys of a peer that may `test:run`, and the bucket `photos`.
pub const ALICE: u8 = 2;
/// The time on the node's clock.
pub const NOW: u64 = 1_800_000_000;

/// No test waits longer for anything.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("nothing happened for 20 s")
}

/// Waits until a condition holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub fn key(seed: u8) -> NodeKey {
    TestKeys::new(seed).public_key(KeyPurpose::Node)
}

pub fn credential(seed: u8) -> Credential {
    Credential::NodeKey(key(seed))
}

pub fn alice() -> Identity {
    let mut grants = ResourceGrants::default();
    grants.grant("bucket:photos".parse().unwrap(), "test:read");
    Identity::new("alice", ["test:run".parse().unwrap()].into_iter().collect(), grants)
}

pub fn scoped() -> AccessRule {
    AccessRule::scoped(["test:run".parse().unwrap()])
}

/// How many of `test/wait` run now, and how many were dropped before their end.
#[derive(Default)]
pub struct Waits {
    pub running: AtomicUsize,
    pub dropped: AtomicUsize,
    pub told: AtomicUsize,
}

struct Running(Arc<Waits>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub text: String,
}

#[derive(Deserialize, JsonSchema)]
struct InBucket {
    bucket: String,
}

#[derive(Deserialize, JsonSchema)]
struct HowMany {
    bytes: usize,
}

#[derive(Serialize, JsonSchema)]
struct WhoAmI {
    id: Option<String>,
    credential: Option<String>,
    request: String,
    parent: Option<String>,
}

pub struct Node {
    pub registry: Arc<Registry>,
    pub handler: Arc<CallHandler>,
    pub identities: Arc<TestIdentities>,
    pub audit: Arc<KeptAudit>,
    pub sessions: Sessions,
    pub waits: Arc<Waits>,
    pub authenticator: Authenticator,
}

impl Node {
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    pub fn with(more: Vec<Operation>) -> Self {
        let (audit, identities) = (Arc::new(KeptAudit::default()), Arc::new(TestIdentities::default()));
        let (sessions, waits) = (Sessions::default(), Arc::new(Waits::default()));
        identities.know(&credential(ALICE), alice());
        let mut builder = Registry::builder(Authorizer::new(audit.clone()), sessions.clone());
        builder.node(key(NODE));
        for operation in operations(&waits).into_iter().chain(more) {
            builder.register(operation).unwrap();
        }
        let registry = builder.build().unwrap();
        let authenticator = Authenticator::new(identities.clone(), CredentialVerifier::new(key(NODE), || NOW));
        let handler = Arc::new(CallHandler::new(registry.clone(), authenticator.clone()));
        Self { registry, handler, identities, audit, sessions, waits, authenticator }
    }

    /// A connection from `peer` that the node serves; the task ends when serving does.
    pub fn connect_over(&self, peer: Peer, carrier: Carrier) -> (Connection, JoinHandle<Result<(), ServeError>>) {
        let (near, far) = memory::pair_over(&CALL, peer, peer_with_key(NODE), carrier);
        let handler = self.handler.clone();
        (near, tokio::spawn(async move { handler.serve(far).await }))
    }

    pub fn connect(&self, peer: Peer) -> Connection {
        self.connect_over(peer, Carrier::Quic).0
    }

    pub async fn client(&self, peer: Peer) -> CallClient {
        CallClient::connect(self.connect(peer)).await.unwrap()
    }

    pub async fn raw(&self, peer: Peer) -> RawPeer {
        RawPeer::open(self.connect(peer)).await
    }

    pub fn local(&self, identity: Option<Identity>) -> LocalClient {
        let caller =
            Caller { identity: identity.map(Arc::new), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        LocalClient::new(self.registry.clone(), caller)
    }
}

fn operations(waits: &Arc<Waits>) -> Vec<Operation> {
    let waits = waits.clone();
    let wait = move |context: Arc<alknet_call::OperationContext>, _: Nothing| {
        let waits = waits.clone();
        async move {
            waits.running.fetch_add(1, Ordering::AcqRel);
            let _running = Running(waits.clone());
            let cancel = context.cancel_token();
            tokio::spawn(async move {
                cancel.cancelled().await;
                waits.told.fetch_add(1, Ordering::AcqRel);
            });
            std::future::pending::<Result<Value, CallError>>().await
        }
    };
    let demand = ResourceDemand { kind: "bucket".into(), id_pointer: "/bucket".into(), action: "test:read".into() };
    vec![
        Operation::query("test/echo")
            .title("Echo")
            .access(AccessRule::public())
            .example(json!({"text": "a"}), json!({"text": "a"}))
            .handler(|_, input: Text| async move { Ok::<_, CallError>(input) }),
        Operation::mutation("test/wait").access(scoped()).handler(wait),
        Operation::query("test/whoami").access(AccessRule::public()).handler(|context, _: Nothing| async move {
            Ok::<_, CallError>(WhoAmI {
                id: context.caller.id().map(str::to_owned),
                credential: context.caller.credential.clone(),
                request: context.request_id.clone(),
                parent: context.parent_id.clone(),
            })
        }),
        Operation::query("test/secret")
            .access(scoped())
            .handler(|_, input: Text| async move { Ok::<_, CallError>(input) }),
        Operation::query("test/bucket").access(scoped().on(demand)).handler(|context, input: InBucket| async move {
            assert_eq!(context.permit.resource().unwrap().id(), input.bucket);
            Ok::<_, CallError>(input.bucket)
        }),
        Operation::query("test/bytes")
            .access(AccessRule::public())
            .handler(|_, input: HowMany| async move { Ok::<_, CallError>("x".repeat(input.bytes)) }),
        Operation::query("test/short")
            .access(AccessRule::public())
            .timeout(Duration::from_millis(5))
            .handler(|_, _: Nothing| std::future::pending::<Result<Value, CallError>>()),
        Operation::query("test/small")
            .access(AccessRule::public())
            .max_input_bytes(20)
            .handler(|_, input: Text| async move { Ok::<_, CallError>(input) }),
        Operation::query("test/panic").access(AccessRule::public()).handler(|_, _: Nothing| async move {
            if true {
                panic!("as the test wants");
            }
            Ok::<Value, CallError>(Value::Null)
        }),
        Operation::query("test/fails").access(AccessRule::public()).error("DISK_FULL", "There is no room.").handler(
            |_, input: Text| async move {
                Err::<Value, _>(match input.text.as_str() {
                    "declared" => CallError::declared("DISK_FULL", "no room").with_details(json!({"free": 0})),
                    "undeclared" => CallError::declared("OTHER", "secret words"),
                    _ => CallError::internal("disk sda1 is on fire"),
                })
            },
        ),
        Operation::query("test/hidden")
            .access(AccessRule::public())
            .internal()
            .handler(|_, _: Nothing| async move { Ok::<_, CallError>(Value::Null) }),
    ]
}

/// A peer that writes and reads frames itself.
pub struct RawPeer {
    pub connection: Connection,
    pub stream: Stream,
    decoder: FrameDecoder,
}

impl RawPeer {
    pub async fn open(connection: Connection) -> Self {
        let stream = connection.open_stream().await.unwrap();
        Self::over(connection, stream)
    }
    /// On the callee's end of a stream.
    pub async fn accept(connection: Connection) -> Self {
        let stream = connection.accept_stream().await.unwrap().unwrap();
        Self::over(connection, stream)
    }
    fn over(connection: Connection, stream: Stream) -> Self {
        Self { connection, stream, decoder: FrameDecoder::new(alknet_call::limits::MAX_FRAME_BYTES) }
    }
    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.send.write_all(bytes).await.unwrap();
        self.stream.send.flush().await.unwrap();
    }
    pub async fn frame(&mut self, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap();
        self.bytes(&[&length.to_be_bytes(), content].concat()).await;
    }
    pub async fn send(&mut self, envelope: Value) {
        self.frame(envelope.to_string().as_bytes()).await;
    }
    pub async fn request(&mut self, id: &str, operation: &str, input: Value) {
        self.send(requested(id, operation, input)).await;
    }
    /// The next frame; `None` when the node ends the stream, however.
    pub async fn next(&mut self) -> Option<Value> {
        soon(async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(serde_json::from_slice(&frame).unwrap());
                }
                match self.stream.recv.read_buf(self.decoder.buffer()).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return None,
                }
            }
        })
        .await
    }
    /// The error code of the next frame, which must be for `id`.
    pub async fn code(&mut self, id: &str) -> String {
        let frame = self.next().await.expect("a frame");
        assert_eq!((&frame["id"], &frame["type"]), (&json!(id), &json!("call.error")), "{frame}");
        frame["payload"]["code"].as_str().unwrap().to_owned()
    }
    /// The output of the next frame, which must be for `id`.
    pub async fn output(&mut self, id: &str) -> Value {
        let frame = self.next().await.expect("a frame");
        assert_eq!((&frame["id"], &frame["type"]), (&json!(id), &json!("call.responded")), "{frame}");
        frame["payload"]["output"].clone()
    }
    /// Whether the node still answers on this stream.
    pub async fn is_alive(&mut self) -> bool {
        self.request("alive", "/test/echo", json!({"text": "?"})).await;
        self.next().await.is_some_and(|frame| frame["id"] == "alive")
    }
}

pub fn requested(id: &str, operation: &str, input: Value) -> Value {
    json!({"type": "call.requested", "id": id, "payload": {"operationId": operation, "input": input}})
}

pub fn anonymous() -> Peer {
    stranger()
}

pub fn alices() -> Peer {
    peer_with_key(ALICE)
}
