//! What forwards lead to in tests: small servers on a port or a socket's path, each connection in a thread of its own.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
};

/// A byte stream of either kind.
pub trait Wire: Read + Write + Send + 'static {
    fn end(&self) -> io::Result<()>;
}

impl Wire for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Wire for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Serves a free port of the loopback.
pub fn on_port(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Serves a unix socket.
pub fn at_path(path: &Path, serve: impl Fn(UnixStream) + Send + Clone + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
}

/// Says everything back, and the end.
pub fn echo(mut stream: impl Wire) {
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    let _ = stream.end();
}

/// Waits for the end before it says how much came.
pub fn count(mut stream: impl Wire) {
    let counted = io::copy(&mut stream, &mut io::sink()).unwrap_or_default();
    let _ = write!(stream, "{counted}");
}

/// Says something, ends its own direction, and tells the test how much comes after that.
pub fn greeter() -> (impl Fn(TcpStream) + Send + Clone + 'static, Receiver<u64>) {
    let (sender, counts) = channel();
    let serve = move |mut stream: TcpStream| {
        stream.write_all(b"hello").unwrap();
        stream.end().unwrap();
        let counted = io::copy(&mut stream, &mut io::sink()).unwrap();
        let _ = sender.send(counted);
    };
    (serve, counts)
}

/// Hands every connection to the test.
pub fn kept<S: Send + 'static>() -> (impl Fn(S) + Send + Clone + 'static, Receiver<S>) {
    let (sender, streams) = channel();
    let keep = move |stream: S| {
        let _ = sender.send(stream);
    };
    (keep, streams)
}
