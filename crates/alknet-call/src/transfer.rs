//! The caller's side of `alknet/bytes`.

use alknet_core::{Connection, ConnectionError, Stream};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    ByteTicket, CallError, TicketId,
    envelope::{decode_error, present},
    limits::{BYTES_CHUNK_BYTES, MAX_UPLOAD_ANSWER_BYTES},
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

/// Fetches the bytes of a ticket over a connection for `alknet/bytes`. What was written counts only once this gives `Ok`.
///
/// # Errors
/// `UNAVAILABLE` when the ticket is not accepted, the transfer is cut, or the bytes are not what they claim to be; `INTERNAL`
/// when `writer` fails.
pub async fn download(
    connection: &Connection,
    ticket: &ByteTicket,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<Downloaded, CallError> {
    let mut stream = open(connection, ticket).await?;
    stream.send.shutdown().await.map_err(lost)?;
    let mut trailed = TrailedBytes::default();
    loop {
        trailed.buffer().reserve(BYTES_CHUNK_BYTES);
        if stream.recv.read_buf(trailed.buffer()).await.map_err(lost)? == 0 {
            break;
        }
        writer.write_all(&trailed.content()).await.map_err(CallError::internal)?;
    }
    let hash = trailed.finish().map_err(lost)?;
    writer.flush().await.map_err(CallError::internal)?;
    let size_differs = ticket.size.is_some_and(|size| size != trailed.size());
    let hash_differs = ticket.hash.as_ref().is_some_and(|said| *said != HEXLOWER.encode(&hash));
    if size_differs || hash_differs {
        return Err(CallError::unavailable("the bytes are not those that the ticket names"));
    }
    Ok(Downloaded { size: trailed.size(), hash })
}

/// Sends `reader`'s bytes for a ticket over a connection for `alknet/bytes`; gives what the callee answers once it kept them.
///
/// # Errors
/// What the callee answers; `UNAVAILABLE` when the ticket is not accepted or the transfer is cut; `INTERNAL` when `reader` fails,
/// and then the callee keeps nothing.
pub async fn upload(
    connection: &Connection,
    ticket: &ByteTicket,
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Value, CallError> {
    let mut stream = open(connection, ticket).await?;
    match send(&mut stream, reader).await {
        Ok(()) => answer(&mut stream).await,
        // A callee that refuses early says why before it stops reading.
        Err(SendError::Stream(error)) => answer(&mut stream).await.map_err(|later| match later.code {
            crate::ErrorCode::Unavailable => lost(error),
            _ => later,
        }),
        Err(SendError::Reader(error)) => {
            stream.abort(0);
            Err(CallError::internal(error))
        }
    }
}

enum SendError {
    Reader(std::io::Error),
    Stream(std::io::Error),
}

async fn send(stream: &mut Stream, reader: &mut (impl AsyncRead + Unpin)) -> Result<(), SendError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; BYTES_CHUNK_BYTES];
    loop {
        let filled = reader.read(&mut chunk).await.map_err(SendError::Reader)?;
        if filled == 0 {
            break;
        }
        hasher.update(&chunk[..filled]);
        stream.send.write_all(&chunk[..filled]).await.map_err(SendError::Stream)?;
    }
    stream.send.write_all(hasher.finalize().as_bytes()).await.map_err(SendError::Stream)?;
    stream.send.shutdown().await.map_err(SendError::Stream)
}

/// Waits for the one frame that ends an upload.
async fn answer(stream: &mut Stream) -> Result<Value, CallError> {
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

fn lost(cause: impl std::fmt::Display) -> CallError {
    CallError::unavailable(format!("the byte stream failed: {cause}"))
}
