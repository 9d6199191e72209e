//! `alknet forward` as its users meet it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::Value;

use crate::{
    folder::{errors, wait_until},
    ssh_client::Pair,
};

struct Forwarding {
    child: Child,
    listening: Vec<Value>,
    _lines: BufReader<ChildStdout>,
}

impl Forwarding {
    /// Starts `alknet forward`, and reads where it listens.
    fn start(pair: &Pair, words: &[&str], count: usize) -> Self {
        let words = [&["forward", "box", "--json"], words].concat();
        let mut child = pair.client.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let listening = (0..count).map(|_| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        });
        let listening = listening.collect();
        Self { child, listening, _lines: lines }
    }

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
    let forwarding = Forwarding::start(&pair, &["-L", &to_port, "-L", &to_socket], 2);
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
    let forwarding = Forwarding::start(&pair, &["-R", &from_port, "-R", &from_socket], 2);
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
    let forwarding = Forwarding::start(&pair, &["-L", &spec, "-R", &spec], 2);
    assert_eq!((say(forwarding.port(0), "a"), say(forwarding.port(1), "b")), ("A".into(), "B".into()));
    let session = pair.server.json(&["ssh", "sessions"])["sessions"][0]["id"].to_string();
    pair.server.run(&["ssh", "kill", &session]);
    wait_until("it forwards again", || say(forwarding.port(0), "again") == "AGAIN");
    wait_until("so does the node", || say(forwarding.port(1), "again") == "AGAIN");
}
