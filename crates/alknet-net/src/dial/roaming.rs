//! Dialled QUIC connections follow this machine from network to network, and try again from elsewhere when nothing comes back.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::time::sleep;

use super::{QuicSocket, any_udp, local_address_towards};
use crate::limits::{ROAMING_INTERVAL, SILENCE_BEFORE_REBIND};

/// What the connections of one socket hear together. They move together as well: as long as one of them hears something the socket is good,
/// and a peer that is gone is no reason to move the others.
pub(super) struct Hearing {
    /// When the next new socket is due, unless something is heard before.
    due: Mutex<Instant>,
}

impl Hearing {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Mutex::new(now + SILENCE_BEFORE_REBIND) }
    }
    fn due(&self) -> MutexGuard<'_, Instant> {
        // Each change is one step.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn heard(&self, now: Instant) {
        *self.due() = now + SILENCE_BEFORE_REBIND;
    }
    /// Whether nothing has come for too long. It is for whoever is told so to get a new socket, and others are not told for a look's time.
    fn is_silent(&self, now: Instant) -> bool {
        let mut due = self.due();
        let silent = now >= *due;
        if silent {
            *due = now + ROAMING_INTERVAL;
        }
        silent
    }
}

/// What was seen of a connection's way, to judge what is to be done.
struct Way {
    source: IpAddr,
    arrived: u64,
}

impl Way {
    /// Whether the socket should be replaced: this machine has another address towards the peer now, or nothing comes back to any connection.
    fn is_stale(&mut self, source: IpAddr, arrived: u64, hearing: &Hearing, now: Instant) -> bool {
        if arrived != self.arrived {
            self.arrived = arrived;
            hearing.heard(now);
        }
        // Without a network there is nothing to move to.
        if source.is_unspecified() {
            return false;
        }
        let moved = source != self.source;
        self.source = source;
        moved || hearing.is_silent(now)
    }
}

/// Watches a connection until it has ended. A new socket makes quinn send a probe at once, where its own become rare during an outage,
/// and makes the routers in between forget what they knew; the peer follows once the probe has proven the way (RFC 9000, 9).
pub(super) async fn follow(socket: QuicSocket, connection: Weak<quinn::Connection>, remote: SocketAddr) {
    let QuicSocket { endpoint, hearing, .. } = socket;
    let mut way = Way { source: local_address_towards(remote), arrived: 0 };
    // The handshake was answered.
    hearing.heard(Instant::now());
    loop {
        sleep(ROAMING_INTERVAL).await;
        let Some(connection) = connection.upgrade().filter(|connection| connection.close_reason().is_none()) else {
            return;
        };
        let arrived = connection.stats().udp_rx.datagrams;
        if way.is_stale(local_address_towards(remote), arrived, &hearing, Instant::now()) {
            let rebound = any_udp().and_then(|(socket, _)| endpoint.rebind(socket));
            tracing::debug!(%remote, source = %way.source, ?rebound, "a connection is tried from a new socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // NET-30
    #[test]
    fn a_new_address_or_a_long_silence_makes_the_way_stale() {
        let (home, away, nowhere) = ([10, 0, 0, 1].into(), [10, 0, 9, 9].into(), [0, 0, 0, 0].into());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let hearing = Hearing::new(start);
        let mut way = Way { source: home, arrived: 5 };
        let mut stale = |source, arrived, second| way.is_stale(source, arrived, &hearing, at(second));
        assert!(!stale(home, 6, 2));
        assert!(stale(away, 7, 4), "another address");
        assert!(!stale(away, 8, 6));
        assert!(!stale(nowhere, 8, 8), "no network at all");
        assert!(!stale(away, 8, 18), "the same network is back");
        assert!(stale(away, 8, 19), "nothing came for too long");
        assert!(stale(away, 8, 21), "nor did it to the new socket");
        assert!(!stale(away, 9, 23), "something came");
    }

    // NET-30
    #[test]
    fn a_peer_that_is_gone_does_not_move_the_others() {
        let home = [10, 0, 0, 1].into();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let hearing = Hearing::new(start);
        let (mut gone, mut there) = (Way { source: home, arrived: 5 }, Way { source: home, arrived: 5 });
        for look in 1..100 {
            // Every fifth look has seen a keep-alive.
            assert!(!there.is_stale(home, 5 + look / 5, &hearing, at(2 * look)), "{look}");
            assert!(!gone.is_stale(home, 5, &hearing, at(2 * look + 1)), "{look}");
        }
        let arrived = there.arrived;
        assert!(gone.is_stale(home, 5, &hearing, at(300)), "nobody hears anything");
        assert!(!there.is_stale(home, arrived, &hearing, at(301)), "one new socket is enough for a while");
    }
}
