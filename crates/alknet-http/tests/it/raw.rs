//! Requests that no well-behaved client sends, byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{raw, tls},
    node::{Node, PATIENCE},
};

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

/// The preface and an empty SETTINGS frame (RFC 9113, 3.4).
const HTTP_2_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// HTTP-17: what the server's first frame says.
#[tokio::test]
async fn http_2_settings_are_bounds() {
    let node = Node::start().await;
    let mut io = tls(node.addr(), &["h2"]).await;
    io.write_all(HTTP_2_BEGIN).await.unwrap();
    let exchange = async {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS");
        let mut settings = vec![0; usize::from(head[2])];
        io.read_exact(&mut settings).await.unwrap();
        settings
    };
    let settings = tokio::time::timeout(PATIENCE, exchange).await.expect("settings in time");
    let value = |id: u8| {
        let setting = settings.chunks(6).find(|setting| setting[..2] == [0, id])?;
        Some(u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    let (max_concurrent_streams, initial_window, max_header_list) = (value(3), value(4), value(6));
    assert_eq!(max_concurrent_streams, Some(100));
    assert!(initial_window.is_none_or(|window| window <= 65_536), "65,535 is the default");
    assert_eq!(max_header_list, Some(32 * 1024));
}

/// HTTP-17: requests that are taken back at once (CVE-2023-44487) end the connection with ENHANCE_YOUR_CALM.
#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let node = Node::start().await;
    let mut io = tls(node.addr(), &["h2"]).await;
    let mut flood = HTTP_2_BEGIN.to_vec();
    for stream in (1..4000u32).step_by(2) {
        // HEADERS (GET https://x/) with END_STREAM and END_HEADERS, then RST_STREAM with CANCEL.
        flood.extend_from_slice(&[0, 0, 6, 1, 5]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(&[0x82, 0x84, 0x87, 0x41, 1, b'x']);
        flood.extend_from_slice(&[0, 0, 4, 3, 0]);
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(&8u32.to_be_bytes());
    }
    let mut answer = Vec::new();
    let exchange = async {
        // The server may hang up in the middle.
        let _ = io.write_all(&flood).await;
        let _ = io.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an end in time");
    let mut frames = &answer[..];
    let mut goaway = None;
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = &rest[..length.min(rest.len())];
        if head[3] == 7 {
            goaway = payload.get(7).copied();
        }
        frames = &rest[payload.len()..];
    }
    assert_eq!(goaway, Some(11), "GOAWAY with ENHANCE_YOUR_CALM");
    assert!(raw(node.addr(), b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").await.contains("200"));
}
