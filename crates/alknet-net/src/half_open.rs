//! Connections whose handshake is not finished: bounded in all and per source, the oldest gives way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::limits::{MAX_HALF_OPEN, MAX_HALF_OPEN_PER_SOURCE};

/// Who counts as one source: an IPv4 address, or the /64 that a household or host has on IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The unfinished handshakes of an endpoint, over both carriers.
#[derive(Clone, Default)]
pub(crate) struct HalfOpen(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    by_age: BTreeMap<u64, (Source, CancellationToken)>,
    by_source: HashMap<Source, BTreeSet<u64>>,
}

/// One unfinished handshake's place. Dropping it gives the place back.
pub(crate) struct Place {
    table: HalfOpen,
    id: u64,
    displaced: CancellationToken,
}

impl HalfOpen {
    /// Takes a place for a newcomer. Where there is none, the oldest unfinished one of the same source, or else of all,
    /// loses its own: a newcomer that proves itself quickly always gets in.
    pub(crate) fn admit(&self, addr: IpAddr) -> Place {
        let source = Source::from(addr);
        let displaced = CancellationToken::new();
        let mut table = self.table();
        let of_source = table.by_source.get(&source);
        let loser = match of_source {
            Some(ids) if ids.len() >= MAX_HALF_OPEN_PER_SOURCE => ids.first().copied(),
            _ if table.by_age.len() >= MAX_HALF_OPEN => table.by_age.keys().next().copied(),
            _ => None,
        };
        let loser = loser.and_then(|id| table.remove(id));
        let id = table.next;
        table.next += 1;
        table.by_age.insert(id, (source, displaced.clone()));
        table.by_source.entry(source).or_default().insert(id);
        drop(table);
        // Outside the lock: waking its task may drop its place at once.
        if let Some(loser) = loser {
            loser.cancel();
        }
        Place { table: self.clone(), id, displaced }
    }

    /// Unfinished handshakes at present.
    pub(crate) fn count(&self) -> usize {
        self.table().by_age.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change below is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<CancellationToken> {
        let (source, displaced) = self.by_age.remove(&id)?;
        if let Some(ids) = self.by_source.get_mut(&source) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(displaced)
    }
}

impl Place {
    /// Waits until a newcomer has taken this place. Cancel safe.
    pub(crate) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.table().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    // NET-19
    #[test]
    fn a_full_source_displaces_its_own_oldest_only() {
        let table = HalfOpen::default();
        let other = table.admit(v4(2));
        let places: Vec<_> = (0..MAX_HALF_OPEN_PER_SOURCE).map(|_| table.admit(v4(1))).collect();
        assert!(!places[0].displaced.is_cancelled());
        let newest = table.admit(v4(1));
        assert!(places[0].displaced.is_cancelled());
        assert!(!places[1].displaced.is_cancelled() && !newest.displaced.is_cancelled());
        assert!(!other.displaced.is_cancelled());
        assert_eq!(table.count(), MAX_HALF_OPEN_PER_SOURCE + 1);
    }

    // NET-19
    #[test]
    fn a_full_table_displaces_the_oldest_of_all() {
        let table = HalfOpen::default();
        let places: Vec<_> = (0..MAX_HALF_OPEN).map(|n| table.admit(v4(n as u32))).collect();
        let newest = table.admit("2001:db8::1".parse().unwrap());
        assert!(places[0].displaced.is_cancelled() && !places[1].displaced.is_cancelled());
        assert_eq!(table.count(), MAX_HALF_OPEN);
        drop((places, newest));
        assert_eq!(table.count(), 0);
        assert!(table.table().by_source.is_empty());
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_prefix() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }
}
