//! `alknet/bytes` as a service: a ticket, then bytes that end in their hash.

use std::{future::Future, io, sync::Arc, time::Duration};

use alknet_core::{Caller, Identity, Offence, Peer, ServeError, SessionKind, Sessions, Stream, StreamHandler};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::{
    Authenticator, ByteSource, ByteTickets, CallError, TicketId,
    envelope::ErrorPayload,
    limits::{BYTES_CHUNK_BYTES, BYTES_STALL_TIMEOUT, DELIVERY_TIMEOUT, TICKET_TIMEOUT},
    tickets::{Transfer, Upload},
    trailer::TrailedBytes,
    wire::encode_frame,
};

/// Code with which a stream is abandoned whose ticket is not accepted.
const REFUSED: u64 = 3;
/// Code with which a stream is abandoned whose bytes failed.
const FAILED: u64 = 4;

/// Serves byte streams, one ticket each.
pub struct BytesHandler {
    tickets: ByteTickets,
    authenticator: Authenticator,
    sessions: Sessions,
}

impl BytesHandler {
    /// Serves what operations put into `tickets`.
    pub fn new(tickets: ByteTickets, authenticator: Authenticator, sessions: Sessions) -> Self {
        Self { tickets, authenticator, sessions }
    }

    async fn transfer(&self, identity: &Identity, stream: &mut Stream) -> Result<(), TransferError> {
        let mut id = [0; 16];
        within(TICKET_TIMEOUT, stream.recv.read_exact(&mut id)).await?;
        match self.tickets.redeem(TicketId(id), identity, Instant::now()).ok_or(TransferError::Ticket)? {
            Transfer::Download(source) => send(source, stream).await,
            Transfer::Upload(upload) => receive(upload, stream).await,
        }
    }
}

impl StreamHandler for BytesHandler {
    async fn serve_stream(&self, peer: &Arc<Peer>, mut stream: Stream) -> Result<(), ServeError> {
        let caller: Caller = self.authenticator.of_peer(peer);
        let Some(identity) = caller.identity.clone() else {
            stream.abort(REFUSED);
            return Err(ServeError::offence(Offence::FailedAuthentication, "byte streams need a known identity"));
        };
        let session = self.sessions.register(&caller, SessionKind::Handle);
        let outcome = tokio::select! {
            outcome = self.transfer(&identity, &mut stream) => outcome,
            () = session.token().cancelled() => Err(TransferError::Revoked),
        };
        outcome.map_err(|error| {
            stream.abort(if matches!(error, TransferError::Ticket) { REFUSED } else { FAILED });
            error.into()
        })
    }
}

/// Why a byte stream was abandoned.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("the ticket is unknown, used, late, or somebody else's")]
    Ticket,
    #[error("a download is given bytes")]
    WrongDirection,
    #[error("the rights were taken away")]
    Revoked,
    #[error("the source: {0}")]
    Source(#[source] io::Error),
    #[error("the source is not what its ticket says")]
    SourceChanged,
    #[error("the stream: {0}")]
    Stream(#[from] io::Error),
}

impl From<TransferError> for ServeError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::WrongDirection => Self::offence(Offence::BadFrame, error),
            // Being late with a ticket is nothing to hold against somebody who is known.
            TransferError::Ticket | TransferError::Revoked | TransferError::Stream(_) => Self::Lost(error.into()),
            TransferError::Source(_) | TransferError::SourceChanged => Self::internal(error),
        }
    }
}

async fn within<T>(limit: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The caller has ended its direction after the ticket; then it gets the bytes and their hash.
async fn send(mut source: ByteSource, stream: &mut Stream) -> Result<(), TransferError> {
    if within(TICKET_TIMEOUT, stream.recv.read(&mut [0])).await? != 0 {
        return Err(TransferError::WrongDirection);
    }
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; BYTES_CHUNK_BYTES];
    loop {
        let filled = source.reader.read(&mut chunk).await.map_err(TransferError::Source)?;
        if filled == 0 {
            break;
        }
        hasher.update(&chunk[..filled]);
        within(BYTES_STALL_TIMEOUT, stream.send.write_all(&chunk[..filled])).await?;
    }
    let hash = *hasher.finalize().as_bytes();
    if source.size.is_some_and(|size| size != hasher.count()) || source.hash.is_some_and(|said| said != hash) {
        return Err(TransferError::SourceChanged);
    }
    within(BYTES_STALL_TIMEOUT, stream.send.write_all(&hash)).await?;
    finish(stream).await
}

/// Ends what leaves, and waits a while until it was delivered: a connection that goes away takes it along.
async fn finish(stream: &mut Stream) -> Result<(), TransferError> {
    within(BYTES_STALL_TIMEOUT, stream.send.shutdown()).await?;
    // Delivered, refused or late: there is nothing more to do for it.
    let _ = timeout(DELIVERY_TIMEOUT, stream.send.stopped()).await;
    Ok(())
}

/// The caller sends the bytes and their hash and ends its direction; then it gets one frame.
async fn receive(upload: Upload, stream: &mut Stream) -> Result<(), TransferError> {
    let outcome = store(upload, stream).await?;
    let mut frame = BytesMut::new();
    let answer = match &outcome {
        Ok(output) => json!({ "output": output }),
        Err(error) => json!({ "error": ErrorPayload::from(error) }),
    };
    encode_frame(&answer, &mut frame).map_err(|error| TransferError::Source(io::Error::other(error)))?;
    within(BYTES_STALL_TIMEOUT, stream.send.write_all(&frame)).await?;
    finish(stream).await
}

async fn store(upload: Upload, stream: &mut Stream) -> Result<Result<Value, CallError>, TransferError> {
    let Upload { mut sink, max_bytes } = upload;
    let mut trailed = TrailedBytes::default();
    loop {
        trailed.buffer().reserve(BYTES_CHUNK_BYTES);
        let read = within(BYTES_STALL_TIMEOUT, stream.recv.read_buf(trailed.buffer())).await?;
        if read == 0 {
            break;
        }
        let content = trailed.content();
        if trailed.size() > max_bytes {
            let words = format!("at most {max_bytes} bytes are taken");
            return Ok(Err(CallError::invalid_input("", words)));
        }
        if !content.is_empty()
            && let Err(error) = sink.write(&content).await
        {
            return Ok(Err(error));
        }
    }
    match trailed.finish() {
        Ok(hash) => Ok(sink.commit(trailed.size(), hash).await),
        Err(error) => Ok(Err(CallError::invalid_input("", error.to_string()))),
    }
}
