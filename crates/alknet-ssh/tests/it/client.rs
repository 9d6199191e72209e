//! Our own client.

use std::{io::Read, sync::Arc, time::Duration};

use alknet_core::{Credential, Fingerprint, Identity, KeyPurpose, KeySigner, NodeKey};
use alknet_ssh::{
    ClientLogin, ConnectError, OpenError, Origin, ProcessError, ProcessRequest, RemoteEvent, RemoteExit, RemoteProcess,
    SshClient, TerminalSpec,
};
use alknet_testkit::identities::TestKeys;
use bytes::Bytes;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    node::Node,
    stock_agent::StockAgent,
    targets::{kept, on_port},
    tcp_link::plain_stream,
};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn credential(key: NodeKey) -> Credential {
    Credential::SshKey(Fingerprint::from(key))
}

/// A login with this purpose's key, which is the owner's.
pub fn login(node: &Node, purpose: KeyPurpose) -> ClientLogin {
    let keys = Arc::new(TestKeys::new(3));
    node.identities.know(&credential(keys.public_key(purpose)), Identity::owner("alice"));
    ClientLogin::new("alknet").with_keys(keys, &[KeyPurpose::Node, KeyPurpose::SshUser])
}

async fn try_connect(node: &Node, login: &ClientLogin) -> Result<SshClient, ConnectError> {
    let socket = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
    timeout(PATIENCE, SshClient::connect(plain_stream(socket), login)).await.unwrap()
}

pub async fn connect(node: &Node) -> SshClient {
    try_connect(node, &login(node, KeyPurpose::Node)).await.unwrap()
}

/// What a process gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub exit: Option<RemoteExit>,
}

pub async fn outcome(mut process: RemoteProcess) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(event) = timeout(PATIENCE, process.output.next()).await.unwrap() {
        match event {
            RemoteEvent::Output(piece) => outcome.output.extend_from_slice(&piece),
            RemoteEvent::Errors(piece) => outcome.errors.extend_from_slice(&piece),
            RemoteEvent::EndOfOutput => assert_eq!(outcome.exit, None),
            RemoteEvent::Exited(exit) => outcome.exit = Some(exit),
        }
    }
    outcome
}

/// CLI-10, CLI-11.
#[test]
fn a_command_gives_output_errors_and_how_it_ended() {
    let node = Node::start();
    node.runtime.block_on(async {
        let client = connect(&node).await;
        let run = outcome(client.exec("printf 'a\\nb'; echo e >&2; exit 7").await.unwrap()).await;
        let exit = Some(RemoteExit::Status(7));
        assert_eq!(run, Outcome { output: b"a\nb".into(), errors: b"e\n".into(), exit });
        let killed = outcome(client.exec("kill -TERM $$").await.unwrap()).await;
        assert_eq!(killed.exit, Some(RemoteExit::Signal("TERM".into())));
        let echo = client.exec("cat; echo done").await.unwrap();
        echo.input.send(Bytes::from_static(b"abc")).await.unwrap();
        echo.input.end().await.unwrap();
        assert_eq!(outcome(echo).await.output, b"abcdone\n");
        client.close().await;
        assert!(client.is_closed());
    });
}

/// CLI-01: the keys are offered in their order, and the one that is known is taken.
#[test]
fn the_first_key_that_the_node_knows_is_taken() {
    let node = Node::start();
    let keys = Arc::new(TestKeys::new(9));
    node.runtime.block_on(async {
        let stranger = ClientLogin::new("alknet").with_keys(keys.clone(), &[KeyPurpose::Node, KeyPurpose::SshUser]);
        let refused = try_connect(&node, &stranger).await;
        assert!(matches!(refused, Err(ConnectError::Refused { tried: 2, .. })), "{refused:?}");
        node.identities.know(&credential(keys.public_key(KeyPurpose::SshUser)), Identity::owner("alice"));
        assert!(try_connect(&node, &stranger).await.is_ok());
    });
}

/// CLI-01.
#[test]
fn a_key_of_an_agent_is_taken() {
    let node = Node::start();
    node.make_key("rsa", "rsa", &["-b", "2048"]);
    node.know("rsa", Identity::owner("alice"));
    let agent = StockAgent::start(&node);
    node.make_key("unknown", "ed25519", &[]);
    agent.add(&node.path("unknown"));
    let login = ClientLogin::new("alknet").with_agent(&agent.socket);
    node.runtime.block_on(async {
        let refused = try_connect(&node, &login).await;
        assert!(matches!(refused, Err(ConnectError::Refused { tried: 1, .. })), "{refused:?}");
        agent.add(&node.path("rsa"));
        assert!(try_connect(&node, &login).await.is_ok());
    });
    drop(agent);
    node.runtime.block_on(async {
        let refused = try_connect(&node, &login).await;
        assert!(matches!(refused, Err(ConnectError::Refused { tried: 0, .. })), "{refused:?}");
    });
}

/// CLI-13: bulk both ways at once between our client and our server.
#[test]
fn bulk_flows_both_ways_at_once() {
    let node = Node::start();
    let input: Vec<u8> = (0..64u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    node.runtime.block_on(async {
        let client = connect(&node).await;
        let process = client.exec("cat").await.unwrap();
        let (feed, data) = (process.input.clone(), Bytes::from(input.clone()));
        let feeding = tokio::spawn(async move {
            feed.send(data).await.unwrap();
            feed.end().await.unwrap();
        });
        let begun = std::time::Instant::now();
        let run = outcome(process).await;
        eprintln!("64 MiB both ways in {:?}", begun.elapsed());
        feeding.await.unwrap();
        assert!(run.output == input);
        assert_eq!(run.exit, Some(RemoteExit::Status(0)));
    });
}

/// CLI-11.
#[test]
fn a_shell_has_the_terminal_that_was_asked_for() {
    let node = Node::start();
    node.runtime.block_on(async {
        let client = connect(&node).await;
        let terminal = Some(TerminalSpec::plain("xterm", 91, 17));
        let environment = vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())];
        let request = ProcessRequest { terminal, environment, ..ProcessRequest::default() };
        let shell = client.start(request).await.unwrap();
        shell.input.send(Bytes::from_static(b"stty size; echo $TERM-$LC_ALL; exit 3\n")).await.unwrap();
        let run = outcome(shell).await;
        let text = String::from_utf8_lossy(&run.output);
        assert!(text.contains("17 91\r\n") && text.contains("xterm-C.UTF-8\r\n"), "{text}");
        assert_eq!(run.exit, Some(RemoteExit::Status(3)));
    });
}

/// CLI-14.
#[test]
fn what_the_node_refuses_is_said_with_its_reason() {
    let node = Node::start();
    node.runtime.block_on(async {
        let client = connect(&node).await;
        let sftp = ProcessRequest { command: Some(b"sftp".into()), subsystem: true, ..ProcessRequest::default() };
        let refused = client.start(sftp).await.err().unwrap();
        assert_eq!(refused, ProcessError::Refused("start that subsystem"));
        assert!(client.exec("true").await.is_ok(), "the connection goes on");
    });
}

/// CLI-15.
#[test]
fn the_end_of_the_connection_is_noticed_everywhere() {
    let node = Node::start();
    let client = node.runtime.block_on(connect(&node));
    let process = node.runtime.block_on(client.exec("sleep 1000")).unwrap();
    let keys = TestKeys::new(3);
    node.identities.forget(&credential(keys.public_key(KeyPurpose::Node)));
    assert_eq!(node.sessions.cancel_identity("alice"), 1);
    node.runtime.block_on(async {
        assert_eq!(outcome(process).await.exit, None);
        timeout(PATIENCE, client.closed()).await.unwrap();
        let open = client.open_tcp("127.0.0.1", 1, &Origin { host: "127.0.0.1".into(), port: 1 }).await;
        assert_eq!(open.err(), Some(OpenError::Ended));
        assert_eq!(client.exec("true").await.err(), Some(ProcessError::Open(OpenError::Ended)));
    });
}

/// CLI-16: other channels go on within what is held, and then the one that holds them up is closed.
#[test]
fn a_channel_from_which_nothing_is_taken_is_closed_when_others_wait() {
    let node = Node::start();
    node.runtime.block_on(async {
        let socket = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        let login = login(&node, KeyPurpose::Node);
        let client = SshClient::connect_with(plain_stream(socket), &login, Duration::from_secs(2)).await.unwrap();
        let flood = client.exec("cat /dev/zero").await.unwrap();
        let waiting = async {
            // Once the flood has filled what is held, answers stand behind it.
            loop {
                let run = outcome(client.exec("echo hi").await.unwrap()).await;
                assert_eq!(run.output, b"hi\n");
                if timeout(Duration::ZERO, flood.input.closed()).await.is_ok() {
                    return;
                }
            }
        };
        timeout(PATIENCE, waiting).await.expect("the others were held up for good");
        assert!(!client.is_closed());
    });
}

/// FWD-11.
#[test]
fn what_was_sent_before_the_channel_closed_reaches_its_target() {
    const BYTES: usize = 4 << 20;
    let node = Node::start();
    let (keep, targets) = kept::<std::net::TcpStream>();
    let port = on_port(keep);
    let client = node.runtime.block_on(async {
        let client = connect(&node).await;
        let origin = Origin { host: "127.0.0.1".into(), port: 1 };
        let mut stream = client.open_tcp("127.0.0.1", port, &origin).await.unwrap();
        stream.send(Bytes::from(vec![7; BYTES])).await.unwrap();
        drop(stream);
        client
    });
    // Nothing was read so far, and more was sent than sockets hold.
    let mut target = targets.recv_timeout(PATIENCE).unwrap();
    let mut taken = Vec::new();
    target.read_to_end(&mut taken).unwrap();
    assert_eq!(taken.len(), BYTES);
    drop(client);
}
