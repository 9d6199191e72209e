//! HTTP CONNECT on the same port, and curl in each of its ways.

use std::process::Command;

use alknet_ssh::ReachError;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet};

use super::fixture::{Running, echo_at_the_end, name, rest_of};

/// SOCKS-08 SOCKS-10
#[tokio::test]
async fn a_tunnel_by_connect_carries_what_came_with_the_request() {
    let (proxy, mut tasks) = (Running::start().await, JoinSet::new());
    let echo = echo_at_the_end(&mut tasks).await;
    let mut io = proxy.connect().await;
    let head = format!("CONNECT localhost:{} HTTP/1.1\r\nHost: x\r\n\r\n", echo.port());
    io.write_all(&[head.as_bytes(), b"early"].concat()).await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(rest_of(&mut io).await, b"HTTP/1.1 200 Connection established\r\n\r\nearly");
    assert_eq!(*proxy.here.asked.lock().unwrap(), [name("localhost", echo.port())]);
}

/// SOCKS-07
#[tokio::test]
async fn a_failure_has_its_status() {
    let table = [
        (ReachError::Denied, "403"),
        (ReachError::Unreachable, "502"),
        (ReachError::Refused, "502"),
        (ReachError::TimedOut, "504"),
        (ReachError::Full, "503"),
        (ReachError::NoTunnel, "503"),
    ];
    for (error, status) in table {
        let proxy = Running::failing(error).await;
        let answer = proxy.exchange(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{error}\n")), "{answer}");
    }
}

/// SOCKS-02 SOCKS-09
#[tokio::test]
async fn another_method_is_told_what_this_is_even_with_a_body_behind_it() {
    let proxy = Running::start().await;
    // A page that makes a browser post bytes of SOCKS5 here gets nowhere.
    let body = b"\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01\0\x16".repeat(2000);
    let said = [&b"POST http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\nContent-Length: 26000\r\n\r\n"[..], &body].concat();
    let answer = String::from_utf8(proxy.exchange(&said).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("socks5h://)\n"), "{answer}");
    assert!(proxy.here.asked.lock().unwrap().is_empty());
}

/// Answers every connection with a page.
async fn page(tasks: &mut JoinSet<()>) -> u16 {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _whatever = io.read(&mut request).await.unwrap();
            io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage").await.unwrap();
        }
    });
    port
}

async fn curl(options: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--noproxy", ""]).args(options);
    let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// SOCKS-04 SOCKS-05 SOCKS-08 SOCKS-09
#[tokio::test]
async fn curl_comes_through_in_each_of_its_ways() {
    let (proxy, mut tasks) = (Running::start().await, JoinSet::new());
    let port = page(&mut tasks).await;
    let (url, at) = (format!("http://localhost:{port}/"), proxy.addr.to_string());
    let (socks5, socks5h, http) = (format!("socks5://{at}"), format!("socks5h://{at}"), format!("http://{at}"));
    for options in [&["-x", &socks5, "-4", &url][..], &["-x", &socks5h, &url], &["-p", "-x", &http, &url]] {
        assert_eq!(curl(options).await, "page", "{options:?}");
    }
    let hosts: Vec<_> = proxy.here.asked.lock().unwrap().iter().map(|target| target.host.to_string()).collect();
    assert_eq!(hosts, ["127.0.0.1", "localhost", "localhost"]);
    assert!(curl(&["-x", &http, &url]).await.contains("socks5h://"), "the way out is said");
    let socks4 = format!("socks4://{at}");
    assert!(curl(&["-4", "-x", &socks4, &url]).await.contains("(91)"));
    let (user, password) = ("--proxy-user", "me:secret");
    assert_eq!(curl(&["-x", &socks5h, user, password, &url]).await, "page", "curl offers to do without as well");
}
