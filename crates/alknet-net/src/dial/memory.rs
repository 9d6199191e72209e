//! Which carrier lost on which network, and why: remembered for a while, shown by `doctor`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alknet_core::Carrier;

use crate::limits::{CARRIER_MEMORY, MAX_REMEMBERED_CARRIERS};

/// A carrier that did not get through to an address, and is not tried first for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCarrier {
    /// This machine's own address on the network that was used.
    pub network: IpAddr,
    /// The address that was dialled.
    pub remote: SocketAddr,
    /// The carrier that lost.
    pub carrier: Carrier,
    /// Why.
    pub reason: String,
    /// In how long it is tried first again.
    pub retry_in: Duration,
}

struct Note {
    carrier: Carrier,
    reason: String,
    at: Instant,
}

/// The notes, at most one for each network and address.
#[derive(Default)]
pub(super) struct CarrierMemory(Mutex<HashMap<(IpAddr, SocketAddr), Note>>);

impl CarrierMemory {
    /// The carrier that lately lost on this way, if any.
    pub(super) fn loser(&self, way: (IpAddr, SocketAddr), now: Instant) -> Option<Carrier> {
        self.notes().get(&way).filter(|note| is_fresh(note, now)).map(|note| note.carrier)
    }

    /// Remembers that `carrier` lost. At the bound the oldest note goes.
    pub(super) fn lost(&self, way: (IpAddr, SocketAddr), carrier: Carrier, reason: String, now: Instant) {
        let mut notes = self.notes();
        notes.retain(|_, note| is_fresh(note, now));
        if notes.len() >= MAX_REMEMBERED_CARRIERS
            && !notes.contains_key(&way)
            && let Some(oldest) = notes.iter().min_by_key(|(_, note)| note.at).map(|(way, _)| *way)
        {
            notes.remove(&oldest);
        }
        notes.insert(way, Note { carrier, reason, at: now });
    }

    /// Takes over what an earlier process remembered.
    pub(super) fn recall(&self, lost: LostCarrier, now: Instant) {
        let age = CARRIER_MEMORY.saturating_sub(lost.retry_in);
        let at = now.checked_sub(age).unwrap_or(now);
        self.lost((lost.network, lost.remote), lost.carrier, lost.reason, at);
    }

    /// Forgets what was held against `carrier`: it got through.
    pub(super) fn won(&self, way: (IpAddr, SocketAddr), carrier: Carrier) {
        let mut notes = self.notes();
        if notes.get(&way).is_some_and(|note| note.carrier == carrier) {
            notes.remove(&way);
        }
    }

    /// Everything that is remembered at `now`.
    pub(super) fn report(&self, now: Instant) -> Vec<LostCarrier> {
        let notes = self.notes();
        let fresh = notes.iter().filter(|(_, note)| is_fresh(note, now));
        let mut report: Vec<_> = fresh
            .map(|(&(network, remote), note)| LostCarrier {
                network,
                remote,
                carrier: note.carrier,
                reason: note.reason.clone(),
                retry_in: CARRIER_MEMORY.saturating_sub(now.saturating_duration_since(note.at)),
            })
            .collect();
        report.sort_by_key(|lost| (lost.remote, lost.network));
        report
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<(IpAddr, SocketAddr), Note>> {
        // Notes are hints: whatever a panic left behind is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(note: &Note, now: Instant) -> bool {
    now.saturating_duration_since(note.at) < CARRIER_MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(port: u16) -> (IpAddr, SocketAddr) {
        ("10.0.0.1".parse().unwrap(), SocketAddr::new("10.0.0.2".parse().unwrap(), port))
    }

    #[test]
    fn a_loser_is_remembered_for_a_while_with_its_reason() {
        let memory = CarrierMemory::default();
        let start = Instant::now();
        memory.lost(way(1), Carrier::Quic, "silent".into(), start);
        assert_eq!(memory.loser(way(1), start), Some(Carrier::Quic));
        assert_eq!(memory.loser(way(2), start), None);
        let report = memory.report(start + Duration::from_secs(1));
        assert_eq!(report.len(), 1);
        assert_eq!(report[0].reason, "silent");
        assert_eq!(report[0].retry_in, CARRIER_MEMORY - Duration::from_secs(1));
        assert_eq!(memory.loser(way(1), start + CARRIER_MEMORY), None);
        assert!(memory.report(start + CARRIER_MEMORY).is_empty());
    }

    #[test]
    fn a_winner_is_not_held_to_its_past() {
        let memory = CarrierMemory::default();
        let now = Instant::now();
        memory.lost(way(1), Carrier::Quic, "silent".into(), now);
        memory.won(way(1), Carrier::Tls);
        assert_eq!(memory.loser(way(1), now), Some(Carrier::Quic));
        memory.won(way(1), Carrier::Quic);
        assert_eq!(memory.loser(way(1), now), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = CarrierMemory::default();
        let start = Instant::now();
        for port in 0..=MAX_REMEMBERED_CARRIERS as u16 {
            memory.lost(way(port), Carrier::Quic, String::new(), start + Duration::from_millis(port.into()));
        }
        assert_eq!(memory.report(start).len(), MAX_REMEMBERED_CARRIERS);
        assert_eq!(memory.loser(way(0), start), None);
    }
}
