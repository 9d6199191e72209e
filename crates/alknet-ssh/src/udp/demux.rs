//! The carrier's datagrams, each handed to its association.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alknet_core::{Connection, ConnectionError, SendStream};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::frame::{FrameError, decode_datagram};
use crate::socks::Target;

/// Hands datagrams on, until the association ends.
pub(super) type Intake = mpsc::Sender<(Target, Bytes)>;

/// The associations of one connection, by number.
#[derive(Default)]
pub(super) struct Demux(Mutex<HashMap<u32, Intake>>);

/// An association's entry; dropping it takes the entry out.
pub(super) struct Entry {
    demux: Arc<Demux>,
    number: u32,
}

/// The number of an association in datagrams: its stream's number among those that the client opened (RFC 9000, 2.1).
pub(super) fn number_of(stream: &SendStream) -> u32 {
    // A connection that lives to open 2^32 streams counts on from the beginning.
    (stream.id() >> 2) as u32
}

impl Demux {
    fn intakes(&self) -> MutexGuard<'_, HashMap<u32, Intake>> {
        // A map of queues stays whole whoever panicked while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an association.
    pub(super) fn enter(self: &Arc<Self>, number: u32, intake: Intake) -> Entry {
        self.intakes().insert(number, intake);
        Entry { demux: self.clone(), number }
    }

    /// Hands on what arrives, until the peer sends something that is no datagram of ours. Where there is no association, or its queue is
    /// full, a datagram is lost, as datagrams are. A connection that is over, or a carrier without datagrams, has no more to hand on.
    pub(super) async fn run(&self, connection: &Connection) -> FrameError {
        loop {
            let datagram = match connection.recv_datagram().await {
                Ok(datagram) => datagram,
                Err(ConnectionError::Unsupported { .. } | ConnectionError::Closed(_)) => std::future::pending().await,
            };
            let (number, target, payload) = match decode_datagram(datagram) {
                Ok(decoded) => decoded,
                Err(error) => return error,
            };
            if let Some(intake) = self.intakes().get(&number) {
                let _lost_if_full = intake.try_send((target, payload));
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.demux.intakes().remove(&self.number);
    }
}
