//! Byte tickets: what an operation hands out so that bytes can go beside its input and output.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alknet_core::{BoxFuture, Caller, Identity};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::AsyncRead,
    time::{Instant, sleep_until},
};

use crate::{
    CallError,
    limits::{BYTE_TICKET_LIFETIME, MAX_TICKETS, MAX_TICKETS_PER_IDENTITY},
};

/// The secret number of a ticket: 16 random bytes, 32 hex digits as text. Not shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketId(pub(crate) [u8; 16]);

/// A text that is no ticket.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a byte ticket is 32 hex digits")]
pub struct InvalidTicketId;

impl FromStr for TicketId {
    type Err = InvalidTicketId;
    fn from_str(text: &str) -> Result<Self, InvalidTicketId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidTicketId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidTicketId)
    }
}

impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketId(…)")
    }
}

/// What an operation that moves bytes gives: which stream to open on `alknet/bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByteTicket {
    /// 32 hex digits: good once, for 30 s, for this caller.
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub stream: String,
    /// How many bytes there are, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// BLAKE3 of the bytes in hex, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// From which byte of the whole on the bytes are wanted or come; absent: from the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl ByteTicket {
    /// The same for the rest of something whose first bytes are there already: an upload that goes on.
    pub const fn starting_at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

/// Bytes to be downloaded.
pub struct ByteSource {
    /// Where they are read from.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// How many, where that is known; a source of another length resets the stream.
    pub size: Option<u64>,
    /// Their BLAKE3, where that is known; a source of another hash resets the stream.
    pub hash: Option<[u8; 32]>,
    /// Whether the reader fails rather than give bytes of another hash than `hash`: then they are not hashed once more.
    pub proves_itself: bool,
}

impl ByteSource {
    /// Bytes of unknown number from a reader.
    pub fn new(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self { reader: Box::new(reader), size: None, hash: None, proves_itself: false }
    }
}

/// Where uploaded bytes go. Dropping it before [`Self::commit`] takes everything back.
pub trait UploadSink: Send + 'static {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), CallError>>;
    /// Whether it hashes what is written itself. Then nobody else does, and [`Self::commit`] must refuse bytes of another hash.
    fn hashes_itself(&self) -> bool {
        false
    }
    /// Keeps what was written; gives the answer of the upload. The length was verified, and so was the BLAKE3 unless the sink hashes
    /// itself: then it is what the sender says.
    fn commit(self: Box<Self>, size: u64, hash: [u8; 32]) -> BoxFuture<'static, Result<Value, CallError>>;
}

/// An upload that may come.
pub(crate) struct Upload {
    pub(crate) sink: Box<dyn UploadSink>,
    pub(crate) max_bytes: u64,
}

/// What a ticket is good for.
pub(crate) enum Transfer {
    Download(ByteSource),
    Upload(Upload),
}

struct Entry {
    identity: Arc<Identity>,
    transfer: Transfer,
    expires: Instant,
}

/// The tickets that wait to be used. Clones share them.
#[derive(Clone, Default)]
pub struct ByteTickets(Arc<Mutex<HashMap<TicketId, Entry>>>);

impl ByteTickets {
    /// A ticket with which `caller` downloads `source`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for the anonymous, `OVERLOADED` when too many wait. Must run within a Tokio runtime.
    pub fn issue_download(&self, caller: &Caller, source: ByteSource) -> Result<ByteTicket, CallError> {
        let (size, hash) = (source.size, source.hash.map(|hash| HEXLOWER.encode(&hash)));
        let stream = self.issue(caller, Transfer::Download(source))?;
        Ok(ByteTicket { stream, size, hash, offset: None })
    }

    /// A ticket with which `caller` uploads at most `max_bytes` into `sink`.
    ///
    /// # Errors
    /// As [`Self::issue_download`].
    pub fn issue_upload(
        &self,
        caller: &Caller,
        sink: impl UploadSink,
        max_bytes: u64,
    ) -> Result<ByteTicket, CallError> {
        let stream = self.issue(caller, Transfer::Upload(Upload { sink: Box::new(sink), max_bytes }))?;
        Ok(ByteTicket { stream, size: None, hash: None, offset: None })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<TicketId, Entry>> {
        // A map of tickets stays whole whoever panicked while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self, caller: &Caller, transfer: Transfer) -> Result<String, CallError> {
        let refused = || CallError::unauthenticated("byte streams need a known identity");
        let identity = caller.identity.clone().ok_or_else(refused)?;
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(CallError::internal)?;
        let (id, expires) = (TicketId(bytes), Instant::now() + BYTE_TICKET_LIFETIME);
        let mut waiting = self.waiting();
        let of_same = waiting.values().filter(|entry| entry.identity.id() == identity.id()).count();
        if waiting.len() >= MAX_TICKETS || of_same >= MAX_TICKETS_PER_IDENTITY {
            return Err(CallError::overloaded("too many byte tickets wait to be used"));
        }
        waiting.insert(id, Entry { identity, transfer, expires });
        drop(waiting);
        self.expire(id, expires);
        Ok(HEXLOWER.encode(&bytes))
    }

    /// Frees what an unused ticket holds, in time.
    fn expire(&self, id: TicketId, at: Instant) {
        let waiting = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            sleep_until(at).await;
            if let Some(waiting) = waiting.upgrade() {
                Self(waiting).waiting().remove(&id);
            }
        });
    }

    /// Uses a ticket up, if it is this identity's, in time, and the rights it was given under still stand.
    pub(crate) fn redeem(&self, id: TicketId, identity: &Identity, now: Instant) -> Option<Transfer> {
        let mut waiting = self.waiting();
        if waiting.get(&id)?.identity.id() != identity.id() {
            return None;
        }
        let entry = waiting.remove(&id)?;
        let good = entry.expires > now && entry.identity.standing().is_current();
        good.then_some(entry.transfer)
    }

    /// How many wait.
    pub fn outstanding(&self) -> usize {
        self.waiting().len()
    }
}

impl fmt::Debug for ByteTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteTickets({} waiting)", self.outstanding())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use alknet_core::{PeerAddr, Standing};

    use super::*;
    use crate::ErrorCode;

    fn caller(name: &str) -> Caller {
        Caller {
            identity: Some(Arc::new(Identity::owner(name))),
            credential: None,
            addr: PeerAddr::LocalOwner { pid: 1 },
        }
    }

    fn issue(tickets: &ByteTickets, caller: &Caller) -> Result<TicketId, CallError> {
        let ticket = tickets.issue_download(caller, ByteSource::new(&b"x"[..]))?;
        Ok(ticket.stream.parse().unwrap())
    }

    // CALL-32: once, within 30 s, by the same identity while its rights stand.
    #[tokio::test]
    async fn a_ticket_is_good_once_in_time_for_its_identity() {
        let (tickets, alice) = (ByteTickets::default(), caller("alice"));
        let now = Instant::now();
        let late = now + BYTE_TICKET_LIFETIME + Duration::from_secs(1);
        let id = issue(&tickets, &alice).unwrap();
        assert!(tickets.redeem(id, &Identity::owner("bob"), now).is_none());
        assert!(tickets.redeem(id, &Identity::owner("alice"), now).is_some(), "a stranger's try costs alice nothing");
        assert!(tickets.redeem(id, &Identity::owner("alice"), now).is_none(), "used");
        let id = issue(&tickets, &alice).unwrap();
        assert!(tickets.redeem(id, &Identity::owner("alice"), late).is_none(), "late");
        let counter = Arc::new(AtomicU64::new(0));
        let revoked = Identity::owner("carol").with_standing(Standing::at_present(&counter));
        let carol = Caller { identity: Some(Arc::new(revoked)), ..alice.clone() };
        let id = issue(&tickets, &carol).unwrap();
        counter.fetch_add(1, Ordering::AcqRel);
        assert!(tickets.redeem(id, &Identity::owner("carol"), now).is_none(), "revoked");
        assert_eq!(tickets.outstanding(), 0);
    }

    // CALL-33
    #[tokio::test]
    async fn waiting_tickets_are_bounded_for_one_and_for_all() {
        let tickets = ByteTickets::default();
        for _ in 0..MAX_TICKETS_PER_IDENTITY {
            issue(&tickets, &caller("alice")).unwrap();
        }
        assert_eq!(issue(&tickets, &caller("alice")).unwrap_err().code, ErrorCode::Overloaded);
        for name in 1..MAX_TICKETS / MAX_TICKETS_PER_IDENTITY {
            for _ in 0..MAX_TICKETS_PER_IDENTITY {
                issue(&tickets, &caller(&name.to_string())).unwrap();
            }
        }
        assert_eq!(issue(&tickets, &caller("last")).unwrap_err().code, ErrorCode::Overloaded);
        let nobody = Caller { identity: None, ..caller("x") };
        assert_eq!(issue(&tickets, &nobody).unwrap_err().code, ErrorCode::Unauthenticated);
    }

    #[test]
    fn other_texts_are_no_ticket() {
        let good = "00ff".repeat(8);
        assert_eq!(good.parse::<TicketId>().map(|id| id.0[1]), Ok(0xff));
        for bad in ["", &good[1..], &format!("{good}00"), &good.to_uppercase(), &"zz".repeat(16), "ä"] {
            assert_eq!(bad.parse::<TicketId>(), Err(InvalidTicketId), "{bad}");
        }
        assert!(!format!("{:?}", good.parse::<TicketId>()).contains("ff"));
    }
}
