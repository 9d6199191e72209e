//! Operations that use a credential, fail with it, panic with it: the secret is seen by the service and by nobody else.

use std::{
    io,
    sync::{Arc, Mutex},
};

use alknet_call::{
    Authenticator, CALL, CallError, CallFilter, CallHandler, CallOptions, LocalClient, Nothing, Operation, Registry,
    RegistryBuilder,
};
use alknet_core::{AccessRule, Authorizer, Caller, CredentialVerifier, Identity, PeerAddr, ProtocolHandler, Sessions};
use alknet_store::AuditFilter;
use alknet_testkit::{
    canary::Canary,
    http_server::answer,
    identities::{peer_with_key, stranger},
    memory,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing_subscriber::fmt::MakeWriter;

use super::{
    fixture::{NOW, Node, bearer, node, permit, token_of},
    provider::{Provider, renewed},
};

/// Everything that is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A service elsewhere: it sees what operations show it.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<String>>>);

impl Service {
    fn shown(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// How an operation that used the credential ends.
#[derive(Clone, Copy)]
enum End {
    Well,
    Error,
    Panic,
}

fn using(name: &str, capability: &'static str, service: &Service, end: End) -> Operation {
    let service = service.clone();
    let builder = Operation::mutation(name).title("Use it").access(AccessRule::public()).capability(capability);
    builder.handler(move |context, _: Nothing| {
        let service = service.clone();
        async move {
            let set = context.capability(capability).await?;
            service.0.lock().unwrap().push(token_of(&set).to_owned());
            tracing::error!(?set, ?context, "all that is known");
            match end {
                End::Well => Ok(format!("{set:?}")),
                End::Error => Err(CallError::internal(format_args!("{set:?} of {context:?} did not work"))),
                End::Panic => panic!("{set:?} of {context:?} did not work"),
            }
        }
    })
}

/// The credential that another operation declared.
fn prying(builder: &mut RegistryBuilder) {
    let operation = Operation::query("demo/pry").title("Pry").access(AccessRule::public());
    let operation = operation.handler(|context, _: Nothing| async move {
        let set = context.capability("service").await?;
        Ok::<_, CallError>(token_of(&set).to_owned())
    });
    builder.register(operation).unwrap();
}

fn registry(node: &Node, service: &Service, sessions: &Sessions) -> Arc<Registry> {
    let mut builder = Registry::builder(Authorizer::new(node.store.audit_log()), sessions.clone());
    builder.journal(Arc::new(node.store.outcomes())).capabilities(Arc::new(node.resolver.clone()));
    for (name, capability, end) in [
        ("demo/use", "service", End::Well),
        ("demo/fail", "service", End::Error),
        ("demo/panic", "service", End::Panic),
        ("demo/renew", "renewing", End::Well),
        ("demo/refused", "refused", End::Well),
    ] {
        builder.register(using(name, capability, service, end)).unwrap();
    }
    prying(&mut builder);
    builder.build().unwrap()
}

/// What the node writes to a peer that calls each operation: everything, frame by frame.
async fn wire(node: &Node, registry: &Arc<Registry>, operations: &[&str]) -> Vec<u8> {
    let verifier = CredentialVerifier::new(node.identity.node_key(), || NOW);
    let handler = CallHandler::new(registry.clone(), Authenticator::new(node.store.directory(), verifier));
    let (near, far) = memory::pair(&CALL, stranger(), peer_with_key(1));
    let serving = tokio::spawn(async move { ProtocolHandler::serve(&handler, far).await });
    let mut stream = near.open_stream().await.unwrap();
    for (number, operation) in operations.iter().enumerate() {
        let payload = json!({"operationId": format!("/{operation}"), "input": {}});
        let frame = json!({"type": "call.requested", "id": format!("n{number}"), "payload": payload}).to_string();
        stream.send.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).await.unwrap();
        stream.send.write_all(frame.as_bytes()).await.unwrap();
    }
    stream.send.flush().await.unwrap();
    let mut seen = Vec::new();
    while String::from_utf8_lossy(&seen).matches("\"id\":\"n").count() < operations.len() {
        assert!(stream.recv.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
    }
    serving.abort();
    seen
}

#[tokio::test]
async fn a_secret_that_operations_use_is_seen_by_its_service_alone() {
    // STORE-61
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(writer).init();

    let (node, service, sessions, canary) = (node(), Service::default(), Sessions::default(), Canary::new());
    let said = format!(r#"{{"error":"invalid_grant","error_description":"{} is old"}}"#, canary.text());
    let provider = Provider::start(&[renewed(canary.text(), Some(canary.text()))]).await;
    let refusing = Provider::start(&[answer("400 No", "", &said)]).await;
    node.add("service", &bearer(canary.text())).await;
    node.add("renewing", &provider.tokens("old", canary.text(), NOW)).await;
    node.add("refused", &refusing.tokens(canary.text(), canary.text(), NOW)).await;
    let registry = registry(&node, &service, &sessions);

    let operations = ["demo/use", "demo/fail", "demo/panic", "demo/renew", "demo/refused", "demo/pry"];
    let wire = wire(&node, &registry, &operations).await;
    canary.must_not_be_in("the wire", &wire);
    let text = String::from_utf8_lossy(&wire);
    assert_eq!((text.matches("call.responded").count(), text.matches("call.error").count()), (2, 4), "{text}");

    let caller = Caller {
        identity: Some(Arc::new(Identity::owner("me"))),
        credential: None,
        addr: PeerAddr::LocalOwner { pid: 1 },
    };
    let client = LocalClient::new(registry.clone(), caller);
    for operation in operations {
        let idempotency_key = (operation != "demo/pry").then(|| "once".to_owned());
        let options = CallOptions { idempotency_key, ..CallOptions::default() };
        let outcome = client.call(operation, Value::Object(Default::default()), options).await;
        canary.must_not_be_in(operation, format!("{outcome:?}").as_bytes());
    }
    assert_eq!(service.shown(), vec![canary.text(); 8], "the service was shown what it wants");

    let graph = registry.graph();
    let calls = graph.list(&CallFilter::default(), 100);
    assert!(calls.len() >= operations.len());
    canary.must_not_be_in("the call graph", format!("{calls:?} {:?}", graph.stats()).as_bytes());
    node.store.flush().await.unwrap();
    let audit = node.store.audit().query(&permit("audit:read"), AuditFilter::default()).await.unwrap();
    assert!(!audit.is_empty());
    canary.must_not_be_in("the audit", format!("{audit:?}").as_bytes());
    let listed = node.store.credentials().list(&permit("credentials:read")).await.unwrap();
    canary.must_not_be_in("the list", format!("{listed:?}").as_bytes());
    assert!(canary.must_not_be_below(node.folder()) > 2, "the database, its log and the keystore were looked through");
    node.store.close();
    canary.must_not_be_below(node.folder());
    let log = log.0.lock().unwrap();
    assert!(String::from_utf8_lossy(&log).contains("CredentialSet(bearer)"), "what the operations logged is in it");
    canary.must_not_be_in("the log", &log);
}
