//! `alknet forward` as its users meet it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    folder::{PATIENCE, errors, wait_until},
    ssh_client::Pair,
};

struct Forwarding {
    child: Child,
    listening: Vec<Value>,
    log: PathBuf,
    _lines: BufReader<ChildStdout>,
}

impl Forwarding {
    /// Starts `alknet forward`, and reads where it listens.
    fn start(pair: &Pair, words: &[&str], count: usize) -> Self {
        let words = [&["forward", "box", "--json"], words].concat();
        let log = pair.client.home().join("forward.log");
        let errors = std::fs::File::create(&log).unwrap();
        let mut child = pair.client.command(&words).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let listening = (0..count).map(|_| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line} {}", said(&log)))
        });
        let listening = listening.collect();
        Self { child, listening, log, _lines: lines }
    }

    fn port(&self, index: usize) -> u16 {
        let listen = self.listening[index]["listen"].as_str().unwrap();
        listen.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

fn said(log: &std::path::Path) -> String {
    std::fs::read_to_string(log).unwrap()
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Answers with what was said, in capitals, once all has been said.
fn shout(mut socket: impl Read + Write) {
    let mut said = String::new();
    if socket.read_to_string(&mut said).is_ok() {
        // Who has not waited wants no answer.
        let _gone = socket.write_all(said.to_uppercase().as_bytes());
    }
}

/// Serves everybody who connects, each in a thread of their own.
fn on_port(serve: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(thread::spawn(move || serve(socket)))));
    port
}

fn shouting_tcp() -> u16 {
    on_port(shout)
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
    thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(thread::spawn(move || shout(socket)))));
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

/// CLI-35: what holds a port at the node is no reason to end connections that have nothing to do with it.
#[test]
fn a_listener_that_the_node_refuses_again_disturbs_nothing_else() {
    let pair = Pair::start();
    let echo = on_port(|mut socket| drop(std::io::copy(&mut socket.try_clone().unwrap(), &mut socket)));
    let (here, there) = (format!("0:localhost:{echo}"), format!("127.0.0.1:0:localhost:{echo}"));
    let forwarding = Forwarding::start(&pair, &["-L", &here, "-R", &there], 2);
    let (port, remote) = (forwarding.port(0), forwarding.port(1));
    // Somebody takes the port as soon as it is free: long before the client is back.
    let taking = thread::spawn(move || {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", remote)) {
                return listener;
            }
            thread::yield_now();
        }
        panic!("the port was never free");
    });
    let session = pair.server.json(&["ssh", "sessions"])["sessions"][0]["id"].to_string();
    pair.server.run(&["ssh", "kill", &session]);
    let taken = taking.join().unwrap();
    let refusals = || said(&forwarding.log).matches("refuses to listen there").count();
    wait_until("the refusal is said", || refusals() > 0);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut goes_on = || {
        socket.write_all(b"x").unwrap();
        socket.read_exact(&mut [0]).expect("the connection goes on");
    };
    // Longer than the first pauses together.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        goes_on();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(refusals(), 1, "{}", said(&forwarding.log));
    drop(taken);
    wait_until("the node listens again", || said(&forwarding.log).contains("the node listens again"));
    goes_on();
    let mut back = TcpStream::connect(("127.0.0.1", remote)).unwrap();
    back.write_all(b"y").unwrap();
    back.read_exact(&mut [0]).unwrap();
}
