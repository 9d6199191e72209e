//! `/iroh-bytes/4` as a service: each stream is a request.

use std::{fmt, io, sync::Arc};

use alknet_core::{
    Alpn, Caller, Credential, IdentityProvider, Offence, Peer, RecvStream, SendStream, ServeError, SessionKind,
    Sessions, Stream, StreamHandler,
};
use alknet_fs::FileSystem;
use iroh::endpoint::VarInt;
use iroh_blobs::{
    api::Store,
    protocol::{ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION, GetManyRequest, GetRequest, Request},
    provider::{StreamPair, events::EventSender, handle_get, handle_get_many},
    store::mem::MemStore,
};
use irpc::LocalSender;
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

use crate::{
    limits::{DELIVERY_TIMEOUT, MAX_CHILDREN, MAX_HASHES, REQUEST_TIMEOUT, STALL_TIMEOUT},
    places::Places,
    provider::Holdings,
    streams::{Incoming, Outgoing, within},
};

/// The protocol of iroh-blobs.
pub const BLOBS: Alpn = Alpn::from_static(iroh_blobs::ALPN);

/// Gives content away by its hash, to those for whom it exists.
pub struct BlobsHandler {
    files: FileSystem,
    identities: Arc<dyn IdentityProvider>,
    sessions: Sessions,
    places: Places,
}

impl BlobsHandler {
    /// Serves from these files.
    pub fn new(files: FileSystem, identities: Arc<dyn IdentityProvider>, sessions: Sessions) -> Self {
        Self { files, identities, sessions, places: Places::default() }
    }

    fn caller(&self, peer: &Peer) -> Caller {
        let proven = Credential::of_peer(peer);
        Caller {
            identity: proven.as_ref().and_then(|credential| self.identities.identify(credential)),
            credential: proven.as_ref().map(Credential::label),
            addr: peer.addr,
        }
    }

    async fn transfer(&self, caller: &Caller, mut send: SendStream, recv: RecvStream) -> Result<(), TransferError> {
        // For a stranger no hash exists, and what he sends is not read.
        let id = caller.id().ok_or_else(|| TransferError::refused(&mut send, ERR_INTERNAL))?;
        // First a place: what one identity's requests take of memory is bounded with them.
        let _place = self.places.enter(id).await;
        let mut incoming = Incoming(recv);
        let (request, _) =
            within(REQUEST_TIMEOUT, Request::read_async(&mut incoming)).await.map_err(TransferError::Request)?;
        let asked = Asked::of(request).map_err(|code| TransferError::refused(&mut send, code))?;
        let (questions, answering) = mpsc::channel(1);
        // `MemStore` is but the name under which iroh-blobs lets a store come from outside: it holds nothing.
        let store = Store::from(MemStore::from_sender(LocalSender::from(questions).into()));
        let pair = StreamPair::new(0, incoming, Outgoing(&mut send), EventSender::DEFAULT);
        let holdings = Holdings::new(self.files.clone(), caller.clone());
        tokio::select! {
            ended = asked.serve(pair, store) => ended.map_err(|error| TransferError::Ended(error.to_string()))?,
            () = holdings.answer(answering) => {}
        }
        within(STALL_TIMEOUT, send.shutdown()).await.map_err(TransferError::Stream)?;
        // Delivered, refused or late: there is nothing more to do for it.
        let _ = timeout(DELIVERY_TIMEOUT, send.stopped()).await;
        Ok(())
    }
}

impl StreamHandler for BlobsHandler {
    async fn serve_stream(&self, peer: &Arc<Peer>, stream: Stream) -> Result<(), ServeError> {
        let caller = self.caller(peer);
        let session = self.sessions.register(&caller, SessionKind::Handle);
        let Stream { send, recv } = stream;
        tokio::select! {
            ended = self.transfer(&caller, send, recv) => Ok(ended?),
            // Dropping the stream resets it.
            () = session.token().cancelled() => Ok(()),
        }
    }
}

/// A request that is served.
enum Asked {
    One(GetRequest),
    Many(GetManyRequest),
}

impl Asked {
    /// Takes requests to get, and has a code for the others.
    fn of(request: Request) -> Result<Self, VarInt> {
        match request {
            // The provider goes through all that is left out, one by one and without a pause: nobody skips to the end of numbers.
            Request::Get(request) if request.ranges.iter().nth(MAX_CHILDREN).is_none() => Ok(Self::One(request)),
            Request::Get(_) => Err(ERR_LIMIT),
            Request::GetMany(request) if request.hashes.len() <= MAX_HASHES => Ok(Self::Many(request)),
            Request::GetMany(_) => Err(ERR_LIMIT),
            _ => Err(ERR_PERMISSION),
        }
    }

    async fn serve(self, pair: StreamPair<Incoming, Outgoing<'_>>, store: Store) -> Result<(), impl fmt::Display> {
        match self {
            Self::One(request) => handle_get(pair, store, request).await,
            Self::Many(request) => handle_get_many(pair, store, request).await,
        }
    }
}

/// Why a request was not served to its end.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error("no request: {0}")]
    Request(#[source] io::Error),
    #[error("refused with code {0}")]
    Refused(VarInt),
    #[error("{0}")]
    Ended(String),
    #[error("the stream: {0}")]
    Stream(#[source] io::Error),
}

impl TransferError {
    /// Says no to the peer, in the protocol's codes.
    fn refused(send: &mut SendStream, code: VarInt) -> Self {
        send.reset(code.into_inner());
        Self::Refused(code)
    }
}

impl From<TransferError> for ServeError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Request(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                Self::offence(Offence::BadFrame, cause)
            }
            other => Self::Lost(other.into()),
        }
    }
}
