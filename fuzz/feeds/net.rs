//! What a stranger's first bytes reach: the hello in QUIC, the gate on TCP, the first line on the control socket.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, LazyLock},
    time::Duration,
};

use alknet_core::{Alpn, Carriers, Connection, ProtocolHandler, Router, ServeError, Service, Sessions};
use alknet_net::{AbuseGate, Endpoint, EndpointConfig, NodeCredentials, WebCertificate, fuzzing, generate_self_signed};
use alknet_testkit::identities::{TestIdentities, TestKeys};

/// Longer than anything here may take; well below the handshake timeout.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn client_hello(data: &[u8]) {
    let verdict = fuzzing::client_hello(data);
    // Once the bytes are refused, more of them change nothing.
    if verdict.is_err() {
        let longer = [data, &[0; 16]].concat();
        assert!(fuzzing::client_hello(&longer).is_err());
    }
}

pub fn local_alpn_line(data: &[u8]) {
    match fuzzing::local_alpn_line(data) {
        Ok(alpn) => {
            assert_eq!(usize::from(data[0]), alpn.as_bytes().len());
            assert_eq!(&data[1..=alpn.as_bytes().len()], alpn.as_bytes());
        }
        Err(_) => assert!(data.first().is_none_or(|length| *length == 0 || data.len() <= usize::from(*length))),
    }
}

/// Sends bytes to the port of a node, then ends: the node answers with nothing, an alert, the fixed answer to HTTP, or
/// the greeting of SSH, and ends too.
pub fn tcp_gate(data: &[u8]) {
    static NODE: LazyLock<(tokio::runtime::Runtime, SocketAddr)> = LazyLock::new(start);
    let mut io = TcpStream::connect(NODE.1).expect("the node listens");
    io.set_read_timeout(Some(PATIENCE)).expect("because the time is not zero");
    let mut answer = Vec::new();
    // The node may hang up at any byte.
    let sent = io.write_all(data).and_then(|()| io.shutdown(Shutdown::Write));
    if let Err(error) = io.read_to_end(&mut answer) {
        let slow = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!slow, "the node still holds the connection ({sent:?})");
    }
    let expected = match data.first() {
        Some(0x16) => answer.is_empty() || matches!(answer[0], 0x14..=0x17),
        Some(b'S') => answer.is_empty() || answer == GREETING,
        Some(b'A'..=b'Z') => answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "),
        _ => answer.is_empty(),
    };
    assert!(expected, "{}", answer.escape_ascii());
}

const GREETING: &[u8] = b"greeting";

struct Greets;

impl ProtocolHandler for Greets {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        use tokio::io::AsyncWriteExt;
        if let Some(mut stream) = connection.accept_stream().await? {
            stream.write_all(GREETING).await?;
            stream.shutdown().await?;
        }
        Ok(())
    }
}

fn start() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("because a runtime was asked for once");
    let addr = runtime.block_on(async {
        let (ssh, web) = (Alpn::from_static(b"alknet/ssh"), Alpn::from_static(b"http/1.1"));
        let identities = Arc::new(TestIdentities::default());
        let router = Router::builder(identities.clone())
            .service(ssh.clone(), Service::node(), Arc::new(Greets))
            .and_then(|router| router.service(web, Service::web(Carriers::Tcp), Arc::new(Greets)))
            .expect("because the names differ")
            .build();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // Whoever feeds is hostile by trade; the gate has tests of its own.
        let gate = AbuseGate::default();
        gate.set_exempt(vec!["127.0.0.0/8".parse().expect("because it is a range")]);
        let config = EndpointConfig { listen, plain_ssh: Some(ssh), public_url: None, gate };
        let node = NodeCredentials::new(Arc::new(TestKeys::new(1))).expect("because the test keys sign");
        let endpoint = Endpoint::bind(config, router, identities, Sessions::default(), &node, web_certificate());
        endpoint.await.expect("a free port").local_addr()
    });
    (runtime, addr)
}

fn web_certificate() -> WebCertificate {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let made = generate_self_signed(&["localhost".to_owned()]).expect("because the name is good");
    let (chain, key) = (dir.path().join("web.pem"), dir.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).expect("a writable folder");
    std::fs::write(&key, made.key.as_bytes()).expect("a writable folder");
    WebCertificate::from_pem_files(&chain, &key).expect("because it was just made")
}
