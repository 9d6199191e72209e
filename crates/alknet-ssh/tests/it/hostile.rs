use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::node::{Node, wait_for};

fn connect(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Reads to the end; answers how long that took.
fn end_of(mut socket: TcpStream) -> Duration {
    let begin = Instant::now();
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("still open: {error}"),
    }
    begin.elapsed()
}

/// Whether a socket that does not block has not come to its end, whatever it says before.
fn is_open(socket: &mut TcpStream) -> bool {
    let ended = loop {
        match socket.read(&mut [0; 4096]) {
            Ok(1..) => {}
            other => break other,
        }
    };
    ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// SSH-06.
#[test]
fn who_proves_nothing_in_time_is_dropped() {
    let node = Node::with(|config| config.limits.login_grace = Duration::from_secs(1));
    let silent = connect(&node);
    let mut greeted = connect(&node);
    greeted.write_all(b"SSH-2.0-Silent\r\n").unwrap();
    assert!(end_of(silent) < Duration::from_secs(5));
    assert!(end_of(greeted) < Duration::from_secs(5));
}

/// SSH-07.
#[test]
fn garbage_and_lying_lengths_end_the_connection() {
    let node = Node::start();
    let cases: [(&str, Vec<u8>); 7] = [
        ("no identification", vec![0xff; 4096]),
        ("an endless first line", vec![b'A'; 100_000]),
        ("protocol 1", b"SSH-1.5-old\r\n".to_vec()),
        ("a length of four gigabytes", [b"SSH-2.0-x\r\n".as_slice(), &[0xff; 64]].concat()),
        ("a length of zero", [b"SSH-2.0-x\r\n".as_slice(), &[0; 64]].concat()),
        ("padding longer than the packet", [b"SSH-2.0-x\r\n".as_slice(), &[0, 0, 0, 12, 255], &[20; 64]].concat()),
        ("a key exchange of garbage", [b"SSH-2.0-x\r\n".as_slice(), &[0, 0, 0, 44, 4], &[20; 64]].concat()),
    ];
    for (what, bytes) in cases {
        let mut socket = connect(&node);
        // The server may have hung up before all of it is out.
        let _ = socket.write_all(&bytes);
        assert!(end_of(socket) < Duration::from_secs(5), "{what}");
    }
    assert_eq!(node.text(&[], "echo alive"), "alive\n");
}

/// SSH-07: a length that lies low holds a bounded amount, and the connection ends with the grace.
#[test]
fn a_packet_that_never_comes_is_not_waited_for() {
    let node = Node::with(|config| config.limits.login_grace = Duration::from_secs(1));
    let mut socket = connect(&node);
    socket.write_all(b"SSH-2.0-x\r\n\x00\x03\xff\xff\x04\x14").unwrap();
    assert!(end_of(socket) < Duration::from_secs(5));
}

/// SSH-08.
#[test]
fn a_crowd_of_strangers_does_not_keep_the_owner_out() {
    let node = Node::with(|config| config.limits.max_unauthenticated = 8);
    let mut crowd: Vec<_> = (0..200).map(|_| connect(&node)).collect();
    crowd.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    wait_for("all but eight make room", || {
        crowd.retain_mut(is_open);
        crowd.len() <= 8
    });
    assert_eq!(node.text(&[], "echo in"), "in\n");
}
