//! The ClientHello chooses the face, on both carriers.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::client::{Offer, TLS12_ONLY, greeting_over_quic, key_hex, line, quic, quic_seeing, tls, tls_with};
use crate::node::{Node, PATIENCE};

fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

// NET-08
#[tokio::test]
async fn the_hybrid_group_is_negotiated_and_x25519_is_the_fallback() {
    let node = Node::start().await;
    for alpn in ["alknet/call", "h2"] {
        let hybrid = tls(&Offer::alpns(&[alpn]), node.addr()).await.unwrap();
        let group = hybrid.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768, "{alpn}");
        let classical = Arc::new(rustls::crypto::ring::default_provider());
        let offer = Offer { provider: classical, ..Offer::alpns(&[alpn]) };
        let fallback = tls(&offer, node.addr()).await.unwrap();
        assert_eq!(fallback.get_ref().1.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);
    }
    // What an iroh client offers: raw keys both ways, no post-quantum share. And what a browser offers.
    let classical = Arc::new(rustls::crypto::ring::default_provider());
    let like_iroh = Offer {
        raw_server_key: true,
        raw_client_key: Some(9),
        provider: classical.clone(),
        ..Offer::alpns(&["alknet/call"])
    };
    let connection = quic(&like_iroh, node.addr()).await.unwrap();
    assert_eq!(greeting_over_quic(&connection).await, format!("alknet/call quic {}", key_hex(9)));
    for provider in [classical, alknet_net::provider()] {
        quic(&Offer { provider, ..Offer::alpns(&["h3"]) }, node.addr()).await.unwrap();
    }
}

// NET-09, NET-11
#[tokio::test]
async fn the_node_face_shows_a_raw_key_or_the_leaf_and_takes_raw_keys() {
    let node = Node::start().await;
    for raw_server_key in [false, true] {
        for raw_client_key in [None, Some(9)] {
            let offer = Offer { raw_server_key, raw_client_key, ..Offer::alpns(&["alknet/call"]) };
            let who = raw_client_key.map_or("nobody".to_owned(), key_hex);

            let stream = tls(&offer, node.addr()).await.unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            assert_eq!(line(stream).await, format!("alknet/call tcp {who}"));

            let (connection, shown_over_quic) = quic_seeing(&offer, node.addr()).await.unwrap();
            assert_eq!(greeting_over_quic(&connection).await, format!("alknet/call quic {who}"));

            assert_eq!(shown, shown_over_quic);
            assert_eq!(shown.len() == 44, raw_server_key);
            assert!(shown.windows(32).any(|window| window == node.key.as_bytes()));
        }
    }
}

#[tokio::test]
async fn the_web_face_shows_the_web_certificate_and_asks_for_no_key() {
    let node = Node::start().await;
    let offer = Offer { raw_client_key: None, ..Offer::alpns(&["h2", "http/1.1"]) };
    let stream = tls(&offer, node.addr()).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *node.web.leaf().unwrap());
    assert_eq!(line(stream).await, "h2 tcp nobody");
    let (connection, shown) = quic_seeing(&Offer::alpns(&["h3"]), node.addr()).await.unwrap();
    assert_eq!(shown, node.web.leaf().unwrap().to_vec());
    assert_eq!(greeting_over_quic(&connection).await, "h3 quic nobody");
}

// NET-07
#[tokio::test]
async fn no_alpn_over_tcp_is_http_1_1_on_the_web_face() {
    let node = Node::start().await;
    let stream = tls(&Offer::alpns(&[]), node.addr()).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *node.web.leaf().unwrap());
    assert_eq!(line(stream).await, "http/1.1 tcp nobody");
}

// NET-06, NET-07
#[tokio::test]
async fn an_unknown_alpn_is_refused_with_alert_120_on_both_carriers() {
    let node = Node::start().await;
    // h3 is known on QUIC only, h2 on TCP only; acme-tls/1 has no order pending.
    for alpns in [&["nope"][..], &["h3"], &["acme-tls/1"], &["ALKNET/CALL", "alknet/cal"]] {
        let error = tls(&Offer::alpns(alpns), node.addr()).await.unwrap_err();
        assert_eq!(alert_of(&error), Some(AlertDescription::NoApplicationProtocol), "{alpns:?}: {error}");
    }
    for alpns in [&["nope"][..], &["h2"], &["acme-tls/1"], &[]] {
        match quic(&Offer::alpns(alpns), node.addr()).await.unwrap_err() {
            quinn::ConnectionError::ConnectionClosed(close) => {
                assert_eq!(u64::from(close.error_code), 0x178, "{alpns:?}");
            }
            other => panic!("{alpns:?}: {other}"),
        }
    }
}

// NET-09, NET-13
#[tokio::test]
async fn tls_1_2_is_for_the_web_face_only() {
    let node = Node::start().await;
    let old = |alpns: &[&str]| Offer { versions: TLS12_ONLY, ..Offer::alpns(alpns) };
    let stream = tls(&old(&["http/1.1"]), node.addr()).await.unwrap();
    assert_eq!(line(stream).await, "http/1.1 tcp nobody");
    let error = tls(&old(&["alknet/call"]), node.addr()).await.unwrap_err();
    assert_eq!(alert_of(&error), Some(AlertDescription::ProtocolVersion), "{error}");
}

// NET-12
#[tokio::test]
async fn the_node_face_never_resumes_and_the_web_face_does() {
    let node = Node::start().await;
    for (alpn, resumes) in [("alknet/call", false), ("h2", true)] {
        let config = Arc::new(Offer::alpns(&[alpn]).config().0);
        for attempt in 0..2 {
            let mut stream = tls_with(config.clone(), node.addr()).await.unwrap();
            // Tickets come with the first data.
            stream.read_u8().await.unwrap();
            let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            assert_eq!(resumed, resumes && attempt == 1, "{alpn}, connection {attempt}");
        }
    }
}

// NET-14
#[tokio::test]
async fn lying_lengths_in_the_hello_over_tcp_end_the_connection_within_a_second() {
    let node = Node::start().await;
    let records: &[(&str, &[u8])] = &[
        ("record_longer_than_allowed", &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0]),
        ("hello_announces_16_mib", &[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]),
        ("empty_hello", &[0x16, 3, 1, 0, 4, 1, 0, 0, 0]),
        ("another_message", &[0x16, 3, 1, 0, 4, 2, 0, 0, 0]),
        (
            "session_id_longer_than_the_hello",
            &[
                0x16, 3, 1, 0, 39, 1, 0, 0, 35, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
            ],
        ),
        ("tls_byte_then_garbage", b"\x16GET / HTTP/1.1\r\n\r\n"),
    ];
    for (name, bytes) in records {
        let mut io = TcpStream::connect(node.addr()).await.unwrap();
        io.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(std::time::Duration::from_secs(1), io.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{name} is still open");
        assert!(answer.is_empty() || answer[0] == 0x15, "{name}: {answer:?}");
    }
    // And the node still serves.
    tls(&Offer::alpns(&["alknet/call"]), node.addr()).await.unwrap();
}

// NET-14
#[tokio::test]
async fn garbage_datagrams_harm_nobody() {
    let node = Node::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0usize, 1, 7, 20, 1199, 1200, 1452] {
        for first in [0x00u8, 0x40, 0xc0, 0xff] {
            let mut datagram = vec![0xa5; length];
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            // A version 1 long header with lying connection id and token lengths.
            if length > 20 {
                datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
                datagram[5] = if first == 0xff { 255 } else { 8 };
            }
            socket.send_to(&datagram, node.addr()).await.unwrap();
        }
    }
    let connection = quic(&Offer::alpns(&["alknet/call"]), node.addr()).await.unwrap();
    assert_eq!(greeting_over_quic(&connection).await, "alknet/call quic nobody");
}

// NET-04
#[tokio::test]
async fn keying_material_is_the_same_at_both_ends() {
    let node = Node::start().await;
    let offer = Offer::alpns(&["alknet/export"]);
    let stream = tls(&offer, node.addr()).await.unwrap();
    let ours = stream.get_ref().1.export_keying_material([0; 32], b"EXPORTER-test", Some(b"context")).unwrap();
    assert_eq!(line(stream).await, format!("{ours:?}"));
    let connection = quic(&offer, node.addr()).await.unwrap();
    let mut ours = [0; 32];
    connection.export_keying_material(&mut ours, b"EXPORTER-test", b"context").unwrap();
    assert_eq!(greeting_over_quic(&connection).await, format!("{ours:?}"));
}

// NET-21
#[tokio::test]
async fn a_panicking_handler_costs_one_connection() {
    let node = Node::start().await;
    let mut stream = tls(&Offer::alpns(&["alknet/panic"]), node.addr()).await.unwrap();
    let ended = timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("an end in time");
    assert!(matches!(ended, Ok(0) | Err(_)));
    let connection = quic(&Offer::alpns(&["alknet/panic"]), node.addr()).await.unwrap();
    timeout(PATIENCE, connection.closed()).await.expect("an end in time");
    let stream = tls(&Offer::alpns(&["alknet/call"]), node.addr()).await.unwrap();
    assert_eq!(line(stream).await, "alknet/call tcp nobody");
}

// NET-22
#[tokio::test]
async fn taking_a_keys_rights_away_ends_its_connections_only() {
    let node = Node::start().await;
    let with_key = |seed| Offer { raw_client_key: Some(seed), ..Offer::alpns(&["alknet/call"]) };
    let mut theirs = tls(&with_key(9), node.addr()).await.unwrap();
    line(&mut theirs).await;
    let theirs_too = quic(&with_key(9), node.addr()).await.unwrap();
    greeting_over_quic(&theirs_too).await;
    let mut other = tls(&with_key(8), node.addr()).await.unwrap();
    line(&mut other).await;
    assert_eq!(node.sessions.list().len(), 3);

    assert_eq!(node.sessions.cancel_credential(&format!("ed25519:{}", key_hex(9))), 2);
    let ended = timeout(PATIENCE, theirs.read(&mut [0; 1])).await.expect("an end in time");
    assert!(matches!(ended, Ok(0) | Err(_)));
    timeout(PATIENCE, theirs_too.closed()).await.expect("an end in time");
    assert!(crate::client::echoes(&mut other, b"still here").await);
}

// NET-03
#[tokio::test]
async fn a_stream_that_the_handler_dropped_does_not_look_finished() {
    let node = Node::start().await;
    let offer = Offer::alpns(&["alknet/torn"]);
    let mut stream = tls(&offer, node.addr()).await.unwrap();
    let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("an end in time");
    assert!(read.is_err(), "{read:?}");
    let connection = quic(&offer, node.addr()).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let read = timeout(PATIENCE, recv.read_to_end(100)).await.expect("an end in time");
    assert!(matches!(read, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{read:?}");
}
