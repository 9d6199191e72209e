//! Tickets and the bytes that go with them.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use alknet_call::{
    BYTES, ByteSource, ByteTicket, ByteTickets, BytesHandler, CallError, CallOptions, ErrorCode, Nothing, Operation,
    TransferError, UploadSink, download, upload,
};
use alknet_core::{BoxFuture, Carrier, Connection, Identity, Peer, PerStream, ProtocolHandler};
use alknet_testkit::{identities::peer_with_key, memory};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, sleep},
};

use crate::node::{NODE, Node, alices, anonymous, credential, soon, until};

const BOB: u8 = 5;
const CONTENT: &[u8] = b"some bytes that are worth a stream of their own";

/// What uploads left behind.
#[derive(Default)]
struct Shelf {
    kept: Mutex<Vec<Vec<u8>>>,
    dropped: AtomicUsize,
}

struct ShelfSink {
    shelf: Arc<Shelf>,
    written: Vec<u8>,
    kept: bool,
    hashes: bool,
}

impl UploadSink for ShelfSink {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), CallError>> {
        self.written.extend_from_slice(&bytes);
        let full = self.written.starts_with(b"FULL");
        Box::pin(async move { if full { Err(CallError::declared("DISK_FULL", "no room")) } else { Ok(()) } })
    }
    fn hashes_itself(&self) -> bool {
        self.hashes
    }
    fn commit(mut self: Box<Self>, size: u64, hash: [u8; 32]) -> BoxFuture<'static, Result<Value, CallError>> {
        if self.hashes && hash != *blake3::hash(&self.written).as_bytes() {
            return Box::pin(async { Err(CallError::invalid_input("", "another hash")) });
        }
        assert_eq!(hash, *blake3::hash(&self.written).as_bytes());
        self.kept = true;
        self.shelf.kept.lock().unwrap().push(std::mem::take(&mut self.written));
        Box::pin(async move { Ok(json!({ "size": size })) })
    }
}

impl Drop for ShelfSink {
    fn drop(&mut self) {
        if !self.kept {
            self.shelf.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }
}

struct Library {
    node: Node,
    tickets: ByteTickets,
    shelf: Arc<Shelf>,
}

impl Library {
    fn new() -> Self {
        let (tickets, shelf) = (ByteTickets::default(), Arc::new(Shelf::default()));
        let node = Node::with(vec![
            reading(&tickets, "shelf/read"),
            reading(&tickets, "shelf/read.proven"),
            failing(&tickets),
            writing(&tickets, &shelf, "shelf/write"),
            writing(&tickets, &shelf, "shelf/write.proven"),
        ]);
        node.identities.know(&credential(BOB), Identity::owner("bob"));
        Self { node, tickets, shelf }
    }

    fn bytes_over(&self, peer: Peer, carrier: Carrier) -> Connection {
        let (near, far) = memory::pair_over(&BYTES, peer, peer_with_key(NODE), carrier);
        let handler =
            BytesHandler::new(self.tickets.clone(), self.node.authenticator.clone(), self.node.sessions.clone());
        tokio::spawn(async move { PerStream(Arc::new(handler)).serve(far).await });
        near
    }

    fn bytes(&self, peer: Peer) -> Connection {
        self.bytes_over(peer, Carrier::Quic)
    }

    async fn ticket(&self, operation: &str) -> ByteTicket {
        let client = self.node.client(alices()).await;
        let output = client.call(operation, json!({}), CallOptions::default()).await.unwrap();
        serde_json::from_value(output).unwrap()
    }
}

fn reading(tickets: &ByteTickets, name: &'static str) -> Operation {
    let (tickets, proves_itself) = (tickets.clone(), name == "shelf/read.proven");
    Operation::query(name).access(crate::node::scoped()).byte_output().handler(move |context, _: Nothing| {
        let tickets = tickets.clone();
        async move {
            let (size, hash) = (Some(CONTENT.len() as u64), Some(*blake3::hash(CONTENT).as_bytes()));
            tickets
                .issue_download(&context.caller, ByteSource { size, hash, proves_itself, ..ByteSource::new(CONTENT) })
        }
    })
}

/// Gives some bytes, then an error.
struct Breaks(bool);

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0 {
            return Poll::Ready(Err(io::Error::other("as the test wants")));
        }
        self.0 = true;
        buf.put_slice(CONTENT);
        Poll::Ready(Ok(()))
    }
}

/// Gives an error once the ticket was used.
struct BreaksLater(ByteTickets);

impl AsyncRead for BreaksLater {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.outstanding() > 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::other("as the test wants")))
    }
}

fn failing(tickets: &ByteTickets) -> Operation {
    let tickets = tickets.clone();
    Operation::query("shelf/broken").access(crate::node::scoped()).byte_output().handler(move |context, _: Nothing| {
        let tickets = tickets.clone();
        async move { tickets.issue_download(&context.caller, ByteSource::new(Breaks(false))) }
    })
}

fn writing(tickets: &ByteTickets, shelf: &Arc<Shelf>, name: &'static str) -> Operation {
    let (tickets, shelf) = (tickets.clone(), shelf.clone());
    Operation::mutation(name).access(crate::node::scoped()).byte_input().handler(move |context, _: Nothing| {
        let (tickets, shelf) = (tickets.clone(), shelf.clone());
        async move {
            let sink = ShelfSink { shelf, written: Vec::new(), kept: false, hashes: name == "shelf/write.proven" };
            tickets.issue_upload(&context.caller, sink, 1_000_000)
        }
    })
}

// CALL-32 CALL-34 CALL-35: on carriers with many streams and with one.
#[tokio::test]
async fn bytes_go_both_ways_on_every_carrier() {
    let library = Library::new();
    for carrier in [Carrier::Quic, Carrier::Tls, Carrier::Local] {
        let ticket = library.ticket("shelf/read").await;
        assert_eq!(ticket.size, Some(CONTENT.len() as u64));
        let mut got = Vec::new();
        let verified = soon(download(&library.bytes_over(alices(), carrier), &ticket, &mut got)).await.unwrap();
        assert_eq!((got.as_slice(), verified.hash), (CONTENT, *blake3::hash(CONTENT).as_bytes()));
        for content in [vec![], vec![7], vec![8; 500_000]] {
            let ticket = library.ticket("shelf/write").await;
            let connection = library.bytes_over(alices(), carrier);
            let answer = soon(upload(&connection, &ticket, &mut content.as_slice(), None)).await.unwrap();
            assert_eq!(answer, json!({"size": content.len()}));
            assert_eq!(library.shelf.kept.lock().unwrap().pop(), Some(content));
        }
    }
}

// CALL-32
#[tokio::test]
async fn a_ticket_is_refused_twice_to_others_to_strangers_and_the_wrong_way() {
    let library = Library::new();
    let ticket = library.ticket("shelf/read").await;
    for other in [peer_with_key(BOB), anonymous(), peer_with_key(77)] {
        let refused = soon(download(&library.bytes(other), &ticket, &mut Vec::new())).await.unwrap_err();
        assert_eq!(code(refused), ErrorCode::Unavailable);
    }
    assert!(soon(download(&library.bytes(alices()), &ticket, &mut Vec::new())).await.is_ok());
    let mut got = Vec::new();
    assert!(soon(download(&library.bytes(alices()), &ticket, &mut got)).await.is_err(), "used");
    assert!(got.is_empty());
    let ticket = library.ticket("shelf/read").await;
    assert!(soon(upload(&library.bytes(alices()), &ticket, &mut &b"no"[..], None)).await.is_err());
    let ticket = library.ticket("shelf/write").await;
    assert!(soon(download(&library.bytes(alices()), &ticket, &mut Vec::new())).await.is_err());
    until(|| library.shelf.dropped.load(Ordering::Acquire) == 1).await;
    assert!(library.shelf.kept.lock().unwrap().is_empty());
    let guessed = ByteTicket { stream: "00".repeat(16), size: None, hash: None, offset: None };
    assert!(soon(download(&library.bytes(alices()), &guessed, &mut Vec::new())).await.is_err());
}

/// Opens a byte stream for a fresh upload ticket and writes these bytes after it.
async fn raw_upload(library: &Library, bytes: &[u8]) -> (Connection, alknet_core::Stream) {
    let ticket = library.ticket("shelf/write").await;
    let connection = library.bytes(alices());
    let mut stream = connection.open_stream().await.unwrap();
    stream.send.write_all(&data_encoding::HEXLOWER.decode(ticket.stream.as_bytes()).unwrap()).await.unwrap();
    until(|| library.tickets.outstanding() == 0).await;
    stream.send.write_all(bytes).await.unwrap();
    (connection, stream)
}

fn code(error: TransferError) -> ErrorCode {
    match error {
        TransferError::Call(error) => error.code,
        TransferError::Own(error) => panic!("{error}"),
    }
}

/// Takes nothing.
struct Full;

impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::StorageFull.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

// CALL-34: whoever hashes, the hash counts; and a failure of the caller's own writer is told as its own.
#[tokio::test]
async fn what_proves_itself_is_not_hashed_again_and_is_held_to_its_hash_all_the_same() {
    let library = Library::new();
    let ticket = library.ticket("shelf/read.proven").await;
    let mut got = Vec::new();
    let verified = soon(download(&library.bytes(alices()), &ticket, &mut got)).await.unwrap();
    assert_eq!((got.as_slice(), verified.hash), (CONTENT, *blake3::hash(CONTENT).as_bytes()));
    let ticket = library.ticket("shelf/read").await;
    let error = soon(download(&library.bytes(alices()), &ticket, &mut Full)).await.unwrap_err();
    assert!(matches!(error, TransferError::Own(ref own) if own.kind() == io::ErrorKind::StorageFull), "{error:?}");
    for operation in ["shelf/write", "shelf/write.proven"] {
        for (hash, kept) in [(*blake3::hash(CONTENT).as_bytes(), true), ([7; 32], false)] {
            let ticket = library.ticket(operation).await;
            let mut content = CONTENT;
            let outcome = soon(upload(&library.bytes(alices()), &ticket, &mut content, Some(hash))).await;
            assert_eq!(outcome.is_ok(), kept, "{operation}");
            assert_eq!(library.shelf.kept.lock().unwrap().pop().is_some(), kept, "{operation}");
        }
    }
}

// CALL-34: nothing is kept whose hash does not match.
#[tokio::test]
async fn an_upload_with_a_wrong_hash_is_not_kept() {
    let library = Library::new();
    let whole = [CONTENT, blake3::hash(CONTENT).as_bytes()].concat();
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    for bytes in [&wrong[..], &whole[..whole.len() - 1], &whole[1..], CONTENT, b"", b"short"] {
        let (_connection, mut stream) = raw_upload(&library, bytes).await;
        stream.send.shutdown().await.unwrap();
        let mut answer = Vec::new();
        soon(stream.recv.read_to_end(&mut answer)).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer[4..]).unwrap();
        assert_eq!(answer["error"]["code"], "INVALID_INPUT", "{}", bytes.escape_ascii());
    }
    assert!(library.shelf.kept.lock().unwrap().is_empty());
    assert_eq!(library.shelf.dropped.load(Ordering::Acquire), 6);
}

// CALL-36: a cut stream keeps nothing, whoever cut it.
#[tokio::test]
async fn a_cut_stream_keeps_nothing() {
    let library = Library::new();
    let (connection, mut stream) = raw_upload(&library, CONTENT).await;
    stream.send.reset(9);
    until(|| library.shelf.dropped.load(Ordering::Acquire) == 1).await;
    drop((connection, stream));
    let (connection, stream) = raw_upload(&library, CONTENT).await;
    drop((stream, connection));
    until(|| library.shelf.dropped.load(Ordering::Acquire) == 2).await;
    let ticket = library.ticket("shelf/write").await;
    let mut breaking = BreaksLater(library.tickets.clone());
    let error = soon(upload(&library.bytes(alices()), &ticket, &mut breaking, None)).await.unwrap_err();
    assert!(matches!(error, TransferError::Own(ref own) if own.to_string() == "as the test wants"), "{error:?}");
    until(|| library.shelf.dropped.load(Ordering::Acquire) == 3).await;
    assert!(library.shelf.kept.lock().unwrap().is_empty());
    let ticket = ByteTicket { size: Some(1000), ..library.ticket("shelf/read").await };
    let error = soon(download(&library.bytes(alices()), &ticket, &mut Vec::new())).await.unwrap_err();
    assert!(error.to_string().ends_with("it ended after 47 of 1000 bytes"), "{error}");
    let ticket = library.ticket("shelf/broken").await;
    let error = soon(download(&library.bytes(alices()), &ticket, &mut Vec::new())).await.unwrap_err();
    assert_eq!(code(error), ErrorCode::Unavailable);
}

// CALL-36: so does a peer that loses its rights.
#[tokio::test]
async fn a_transfer_ends_with_the_rights() {
    let library = Library::new();
    let (_connection, mut stream) = raw_upload(&library, CONTENT).await;
    until(|| library.node.sessions.list().iter().any(|s| s.kind == alknet_core::SessionKind::Handle)).await;
    library.node.sessions.cancel_identity("alice");
    until(|| library.shelf.dropped.load(Ordering::Acquire) == 1).await;
    assert!(!matches!(soon(stream.recv.read(&mut [0])).await, Ok(1)));
}

// CALL-35: a sink's own words reach the caller, and a bound is a bound.
#[tokio::test]
async fn a_refused_upload_says_why() {
    let library = Library::new();
    let ticket = library.ticket("shelf/write").await;
    let mut content = &b"FULL of content that is longer than thirty-two bytes"[..];
    let error = soon(upload(&library.bytes(alices()), &ticket, &mut content, None)).await.unwrap_err();
    assert_eq!(code(error).as_str(), "DISK_FULL");
    let ticket = library.ticket("shelf/write").await;
    let mut long = io::Cursor::new(vec![0; 1_000_001]);
    assert!(soon(upload(&library.bytes(alices()), &ticket, &mut long, None)).await.is_err());
    assert!(library.shelf.kept.lock().unwrap().is_empty());
}

const MINUTE: Duration = Duration::from_secs(60);

// CALL-36, CALL-61: who trickles does not hold an upload open for ever.
#[tokio::test(start_paused = true)]
async fn an_upload_of_which_too_little_comes_ends() {
    let library = Library::new();
    for (pause, words, bound) in [
        (50, "less than 64 KiB came in 300 s", 5 * MINUTE..6 * MINUTE),
        (3600, "nothing came for 60 s", MINUTE..2 * MINUTE),
    ] {
        let (_connection, mut stream) = raw_upload(&library, b"x").await;
        let (begin, mut answer) = (Instant::now(), Vec::new());
        let trickle = async {
            while stream.send.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(pause)).await;
            }
        };
        tokio::select! {
            read = stream.recv.read_to_end(&mut answer) => { read.unwrap(); }
            () = trickle => panic!("it was cut without a word"),
        }
        assert!(bound.contains(&begin.elapsed()), "{:?}", begin.elapsed());
        let answer: Value = serde_json::from_slice(&answer[4..]).unwrap();
        assert_eq!(answer["error"]["code"], "UNAVAILABLE");
        assert_eq!(answer["error"]["message"], words);
    }
    assert_eq!(library.shelf.dropped.load(Ordering::Acquire), 2);
    let (_connection, mut stream) = raw_upload(&library, b"").await;
    let content = vec![7; 40 * 16 * 1024];
    for piece in content.chunks(16 * 1024) {
        stream.send.write_all(piece).await.unwrap();
        sleep(50 * Duration::from_secs(1)).await;
    }
    stream.send.write_all(blake3::hash(&content).as_bytes()).await.unwrap();
    stream.send.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.recv.read_to_end(&mut answer).await.unwrap();
    assert_eq!(library.shelf.kept.lock().unwrap().pop().as_deref(), Some(&content[..]), "slow, and fast enough");
}

// CALL-61: nor is a caller held up by a callee that takes nothing, sends nothing, or never answers.
#[tokio::test(start_paused = true)]
async fn a_callee_that_is_silent_is_given_up() {
    let ticket = ByteTicket { stream: "00".repeat(16), size: None, hash: None, offset: None };
    let silent = || memory::pair_over(&BYTES, alices(), peer_with_key(NODE), Carrier::Quic);
    for (length, words, bound) in [
        (1_000_000, "the byte stream failed: nothing was taken for 60 s", MINUTE),
        (1_000, "the byte stream failed: no answer came for 600 s", 10 * MINUTE),
    ] {
        let ((near, _far), begin) = (silent(), Instant::now());
        let error = upload(&near, &ticket, &mut vec![0; length].as_slice(), None).await.unwrap_err();
        assert_eq!(error.to_string(), format!("UNAVAILABLE: {words}"));
        assert_eq!(begin.elapsed().as_secs(), bound.as_secs());
    }
    let ((near, _far), begin) = (silent(), Instant::now());
    let error = download(&near, &ticket, &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "UNAVAILABLE: the byte stream failed: nothing came for 60 s");
    assert_eq!(begin.elapsed().as_secs(), MINUTE.as_secs());
}
