//! The tunnel of our own client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alknet_core::{Alpn, BoxFuture, Connection, DialError, DialTarget, Dialer, KeyPurpose};
use alknet_ssh::{ConnectError, Tunnel, TunnelError};
use alknet_testkit::identities::TestKeys;
use tokio::net::TcpStream;

use crate::{
    client::{credential, login, outcome},
    node::Node,
    tcp_link::plain_connection,
};

/// Dials the node, and counts how often.
#[derive(Default)]
struct Counting {
    port: u16,
    dialled: AtomicUsize,
}

impl Dialer for Counting {
    fn dial<'a>(&'a self, _: &'a DialTarget, _: &'a Alpn) -> BoxFuture<'a, Result<Connection, DialError>> {
        Box::pin(async {
            self.dialled.fetch_add(1, Ordering::Relaxed);
            let socket = TcpStream::connect(("127.0.0.1", self.port)).await;
            let socket = socket.map_err(|error| DialError::Unreachable(error.to_string()))?;
            let addr = socket.peer_addr().unwrap();
            Ok(plain_connection(socket, addr))
        })
    }
}

impl Counting {
    fn count(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }
}

fn tunnel(node: &Node, port: u16) -> (Tunnel, Arc<Counting>) {
    let dialer = Arc::new(Counting { port, ..Counting::default() });
    let target = DialTarget { key: None, addresses: Vec::new() };
    (Tunnel::new(dialer.clone(), target, login(node, KeyPurpose::Node)), dialer)
}

/// CLI-20.
#[test]
fn a_lost_connection_is_made_again() {
    let node = Node::start();
    let (tunnel, dialer) = tunnel(&node, node.port);
    node.runtime.block_on(async {
        assert_eq!(dialer.count(), 0, "nothing is dialled before it is needed");
        let first = tunnel.client().await.unwrap();
        assert!(tunnel.client().await.unwrap().exec("true").await.is_ok());
        assert_eq!(dialer.count(), 1);
        node.sessions.cancel_identity("alice");
        first.closed().await;
        assert!(tunnel.client().await.unwrap().exec("true").await.is_ok());
        assert_eq!(dialer.count(), 2);
    });
}

/// CLI-21: what the library leaves behind for each channel is bounded.
#[test]
fn a_worn_connection_is_replaced_and_drains() {
    let node = Node::start();
    let (tunnel, dialer) = tunnel(&node, node.port);
    let tunnel = tunnel.with_max_channels(2);
    node.runtime.block_on(async {
        let first = tunnel.client().await.unwrap();
        let slow = first.exec("cat").await.unwrap();
        first.exec("true").await.unwrap();
        assert!(tunnel.client().await.unwrap().exec("true").await.is_ok());
        assert_eq!(dialer.count(), 2);
        let ended = first.closed();
        drop(first);
        slow.input.send("still there".into()).await.unwrap();
        slow.input.end().await.unwrap();
        assert_eq!(outcome(slow).await.output, b"still there");
        ended.await;
    });
}

/// CLI-20.
#[test]
fn everybody_who_waits_for_an_attempt_gets_its_failure() {
    let node = Node::start();
    let (unreachable, dialer) = tunnel(&node, 1);
    node.runtime.block_on(async {
        let (first, second) = tokio::join!(unreachable.client(), unreachable.client());
        assert!(matches!((first, second), (Err(TunnelError::Dial(_)), Err(TunnelError::Dial(_)))));
        assert_eq!(dialer.count(), 1);
    });
    let (refused, _) = tunnel(&node, node.port);
    node.identities.forget(&credential(alknet_core::KeySigner::public_key(&TestKeys::new(3), KeyPurpose::Node)));
    node.runtime.block_on(async {
        let error = refused.client().await.unwrap_err();
        assert!(error.is_final(), "{error}");
        assert!(matches!(error, TunnelError::Connect(why) if matches!(*why, ConnectError::Refused { .. })));
    });
}
