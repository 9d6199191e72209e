//! A whole SSH connection from the other end: a node that means our client no good, in clear and without a key exchange, and a client that
//! wants everything that it can: a process with a terminal and the agent, a forward each way. The clock is virtual.
//!
//! The first byte says how far the node behaves before the rest is sent: not at all, up to the keys, up to the service, or past the login. The
//! rest is a stream of bytes in the first case, and in the others packets, each of two bytes for its length and so many for its content; the
//! next is sent when the client waits.

use std::{sync::Arc, time::Duration};

use alknet_core::{Connection, KeyPurpose, Stream};
use alknet_ssh::{ClientLogin, ForwardStream, Origin, ProcessRequest, SshClient, TerminalSpec, fuzzing, limits};
use alknet_testkit::{
    identities::{TestKeys, stranger, test_alpn},
    memory,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ssh_session::{kexinit, packet, payloads, text};

/// In virtual time: longer than a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(3600);
/// In virtual time: a client that says nothing for so long waits for its node.
const SILENCE: Duration = Duration::from_millis(100);

const SERVICE_ACCEPT: u8 = 6;
const USERAUTH_SUCCESS: u8 = 52;

pub fn ssh_client_session(data: &[u8]) {
    converse(data);
}

/// What the client says, and whether it was logged in.
fn converse(data: &[u8]) -> (Vec<u8>, bool) {
    let Some((&state, rest)) = data.split_first() else { return (Vec::new(), false) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("because a runtime without threads needs nothing");
    runtime.block_on(async {
        let (near, far) = memory::pair(&test_alpn(), stranger(), stranger());
        let both = async { tokio::join!(talk(far, script(state % 4, rest)), live(near)) };
        let met = tokio::time::timeout(PATIENCE, both).await;
        met.expect("because a client does not outlive its connection")
    })
}

/// The node's end.
async fn talk(node: Connection, script: Vec<Vec<u8>>) -> Vec<u8> {
    let Ok(Some(Stream { mut send, mut recv })) = node.accept_stream().await else { return Vec::new() };
    let mut said = Vec::new();
    for packet in script {
        // A client that has had enough takes no more.
        let _ = send.write_all(&packet).await;
        while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, recv.read_buf(&mut said)).await {}
    }
    let _ = send.shutdown().await;
    while recv.read_buf(&mut said).await.is_ok_and(|count| count > 0) {}
    said
}

/// The client's end; answers with whether it was logged in.
async fn live(connection: Connection) -> bool {
    let stream = connection.open_stream().await.expect("because the other end accepts");
    let login = ClientLogin::new("alknet").with_keys(Arc::new(TestKeys::new(3)), &[KeyPurpose::Node]);
    let connected = fuzzing::connect_in_clear(stream, &login).await;
    if let Ok(client) = &connected {
        assert!(client.banner().len() <= limits::MAX_BANNER_BYTES);
        let work = async { tokio::join!(process(client), forward(client), listen(client)) };
        tokio::select! {
            _ = work => {}
            why = client.closed() => assert!(why.chars().all(|one| !one.is_control()), "{why:?}"),
        }
        client.close().await;
    }
    connection.close(0, b"");
    connected.is_ok()
}

async fn process(client: &SshClient) {
    let request = ProcessRequest {
        command: Some(b"true".to_vec()),
        terminal: Some(TerminalSpec::plain("xterm", 80, 24)),
        environment: vec![("LANG".to_owned(), "C".to_owned())],
        agent: Some("/nonexistent/agent".into()),
        ..ProcessRequest::default()
    };
    if let Ok(mut process) = client.start(request).await {
        let _ = process.input.send(b"input".to_vec().into()).await;
        while process.output.next().await.is_some() {}
    }
}

async fn forward(client: &SshClient) {
    let origin = Origin { host: "127.0.0.1".to_owned(), port: 1 };
    if let Ok(stream) = client.open_tcp("localhost", 80, &origin).await {
        exchange(stream).await;
    }
}

async fn listen(client: &SshClient) {
    if let Ok(mut listener) = client.listen_tcp("localhost", 0).await {
        while let Some((stream, _origin)) = listener.accept().await {
            exchange(stream).await;
        }
    }
}

async fn exchange(mut stream: ForwardStream) {
    let _ = stream.write_all(b"hello").await;
    let _ = stream.shutdown().await;
    while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
}

fn script(state: u8, rest: &[u8]) -> Vec<Vec<u8>> {
    let mut script = vec![b"SSH-2.0-fuzz\r\n".to_vec()];
    if state == 0 {
        script.push(rest.to_vec());
        return script;
    }
    // Without a key exchange the library does not wait for new keys.
    let mut good = vec![kexinit()];
    if state >= 2 {
        good.push([&[SERVICE_ACCEPT][..], &text(b"ssh-userauth")].concat());
    }
    if state == 3 {
        good.push(vec![USERAUTH_SUCCESS]);
    }
    let payloads = good.iter().map(Vec::as_slice).chain(payloads(rest));
    script.extend(payloads.map(|payload| {
        let mut sent = Vec::new();
        packet(&mut sent, payload);
        sent
    }));
    script
}

/// The node's login is one that the client takes, and so is the channel that it opens then: otherwise the last state would be one of those
/// before.
#[test]
fn the_client_is_logged_in_and_takes_a_channel() {
    // The listener is at port 80, and one connection comes to it.
    let granted = [&[81][..], &80_u32.to_be_bytes()].concat();
    let place = [text(b"localhost"), 80_u32.to_be_bytes().to_vec(), text(b"127.0.0.1"), 1_u32.to_be_bytes().to_vec()];
    let head = [7_u32, 1 << 20, 1 << 15].map(u32::to_be_bytes).concat();
    let open = [&[90][..], &text(b"forwarded-tcpip"), &head, &place.concat()].concat();
    let mut data = vec![3];
    for payload in [granted, open] {
        data.extend(u16::try_from(payload.len()).expect("because it is short").to_be_bytes());
        data.extend(payload);
    }
    let (said, logged_in) = converse(&data);
    assert!(logged_in);
    let kinds = super::ssh_session::kinds(&said);
    // A request for a listener, two for channels, and an answer to ours with data behind it.
    assert!([80, 90, 91, 94].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}
