//! UDP ASSOCIATE (RFC 1928, 7), through a node and back.

use std::{net::SocketAddr, sync::Arc};

use alknet_core::{Carrier, ServeError};
use alknet_ssh::{ReachError, Target};
use alknet_testkit::identities::{peer_with_key, stranger};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    fixture::{Here, PATIENCE, Running, name, read_exactly, request},
    udp_service::{Datagrams, rules},
};

/// A client of the proxy with a relay.
struct Associated {
    control: TcpStream,
    socket: UdpSocket,
    _proxy: Running,
}

impl Associated {
    async fn through(node: &Arc<Datagrams>) -> Self {
        let proxy = Running::with(Here::default(), Some(node.tunnels())).await;
        Self::with(proxy).await
    }

    async fn with(proxy: Running) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut control = proxy.connect().await;
        control.write_all(&request(3, &socket.local_addr().unwrap().into())).await.unwrap();
        let answer: [u8; 12] = read_exactly(&mut control).await;
        assert_eq!(answer[..10], [5, 0, 5, 0, 0, 1, 127, 0, 0, 1], "the relay is at the address that was connected to");
        let port = u16::from_be_bytes([answer[10], answer[11]]);
        socket.connect(("127.0.0.1", port)).await.unwrap();
        Self { control, socket, _proxy: proxy }
    }

    async fn send(&self, to: &Target, payload: &[u8]) {
        let mut datagram = vec![0, 0, 0];
        to.write(&mut datagram);
        datagram.extend(payload);
        self.socket.send(&datagram).await.unwrap();
    }

    async fn receive(&self) -> (SocketAddr, Vec<u8>) {
        let mut datagram = vec![0; 65_535];
        let length = timeout(PATIENCE, self.socket.recv(&mut datagram)).await.expect("an answer").unwrap();
        assert_eq!(datagram[..4], [0, 0, 0, 1]);
        let addr: [u8; 4] = datagram[4..8].try_into().unwrap();
        let port = u16::from_be_bytes([datagram[8], datagram[9]]);
        ((addr, port).into(), datagram[10..length].to_vec())
    }

    /// Sends until an answer comes: datagrams may be lost.
    async fn ask(&self, to: &Target, payload: &[u8]) -> (SocketAddr, Vec<u8>) {
        self.send(to, payload).await;
        self.receive().await
    }
}

/// Answers each datagram with itself.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    addr
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// SOCKS-13 SOCKS-14 SOCKS-15 SOCKS-16
#[tokio::test]
async fn datagrams_go_there_and_back_whatever_carries_them() {
    let echo = echo().await;
    // More than a datagram of the carrier takes, and as much as UDP takes with the header of the way back.
    let (long, longest) = (vec![7; 9000], vec![9; 65_507 - 16]);
    for carrier in [Carrier::Quic, Carrier::Tls] {
        let node = Datagrams::over(carrier);
        let client = Associated::through(&node).await;
        for to in [Target::from(echo), name("localhost", echo.port())] {
            for payload in [&b""[..], b"short", &long, &longest] {
                assert_eq!(client.ask(&to, payload).await, (echo, payload.to_vec()), "{carrier:?} {to}");
            }
        }
        let asked = node.audit.events().iter().filter(|event| event.action == "ssh/forward.dynamic").count();
        assert_eq!(asked, 2, "the gate is asked once for each destination");
    }
}

/// SOCKS-14
#[tokio::test]
async fn associations_share_a_connection_where_the_carrier_lets_them() {
    let echo = Target::from(echo().await);
    for (carrier, connections) in [(Carrier::Quic, 1), (Carrier::Tls, 3)] {
        let node = Datagrams::over(carrier);
        let tunnels = node.tunnels();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let proxy = Running::with(Here::default(), Some(tunnels.clone())).await;
            clients.push(Associated::with(proxy).await);
        }
        for (number, client) in clients.iter().enumerate() {
            let payload = format!("from {number}").into_bytes();
            assert_eq!(client.ask(&echo, &payload).await.1, payload, "each hears its own");
        }
        assert_eq!(node.connections.lock().unwrap().len(), connections, "{carrier:?}");
    }
}

/// SOCKS-18
#[tokio::test]
async fn only_who_was_written_to_is_heard() {
    let node = Datagrams::over(Carrier::Quic);
    let client = Associated::through(&node).await;
    let (friend, stranger) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    client.send(&friend.local_addr().unwrap().into(), b"hello").await;
    let mut buffer = [0; 16];
    let (_, at) = timeout(PATIENCE, friend.recv_from(&mut buffer)).await.unwrap().unwrap();
    stranger.send_to(b"not asked for", at).await.unwrap();
    friend.send_to(b"answer", at).await.unwrap();
    assert_eq!(client.receive().await, (friend.local_addr().unwrap(), b"answer".to_vec()));
}

/// SOCKS-17
#[tokio::test]
async fn what_the_policy_refuses_is_told_once_and_not_sent() {
    let node = Datagrams::over(Carrier::Tls);
    let client = Associated::through(&node).await;
    let refused = name("127.0.0.1", 9);
    for _ in 0..5 {
        client.send(&refused, b"x").await;
    }
    wait_for("the refusal", || !client._proxy.refused.lock().unwrap().is_empty()).await;
    let echo = echo().await;
    client.ask(&echo.into(), b"y").await;
    assert_eq!(*client._proxy.refused.lock().unwrap(), [(refused, ReachError::Denied)]);
}

/// SOCKS-17
#[tokio::test]
async fn who_may_not_be_written_to_any_more_is_not_heard_any_more() {
    let node = Datagrams::over(Carrier::Quic);
    let client = Associated::through(&node).await;
    let friend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = Target::from(friend.local_addr().unwrap());
    client.send(&to, b"hello").await;
    let (_, at) = timeout(PATIENCE, friend.recv_from(&mut [0; 16])).await.unwrap().unwrap();
    let echo = echo().await;
    node.policy.set_rules(rules(&[&format!("allow alice dynamic *:{}", echo.port())]));
    client.send(&to, b"the policy is asked again").await;
    wait_for("the refusal", || !client._proxy.refused.lock().unwrap().is_empty()).await;
    friend.send_to(b"too late", at).await.unwrap();
    assert_eq!(client.ask(&echo.into(), b"allowed").await, (echo, b"allowed".to_vec()));
}

/// SOCKS-17
#[tokio::test]
async fn what_changed_rules_forbid_ends_at_once() {
    let (node, echo) = (Datagrams::over(Carrier::Quic), echo().await);
    let client = Associated::through(&node).await;
    client.ask(&echo.into(), b"allowed").await;
    node.policy.set_rules(rules(&["deny alice dynamic *"]));
    client.send(&echo.into(), b"forbidden").await;
    wait_for("the refusal", || !client._proxy.refused.lock().unwrap().is_empty()).await;
    node.policy.set_rules(rules(&["allow alice dynamic *:1-65535"]));
    let other = name("localhost", echo.port());
    assert_eq!(client.ask(&other, b"allowed again").await.1, b"allowed again");
}

/// SOCKS-12
#[tokio::test]
async fn somebody_elses_datagrams_and_fragments_are_dropped() {
    let (node, echo) = (Datagrams::over(Carrier::Quic), echo().await);
    let client = Associated::through(&node).await;
    let mut fragment = vec![0, 0, 1];
    Target::from(echo).write(&mut fragment);
    client.socket.send(&fragment).await.unwrap();
    fragment[2] = 0;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(&fragment, client.socket.peer_addr().unwrap()).await.unwrap();
    assert_eq!(client.ask(&echo.into(), b"mine").await.1, b"mine", "the first answer is to the first good datagram");
}

/// SOCKS-13
#[tokio::test]
async fn an_association_ends_with_the_connection_it_was_asked_for_on() {
    for carrier in [Carrier::Quic, Carrier::Tls] {
        let node = Datagrams::over(carrier);
        let client = Associated::through(&node).await;
        assert_eq!(node.sessions.list().len(), 1);
        drop(client.control);
        wait_for("the end of the association", || node.sessions.list().is_empty()).await;
    }
}

/// SOCKS-20
#[tokio::test]
async fn a_lost_association_is_asked_for_again() {
    let (node, echo) = (Datagrams::over(Carrier::Quic), echo().await);
    let client = Associated::through(&node).await;
    client.ask(&echo.into(), b"1").await;
    assert_eq!(node.sessions.cancel_identity("alice"), 1, "an association hangs on its identity's rights");
    node.connections.lock().unwrap()[0].close(0, b"");
    let again = async {
        loop {
            client.send(&echo.into(), b"2").await;
            let mut buffer = [0; 64];
            let waited = timeout(std::time::Duration::from_millis(50), client.socket.recv(&mut buffer)).await;
            if waited.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("an answer through another connection");
    assert_eq!(node.connections.lock().unwrap().len(), 2);
}

/// SOCKS-17
#[tokio::test]
async fn a_stranger_gets_no_association() {
    for peer in [stranger(), peer_with_key(4)] {
        let node = Datagrams::for_client(Carrier::Quic, peer);
        let proxy = Running::with(Here::default(), Some(node.tunnels())).await;
        let mut control = proxy.connect().await;
        control.write_all(&request(3, &name("0", 0))).await.unwrap();
        let answer: [u8; 4] = read_exactly(&mut control).await;
        assert_eq!(answer, [5, 0, 5, 2], "not allowed");
    }
}

/// SOCKS-12
#[tokio::test]
async fn a_client_cannot_have_its_datagrams_come_from_another_address() {
    let node = Datagrams::over(Carrier::Quic);
    let proxy = Running::with(Here::default(), Some(node.tunnels())).await;
    let mut control = proxy.connect().await;
    control.write_all(&request(3, &Target::from(SocketAddr::from(([10, 0, 0, 1], 5))))).await.unwrap();
    assert_eq!(read_exactly::<4>(&mut control).await, [5, 0, 5, 2]);
}

/// SOCKS-15 SOCKS-16
#[tokio::test]
async fn a_node_ends_the_connection_of_who_breaks_the_protocol() {
    let table: [(&str, &[u8]); 6] = [
        ("not-a-request", b"\0\0\0\x01\x01"),
        ("announced-too-long", b"\xff\xff\xff\xff"),
        ("empty-frame", b"\0\0\0\0"),
        ("cut-short", b"\0\0\0\x02\0"),
        ("second-request", b"\0\0\0\x01\0\0\0\0\x01\0"),
        ("bad-address", b"\0\0\0\x01\0\0\0\0\x02\x03\x09"),
    ];
    for carrier in [Carrier::Quic, Carrier::Tls] {
        for (defect, said) in table {
            let node = Datagrams::over(carrier);
            let mut stream = node.connect().open_stream().await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            let ending = node.endings.lock().unwrap().pop().unwrap();
            let ended = timeout(PATIENCE, ending).await.expect("an end").unwrap();
            assert!(matches!(ended, Err(ServeError::PeerMisbehaved(..))), "{defect}: {ended:?}");
        }
    }
    let node = Datagrams::over(Carrier::Quic);
    node.connect().send_datagram(bytes::Bytes::from_static(b"\0\0\0")).unwrap();
    let ending = node.endings.lock().unwrap().pop().unwrap();
    assert!(matches!(ending.await.unwrap(), Err(ServeError::PeerMisbehaved(..))));
}

/// SOCKS-19
#[tokio::test]
async fn associations_on_one_connection_are_bounded() {
    let node = Datagrams::over(Carrier::Quic);
    let connection = node.connect();
    let mut open = Vec::new();
    for _ in 0..alknet_ssh::limits::MAX_UDP_ASSOCIATIONS {
        let mut stream = connection.open_stream().await.unwrap();
        stream.write_all(b"\0\0\0\x01\0").await.unwrap();
        let mut answer = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, [0, 0, 0, 1, 1]);
        open.push(stream);
    }
    let mut more = connection.open_stream().await.unwrap();
    more.write_all(b"\0\0\0\x01\0").await.unwrap();
    let mut answer = [0; 6];
    timeout(PATIENCE, more.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer, [0, 0, 0, 2, 2, 4], "refused: full");
    // Who does not want to know harms nobody.
    drop(connection.open_stream().await.unwrap());
    drop(open.pop());
    let again = async {
        loop {
            let mut stream = connection.open_stream().await.unwrap();
            stream.write_all(b"\0\0\0\x01\0").await.unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.unwrap();
            if answer == [0, 0, 0, 1, 1] {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("there is room again, and the connection is still there");
}

/// SOCKS-19
#[tokio::test(start_paused = true)]
async fn what_is_idle_ends() {
    let node = Datagrams::over(Carrier::Quic);
    let connection = node.connect();
    let mut stream = connection.open_stream().await.unwrap();
    stream.write_all(b"\0\0\0\x01\0").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0, 0, 0, 1, 1], "an idle association has a clean end");
    let ending = node.endings.lock().unwrap().pop().unwrap();
    assert!(ending.await.unwrap().is_ok(), "and so has a connection without one");
}

/// SOCKS-21
#[tokio::test]
async fn a_node_that_stops_makes_no_new_associations() {
    let (node, echo) = (Datagrams::over(Carrier::Quic), echo().await);
    let client = Associated::through(&node).await;
    node.shutdown().await;
    assert_eq!(client.ask(&echo.into(), b"still").await.1, b"still", "what is there goes on");
    drop(client);
    let ending = node.endings.lock().unwrap().pop().unwrap();
    assert!(timeout(PATIENCE, ending).await.expect("an end").unwrap().is_ok());
}
