//! As much of NATS' client protocol as asking and answering needs. The server is our own child: what it sends is believed.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// What was delivered.
pub struct Message<'a> {
    pub subject: &'a str,
    pub reply: Option<&'a str>,
    pub payload: &'a [u8],
}

/// A connection that is subscribed to one subject.
#[derive(Clone)]
pub struct Link(mpsc::UnboundedSender<Bytes>);

impl Link {
    /// Connects, subscribes, and gives everything that is delivered to `take`; returns once the server knows of it.
    pub async fn subscribe(
        server: SocketAddr,
        subject: &str,
        take: impl FnMut(&Link, Message<'_>) + Send + 'static,
    ) -> Self {
        let tcp = TcpStream::connect(server).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (from, to) = tcp.into_split();
        let (leave, leaving) = mpsc::unbounded_channel();
        let link = Self(leave);
        let opening = format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        link.0.send(opening.into()).unwrap();
        let (known, mut answered) = mpsc::channel(1);
        tokio::spawn(write(to, leaving));
        tokio::spawn(read(from, link.clone(), known, take));
        answered.recv().await.unwrap();
        link
    }

    pub fn publish(&self, subject: &str, reply: Option<&str>, payload: &[u8]) {
        let head = format!("PUB {subject} {} {}\r\n", reply.unwrap_or_default(), payload.len());
        self.0.send([head.as_bytes(), payload, b"\r\n"].concat().into()).unwrap();
    }
}

/// Writes what waits in one piece, as any client does that is fast.
async fn write(mut to: OwnedWriteHalf, mut leaving: mpsc::UnboundedReceiver<Bytes>) {
    let (mut waiting, mut piece) = (Vec::new(), BytesMut::new());
    while leaving.recv_many(&mut waiting, 256).await > 0 {
        waiting.drain(..).for_each(|bytes| piece.extend_from_slice(&bytes));
        to.write_all(&piece).await.unwrap();
        piece.clear();
    }
}

async fn read(mut from: OwnedReadHalf, link: Link, known: mpsc::Sender<()>, mut take: impl FnMut(&Link, Message<'_>)) {
    let mut arrived = BytesMut::with_capacity(64 * 1024);
    while from.read_buf(&mut arrived).await.unwrap() > 0 {
        while let Some((line, length)) = Line::first_of(&arrived) {
            match line {
                Line::Message(message) => take(&link, message),
                Line::Ping => link.0.send(Bytes::from_static(b"PONG\r\n")).unwrap(),
                // Only the first is waited for.
                Line::Pong => drop(known.try_send(())),
                Line::Other(line) => assert!(!line.starts_with("-ERR"), "{line}"),
            }
            arrived.advance(length);
        }
        arrived.reserve(16 * 1024);
    }
}

enum Line<'a> {
    Message(Message<'a>),
    Ping,
    Pong,
    Other(&'a str),
}

impl<'a> Line<'a> {
    /// The first line and its length, with what follows it, once all of it arrived.
    fn first_of(arrived: &'a [u8]) -> Option<(Self, usize)> {
        let end = arrived.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&arrived[..end]).unwrap();
        let mut words = line.split(' ');
        match words.next() {
            Some("MSG") => {
                let (subject, last) = (words.next().unwrap(), words.next_back().unwrap());
                let (begin, reply) = (end + 2, words.nth(1));
                let after = begin + last.parse::<usize>().unwrap();
                let payload = arrived.get(begin..after).filter(|_| arrived.len() >= after + 2)?;
                Some((Self::Message(Message { subject, reply, payload }), after + 2))
            }
            Some("PING") => Some((Self::Ping, end + 2)),
            Some("PONG") => Some((Self::Pong, end + 2)),
            _ => Some((Self::Other(line), end + 2)),
        }
    }
}
