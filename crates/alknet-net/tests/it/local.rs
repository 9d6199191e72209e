//! The control socket.

use std::os::unix::fs::PermissionsExt;

use alknet_core::{Alpn, Carrier, PeerAddr};
use alknet_net::connect_local;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::client::{echoes, line};
use crate::node::{CALL, Node, PATIENCE, SSH};

// NET-24, NET-25
#[tokio::test]
async fn every_stream_of_a_local_client_reaches_the_handler() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alknet.sock");
    let node = Node::start().await;
    node.endpoint.listen_locally(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let connection = connect_local(&path, &CALL).await.unwrap();
    assert_eq!(connection.carrier(), Carrier::Local);
    assert!(matches!(connection.peer().addr, PeerAddr::LocalOwner { .. }));
    let mut first = connection.open_stream().await.unwrap();
    let mut second = connection.open_stream().await.unwrap();
    for stream in [&mut first, &mut second] {
        assert_eq!(line(&mut *stream).await, "alknet/call local nobody");
    }
    assert!(echoes(&mut second, b"second").await);
    assert!(echoes(&mut first, b"first").await);
    connection.close(0, b"");
    assert!(connection.open_stream().await.is_err());
    node.endpoint.shutdown(PATIENCE.min(std::time::Duration::from_millis(100))).await;
    assert!(!path.exists());
}

// NET-24
#[tokio::test]
async fn a_service_that_is_not_offered_locally_is_closed_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alknet.sock");
    let node = Node::start().await;
    node.endpoint.listen_locally(&path).unwrap();
    for alpn in [SSH, Alpn::from_static(b"nope")] {
        let connection = connect_local(&path, &alpn).await.unwrap();
        let mut stream = connection.open_stream().await.unwrap();
        assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0, "{alpn}");
    }
}

#[tokio::test]
async fn a_lying_service_line_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alknet.sock");
    let node = Node::start().await;
    node.endpoint.listen_locally(&path).unwrap();
    for bad in [&b"\x00"[..], b"\xffshort", b""] {
        let mut io = UnixStream::connect(&path).await.unwrap();
        io.write_all(bad).await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(timeout(PATIENCE, io.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    }
    let connection = connect_local(&path, &CALL).await.unwrap();
    let mut stream = connection.open_stream().await.unwrap();
    assert_eq!(line(&mut stream).await, "alknet/call local nobody");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alknet.sock");
    // Dropped std listeners leave their file behind, as a killed node does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let node = Node::start().await;
    node.endpoint.listen_locally(&path).unwrap();
    let connection = connect_local(&path, &CALL).await.unwrap();
    let mut stream = connection.open_stream().await.unwrap();
    assert_eq!(line(&mut stream).await, "alknet/call local nobody");
}

/// Needs root, to become somebody else; the file's mode and the folder's are opened up so that only the check is left.
// NET-25
#[tokio::test]
async fn another_user_is_turned_away() {
    if !alknet_testkit::skipping::is_root("play another user") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alknet.sock");
    let node = Node::start().await;
    node.endpoint.listen_locally(&path).unwrap();
    for open in [dir.path(), &path] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut io = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let _ = io.write_all(b"\x0balknet/call");
        let mut answer = Vec::new();
        let _ = io.read_to_end(&mut answer);
        answer
    });
    assert_eq!(timeout(PATIENCE, answer).await.expect("an end in time").unwrap(), b"");
    let connection = connect_local(&dir.path().join("alknet.sock"), &CALL).await.unwrap();
    let mut stream = connection.open_stream().await.unwrap();
    assert_eq!(line(&mut stream).await, "alknet/call local nobody");
}
