//! Up, serve, stop, and up again.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    folder::{Folder, errors, wait_until},
    running::RunningNode,
};

#[test]
fn up_makes_an_identity_once_and_finds_it_again() {
    let folder = Folder::empty();
    let up = ["up", "--detach", "--listen", "127.0.0.1:0"];
    let first = folder.json(&up);
    assert!(first["port"].as_u64().is_some_and(|port| port > 0));
    folder.run(&["peer", "add", "alice", "--key", &format!("ed25519:{:064x}", 1)]);
    folder.run(&["stop"]);
    let second = folder.json(&up);
    assert_eq!(first["node_id"], second["node_id"]);
    assert_eq!(folder.json(&["peer", "list"])[0]["name"], "alice");
    folder.run(&["stop"]);
}

#[test]
fn up_in_the_foreground_makes_an_identity_and_says_its_port() {
    let folder = Folder::empty();
    let node = RunningNode::start(&folder, "up");
    assert_eq!(folder.json(&["identity", "show"])["node_id"], node.node_id);
    assert_eq!(folder.json(&["status"])["listen"][0]["addr"], node.addr().to_string());
}

#[test]
fn up_prints_what_to_paste() {
    let folder = Folder::empty();
    let text = errors(&folder.output(&["up", "--detach", "--listen", "127.0.0.1:0"]));
    let status = folder.json(&["status"]);
    let ticket = status["ticket"].as_str().unwrap();
    let port = status["listen"][0]["addr"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    for line in [
        format!("ssh -p {port} me@127.0.0.1"),
        format!("curl -k https://127.0.0.1:{port}/healthz"),
        format!("alknet peer add box --ticket {ticket}"),
    ] {
        assert!(text.contains(&line), "`{line}` is missing in {text}");
    }
    folder.run(&["stop"]);
}

#[test]
fn status_has_the_shape_that_scripts_rely_on() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let status = folder.json(&["status"]);
    assert_eq!(status["node_id"], node.node_id);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_ms"].is_u64());
    let listens: Vec<_> = status["listen"].as_array().unwrap().iter().collect();
    let carriers: Vec<_> = listens.iter().map(|listen| listen["carrier"].as_str().unwrap()).collect();
    assert_eq!(carriers, ["quic", "tcp"]);
    assert!(listens.iter().all(|listen| listen["addr"] == format!("127.0.0.1:{}", node.port)));
    let services = status["services"].as_array().unwrap();
    for service in ["alknet/call", "alknet/bytes", "alknet/ssh", "ssh", "h2", "http/1.1"] {
        assert!(services.contains(&service.into()), "{service}");
    }
    assert_eq!(status["pid"], node.pid());
    let identity = folder.json(&["identity", "show"]);
    assert_eq!(identity["node_id"], node.node_id);
    assert_eq!(identity["key"].as_str().unwrap().len(), 64);
}

#[test]
fn a_second_node_on_the_folder_is_refused_and_told_the_process() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    for words in [["up"], ["serve"], ["init"]] {
        let refused = folder.refused(&words, 1);
        assert!(refused.contains(&format!("in use by process {}", node.pid())), "{refused}");
    }
}

#[test]
fn the_next_node_serves_after_a_kill() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let id = node.node_id.clone();
    node.signal(Signal::KILL);
    node.gone();
    let refused = folder.refused(&["status"], 5);
    assert!(refused.contains("no node runs") && refused.contains("hint: start it with `alknet up`"), "{refused}");
    assert_eq!(folder.serve().node_id, id);
}

#[test]
fn signals_drain_and_end_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::with_identity();
        let node = folder.serve();
        node.signal(signal);
        assert_eq!(node.gone().code(), Some(0), "{signal:?}");
        assert!(!folder.data().join("alknet.sock").exists());
    }
}

#[test]
fn a_draining_node_takes_nobody_in_and_ends_after_its_drain_time() {
    let folder = Folder::with_identity();
    folder.configure("[node]\ndrain_timeout = \"500ms\"\n");
    let node = folder.serve();
    // An SSH client that holds the line.
    let mut held = TcpStream::connect(node.addr()).unwrap();
    held.write_all(b"SSH-2.0-test\r\n").unwrap();
    held.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(held.read(&mut [0; 4]).unwrap(), 4);
    let addr = node.addr();
    node.signal(Signal::TERM);
    wait_until("no more are taken in", || TcpStream::connect(addr).is_err());
    assert_eq!(node.gone().code(), Some(0));
}
