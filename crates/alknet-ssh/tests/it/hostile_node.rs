//! Nodes that mean our client no good: they let everybody in, and then do what no node should.

use std::{sync::Arc, time::Duration};

use alknet_core::KeyPurpose;
use alknet_ssh::{ClientLogin, ConnectError, ProcessRequest, SshClient};
use alknet_testkit::identities::TestKeys;
use russh::{
    Channel, ChannelOpenFailure, Error,
    keys::{PrivateKey, ssh_key::private::Ed25519Keypair},
    server::{self, Auth, ChannelOpenHandle, Handle, Handler, Msg, Session, VerifiedPublicKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::tcp_link::plain_stream;

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets everybody in, and hands out the means to bother them.
struct Bad {
    handles: mpsc::UnboundedSender<Handle>,
    banner: String,
}

impl Handler for Bad {
    type Error = Error;

    async fn auth_publickey(&mut self, _user: &str, _key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey_offered(&mut self, _: &str, _: server::PublicKeyOffer<'_>) -> Result<Auth, Error> {
        Ok(Auth::Accept)
    }

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(Some(self.banner.clone()))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        self.handles.send(session.handle()).unwrap();
        Ok(())
    }

    /// Accepts, and never answers anything.
    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        std::mem::forget(channel);
        Ok(())
    }
}

fn login() -> ClientLogin {
    ClientLogin::new("alknet").with_keys(Arc::new(TestKeys::new(3)), &[KeyPurpose::Node])
}

/// A client of a bad node, and the node's means.
async fn connected(banner: &str) -> (SshClient, Handle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (handles, mut handle) = mpsc::unbounded_channel();
    let bad = Bad { handles, banner: banner.to_owned() };
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let keys = vec![PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32]))];
        let config = server::Config { keys, ..server::Config::default() };
        server::run_stream(Arc::new(config), socket, bad).await.unwrap().await
    });
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let client = timeout(PATIENCE, SshClient::connect(plain_stream(socket), &login())).await.unwrap().unwrap();
    (client, handle.recv().await.unwrap())
}

/// CLI-17.
#[tokio::test]
async fn a_node_opens_nothing_that_was_not_asked_for() {
    let (client, node) = connected("").await;
    let refused = |opened: Result<Channel<Msg>, Error>| {
        let failure = opened.expect_err("the client let the node in");
        assert!(
            matches!(failure, Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited)),
            "{failure}"
        );
    };
    refused(timeout(PATIENCE, node.channel_open_session()).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_agent()).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_x11("127.0.0.1", 6000)).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1)).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_direct_streamlocal("/run/x")).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_forwarded_tcpip("localhost", 80, "127.0.0.1", 1)).await.unwrap());
    refused(timeout(PATIENCE, node.channel_open_forwarded_streamlocal("/run/x")).await.unwrap());
    assert!(!client.is_closed());
}

/// CLI-18.
#[tokio::test]
async fn a_banner_is_kept_within_bounds() {
    let (client, _node) = connected("words\n").await;
    assert_eq!(client.banner(), "words\n");
    let (client, _node) = connected(&"x".repeat(100_000)).await;
    assert_eq!(client.banner(), "");
}

/// CLI-15: whoever waits for an answer that never comes learns of the end.
#[tokio::test]
async fn a_node_that_goes_away_without_an_answer_is_noticed() {
    let (client, node) = connected("").await;
    let asking = client.start(ProcessRequest { command: Some(b"true".into()), ..ProcessRequest::default() });
    let ending = async {
        tokio::task::yield_now().await;
        node.disconnect(russh::Disconnect::ByApplication, "bye\u{1b}[2J".into(), String::new()).await.unwrap();
        client.closed().await
    };
    let (asked, why) = timeout(PATIENCE, async { tokio::join!(asking, ending) }).await.unwrap();
    assert!(asked.is_err());
    assert!(!why.contains('\u{1b}'), "{why:?}");
}

/// CLI-19.
#[tokio::test]
async fn what_is_no_ssh_is_no_connection() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", b""]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(garbage).await.unwrap();
            socket.shutdown().await.unwrap();
            let _ = socket.read_to_end(&mut Vec::new()).await;
        });
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let refused = timeout(PATIENCE, SshClient::connect(plain_stream(socket), &login())).await.unwrap();
        assert!(matches!(refused, Err(ConnectError::Handshake(_))), "{refused:?}");
    }
}
