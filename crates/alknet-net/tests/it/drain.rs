//! Stopping: accept nothing new, tell the handlers, wait, close, wait for the farewells.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alknet_core::{CloseReason, Connection, DialTarget, Dialer, ProtocolHandler, Router, ServeError, Service};
use alknet_net::{CarrierPolicy, NetDialer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::client::{Offer, quic, tls};
use crate::node::{CALL, Journal, Node, PATIENCE, Seed, identities};

/// Works until it is told to stop, then says goodbye on each connection; or never, if it is stubborn.
struct Worker {
    journal: Arc<Journal>,
    told: Notify,
    stubborn: bool,
}

impl ProtocolHandler for Worker {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut stream = connection.accept_stream().await?.expect("a first stream");
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        self.told.notified().await;
        if self.stubborn {
            std::future::pending::<()>().await;
        }
        stream.write_all(b"goodbye").await?;
        stream.shutdown().await?;
        self.journal.note("goodbye");
        Ok(())
    }
    async fn shutdown(&self) {
        self.journal.note("told");
        self.told.notify_waiters();
    }
}

async fn node(stubborn: bool) -> (Node, Arc<Journal>) {
    let journal = Arc::new(Journal::default());
    let worker = Worker { journal: journal.clone(), told: Notify::new(), stubborn };
    let router = Router::builder(identities()).service(CALL, Service::node(), Arc::new(worker)).unwrap().build();
    (Node::start_with(router, |_| {}).await, journal)
}

// NET-23
#[tokio::test]
async fn what_runs_is_finished_before_the_endpoint_closes() {
    let (node, journal) = node(false).await;
    let addr = node.addr();
    let offer = Offer::alpns(&["alknet/call"]);
    let mut over_tcp = tls(&offer, addr).await.unwrap();
    over_tcp.read_exact(&mut [0; 5]).await.unwrap();
    let connection = quic(&offer, addr).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    recv.read_exact(&mut [0; 5]).await.unwrap();

    let journal_at_close = journal.clone();
    let shutdown = tokio::spawn(async move {
        node.endpoint.shutdown(PATIENCE).await;
        journal_at_close.note("closed");
    });
    let mut rest = Vec::new();
    timeout(PATIENCE, over_tcp.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"goodbye");
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"goodbye");
    connection.close(0u32.into(), b"");
    timeout(PATIENCE, shutdown).await.expect("a shutdown in time").unwrap();
    assert_eq!(journal.read(), ["told", "goodbye", "goodbye", "closed"]);
    // Nobody listens any more, and the port is free again.
    assert!(TcpStream::connect(addr).await.is_err());
    std::net::UdpSocket::bind(addr).unwrap();
}

// NET-23
#[tokio::test]
async fn what_does_not_end_is_cut_off_after_the_drain_time() {
    let (node, journal) = node(true).await;
    let offer = Offer::alpns(&["alknet/call"]);
    let mut over_tcp = tls(&offer, node.addr()).await.unwrap();
    over_tcp.read_exact(&mut [0; 5]).await.unwrap();
    let connection = quic(&offer, node.addr()).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    recv.read_exact(&mut [0; 5]).await.unwrap();

    let started = Instant::now();
    let drain = Duration::from_millis(300);
    timeout(PATIENCE, node.endpoint.shutdown(drain)).await.expect("a shutdown in time");
    assert!(started.elapsed() >= drain);
    assert_eq!(journal.read(), ["told"]);
    assert!(matches!(timeout(PATIENCE, over_tcp.read(&mut [0; 1])).await.unwrap(), Ok(0) | Err(_)));
    timeout(PATIENCE, connection.closed()).await.expect("a farewell in time");
}

// NET-23
#[tokio::test]
async fn nothing_new_is_accepted_while_draining() {
    let (node, journal) = node(true).await;
    let offer = Offer::alpns(&["alknet/call"]);
    let mut over_tcp = tls(&offer, node.addr()).await.unwrap();
    over_tcp.read_exact(&mut [0; 5]).await.unwrap();
    let addr = node.addr();
    let shutdown = tokio::spawn(async move { node.endpoint.shutdown(Duration::from_secs(2)).await });
    let told = async {
        while journal.read().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, told).await.expect("handlers are told in time");
    let refused = async { while tls(&offer, addr).await.is_ok() {} };
    timeout(Duration::from_secs(1), refused).await.expect("a refusal in time");
    assert!(!shutdown.is_finished());
    assert!(quic(&offer, addr).await.is_err());
    timeout(PATIENCE, shutdown).await.expect("a shutdown in time").unwrap();
}

/// Greets on the first stream, then waits for the end and tells of it.
struct Parting(UnboundedSender<CloseReason>);

impl ProtocolHandler for Parting {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut stream = connection.accept_stream().await?.expect("a first stream");
        stream.write_all(b"hello").await?;
        let _test_is_over = self.0.send(connection.closed().await);
        Ok(())
    }
}

#[tokio::test]
async fn a_short_program_says_farewell_before_it_ends() {
    let (sender, mut ends) = unbounded_channel();
    let parting = Arc::new(Parting(sender));
    let router = Router::builder(identities()).service(CALL, Service::node(), parting).unwrap().build();
    let node = Node::start_with(router, |_| {}).await;
    let address = node.addr().to_string().parse().unwrap();
    let target = DialTarget { key: Some(node.key), addresses: vec![address] };
    // A runtime of its own, as a program has: what is not sent when it ends never is.
    let program = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dialer = NetDialer::new(Seed(9).credentials(), CarrierPolicy::QuicOnly);
            let connection = dialer.dial(&target, &CALL).await.unwrap();
            let mut stream = connection.open_stream().await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            connection.close(7, b"");
            dialer.finish().await;
        });
    });
    let end = timeout(PATIENCE, ends.recv()).await.expect("an end long before the idle timeout");
    assert!(matches!(end, Some(CloseReason::Peer { code: 7, .. })), "{end:?}");
    program.join().unwrap();
}
