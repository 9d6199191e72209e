//! Nodes that mean our client no good: they let everybody in, and then do what no node should.

use std::{sync::Arc, time::Duration};

use alknet_core::KeyPurpose;
use alknet_ssh::{
    ClientLogin, ConnectError, ForwardStream, Origin, ProcessRequest, SshClient,
    limits::{MAX_REMOTE_CHANNELS, REMOTE_LISTENER_QUEUE},
};
use alknet_testkit::identities::TestKeys;
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, Error, Sig,
    keys::{PrivateKey, ssh_key::private::Ed25519Keypair},
    server::{self, Auth, ChannelOpenHandle, Handle, Handler, Msg, Session, VerifiedPublicKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{RwLock, mpsc},
    task::JoinSet,
    time::timeout,
};

use crate::tcp_link::plain_stream;

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets everybody in, and hands out the means to bother them.
struct Bad {
    handles: mpsc::UnboundedSender<Handle>,
    /// Its ends of the client's connections.
    streams: mpsc::UnboundedSender<Channel<Msg>>,
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

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        self.streams.send(channel).unwrap();
        Ok(())
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, _session: &mut Session) -> Result<bool, Error> {
        Ok(true)
    }
}

fn login() -> ClientLogin {
    ClientLogin::new("alknet").with_keys(Arc::new(TestKeys::new(3)), &[KeyPurpose::Node])
}

/// A client of a bad node.
struct Victim {
    client: SshClient,
    /// The node's means.
    node: Handle,
    streams: mpsc::UnboundedReceiver<Channel<Msg>>,
    /// Held for writing, nothing that the client says reaches the node.
    upwards: Arc<RwLock<()>>,
}

impl Victim {
    /// A channel from which it takes nothing while others wait, is closed after a second.
    async fn connected(banner: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (handles, mut handle) = mpsc::unbounded_channel();
        let (sender, streams) = mpsc::unbounded_channel();
        let bad = Bad { handles, streams: sender, banner: banner.to_owned() };
        let upwards = Arc::<RwLock<()>>::default();
        let gate = upwards.clone();
        tokio::spawn(async move {
            let (mut outside, inside) = (listener.accept().await.unwrap().0, tokio::io::duplex(1 << 20));
            let keys = vec![PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32]))];
            let config = server::Config { keys, ..server::Config::default() };
            tokio::spawn(async move { server::run_stream(Arc::new(config), inside.0, bad).await.unwrap().await });
            let ((mut from_client, mut to_client), (mut from_node, mut to_node)) =
                (outside.split(), tokio::io::split(inside.1));
            let up = async {
                let mut buffer = vec![0; 32 * 1024];
                loop {
                    let length = from_client.read(&mut buffer).await?;
                    let _open = gate.read().await;
                    to_node.write_all(&buffer[..length]).await?;
                    if length == 0 {
                        return to_node.shutdown().await;
                    }
                }
            };
            let down = async {
                tokio::io::copy(&mut from_node, &mut to_client).await?;
                to_client.shutdown().await
            };
            let _ = tokio::join!(up, down);
        });
        let (login, stall) = (login(), Duration::from_secs(1));
        let connecting = SshClient::connect_with(plain_stream(socket), &login, stall);
        let client = timeout(PATIENCE, connecting).await.unwrap().unwrap();
        Self { client, node: handle.recv().await.unwrap(), streams, upwards }
    }

    /// A connection through the node, of which both ends are kept.
    async fn stream(&mut self) -> (ForwardStream, Channel<Msg>) {
        let origin = Origin { host: "127.0.0.1".to_owned(), port: 1 };
        let ours = timeout(PATIENCE, self.client.open_tcp("box", 1, &origin)).await.unwrap().unwrap();
        (ours, self.streams.recv().await.unwrap())
    }
}

/// CLI-17.
#[tokio::test]
async fn a_node_opens_nothing_that_was_not_asked_for() {
    let Victim { client, node, .. } = Victim::connected("").await;
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

/// CLI-17: what waits for its answer counts.
#[tokio::test]
async fn channels_of_a_node_are_bounded_while_they_wait() {
    let mut victim = Victim::connected("").await;
    let (mut ours, theirs) = victim.stream().await;
    let client = victim.client.clone();
    let shut = victim.upwards.write().await;
    // As long as this has no answer, it is not clear whose the node's channels are.
    let listening = tokio::spawn(async move { client.listen_tcp("localhost", 80).await });
    tokio::task::yield_now().await;
    let mut opening = JoinSet::new();
    for _ in 0..MAX_REMOTE_CHANNELS + 10 {
        let node = victim.node.clone();
        opening.spawn(async move { node.channel_open_forwarded_tcpip("localhost", 80, "127.0.0.1", 1).await });
    }
    tokio::spawn(async move { theirs.data(&b"x"[..]).await });
    timeout(PATIENCE, ours.read_exact(&mut [0])).await.unwrap().unwrap();
    // All of them have come before this has.
    drop(shut);
    let listener = timeout(PATIENCE, listening).await.unwrap().unwrap().unwrap();
    let opened = timeout(PATIENCE, opening.join_all()).await.unwrap();
    let no_room = |opened: &&Result<Channel<Msg>, Error>| {
        matches!(opened, Err(Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage)))
    };
    assert_eq!(opened.iter().filter(no_room).count(), 10);
    assert_eq!(opened.iter().flatten().count(), REMOTE_LISTENER_QUEUE);
    drop(listener);
}

/// CLI-17: how many channels the client opened is no reason to refuse one of the node's.
#[tokio::test]
async fn the_clients_own_channels_leave_room_for_the_nodes() {
    let mut victim = Victim::connected("").await;
    let mut own = Vec::new();
    for _ in 0..=MAX_REMOTE_CHANNELS {
        own.push(victim.stream().await);
    }
    let mut listener = victim.client.listen_tcp("localhost", 80).await.unwrap();
    let opening = victim.node.channel_open_forwarded_tcpip("localhost", 80, "127.0.0.1", 1);
    timeout(PATIENCE, opening).await.unwrap().unwrap();
    assert!(timeout(PATIENCE, listener.accept()).await.unwrap().is_some());
}

/// CLI-18.
#[tokio::test]
async fn a_banner_is_kept_within_bounds() {
    assert_eq!(Victim::connected("words\n").await.client.banner(), "words\n");
    assert_eq!(Victim::connected(&"x".repeat(100_000)).await.client.banner(), "");
}

/// CLI-15: whoever waits for an answer that never comes learns of the end.
#[tokio::test]
async fn a_node_that_goes_away_without_an_answer_is_noticed() {
    let Victim { client, node, .. } = Victim::connected("").await;
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

/// CLI-16: what is no data costs memory, too. A node that never ends saying how a process ended loses the channel.
#[tokio::test]
async fn messages_without_data_are_held_within_bounds() {
    let mut victim = Victim::connected("").await;
    let (_ours, mut theirs) = victim.stream().await;
    let _other = victim.stream().await;
    let (node, flooded) = (victim.node.clone(), theirs.id());
    let flood = tokio::spawn(async move {
        let name = || Sig::Custom("x".repeat(30_000));
        while node.exit_signal_request(flooded, name(), false, String::new(), String::new()).await.is_ok() {}
    });
    let closed = async { while !matches!(theirs.wait().await, Some(ChannelMsg::Close) | None) {} };
    timeout(PATIENCE, closed).await.expect("all of it is kept");
    assert!(!victim.client.is_closed());
    flood.abort();
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
