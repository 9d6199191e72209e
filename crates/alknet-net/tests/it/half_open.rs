//! Unfinished handshakes do not keep anybody out.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{Offer, line, quic, tls};
use crate::node::Node;

// NET-19
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_in_within_2_s_beside_1000_half_open_connections() {
    let node = Node::start().await;
    let mut stuck = Vec::new();
    for n in 0..1000 {
        let mut io = TcpStream::connect(node.addr()).await.unwrap();
        // Half say nothing, half begin a handshake; those that were displaced already may fail here.
        if n % 2 == 0 {
            let _ = io.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1]).await;
        }
        stuck.push(io);
    }
    let started = Instant::now();
    let stream = tls(&Offer::alpns(&["alknet/call"]), node.addr()).await.unwrap();
    assert_eq!(line(stream).await, "alknet/call tcp nobody");
    quic(&Offer::alpns(&["alknet/call"]), node.addr()).await.unwrap();
    let took = started.elapsed();
    assert!(took.as_secs_f32() < 2.0, "{took:?}");
    drop(stuck);
}

/// Under load a QUIC client is asked to prove its address, and still gets in.
// NET-20
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_quic_answers_with_a_retry() {
    let node = Node::start().await;
    let mut stuck = Vec::new();
    for _ in 0..64 {
        let mut io = TcpStream::connect(node.addr()).await.unwrap();
        io.write_all(&[0x16]).await.unwrap();
        stuck.push(io);
    }
    // A relay in between sees the packet types.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let front = relay.local_addr().unwrap();
    let target = node.addr();
    let seen_retry = tokio::spawn(async move {
        let mut client = None;
        let mut buf = vec![0; 2048];
        let mut retry = false;
        loop {
            let (length, from) = relay.recv_from(&mut buf).await.unwrap();
            if from == target {
                // Long header, packet type 3 (RFC 9000, 17.2.5).
                retry |= buf[0] & 0xf0 == 0xf0;
                if let Some(client) = client {
                    relay.send_to(&buf[..length], client).await.unwrap();
                }
                // A short header means that the handshake is done.
                if buf[0] & 0x80 == 0 {
                    return retry;
                }
            } else {
                client = Some(from);
                relay.send_to(&buf[..length], target).await.unwrap();
            }
        }
    });
    let connection = quic(&Offer::alpns(&["alknet/call"]), front).await.unwrap();
    assert!(seen_retry.await.unwrap());
    drop((connection, stuck));
}
