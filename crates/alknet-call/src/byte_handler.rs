//! `alknet/bytes` as a service: a ticket, then bytes that end in their hash.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use alknet_core::{
    Caller, Identity, Offence, Peer, PeerAddr, RecvStream, ServeError, SessionKind, Sessions, Stream, StreamHandler,
};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::{
    Authenticator, ByteSource, ByteTickets, CallError, TicketId,
    envelope::ErrorPayload,
    limits::{
        BYTES_CHUNK_BYTES, BYTES_PACE_INTERVAL, BYTES_STALL_TIMEOUT, DELIVERY_TIMEOUT, LEAST_PACE_BYTES,
        LOCAL_BYTES_CHUNK_BYTES, TICKET_TIMEOUT,
    },
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

    async fn transfer(&self, identity: &Identity, stream: &mut Stream, at_once: usize) -> Result<(), TransferError> {
        let mut id = [0; 16];
        within(TICKET_TIMEOUT, stream.recv.read_exact(&mut id)).await?;
        match self.tickets.redeem(TicketId(id), identity, Instant::now()).ok_or(TransferError::Ticket)? {
            Transfer::Download(source) => send(source, stream, at_once).await,
            Transfer::Upload(upload) => receive(upload, stream, at_once).await,
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
        let at_once = match caller.addr {
            PeerAddr::LocalOwner { .. } => LOCAL_BYTES_CHUNK_BYTES,
            _ => BYTES_CHUNK_BYTES,
        };
        let session = self.sessions.register(&caller, SessionKind::Handle);
        let outcome = tokio::select! {
            outcome = self.transfer(&identity, &mut stream, at_once) => outcome,
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

/// The caller has ended its direction after the ticket; then it gets the bytes and their hash. The next bytes are read while those
/// before them leave.
async fn send(source: ByteSource, stream: &mut Stream, at_once: usize) -> Result<(), TransferError> {
    if within(TICKET_TIMEOUT, stream.recv.read(&mut [0])).await? != 0 {
        return Err(TransferError::WrongDirection);
    }
    let ByteSource { mut reader, size, hash: said, proves_itself } = source;
    let mut hasher = (!proves_itself || said.is_none()).then(blake3::Hasher::new);
    let (mut leaving, mut next, mut sent) = (BytesMut::new(), BytesMut::new(), 0_u64);
    loop {
        next.clear();
        let write = async {
            if leaving.is_empty() {
                return Ok(());
            }
            within(BYTES_STALL_TIMEOUT, stream.send.write_all(&leaving)).await.map_err(TransferError::Stream)
        };
        let read = async {
            next.reserve(at_once);
            (&mut reader).take(at_once as u64).read_buf(&mut next).await.map_err(TransferError::Source)
        };
        tokio::try_join!(read, write)?;
        if next.is_empty() {
            break;
        }
        sent += next.len() as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(&next);
        }
        std::mem::swap(&mut leaving, &mut next);
    }
    let made = hasher.map(|hasher| *hasher.finalize().as_bytes());
    let hash = match (made, said) {
        (Some(made), Some(said)) if made != said => return Err(TransferError::SourceChanged),
        (Some(hash), _) | (None, Some(hash)) => hash,
        (None, None) => return Err(TransferError::SourceChanged),
    };
    if size.is_some_and(|size| size != sent) {
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
async fn receive(upload: Upload, stream: &mut Stream, at_once: usize) -> Result<(), TransferError> {
    let outcome = store(upload, stream, at_once).await?;
    let mut frame = BytesMut::new();
    let answer = match &outcome {
        Ok(output) => json!({ "output": output }),
        Err(error) => json!({ "error": ErrorPayload::from(error) }),
    };
    encode_frame(&answer, &mut frame).map_err(|error| TransferError::Source(io::Error::other(error)))?;
    within(BYTES_STALL_TIMEOUT, stream.send.write_all(&frame)).await?;
    finish(stream).await
}

/// What came is stored while more is read.
async fn store(upload: Upload, stream: &mut Stream, at_once: usize) -> Result<Result<Value, CallError>, TransferError> {
    let Upload { mut sink, max_bytes } = upload;
    let mut trailed = if sink.hashes_itself() { TrailedBytes::unhashed() } else { TrailedBytes::default() };
    let (mut has_ended, mut pace) = (false, Pace::default());
    while !has_ended || trailed.waiting() > 0 {
        let content = trailed.content();
        if trailed.size() > max_bytes {
            let words = format!("at most {max_bytes} bytes are taken");
            return Ok(Err(CallError::invalid_input("", words)));
        }
        let mut is_stored = content.is_empty();
        let mut storing = pin!(async { if content.is_empty() { Ok(()) } else { sink.write(content).await } });
        // As long as it takes to store, and at least something where nothing waits.
        while !is_stored || (!has_ended && trailed.waiting() == 0) {
            let (begin, waits_for_sender) = (Instant::now(), is_stored);
            tokio::select! {
                stored = &mut storing, if !is_stored => match stored {
                    Ok(()) => is_stored = true,
                    Err(error) => return Ok(Err(error)),
                },
                read = read_some(&mut stream.recv, &mut trailed, at_once), if !has_ended && trailed.waiting() < at_once => match read {
                    Ok(read) => (has_ended, pace.came) = (read == 0, pace.came.saturating_add(read)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        let words = format!("nothing came for {} s", BYTES_STALL_TIMEOUT.as_secs());
                        return Ok(Err(CallError::unavailable(words)));
                    }
                    Err(error) => return Err(error.into()),
                },
            }
            if waits_for_sender && pace.is_too_slow(begin.elapsed()) && !has_ended {
                let (least, waited) = (LEAST_PACE_BYTES / 1024, BYTES_PACE_INTERVAL.as_secs());
                return Ok(Err(CallError::unavailable(format!("less than {least} KiB came in {waited} s"))));
            }
        }
    }
    match trailed.finish() {
        Ok(hash) => Ok(sink.commit(trailed.size(), hash).await),
        Err(error) => Ok(Err(CallError::invalid_input("", error.to_string()))),
    }
}

/// How much came in the time that was spent waiting for it. Storing is not held against the sender.
#[derive(Default)]
struct Pace {
    came: usize,
    waited: Duration,
}

impl Pace {
    fn is_too_slow(&mut self, waited: Duration) -> bool {
        self.waited += waited;
        if self.waited < BYTES_PACE_INTERVAL {
            return false;
        }
        std::mem::take(self).came < LEAST_PACE_BYTES
    }
}

async fn read_some(from: &mut RecvStream, trailed: &mut TrailedBytes, at_once: usize) -> io::Result<usize> {
    trailed.buffer().reserve(at_once);
    within(BYTES_STALL_TIMEOUT, from.read_buf(trailed.buffer())).await
}
