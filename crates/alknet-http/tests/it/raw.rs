//! Requests that no well-behaved client sends, byte by byte.

use crate::{client::raw, node::Node};

async fn status(node: &Node, request: &str) -> String {
    let answer = raw(node.addr(), request.as_bytes()).await;
    answer.get(9..12).unwrap_or("").to_owned()
}

/// HTTP-03: no host, two hosts, or none that could be one.
#[tokio::test]
async fn a_request_names_one_host() {
    let node = Node::start().await;
    for (name, request) in [
        ("missing_host", "GET / HTTP/1.1\r\n\r\n"),
        ("missing_host_in_http_1_0", "GET / HTTP/1.0\r\n\r\n"),
        ("two_hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("empty_host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("host_with_user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        ("host_with_space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("target_and_host_differ", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    ] {
        let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        assert_eq!(status(&node, &request).await, "400", "{name}");
    }
    let good = "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&node, good).await, "200");
}

/// HTTP-16: what a proxy in front could read differently is refused, also on a connection that was good so far.
#[tokio::test]
async fn ambiguous_lengths_are_refused() {
    let node = Node::start().await;
    let healthy = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for (name, request) in [
        (
            "length_then_chunked",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked_then_length",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ),
        ("two_lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("length_list", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello"),
        ("negative_length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("signed_length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"),
        ("chunked_not_last", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
        ("chunked_in_http_1_0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("space_before_colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
        ("folded_field", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"),
        ("nul_in_value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
        ("no_version", "GET /\r\nHost: x\r\n\r\n"),
        ("no_http", "\u{1}\u{2}\u{3}\r\n\r\n"),
    ] {
        assert_eq!(status(&node, request).await, "400", "{name}");
        let answers = raw(node.addr(), format!("{healthy}{request}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 200") && answers.contains("HTTP/1.1 400"), "{name}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{name}: {answers}");
    }
}

/// HTTP-05: size and number of header fields.
#[tokio::test]
async fn a_head_is_bounded() {
    let node = Node::start().await;
    let big = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(&node, &big).await, "431");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(status(&node, &many).await, "431");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    assert!(["414", "431"].contains(&status(&node, &long).await.as_str()));
    let endless = "a".repeat(200_000);
    assert!(["400", "414", "431", ""].contains(&status(&node, &endless).await.as_str()));
}

/// HTTP-06: a body that lies about its size, before anybody reads it.
#[tokio::test]
async fn a_body_that_announces_too_much_is_refused() {
    let node = Node::start().await;
    let lying = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000000000000\r\n\r\nhello";
    assert_eq!(status(&node, lying).await, "413");
}
