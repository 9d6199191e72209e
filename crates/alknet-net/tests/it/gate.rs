//! The one-byte gate on TCP.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{echoes, line};
use crate::node::{Node, PATIENCE};

async fn answer_to(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut io = TcpStream::connect(node.addr()).await.unwrap();
    io.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("an end in time");
    answer
}

// NET-15
#[tokio::test]
async fn an_ssh_client_gets_the_ssh_handler_with_its_first_byte_unread() {
    let node = Node::start().await;
    let mut io = TcpStream::connect(node.addr()).await.unwrap();
    io.write_all(b"SSH-2.0-test\r\n").await.unwrap();
    assert_eq!(line(&mut io).await, "alknet/ssh plain nobody");
    assert_eq!(line(&mut io).await, "SSH-2.0-test\r");
    assert!(echoes(&mut io, b"more").await);
}

// NET-16
#[tokio::test]
async fn a_client_that_connects_and_says_nothing_is_greeted_after_two_seconds() {
    let node = Node::start().await;
    let started = Instant::now();
    let mut io = TcpStream::connect(node.addr()).await.unwrap();
    assert_eq!(line(&mut io).await, "alknet/ssh plain nobody");
    assert!(started.elapsed() >= Duration::from_millis(1900), "after {:?}", started.elapsed());
}

// NET-16
#[tokio::test]
async fn at_most_64_silent_clients_are_greeted() {
    let node = Node::start().await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut io = TcpStream::connect(node.addr()).await.unwrap();
        clients.push(tokio::spawn(async move {
            assert_eq!(line(&mut io).await, "alknet/ssh plain nobody");
            io
        }));
    }
    let mut greeted = Vec::new();
    for client in clients {
        greeted.push(client.await.unwrap());
    }
    let mut one_more = TcpStream::connect(node.addr()).await.unwrap();
    assert_eq!(timeout(PATIENCE, one_more.read(&mut [0; 1])).await.expect("an end in time").unwrap_or(0), 0);
    // A client that speaks is not among the silent.
    let mut speaking = TcpStream::connect(node.addr()).await.unwrap();
    speaking.write_all(b"S").await.unwrap();
    assert_eq!(line(&mut speaking).await, "alknet/ssh plain nobody");
}

#[tokio::test]
async fn without_plain_ssh_an_ssh_client_is_closed() {
    let node = Node::start_with(Node::router(), |config| config.plain_ssh = None).await;
    assert_eq!(answer_to(&node, b"SSH-2.0-test\r\n").await, b"");
}

// NET-17
#[tokio::test]
async fn http_without_tls_is_told_to_use_https() {
    let node = Node::start().await;
    let answer = answer_to(&node, b"GET /secret HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("https"), "{text}");
    assert!(!text.contains("evil") && !text.contains("secret"), "{text}");
}

// NET-17
#[tokio::test]
async fn http_without_tls_is_sent_to_the_configured_url_only() {
    let url = "https://node.example/".parse().unwrap();
    let node = Node::start_with(Node::router(), |config| config.public_url = Some(url)).await;
    let answer = answer_to(&node, b"POST /x HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 301 ") && text.contains("Location: https://node.example/\r\n"), "{text}");
}

#[tokio::test]
async fn anything_else_is_closed_without_a_word() {
    let node = Node::start().await;
    for garbage in
        [&b"\x00"[..], b"\xff\xff\xff\xff", b"\x80\x2e\x01", b"\r\n\r\n", b"EHLO x\r\n", b"get / HTTP/1.1\r\n"]
    {
        assert_eq!(answer_to(&node, garbage).await, b"", "{}", garbage.escape_ascii());
    }
}

// NET-18
#[tokio::test]
async fn half_a_hello_is_closed_at_the_deadline() {
    let node = Node::start().await;
    let started = Instant::now();
    let mut io = TcpStream::connect(node.addr()).await.unwrap();
    io.write_all(&[0x16, 3, 1, 2]).await.unwrap();
    let deadline = alknet_net::limits::HANDSHAKE_TIMEOUT;
    let ended = timeout(deadline + PATIENCE, io.read(&mut [0; 1])).await.expect("an end in time");
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(started.elapsed() >= deadline - Duration::from_millis(500));
}
