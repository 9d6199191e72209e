use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use alknet_core::{AuditOutcome, Identity, ResourceGrants, ScopeSet};

use crate::{
    client::{connect, outcome},
    node::{Client, Node, listens, wait_for},
    stock_agent::{StockAgent, with_agent},
    targets::{at_path, count, echo, greeter, kept, on_port},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that carries a socket of its own to this target until it is dropped.
pub fn local_forward(node: &Node, target: &str) -> (Client, std::path::PathBuf) {
    let near = node.path("near");
    let _ = std::fs::remove_file(&near);
    let client = node.ssh(&["-N", "-L", &format!("{}:{target}", near.display())], "").spawn().unwrap();
    wait_for("the forward", || listens(&near));
    (Client(client), near)
}

/// Has a client ask for a remote forward on its shared connection; answers with what it printed.
pub fn remote_forward(node: &Node, join: &str, what: &str) -> std::process::Output {
    node.run(&["-o", join, "-O", "forward", "-R", what], "")
}

pub fn port_of(output: &std::process::Output) -> u16 {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

fn through(stream: &mut (impl Read + Write), text: &[u8]) -> Vec<u8> {
    stream.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    back
}

fn rest_of(stream: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

/// FWD-01, FWD-04.
#[test]
fn a_client_reaches_a_port_through_the_node() {
    let node = Node::start();
    let port = on_port(count);
    let mut ssh = node.ssh(&["-W", &format!("127.0.0.1:{port}")], "");
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&vec![7; 3_000_000]).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"3000000");
    assert!(node.audit.events().iter().any(|event| event.action == "ssh/forward.local"));
}

/// FWD-01: the name is resolved by the node.
#[test]
fn a_client_reaches_a_name() {
    let node = Node::start();
    let (_client, near) = local_forward(&node, &format!("localhost:{}", on_port(echo)));
    assert_eq!(through(&mut UnixStream::connect(near).unwrap(), b"to and fro"), b"to and fro");
}

/// FWD-02.
#[test]
fn a_client_reaches_a_unix_socket() {
    let node = Node::start();
    at_path(&node.path("far"), echo);
    let (_client, near) = local_forward(&node, &node.path("far").display().to_string());
    assert_eq!(through(&mut UnixStream::connect(near).unwrap(), b"to and fro"), b"to and fro");
}

/// FWD-03: with a port of the node's choice, and until it is cancelled.
#[test]
fn the_node_listens_on_a_port_for_a_client() {
    let node = Node::start();
    let (_master, join) = node.master();
    let target = on_port(echo);
    let port = port_of(&remote_forward(&node, &join, &format!("0:127.0.0.1:{target}")));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(through(&mut stream, b"to and fro"), b"to and fro");
    let asked = format!("0:127.0.0.1:{target}");
    assert!(node.run(&["-o", &join, "-O", "cancel", "-R", &asked], "").status.success());
    wait_for("the port to be free", || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(through(&mut stream, b"goes on"), b"goes on", "what came stays");
    let spec = format!("{port}:127.0.0.1:{target}");
    assert!(remote_forward(&node, &join, &spec).status.success());
    let taken = node.run(&["-o", "ExitOnForwardFailure=yes", "-R", &spec], "true");
    assert!(!taken.status.success(), "{taken:?}");
}

/// FWD-03.
#[test]
fn the_node_listens_at_a_path_for_a_client() {
    let node = Node::start();
    let (master, join) = node.master();
    let (far, target) = (node.path("far"), on_port(echo));
    let spec = format!("{}:127.0.0.1:{target}", far.display());
    for _ in 0..2 {
        assert!(remote_forward(&node, &join, &spec).status.success());
        assert_eq!(std::fs::metadata(&far).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(through(&mut UnixStream::connect(&far).unwrap(), b"to and fro"), b"to and fro");
        let taken = node.run(&["-o", "ExitOnForwardFailure=yes", "-R", &spec], "true");
        assert!(!taken.status.success(), "it is there already: {taken:?}");
        assert!(node.run(&["-o", &join, "-O", "cancel", "-R", &spec], "").status.success());
        wait_for("the socket to go", || !far.exists());
    }
    assert!(remote_forward(&node, &join, &spec).status.success());
    drop(master);
    wait_for("the socket to go with its client", || !far.exists());
}

/// FWD-10: the target ends its direction, the client goes on, and the other way round.
#[test]
fn each_direction_ends_by_itself() {
    let node = Node::start();
    let (serve, counts) = greeter();
    let (client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(serve)));
    let mut stream = UnixStream::connect(&near).unwrap();
    assert_eq!(rest_of(&mut stream), b"hello");
    stream.write_all(&[0; 100_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(counts.recv_timeout(PATIENCE), Ok(100_000));
    drop(client);
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(count)));
    let mut stream = UnixStream::connect(&near).unwrap();
    stream.write_all(&[0; 100_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest_of(&mut stream), b"100000");
}

/// FWD-12: a target that resets its connection.
#[test]
fn a_broken_target_is_an_end_for_the_client() {
    let node = Node::start();
    let port = on_port(|stream: TcpStream| {
        // What was not read makes a reset of the close.
        let mut first = [0; 1];
        (&stream).read_exact(&mut first).unwrap();
    });
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{port}"));
    let mut stream = UnixStream::connect(&near).unwrap();
    stream.write_all(&[0; 1000]).unwrap();
    assert_eq!(rest_of(&mut stream), b"");
}

/// FWD-13.
#[test]
fn large_streams_flow_both_ways_at_once() {
    let node = Node::start();
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(echo)));
    let input: Vec<u8> = (0..24u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stream = UnixStream::connect(&near).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&input).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        rest_of(&mut stream)
    });
    assert!(back == input);
}

/// FWD-06: the client is told why, and no more.
#[test]
fn refusals_have_reasons() {
    let node = Node::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let words = |key: &str, target: &str| {
        let output = node.ssh_as("alknet", &node.path(key), &["-v", "-W", target], "").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = words("me", &format!("127.0.0.1:{closed}"));
    assert!(refused.contains("connect failed: connection refused"), "{refused}");
    let unknown = words("me", "no-such-name.invalid:80");
    assert!(unknown.contains("connect failed: no such host"), "{unknown}");
    node.make_key("guest", "ed25519", &[]);
    node.know("guest", Identity::new("guest", ScopeSet::default(), ResourceGrants::default()));
    let prohibited = words("guest", &format!("127.0.0.1:{closed}"));
    assert!(prohibited.contains("administratively prohibited: administratively prohibited"), "{prohibited}");
    let denied =
        |event: &alknet_core::AuditEvent| event.action == "ssh/forward.local" && event.outcome == AuditOutcome::Denied;
    assert!(node.audit.events().iter().any(denied));
}

/// FWD-07.
#[test]
fn a_client_jumps_through_the_node() {
    let (node, behind) = (Node::start(), Node::start());
    let jump = node.ssh(&["-W", "[%h]:%p"], "");
    let words: Vec<_> = jump.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let proxy = format!("ProxyCommand=timeout {}", words.join(" "));
    assert_eq!(behind.text(&["-o", &proxy], "echo behind"), "behind\n");
}

/// FWD-05.
#[test]
fn processes_reach_the_clients_agent() {
    let node = Node::start();
    let agent = StockAgent::start(&node);
    agent.add(&node.path("me"));
    let look = "ssh-add -l; stat -c %a \"$SSH_AUTH_SOCK\" \"${SSH_AUTH_SOCK%/*}\"; echo \"$SSH_AUTH_SOCK\"";
    let output = with_agent(&node.ssh(&["-A"], look), &agent.socket).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("(ED25519)"), "{text}");
    assert_eq!(lines[1..3], ["600", "700"]);
    let socket = Path::new(lines[3]);
    wait_for("the socket to go with its session", || !socket.parent().unwrap().exists());
    assert_eq!(node.text(&[], "echo \"[$SSH_AUTH_SOCK]\""), "[]\n", "only where it is asked for");
}

/// FWD-30.
#[test]
fn more_forwards_than_allowed_are_refused_and_come_free_again() {
    let node = Node::with(|config| (config.limits.max_forwards, config.limits.max_channels) = (2, 1));
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(echo)));
    let open = || UnixStream::connect(&near).unwrap();
    let mut held = [open(), open()];
    held.iter_mut().for_each(|stream| assert_eq!(through(stream, b"in"), b"in"));
    assert_eq!(rest_of(&mut open()), b"", "one too many");
    drop(held);
    wait_for("a place", || {
        let mut stream = open();
        // A refused stream may be closed before this is written.
        stream.write_all(b"in").is_ok() && stream.read_exact(&mut [0; 2]).is_ok()
    });
}

/// FWD-31.
#[test]
fn a_connection_listens_in_few_places() {
    let node = Node::start();
    let (_master, join) = node.master();
    let listen = |n: usize| {
        let path = node.path(&format!("s{n}"));
        remote_forward(&node, &join, &format!("{}:127.0.0.1:1", path.display())).status.success()
    };
    let most = alknet_ssh::limits::MAX_LISTENERS;
    assert!((0..most).all(listen));
    assert!(!listen(most));
    let spec = format!("{}:127.0.0.1:1", node.path("s0").display());
    assert!(node.run(&["-o", &join, "-O", "cancel", "-R", &spec], "").status.success());
    assert!(listen(0));
    let path = node.path("another's");
    let spec = format!("{}:127.0.0.1:1", path.display());
    let other = node.run(&["-o", "ExitOnForwardFailure=yes", "-R", &spec], "true");
    assert!(other.status.success(), "another connection has its own: {other:?}");
}

/// FWD-03: the answer comes when the place is free.
#[test]
fn what_was_cancelled_is_free() {
    let node = Node::start();
    node.runtime.block_on(async {
        let client = connect(&node).await;
        let path = node.path("far").display().to_string();
        for _ in 0..50 {
            client.listen_unix(&path).await.unwrap().cancel().await.unwrap();
            assert!(!Path::new(&path).exists());
        }
    });
}

/// FWD-40: forwards, listeners and agents end with the rights of who asked for them.
#[test]
fn a_removed_peers_forwards_end_within_seconds() {
    let node = Node::start();
    let (_master, join) = node.master();
    let (keep, streams) = kept::<TcpStream>();
    let far = node.path("far");
    let port = port_of(&remote_forward(&node, &join, "0:127.0.0.1:1"));
    assert!(remote_forward(&node, &join, &format!("{}:127.0.0.1:1", far.display())).status.success());
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(keep)));
    let _stream = UnixStream::connect(near).unwrap();
    let mut target = streams.recv_timeout(PATIENCE).unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(node.remove("me", "alice"), 2);
    assert_eq!(rest_of(&mut target), b"");
    wait_for("the port to be free", || TcpStream::connect(("127.0.0.1", port)).is_err());
    wait_for("the socket to go", || !far.exists());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// FWD-42.
#[test]
fn a_stopping_server_forwards_nothing_new() {
    let node = Node::start();
    let (near, far, target) = (node.path("near"), node.path("far"), on_port(echo));
    let spec = |path: &Path| format!("{}:127.0.0.1:{target}", path.display());
    let (_master, join) = node.master();
    assert!(node.run(&["-o", &join, "-O", "forward", "-L", &spec(&near)], "").status.success());
    assert!(remote_forward(&node, &join, &spec(&far)).status.success());
    let mut streams = [&near, &far].map(|path| UnixStream::connect(path).unwrap());
    streams.iter_mut().for_each(|stream| assert_eq!(through(stream, b"before"), b"before"));
    node.runtime.block_on(alknet_core::ProtocolHandler::shutdown(&*node.server));
    assert_eq!(rest_of(&mut UnixStream::connect(&near).unwrap()), b"");
    wait_for("the listener to end", || !far.exists());
    streams.iter_mut().for_each(|stream| assert_eq!(through(stream, b"after"), b"after"));
    drop(streams);
    wait_for("the connection to end", || node.sessions.list().is_empty());
}

/// FWD-42: a session that goes on reaches no agent any more.
#[test]
fn a_stopping_server_leads_to_no_agent() {
    let node = Node::start();
    let agent = node.path("agent");
    at_path(&agent, drop::<UnixStream>);
    let mut ssh = with_agent(&node.ssh(&["-A"], "echo $SSH_AUTH_SOCK; exec sleep 600"), &agent);
    let mut client = Client(ssh.stdout(Stdio::piped()).spawn().unwrap());
    let mut socket = String::new();
    BufReader::new(client.0.stdout.take().unwrap()).read_line(&mut socket).unwrap();
    assert!(UnixStream::connect(socket.trim()).is_ok());
    node.runtime.block_on(alknet_core::ProtocolHandler::shutdown(&*node.server));
    wait_for("the agent to be out of reach", || UnixStream::connect(socket.trim()).is_err());
    assert_eq!(node.sessions.list().len(), 1);
}

/// FWD-41.
#[test]
fn a_forward_that_changed_rules_no_longer_allow_ends() {
    let mut policy = None;
    let node = Node::with(|config| policy = Some(config.forward.clone()));
    let (_client, near) = local_forward(&node, &format!("127.0.0.1:{}", on_port(echo)));
    let mut stream = UnixStream::connect(near).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(through(&mut stream, b"allowed"), b"allowed");
    policy.unwrap().set_rules(vec!["deny * * *".parse().unwrap()]);
    assert_eq!(rest_of(&mut stream), b"");
}

/// FWD-11, FWD-41: what still reaches the target of a client that is gone does so by the rules too.
#[test]
fn what_a_client_left_behind_ends_with_its_permission() {
    const SENT: usize = 8 << 20;
    let mut policy = None;
    let node = Node::with(|config| policy = Some(config.forward.clone()));
    let (keep, streams) = kept::<UnixStream>();
    at_path(&node.path("far"), keep);
    let send = || {
        node.runtime.block_on(async {
            let client = connect(&node).await;
            let mut stream = client.open_unix(&node.path("far").display().to_string()).await.unwrap();
            stream.send(vec![0; SENT].into()).await.unwrap();
            drop(stream);
            // What was sent before has been seen by then.
            outcome(client.exec("true").await.unwrap()).await;
            client
        })
    };
    let _client = send();
    assert_eq!(rest_of(&mut streams.recv_timeout(PATIENCE).unwrap()).len(), SENT);
    let _client = send();
    policy.unwrap().set_rules(vec!["deny * * *".parse().unwrap()]);
    assert!(rest_of(&mut streams.recv_timeout(PATIENCE).unwrap()).len() < SENT);
}
