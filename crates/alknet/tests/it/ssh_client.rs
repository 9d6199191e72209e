//! `alknet ssh` and `alknet forward` as their users meet them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, ChildStdout, Output, Stdio},
};

use serde_json::Value;

use crate::{
    folder::{Folder, errors, wait_until},
    running::RunningNode,
};

/// A node `box`, and another folder whose node key is its owner's.
pub struct Pair {
    pub client: Folder,
    pub server: Folder,
    pub node: RunningNode,
}

impl Pair {
    pub fn start() -> Self {
        let (client, server) = (Folder::with_identity(), Folder::with_identity());
        let node = server.serve();
        let pair = Self { client, server, node };
        pair.let_in("owner");
        let ticket = pair.server.json(&["status"])["ticket"].as_str().unwrap().to_owned();
        pair.client.run(&["peer", "add", "box", "--ticket", &ticket]);
        pair
    }

    fn let_in(&self, role: &str) {
        let id = self.client.json(&["identity", "show"])["node_id"].as_str().unwrap().to_owned();
        self.server.run(&["peer", "add", "laptop", "--key", &id, "--role", role]);
    }

    fn ssh(&self, words: &[&str]) -> Output {
        self.client.output(&[&["ssh"], words].concat())
    }

    /// Starts `alknet forward`, and reads where it listens.
    fn forward(&self, words: &[&str], count: usize) -> Forwarding {
        let words = [&["forward", "box", "--json"], words].concat();
        let mut child = self.client.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let listening = (0..count).map(|_| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        });
        let listening = listening.collect();
        Forwarding { child, listening, _lines: lines }
    }
}

struct Forwarding {
    child: Child,
    listening: Vec<Value>,
    _lines: BufReader<ChildStdout>,
}

impl Forwarding {
    fn port(&self, index: usize) -> u16 {
        let listen = self.listening[index]["listen"].as_str().unwrap();
        listen.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Answers everybody with what they said, in capitals, once they have said all.
fn shout(mut socket: impl Read + Write) {
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    socket.write_all(said.to_uppercase().as_bytes()).unwrap();
}

fn shouting_tcp() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|socket| shout(socket.unwrap())));
    port
}

/// What comes back; nothing when the way is broken.
fn say(port: u16, text: &str) -> String {
    let said = || {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.write_all(text.as_bytes())?;
        socket.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).map(|_| answer)
    };
    said().unwrap_or_default()
}

/// CLI-31, over both carriers.
#[test]
fn a_command_has_our_streams_and_gives_us_its_status() {
    let pair = Pair::start();
    for carrier in ["tcp", "quic"] {
        let run = pair.ssh(&["--carrier", carrier, "box", "echo out; echo err >&2; exit 7"]);
        assert_eq!((run.status.code(), &run.stdout[..], &run.stderr[..]), (Some(7), &b"out\n"[..], &b"err\n"[..]));
    }
    assert_eq!(pair.ssh(&["box", "kill -TERM $$"]).status.code(), Some(143), "128 and the signal's number");
    let echoed = pair.client.output_of(&["ssh", "box", "cat; echo done"], &"x".repeat(3_000_000));
    assert_eq!(echoed.stdout.len(), 3_000_005);
    assert_eq!(pair.ssh(&["box", "echo", "-n", "a  b"]).stdout, b"a b", "as ssh joins it");
    assert_eq!(pair.ssh(&["-t", "box", "tty"]).stdout[..5], *b"/dev/");
    assert_eq!(pair.client.output_of(&["ssh", "-T", "box"], "exit 5\n").status.code(), Some(5));
}

/// CLI-32.
#[test]
fn who_is_not_let_in_is_told_why() {
    let pair = Pair::start();
    let refused = pair.ssh(&["nobody-here@box", "true"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(errors(&refused).contains("none of the 2 keys that were offered"), "{}", errors(&refused));
    pair.server.run(&["peer", "remove", "laptop"]);
    pair.let_in("observer");
    let refused = pair.ssh(&["box", "true"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(errors(&refused).contains("the node refuses to run the command"), "{}", errors(&refused));
    let unknown = pair.ssh(&["nowhere", "true"]);
    assert_eq!(unknown.status.code(), Some(4));
}

/// CLI-31: the session ends with this process, and at once.
#[test]
fn a_process_ends_with_its_client() {
    let pair = Pair::start();
    let mut command = pair.client.command(&["ssh", "--carrier", "quic", "box", "echo $$; exec sleep 1000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.exists());
    let ours = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(ours, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(255));
    wait_until("the process is gone", || !process.exists());
}

/// CLI-33.
#[test]
fn what_connects_here_reaches_what_the_node_sees() {
    let pair = Pair::start();
    let target = shouting_tcp();
    let (here, there) = (pair.client.home().join("here.sock"), pair.client.home().join("there.sock"));
    let listener = UnixListener::bind(&there).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|socket| shout(socket.unwrap())));
    let to_port = format!("0:localhost:{target}");
    let to_socket = format!("{}:{}", here.display(), there.display());
    let forwarding = pair.forward(&["-L", &to_port, "-L", &to_socket], 2);
    assert_eq!(say(forwarding.port(0), "hello"), "HELLO");
    let big = "x".repeat(2_000_000);
    assert_eq!(say(forwarding.port(0), &big), big.to_uppercase());
    let mut socket = UnixStream::connect(&here).unwrap();
    socket.write_all(b"socket").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "SOCKET");
    let relayed = pair.client.output_of(&["ssh", "-W", &format!("localhost:{target}"), "box"], "through");
    assert_eq!(relayed.stdout, b"THROUGH", "{}", errors(&relayed));
}

/// CLI-33.
#[test]
fn what_connects_at_the_node_reaches_what_is_here() {
    let pair = Pair::start();
    let target = shouting_tcp();
    let there = pair.client.home().join("there.sock");
    let from_port = format!("0:localhost:{target}");
    let from_socket = format!("{}:localhost:{target}", there.display());
    let forwarding = pair.forward(&["-R", &from_port, "-R", &from_socket], 2);
    assert_eq!(say(forwarding.port(0), "hello"), "HELLO");
    let mut socket = UnixStream::connect(&there).unwrap();
    socket.write_all(b"socket").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "SOCKET");
    let taken = format!("{}:localhost:{target}", pair.node.port);
    let refused = pair.client.refused(&["forward", "box", "-R", &taken], 3);
    assert!(refused.contains("refuses to listen there"), "{refused}");
}

/// CLI-35.
#[test]
fn a_forward_outlives_its_connection() {
    let pair = Pair::start();
    let target = shouting_tcp();
    let spec = format!("0:localhost:{target}");
    let forwarding = pair.forward(&["-L", &spec, "-R", &spec], 2);
    assert_eq!((say(forwarding.port(0), "a"), say(forwarding.port(1), "b")), ("A".into(), "B".into()));
    let session = pair.server.json(&["ssh", "sessions"])["sessions"][0]["id"].to_string();
    pair.server.run(&["ssh", "kill", &session]);
    wait_until("it forwards again", || say(forwarding.port(0), "again") == "AGAIN");
    wait_until("so does the node", || say(forwarding.port(1), "again") == "AGAIN");
}
