//! The caller's side of `alknet/bytes`.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use alknet_core::{Carrier, Connection, ConnectionError, Stream};
use bytes::BytesMut;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::{
    ByteTicket, CallError, TicketId,
    envelope::{decode_error, present},
    limits::{
        BYTES_CHUNK_BYTES, BYTES_STALL_TIMEOUT, LOCAL_BYTES_CHUNK_BYTES, MAX_UPLOAD_ANSWER_BYTES, UPLOAD_ANSWER_TIMEOUT,
    },
    scan::scan_json,
    trailer::TrailedBytes,
    wire::FrameDecoder,
};

/// What a download brought, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// How many bytes.
    pub size: u64,
    /// Their BLAKE3.
    pub hash: [u8; 32],
}

/// Why bytes were not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The caller's own reader or writer failed; the callee has nothing to do with it.
    #[error(transparent)]
    Own(io::Error),
    /// The callee refused, the ticket was not accepted, the transfer was cut, or the bytes are not what they claim to be.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Fetches the bytes of a ticket over a connection for `alknet/bytes`. What was written counts only once this gives `Ok`.
///
/// # Errors
/// `UNAVAILABLE` when the ticket is not accepted, the transfer is cut, or the bytes are not what they claim to be; `Own` when
/// `writer` fails.
pub async fn download(
    connection: &Connection,
    ticket: &ByteTicket,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<Downloaded, TransferError> {
    let mut stream = open(connection, ticket).await?;
    stream.send.shutdown().await.map_err(lost)?;
    let (mut trailed, at_once) = (TrailedBytes::default(), at_once(connection));
    let mut slowest = Duration::ZERO;
    // A callee does not wait for ever for somebody who takes nothing.
    let cut = |error: io::Error, slowest: Duration| {
        if slowest < BYTES_STALL_TIMEOUT {
            return lost(error);
        }
        let (took, waits) = (slowest.as_secs(), BYTES_STALL_TIMEOUT.as_secs());
        lost(format_args!("nothing was taken for {took} s, and the node waits for {waits} s"))
    };
    loop {
        let content = trailed.content();
        let begin = Instant::now();
        trailed.buffer().reserve(at_once);
        // The next bytes come while those before them are written.
        let write = async { writer.write_all(&content).await.map_err(TransferError::Own).map(|()| begin.elapsed()) };
        let read = async { Ok(within(stream.recv.read_buf(trailed.buffer()), "nothing came").await) };
        let (took, read) = tokio::try_join!(write, read)?;
        slowest = slowest.max(took);
        if read.map_err(|error| cut(error, slowest))? == 0 {
            break;
        }
    }
    let rest = trailed.content();
    writer.write_all(&rest).await.map_err(TransferError::Own)?;
    if let Some(size) = ticket.size.filter(|size| trailed.size() < *size) {
        return Err(lost(format_args!("it ended after {} of {size} bytes", trailed.size())).into());
    }
    let hash = trailed.finish().map_err(lost)?;
    writer.flush().await.map_err(TransferError::Own)?;
    let size_differs = ticket.size.is_some_and(|size| size != trailed.size());
    let hash_differs = ticket.hash.as_ref().is_some_and(|said| *said != HEXLOWER.encode(&hash));
    if size_differs || hash_differs {
        return Err(CallError::unavailable("the bytes are not those that the ticket names").into());
    }
    Ok(Downloaded { size: trailed.size(), hash })
}

/// Sends `reader`'s bytes for a ticket over a connection for `alknet/bytes`; gives what the callee answers once it kept them. With `hash`
/// they are not hashed here: where they have another one, the callee keeps nothing.
///
/// # Errors
/// What the callee answers; `UNAVAILABLE` when the ticket is not accepted, the transfer is cut, or the callee takes nothing or does not
/// answer; `Own` when `reader` fails, and then the callee keeps nothing.
pub async fn upload(
    connection: &Connection,
    ticket: &ByteTicket,
    reader: &mut (impl AsyncRead + Unpin),
    hash: Option<[u8; 32]>,
) -> Result<Value, TransferError> {
    let mut stream = open(connection, ticket).await?;
    match send(&mut stream, reader, hash, at_once(connection)).await {
        Ok(()) => Ok(answer(&mut stream).await?),
        Err(SendError::Stream(error)) if error.kind() == io::ErrorKind::TimedOut => {
            stream.abort(0);
            Err(lost(error).into())
        }
        // A callee that refuses early says why before it stops reading.
        Err(SendError::Stream(error)) => Ok(answer(&mut stream).await.map_err(|later| match later.code {
            crate::ErrorCode::Unavailable if later.message.starts_with(LOST) => lost(error),
            _ => later,
        })?),
        Err(SendError::Reader(error)) => {
            stream.abort(0);
            Err(TransferError::Own(error))
        }
    }
}

fn at_once(connection: &Connection) -> usize {
    if connection.carrier() == Carrier::Local { LOCAL_BYTES_CHUNK_BYTES } else { BYTES_CHUNK_BYTES }
}

enum SendError {
    Reader(io::Error),
    Stream(io::Error),
}

/// The next bytes are read while those before them leave.
async fn send(
    stream: &mut Stream,
    reader: &mut (impl AsyncRead + Unpin),
    hash: Option<[u8; 32]>,
    at_once: usize,
) -> Result<(), SendError> {
    let mut hasher = hash.is_none().then(blake3::Hasher::new);
    let (mut leaving, mut next) = (BytesMut::new(), BytesMut::new());
    loop {
        next.clear();
        next.reserve(at_once);
        let read = async { (&mut *reader).take(at_once as u64).read_buf(&mut next).await.map_err(SendError::Reader) };
        let write = async { leave(&mut stream.send, &leaving).await.map_err(SendError::Stream) };
        tokio::try_join!(write, read)?;
        if next.is_empty() {
            break;
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&next);
        }
        std::mem::swap(&mut leaving, &mut next);
    }
    let made = hasher.map(|hasher| *hasher.finalize().as_bytes());
    let hash = hash.or(made).unwrap_or_default();
    leave(&mut stream.send, &hash).await.map_err(SendError::Stream)?;
    within(stream.send.shutdown(), TAKEN).await.map_err(SendError::Stream)
}

/// What is said of a callee that takes nothing.
const TAKEN: &str = "nothing was taken";

/// Writes all of it, to a peer that may take it slowly.
async fn leave(to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match within(to.write(bytes), TAKEN).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            taken => bytes = &bytes[taken..],
        }
    }
    Ok(())
}

/// Waits for a stream only so long; `what` says what did not happen.
async fn within<T>(io: impl Future<Output = io::Result<T>>, what: &str) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("{what} for {} s", BYTES_STALL_TIMEOUT.as_secs()));
    timeout(BYTES_STALL_TIMEOUT, io).await.map_err(late)?
}

/// Waits for the one frame that ends an upload, as long as keeping it may take.
async fn answer(stream: &mut Stream) -> Result<Value, CallError> {
    let late = |_| lost(format_args!("no answer came for {} s", UPLOAD_ANSWER_TIMEOUT.as_secs()));
    timeout(UPLOAD_ANSWER_TIMEOUT, read_answer(stream)).await.map_err(late)?
}

async fn read_answer(stream: &mut Stream) -> Result<Value, CallError> {
    let mut decoder = FrameDecoder::new(MAX_UPLOAD_ANSWER_BYTES);
    let frame = loop {
        if let Some(frame) = decoder.next_frame().map_err(lost)? {
            break frame;
        }
        decoder.buffer().reserve(1024);
        if stream.recv.read_buf(decoder.buffer()).await.map_err(lost)? == 0 {
            return Err(lost("the ticket was not accepted, or the stream was cut"));
        }
    };
    let text = std::str::from_utf8(&frame).map_err(lost)?;
    scan_json(text).map_err(lost)?;
    let answer: Answer = serde_json::from_str(text).map_err(lost)?;
    match answer {
        Answer { output: Some(output), error: None } => Ok(output),
        Answer { output: None, error: Some(error) } => Err(decode_error(error).map_err(lost)?),
        _ => Err(lost("the answer to the upload is none")),
    }
}

/// What the callee says at the end of an upload: one of the two.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    error: Option<Value>,
}

async fn open(connection: &Connection, ticket: &ByteTicket) -> Result<Stream, CallError> {
    let TicketId(id) =
        ticket.stream.parse().map_err(|error| CallError::invalid_input("/stream", format!("{error}")))?;
    let mut stream =
        connection.open_stream().await.map_err(|error: ConnectionError| CallError::unavailable(error.to_string()))?;
    stream.send.write_all(&id).await.map_err(lost)?;
    Ok(stream)
}

/// With what begins what is said of a stream that failed here.
const LOST: &str = "the byte stream failed: ";

fn lost(cause: impl std::fmt::Display) -> CallError {
    CallError::unavailable(format!("{LOST}{cause}"))
}
