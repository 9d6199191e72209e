//! Streams through `-L`, and connections through a local SOCKS5 proxy.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alknet_testkit::measure::{Bar, Comparison, Figure};

use crate::{
    bulk::CIPHERS,
    client::{Key, Server, ssh},
    node::{Node, alknet, stop},
    sshd::{Sshd, free_port},
};

const RUNS: usize = 5;
const MIB: usize = 512;
const CHUNK: usize = 256 * 1024;
/// Connections of one run through the proxy, and how many are made at a time.
const CONNECTS: usize = 6000;
const AT_A_TIME: usize = 32;

pub fn run(folder: &Path, key: &Key, node: &Node<'_>, sshd: &Sshd<'_>) {
    for cipher in CIPHERS {
        let option = format!("Ciphers={cipher}");
        let (through_ours, through_theirs) = (Forward::open(key, node, &option), Forward::open(key, sshd, &option));
        for (way, name) in [(Way::Up, "up"), (Way::Down, "down")] {
            let (mut ours, mut peer) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                ours.push(through_ours.rate(way));
                peer.push(through_theirs.rate(way));
            }
            let name = format!("-L {MIB} MiB {name}, {}", cipher.split('@').next().unwrap_or(cipher));
            println!("{}", Comparison { name: &name, unit: "MiB/s", ours: &ours, peer: &peer, bar: Bar::AtLeast(1.0) });
        }
    }
    socks(folder, key, node, sshd);
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// Takes all that comes, or sends [`MIB`], as the first byte of a connection says.
fn target() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let (mut wanted, mut buffer) = ([0], vec![0; CHUNK]);
                if stream.read_exact(&mut wanted).is_err() {
                    return;
                }
                if wanted[0] == b'd' {
                    for _ in 0..(MIB << 20) / CHUNK {
                        stream.write_all(&buffer).unwrap();
                    }
                    return;
                }
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                // Everything has been taken.
                let _ = stream.write_all(b"k");
            });
        }
    });
    addr
}

/// A stock client that forwards a local port to the target.
struct Forward {
    client: Child,
    port: u16,
}

impl Forward {
    fn open(key: &Key, server: &impl Server, cipher: &str) -> Self {
        let (port, target) = (free_port(), target());
        let mut client = ssh(key, server, &[cipher, "ExitOnForwardFailure=yes"]);
        // Options may follow the host.
        client.args(["-N", "-L", &format!("127.0.0.1:{port}:{target}")]);
        let forward = Self { client: client.spawn().unwrap(), port };
        patiently("the forward listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        forward
    }

    /// MiB in a second.
    fn rate(&self, way: Way) -> f64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut buffer = vec![0; CHUNK];
        let begun = Instant::now();
        match way {
            Way::Up => {
                stream.write_all(b"u").unwrap();
                for _ in 0..(MIB << 20) / CHUNK {
                    stream.write_all(&buffer).unwrap();
                }
                stream.shutdown(Shutdown::Write).unwrap();
                stream.read_exact(&mut buffer[..1]).unwrap();
            }
            Way::Down => {
                stream.write_all(b"d").unwrap();
                let mut taken = 0;
                while taken < MIB << 20 {
                    let count = stream.read(&mut buffer).unwrap();
                    assert!(count > 0, "the stream ended after {taken} bytes");
                    taken += count;
                }
            }
        }
        MIB as f64 / begun.elapsed().as_secs_f64()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        stop(&mut self.client);
    }
}

/// Connections a second through our proxy at a node, and through a stock client's at OpenSSH.
fn socks(folder: &Path, key: &Key, node: &Node<'_>, sshd: &Sshd<'_>) {
    let target = target();
    let mut proxy = alknet(&node.befriend(folder));
    let listen = ["--json", "socks", "box", "--listen", "127.0.0.1:0"];
    let mut proxy = proxy.args(listen).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).expect("the line that says where it listens");
    let ours: SocketAddr = said["listen"].as_str().unwrap().parse().unwrap();

    let port = free_port();
    let mut stock = ssh(key, sshd, &[]).args(["-N", "-D", &format!("127.0.0.1:{port}")]).spawn().unwrap();
    patiently("the stock proxy listens", || TcpStream::connect(("127.0.0.1", port)).ok());

    let (mut rates, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        rates.push(connects_a_second(ours, target));
        theirs.push(connects_a_second(SocketAddr::from(([127, 0, 0, 1], port)), target));
    }
    stop(&mut proxy);
    stop(&mut stock);
    println!("{}", Figure { name: "SOCKS5 connects", unit: "/s", runs: &rates, bar: Bar::AtLeast(2000.0) });
    println!("{}", Figure { name: "the same, ssh -D at OpenSSH", unit: "/s", runs: &theirs, bar: Bar::Open });
}

fn connects_a_second(proxy: SocketAddr, target: SocketAddr) -> f64 {
    let left = Arc::new(AtomicUsize::new(CONNECTS));
    let begun = Instant::now();
    let workers: Vec<_> = (0..AT_A_TIME)
        .map(|_| {
            let left = left.clone();
            thread::spawn(move || {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    connect_through(proxy, target);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    CONNECTS as f64 / begun.elapsed().as_secs_f64()
}

/// RFC 1928: no authentication, CONNECT to an IPv4 address; one byte there and one back.
fn connect_through(proxy: SocketAddr, target: SocketAddr) {
    let SocketAddr::V4(target) = target else { panic!("the target is on IPv4") };
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 10];
    stream.write_all(&[5, 1, 0]).unwrap();
    stream.read_exact(&mut answer[..2]).unwrap();
    let mut request = vec![5, 1, 0, 1];
    request.extend(target.ip().octets());
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1], 0, "the proxy refused");
    stream.write_all(b"u").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_exact(&mut answer[..1]).unwrap();
}

fn patiently<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Some(found) => return found,
            None => assert!(Instant::now() < patience, "not in time: {what}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}
