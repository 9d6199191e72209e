//! SOCKS5 (RFC 1928), byte by byte.

use alknet_ssh::{ReachError, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::fixture::{Here, PATIENCE, Running, connect_request, echo_at_the_end, name, read_exactly, request, rest_of};

const SUCCEEDED: [u8; 12] = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// SOCKS-04 SOCKS-10
#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (proxy, mut tasks) = (Running::start().await, JoinSet::new());
    let echo = echo_at_the_end(&mut tasks).await;
    for to in [Target::from(echo), name("localhost", echo.port())] {
        let mut io = proxy.connect().await;
        // Byte by byte, and the first words of the tunnel on the heels of the request.
        for byte in [connect_request(&to), b"half a ".to_vec()].concat() {
            io.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(read_exactly(&mut io).await, SUCCEEDED);
        io.write_all(b"sentence").await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(rest_of(&mut io).await, b"half a sentence");
        assert_eq!(proxy.here.asked.lock().unwrap().last(), Some(&to), "names are resolved at the far end");
    }
}

/// SOCKS-07
#[tokio::test]
async fn a_failure_has_its_number_and_is_told() {
    let table = [
        (ReachError::Denied, 2),
        (ReachError::Unreachable, 4),
        (ReachError::Refused, 5),
        (ReachError::TimedOut, 6),
        (ReachError::Full, 1),
        (ReachError::NoTunnel, 1),
    ];
    for (error, code) in table {
        let (proxy, to) = (Running::failing(error).await, name("example.org", 80));
        let answer = proxy.exchange(&connect_request(&to)).await;
        assert_eq!(answer, [&[5, 0, 5, code][..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat(), "{error}");
        assert_eq!(*proxy.refused.lock().unwrap(), [(to, error)]);
    }
}

/// SOCKS-02 SOCKS-03 SOCKS-06
#[tokio::test]
async fn what_is_not_served_is_refused_and_reaches_nothing() {
    let (proxy, to) = (Running::start().await, name("x", 1));
    let refused = |code: u8| [&[5, 0, 5, code, 0, 1][..], &[0; 6]].concat();
    let table: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("bind", request(2, &to), refused(7)),
        ("udp-without-a-tunnel-for-it", request(3, &name("0", 0)), refused(7)),
        ("unknown-command", request(9, &to), refused(7)),
        ("unknown-address-type", b"\x05\x01\0\x05\x01\0\x02".to_vec(), refused(8)),
        ("empty-name", b"\x05\x01\0\x05\x01\0\x03\0".to_vec(), refused(1)),
        ("only-user-and-password", b"\x05\x01\x02".to_vec(), vec![5, 0xff]),
        ("socks4", b"\x04\x01\0\x50\x7f\0\0\x01me\0".to_vec(), vec![0, 91, 0, 0, 0, 0, 0, 0]),
        ("socks6", b"\x06\x01\0".to_vec(), vec![]),
        ("tls", b"\x16\x03\x01\x02\0\x01\0".to_vec(), vec![]),
    ];
    for (defect, said, answer) in table {
        assert_eq!(proxy.exchange(&said).await, answer, "{defect}");
    }
    assert!(proxy.here.asked.lock().unwrap().is_empty());
}

/// SOCKS-11
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_request_is_hung_up_on() {
    let proxy = Running::start().await;
    for begun in [&b""[..], b"\x05", b"\x05\x01\0\x05\x01", b"CONNECT a:1 HTTP/1.1\r\nHost"] {
        let answer = proxy.exchange(begun).await;
        assert!(answer.is_empty() || answer == [5, 0], "{answer:?}");
    }
}

/// SOCKS-11
#[tokio::test]
async fn a_client_that_leaves_while_it_waits_gives_its_place_back() {
    for early in [&b""[..], b"early"] {
        let given_up = CancellationToken::new();
        let proxy = Running::with(Here { waits: Some(given_up.clone()), ..Here::default() }, None).await;
        let mut io = proxy.connect().await;
        io.write_all(&[&connect_request(&name("x", 1)), early].concat()).await.unwrap();
        assert_eq!(read_exactly(&mut io).await, [5, 0]);
        // It goes without taking anything, or with a reset.
        io.set_zero_linger().unwrap();
        if early.is_empty() {
            io.shutdown().await.unwrap();
        }
        drop(io);
        timeout(PATIENCE, given_up.cancelled()).await.expect("nobody waits for the tunnel any more");
    }
}

/// SOCKS-11
#[tokio::test(start_paused = true)]
async fn a_tunnel_that_never_comes_about_is_given_up() {
    let proxy = Running::with(Here { waits: Some(CancellationToken::new()), ..Here::default() }, None).await;
    let mut io = proxy.connect().await;
    // It has something to say to the tunnel already, and ends its side.
    io.write_all(&[&connect_request(&name("x", 1))[..], b"early"].concat()).await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[..4], [5, 0, 5, 6], "no answer in time");
}
