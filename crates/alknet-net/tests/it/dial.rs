//! Dialling: pins, the race of carriers, and what is remembered of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alknet_core::{Alpn, Carrier, Connection, DialError, DialTarget, Dialer, HostPort, NodeKey};
use alknet_net::{CarrierPolicy, NetDialer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::client::{echoes, line};
use crate::node::{CALL, H2, Node, Seed};

fn dialer(policy: CarrierPolicy) -> NetDialer {
    NetDialer::new(Seed(9).credentials(), policy)
}

fn target(addr: SocketAddr, key: Option<NodeKey>) -> DialTarget {
    DialTarget { key, addresses: vec![addr.to_string().parse().unwrap()] }
}

async fn greeting(connection: &Connection) -> String {
    let mut stream = connection.open_stream().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    line(stream).await
}

/// What happens to UDP on a port whose TCP reaches the node.
enum Udp {
    /// Datagrams vanish.
    BlackHole,
    /// The kernel answers with ICMP "port unreachable".
    IcmpReject,
    /// A QUIC endpoint answers every handshake with the alert `no_application_protocol`.
    Alert0x178,
}

/// A port on which only TCP gets through to `node`.
async fn only_tcp(node: &Node, udp: Udp) -> (SocketAddr, Box<dyn std::any::Any>) {
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = front.local_addr().unwrap();
    let back = node.addr();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = front.accept().await {
            tokio::spawn(async move {
                let mut node = TcpStream::connect(back).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            });
        }
    });
    let guard: Box<dyn std::any::Any> = match udp {
        Udp::BlackHole => Box::new(UdpSocket::bind(addr).await.unwrap()),
        Udp::IcmpReject => Box::new(()),
        Udp::Alert0x178 => Box::new(refusing_endpoint(addr)),
    };
    (addr, guard)
}

fn refusing_endpoint(addr: SocketAddr) -> quinn::Endpoint {
    let certified = rcgen_pair();
    let mut tls = rustls::ServerConfig::builder_with_provider(alknet_net::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.0.into()], certified.1)
        .unwrap();
    tls.alpn_protocols = vec![b"something-else".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), addr).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let _ = incoming.await;
            });
        }
    });
    endpoint
}

fn rcgen_pair() -> (Vec<u8>, rustls::pki_types::PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    (cert.der().to_vec(), key.into())
}

#[tokio::test]
async fn a_pinned_node_is_reached_over_each_carrier_and_sees_our_key() {
    let node = Node::start().await;
    let ours = Seed(9).public().to_hex();
    for (policy, carrier) in [
        (CarrierPolicy::PreferQuic, Carrier::Quic),
        (CarrierPolicy::QuicOnly, Carrier::Quic),
        (CarrierPolicy::TcpOnly, Carrier::Tls),
    ] {
        let dialer = dialer(policy);
        let connection = dialer.dial(&target(node.addr(), Some(node.key)), &CALL).await.unwrap();
        assert_eq!(connection.carrier(), carrier);
        assert_eq!(connection.peer().key, Some(node.key));
        assert_eq!(greeting(&connection).await, format!("alknet/call {} {ours}", carrier.name()));
        assert!(dialer.lost_carriers().is_empty());
        connection.close(0, b"");
        dialer.finish().await;
    }
}

#[tokio::test]
async fn both_ends_of_a_dialled_stream_carry_data_and_resets() {
    let node = Node::start().await;
    for policy in [CarrierPolicy::QuicOnly, CarrierPolicy::TcpOnly] {
        let connection = dialer(policy).dial(&target(node.addr(), Some(node.key)), &CALL).await.unwrap();
        let mut stream = connection.open_stream().await.unwrap();
        let mut word = vec![7; 300_000];
        word[0] = b'\n';
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        line(&mut stream).await;
        let (mut recv, mut send) = tokio::io::split(stream);
        let sent = word.clone();
        let writer = tokio::spawn(async move {
            send.write_all(&sent).await.unwrap();
            send.shutdown().await.unwrap();
            send
        });
        let mut back = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut recv, &mut back).await.unwrap();
        assert_eq!(back[1..], word[..]);
        let mut stream = recv.unsplit(writer.await.unwrap());
        stream.abort(7);
        assert!(stream.write_all(b"late").await.is_err());
    }
}

// NET-26
#[tokio::test]
async fn an_unknown_key_fails_closed_and_is_reported() {
    let node = Node::start().await;
    for policy in [CarrierPolicy::PreferQuic, CarrierPolicy::QuicOnly, CarrierPolicy::TcpOnly] {
        match dialer(policy).dial(&target(node.addr(), None), &CALL).await {
            Err(DialError::UnknownKey { seen, .. }) => assert_eq!(seen, node.key),
            other => panic!("{policy:?}: {other:?}"),
        }
    }
}

// NET-26
#[tokio::test]
async fn another_key_than_the_pinned_one_is_refused() {
    let node = Node::start().await;
    let expected = Seed(77).public();
    for policy in [CarrierPolicy::PreferQuic, CarrierPolicy::QuicOnly, CarrierPolicy::TcpOnly] {
        match dialer(policy).dial(&target(node.addr(), Some(expected)), &CALL).await {
            Err(DialError::WrongKey { seen, pinned, .. }) => assert_eq!((seen, pinned), (node.key, expected)),
            other => panic!("{policy:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let node = Node::start().await;
    let nope = Alpn::from_static(b"alknet/nope");
    for policy in [CarrierPolicy::PreferQuic, CarrierPolicy::QuicOnly, CarrierPolicy::TcpOnly] {
        match dialer(policy).dial(&target(node.addr(), Some(node.key)), &nope).await {
            Err(DialError::NotOffered { alpn, .. }) => assert_eq!(alpn, nope),
            other => panic!("{policy:?}: {other:?}"),
        }
    }
    // The web face does not show the node key: no pin can be satisfied there.
    let error = dialer(CarrierPolicy::TcpOnly).dial(&target(node.addr(), Some(node.key)), &H2).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable(_)), "{error}");
}

async fn reaches_tcp_within_300_ms(udp: Udp) -> (NetDialer, SocketAddr, Node, Box<dyn std::any::Any>) {
    let node = Node::start().await;
    let (addr, guard) = only_tcp(&node, udp).await;
    let dialer = dialer(CarrierPolicy::PreferQuic);
    let started = Instant::now();
    let connection = dialer.dial(&target(addr, Some(node.key)), &CALL).await.unwrap();
    let took = started.elapsed();
    assert_eq!(connection.carrier(), Carrier::Tls);
    assert!(took < Duration::from_millis(300), "{took:?}");
    let mut stream = connection.open_stream().await.unwrap();
    line(&mut stream).await;
    assert!(echoes(&mut stream, b"through").await);
    (dialer, addr, node, guard)
}

// NET-27, NET-28
#[tokio::test]
async fn a_udp_black_hole_reaches_tcp_within_300_ms_and_is_remembered() {
    let (dialer, addr, node, guard) = reaches_tcp_within_300_ms(Udp::BlackHole).await;
    let lost = dialer.lost_carriers();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].remote, lost[0].carrier), (addr, Carrier::Quic));
    assert!(lost[0].reason.contains("no answer"), "{}", lost[0].reason);
    // Next time TCP goes first, and no datagram is sent at all.
    let hole = guard.downcast::<UdpSocket>().unwrap();
    while hole.try_recv(&mut [0; 2048]).is_ok() {}
    let again = dialer.dial(&target(addr, Some(node.key)), &CALL).await.unwrap();
    assert_eq!(again.carrier(), Carrier::Tls);
    assert!(hole.try_recv(&mut [0; 2048]).is_err());
}

// NET-27
#[tokio::test]
async fn an_icmp_reject_reaches_tcp_within_300_ms() {
    reaches_tcp_within_300_ms(Udp::IcmpReject).await;
}

// NET-27, NET-28
#[tokio::test]
async fn a_peer_that_answers_0x178_reaches_tcp_within_300_ms_and_says_why() {
    let (dialer, ..) = reaches_tcp_within_300_ms(Udp::Alert0x178).await;
    let lost = dialer.lost_carriers();
    assert!(lost[0].reason.contains("no_application_protocol"), "{}", lost[0].reason);
}

#[tokio::test]
async fn a_dead_first_address_does_not_hide_a_good_second_one() {
    let node = Node::start().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let addresses: Vec<HostPort> = [dead, node.addr()].iter().map(|addr| addr.to_string().parse().unwrap()).collect();
    let target = DialTarget { key: Some(node.key), addresses };
    let connection = dialer(CarrierPolicy::Auto).dial(&target, &CALL).await.unwrap();
    assert_eq!(connection.peer().key, Some(node.key));
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_names_both_carriers() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = dialer(CarrierPolicy::TcpOnly).dial(&target(dead, Some(Seed(1).public())), &CALL).await.unwrap_err();
    assert!(matches!(&error, DialError::Unreachable(text) if text.contains("tcp")), "{error}");
    let none = DialTarget { key: None, addresses: vec![] };
    assert!(matches!(dialer(CarrierPolicy::Auto).dial(&none, &CALL).await, Err(DialError::NoAddress)));
}
