//! Certificates change without closing anything.

use crate::client::{Offer, echoes, quic_seeing, tls, tls_with};
use crate::node::{Node, Seed, web_certificate};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

// NET-13
#[tokio::test]
async fn three_connections_on_each_carrier_outlive_a_certificate_swap() {
    let node = Node::start().await;
    let old = node.web.leaf().unwrap().to_vec();
    let (over_tcp, over_quic) = (Offer::alpns(&["h2"]), Offer::alpns(&["h3"]));
    let mut streams = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut stream = tls(&over_tcp, node.addr()).await.unwrap();
        assert_eq!(crate::client::line(&mut stream).await, "h2 tcp nobody");
        streams.push(stream);
        let (connection, shown) = quic_seeing(&over_quic, node.addr()).await.unwrap();
        assert_eq!(shown, old);
        connections.push(connection);
    }

    let fresh = web_certificate();
    let new = fresh.leaf().unwrap().to_vec();
    assert_ne!(old, new);
    node.endpoint.set_web_certificate(fresh);

    for stream in &mut streams {
        assert!(echoes(stream, b"still here").await);
    }
    for connection in &connections {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"still here").await.unwrap();
        send.finish().unwrap();
        let all = recv.read_to_end(100).await.unwrap();
        assert_eq!(all, b"h3 quic nobody\nstill here");
    }
    let next = tls(&over_tcp, node.addr()).await.unwrap();
    assert_eq!(next.get_ref().1.peer_certificates().unwrap()[0].as_ref(), new);
    let (_connection, shown) = quic_seeing(&over_quic, node.addr()).await.unwrap();
    assert_eq!(shown, new);
}

// NET-13
#[tokio::test]
async fn a_session_of_the_old_web_certificate_can_still_be_resumed() {
    let node = Node::start().await;
    let config = Arc::new(Offer::alpns(&["h2"]).config().0);
    tls_with(config.clone(), node.addr()).await.unwrap().read_u8().await.unwrap();
    node.endpoint.set_web_certificate(web_certificate());
    let stream = tls_with(config, node.addr()).await.unwrap();
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_new_node_key_is_shown_to_new_connections_only() {
    let node = Node::start().await;
    let offer = Offer { raw_server_key: true, ..Offer::alpns(&["alknet/call"]) };
    let (live, shown) = quic_seeing(&offer, node.addr()).await.unwrap();
    assert!(shown.ends_with(node.key.as_bytes()));
    let mut stream = tls(&offer, node.addr()).await.unwrap();
    crate::client::line(&mut stream).await;

    let next = Seed(2).credentials();
    node.endpoint.set_node_credentials(&next).unwrap();

    assert_eq!(crate::client::greeting_over_quic(&live).await, "alknet/call quic nobody");
    assert!(echoes(&mut stream, b"still here").await);
    let (_connection, shown) = quic_seeing(&offer, node.addr()).await.unwrap();
    assert!(shown.ends_with(next.key().as_bytes()));
    let stream = tls(&offer, node.addr()).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().unwrap()[0].ends_with(next.key().as_bytes()));
}
