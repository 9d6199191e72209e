//! Visits, and the places that they hold while nothing is known of who they are: bounded in all and per source, the oldest gives way.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use alknet_core::Fingerprint;
use tokio_util::sync::CancellationToken;

use super::source::Source;
use crate::limits::MAX_HALF_OPEN;

/// How many unfinished visits a source may have.
pub(super) type Limit = (Source, usize);

/// The connections of an endpoint, over all carriers.
#[derive(Default)]
pub(super) struct Places {
    next: u64,
    visits: HashMap<u64, Entry>,
    /// Those that hold a place, oldest first.
    unfinished: BTreeSet<u64>,
    by_source: HashMap<Source, BTreeSet<u64>>,
    by_addr: HashMap<SocketAddr, Vec<u64>>,
}

/// One connection.
pub(super) struct Entry {
    pub(super) addr: SocketAddr,
    /// Whether the address was shown to receive what is sent to it.
    pub(super) validated: bool,
    /// The key that was proven, whoever's it is.
    pub(super) key: Option<Fingerprint>,
    /// Whether it is somebody known.
    pub(super) known: bool,
    /// The sources under which it holds a place; none once it holds none.
    sources: Vec<Source>,
    pub(super) signals: Signals,
}

/// What whoever serves a visit waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// A newcomer has taken the place.
    pub(super) displaced: CancellationToken,
    /// Somebody known has proven who it is.
    pub(super) proven: CancellationToken,
}

/// What an arrival did.
pub(super) struct Arrival {
    pub(super) id: u64,
    pub(super) signals: Signals,
    pub(super) losers: Vec<Loser>,
}

/// A visit that lost its place.
pub(super) struct Loser {
    pub(super) addr: SocketAddr,
    pub(super) validated: bool,
    /// Whether its own source wanted too much, and not everybody together.
    pub(super) own_source: bool,
    pub(super) displaced: CancellationToken,
}

impl Places {
    /// Gives a newcomer a place under each source. Where a source has its limit, or all together have theirs, the oldest unfinished
    /// one loses its own: a newcomer that proves itself quickly gets in.
    pub(super) fn arrive(&mut self, addr: SocketAddr, validated: bool, limits: &[Limit]) -> Arrival {
        let mut losers = self.make_room(limits);
        if self.unfinished.len() >= MAX_HALF_OPEN {
            losers.extend(self.displace_oldest_of_all());
        }
        let id = self.next;
        self.next += 1;
        let signals = Signals::default();
        let entry = Entry {
            addr,
            validated,
            key: None,
            known: false,
            sources: Vec::with_capacity(limits.len()),
            signals: signals.clone(),
        };
        self.visits.insert(id, entry);
        self.by_addr.entry(addr).or_default().push(id);
        self.unfinished.insert(id);
        for (source, _) in limits {
            self.hold(id, source.clone());
        }
        Arrival { id, signals, losers }
    }

    /// Lets a visit hold its place under one more source.
    pub(super) fn hold_also(&mut self, id: u64, limit: Limit) -> Vec<Loser> {
        if !self.unfinished.contains(&id) {
            return Vec::new();
        }
        let losers = self.make_room(std::slice::from_ref(&limit));
        self.hold(id, limit.0);
        losers
    }

    fn hold(&mut self, id: u64, source: Source) {
        if let Some(entry) = self.visits.get_mut(&id) {
            entry.sources.push(source.clone());
            self.by_source.entry(source).or_default().insert(id);
        }
    }

    fn make_room(&mut self, limits: &[Limit]) -> Vec<Loser> {
        let mut losers = Vec::new();
        for (source, limit) in limits {
            while let Some(oldest) = self.oldest_above(source, *limit) {
                losers.extend(self.displace(oldest, true));
            }
        }
        losers
    }

    fn oldest_above(&self, source: &Source, limit: usize) -> Option<u64> {
        let ids = self.by_source.get(source)?;
        if ids.len() >= limit { ids.first().copied() } else { None }
    }

    fn displace_oldest_of_all(&mut self) -> Option<Loser> {
        let oldest = self.unfinished.first().copied()?;
        self.displace(oldest, false)
    }

    fn displace(&mut self, id: u64, own_source: bool) -> Option<Loser> {
        self.release(id);
        let entry = self.visits.get(&id)?;
        let displaced = entry.signals.displaced.clone();
        Some(Loser { addr: entry.addr, validated: entry.validated, own_source, displaced })
    }

    /// Gives the place of a visit back; the visit goes on.
    pub(super) fn release(&mut self, id: u64) {
        self.unfinished.remove(&id);
        let sources = self.visits.get_mut(&id).map(|entry| std::mem::take(&mut entry.sources));
        for source in sources.into_iter().flatten() {
            if let Some(ids) = self.by_source.get_mut(&source) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_source.remove(&source);
                }
            }
        }
    }

    /// Forgets a visit that is over.
    pub(super) fn leave(&mut self, id: u64) {
        self.release(id);
        let Some(entry) = self.visits.remove(&id) else { return };
        if let Some(ids) = self.by_addr.get_mut(&entry.addr) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_addr.remove(&entry.addr);
            }
        }
    }

    /// A visit.
    pub(super) fn visit(&self, id: u64) -> Option<&Entry> {
        self.visits.get(&id)
    }

    /// The same, to note what was found out.
    pub(super) fn visit_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.visits.get_mut(&id)
    }

    /// The visits from exactly this address and port.
    pub(super) fn visits_from(&self, addr: SocketAddr) -> Vec<u64> {
        self.by_addr.get(&addr).cloned().unwrap_or_default()
    }

    /// Unfinished visits at present.
    pub(super) fn count(&self) -> usize {
        self.unfinished.len()
    }

    /// Unfinished visits of a source at present.
    pub(super) fn count_of(&self, source: &Source) -> usize {
        self.by_source.get(source).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::limits::{MAX_HALF_OPEN_PENALISED, MAX_HALF_OPEN_PER_SOURCE};

    fn v4(n: usize) -> SocketAddr {
        (IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n as u32)), 50_000).into()
    }
    fn limit(addr: SocketAddr, limit: usize) -> [Limit; 1] {
        [(Source::of(addr.ip()), limit)]
    }
    fn arrive(places: &mut Places, n: usize) -> Arrival {
        places.arrive(v4(n), true, &limit(v4(n), MAX_HALF_OPEN_PER_SOURCE))
    }

    // NET-19
    #[test]
    fn a_full_source_displaces_its_own_oldest_only() {
        let mut places = Places::default();
        arrive(&mut places, 2);
        let mut first = Vec::new();
        for _ in 0..MAX_HALF_OPEN_PER_SOURCE {
            let arrival = arrive(&mut places, 1);
            assert!(arrival.losers.is_empty());
            first.push(arrival.signals.displaced);
        }
        let newest = arrive(&mut places, 1);
        assert_eq!(newest.losers.len(), 1);
        assert!(newest.losers[0].own_source && newest.losers[0].addr == v4(1));
        newest.losers[0].displaced.cancel();
        assert!(first[0].is_cancelled() && !first[1].is_cancelled());
        assert_eq!(places.count(), MAX_HALF_OPEN_PER_SOURCE + 1);
    }

    // NET-19
    #[test]
    fn a_full_table_displaces_the_oldest_of_all() {
        let mut places = Places::default();
        for n in 0..MAX_HALF_OPEN {
            assert!(arrive(&mut places, n).losers.is_empty());
        }
        let newest = arrive(&mut places, MAX_HALF_OPEN);
        assert_eq!(newest.losers.len(), 1);
        assert!(!newest.losers[0].own_source && newest.losers[0].addr == v4(0));
        assert_eq!(places.count(), MAX_HALF_OPEN);
        for id in 0..=newest.id {
            places.leave(id);
        }
        assert_eq!(places.count(), 0);
        assert!(places.by_source.is_empty() && places.by_addr.is_empty() && places.visits.is_empty());
    }

    #[test]
    fn a_lowered_limit_holds_from_the_next_arrival_on() {
        // GATE-10
        let mut places = Places::default();
        for _ in 0..50 {
            arrive(&mut places, 1);
        }
        let newest = places.arrive(v4(1), true, &limit(v4(1), MAX_HALF_OPEN_PENALISED));
        assert_eq!(newest.losers.len(), 49);
        assert_eq!(places.count_of(&Source::of(v4(1).ip())), MAX_HALF_OPEN_PENALISED);
    }

    #[test]
    fn who_holds_no_place_is_not_displaced_and_is_still_known() {
        let mut places = Places::default();
        let first = arrive(&mut places, 1);
        places.release(first.id);
        let newest = places.arrive(v4(1), true, &limit(v4(1), 1));
        assert!(newest.losers.is_empty());
        assert_eq!(places.visits_from(v4(1)), [first.id, newest.id]);
        assert!(places.hold_also(first.id, (Source::of(v4(9).ip()), 1)).is_empty());
        assert_eq!(places.count_of(&Source::of(v4(9).ip())), 0, "it stays released");
        assert_eq!(places.hold_also(newest.id, (Source::of(v4(9).ip()), 1)).len(), 0);
        assert_eq!(places.count_of(&Source::of(v4(9).ip())), 1);
    }
}
