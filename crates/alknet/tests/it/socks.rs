//! `alknet socks`: curl and datagrams through a node.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    folder::{Folder, PATIENCE, wait_until},
    running::RunningNode,
};

/// A datagram that is not answered for so long is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(300);

/// A proxy in a folder of its own, ended with the test.
struct Proxy {
    child: Child,
    folder: Folder,
    listen: SocketAddr,
}

impl Proxy {
    /// Through a node at which this folder's key has a role.
    fn through(node: &RunningNode, at: &Folder, role: &str, words: &[&str]) -> Self {
        let folder = Folder::with_identity();
        let key = folder.json(&["identity", "show"])["node_id"].as_str().unwrap().to_owned();
        at.run(&["peer", "add", "me", "--key", &key, "--role", role]);
        let ticket = at.json(&["status"])["ticket"].as_str().unwrap().to_owned();
        assert!(ticket.len() > node.node_id.len());
        folder.run(&["peer", "add", "box", "--ticket", &ticket]);
        let words = [&["socks", "box", "--listen", "0", "--json"], words].concat();
        let log = std::fs::File::create(folder.home().join("socks.log")).unwrap();
        let mut child = folder.command(&words).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let said = || std::fs::read_to_string(folder.home().join("socks.log")).unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap_or_else(|_| panic!("no proxy: {}", said()));
        let listen = ready["listen"].as_str().unwrap().parse().unwrap();
        assert_eq!(ready["socks5"], format!("socks5h://{listen}"));
        Self { child, folder, listen }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.home().join("socks.log")).unwrap()
    }

    fn curl(&self, scheme: &str, url: &str) -> String {
        let proxy = format!("{scheme}://{}", self.listen);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-p", "--max-time", "20", "--noproxy", "", "-x", &proxy, url]);
        let output = curl.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Asks for a relay; gives the connection that keeps it, and a socket connected to it.
    fn associate(&self) -> (TcpStream, UdpSocket) {
        let mut control = TcpStream::connect(self.listen).unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        control.write_all(b"\x05\x01\0\x05\x03\0\x01\0\0\0\0\0\0").unwrap();
        let mut answer = [0; 12];
        control.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], [5, 0, 5, 0], "{}", self.said());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", u16::from_be_bytes([answer[10], answer[11]]))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (control, socket)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Answers every connection with a page.
fn page() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut io in listener.incoming().flatten() {
            let _whatever = io.read(&mut [0; 4096]);
            let _gone = io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage");
        }
    });
    port
}

/// Answers every datagram with itself.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _gone = socket.send_to(&buffer[..length], from);
        }
    });
    addr
}

/// Sends a datagram to an address through a relay, again while it is lost, until it comes back. What else comes are late answers.
fn ask(relay: &UdpSocket, to: SocketAddr, payload: &[u8]) {
    let SocketAddr::V4(to) = to else { panic!("IPv4 only") };
    let head = [&[0, 0, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat();
    let expected = [&head[..], payload].concat();
    relay.set_read_timeout(Some(RESEND_AFTER)).unwrap();
    let mut answer = vec![0; 65_535];
    wait_until("a datagram is answered", || {
        relay.send(&expected).unwrap();
        loop {
            match relay.recv(&mut answer) {
                Ok(length) if answer[..length] == expected => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    });
}

/// SOCKS-04 SOCKS-05 SOCKS-08 SOCKS-13 SOCKS-14 SOCKS-16 SOCKS-22
#[test]
fn pages_and_datagrams_come_through_over_each_carrier() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let (url, echo) = (format!("http://localhost:{}/", page()), echo());
    for carrier in ["quic", "tcp"] {
        let proxy = Proxy::through(&node, &folder, "owner", &["--carrier", carrier]);
        for scheme in ["socks5", "socks5h", "http"] {
            assert_eq!(proxy.curl(scheme, &url), "page", "{carrier} {scheme}: {}", proxy.said());
        }
        assert!(proxy.curl("http", "http://localhost:1/").contains("502"), "nobody listens there");
        let (_control, relay) = proxy.associate();
        // What fits a datagram of QUIC, and what does not.
        for payload in [vec![1; 100], vec![2; 1400], vec![3; 60_000]] {
            ask(&relay, echo, &payload);
        }
        folder.run(&["peer", "remove", "me"]);
    }
}

/// SOCKS-07 SOCKS-17 SOCKS-23
#[test]
fn the_nodes_policy_decides() {
    let folder = Folder::with_identity();
    folder.configure("[ssh]\nforward = [\"deny me * *:9\", \"allow me local,dynamic 127.0.0.0/8:1-65535\"]\n");
    let node = folder.serve();
    let proxy = Proxy::through(&node, &folder, "guest", &[]);
    let (port, echo) = (page(), echo());
    assert_eq!(proxy.curl("socks5h", &format!("http://127.0.0.1:{port}/")), "page");
    assert!(proxy.curl("socks5h", "http://127.0.0.1:9/").contains("(2)"), "not allowed");
    assert!(proxy.curl("http", "http://127.0.0.1:9/").contains("403"));
    assert!(proxy.said().contains("127.0.0.1:9: the node's policy does not allow it"), "{}", proxy.said());
    let (_control, relay) = proxy.associate();
    ask(&relay, echo, b"yes");
    relay.send(b"\0\0\0\x01\x7f\0\0\x02\0\x09no").unwrap();
    wait_until("the refusal is told", || proxy.said().contains("127.0.0.2:9: the node's policy"));

    folder.run(&["peer", "remove", "me"]);
    relay.set_read_timeout(Some(RESEND_AFTER)).unwrap();
    wait_until("nothing goes through any more", || {
        relay.send(&[&b"\0\0\0\x01\x7f\0\0\x01"[..], &echo.port().to_be_bytes(), b"x"].concat()).unwrap();
        relay.recv(&mut [0; 64]).is_err()
    });
    assert!(proxy.curl("http", &format!("http://127.0.0.1:{port}/")).contains("503"));
}

/// SOCKS-20 SOCKS-22
#[test]
fn it_connects_again_when_the_node_was_gone() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let (addr, url, echo) = (node.addr(), format!("http://127.0.0.1:{}/", page()), echo());
    let proxy = Proxy::through(&node, &folder, "owner", &["--carrier", "tcp"]);
    assert_eq!(proxy.curl("socks5h", &url), "page");
    let (_control, relay) = proxy.associate();
    ask(&relay, echo, b"before");
    node.signal(Signal::KILL);
    node.gone();
    wait_until("it says that there is no node", || {
        proxy.curl("http", &url).contains("503") && proxy.said().contains("no connection to the node")
    });
    let _again = RunningNode::start_at(&folder, "serve", addr);
    wait_until("pages come through again", || proxy.curl("socks5h", &url) == "page");
    ask(&relay, echo, b"after");
}

/// SOCKS-01 SOCKS-22
#[test]
fn it_listens_on_loopback_and_fails_where_it_makes_no_sense() {
    let folder = Folder::with_identity();
    let refused = folder.refused(&["socks", "localhost:1", "--listen", "0.0.0.0:0"], 2);
    assert!(refused.contains("--expose"), "{refused}");
    folder.refused(&["socks", "localhost:1", "--listen", "here"], 2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(folder.refused(&["socks", "localhost:1", "--listen", &port], 5).contains("--listen 0"));
    folder.refused(&["socks", "localhost:1", "--listen", "0", "--carrier", "tcp"], 5);
}
