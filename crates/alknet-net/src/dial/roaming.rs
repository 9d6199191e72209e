//! Dialled QUIC connections follow this machine from network to network, and try again from elsewhere when nothing comes back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Instant;

use tokio::time::sleep;

use super::{any_udp, local_address_towards};
use crate::limits::{ROAMING_INTERVAL, SILENCE_BEFORE_REBIND};

/// What was seen of a connection's way, to judge what is to be done.
struct Way {
    source: IpAddr,
    arrived: u64,
    heard_at: Instant,
}

impl Way {
    /// Whether the connection should be tried from a new socket: this machine has another address now, or nothing comes back.
    fn is_stale(&mut self, source: IpAddr, arrived: u64, now: Instant) -> bool {
        if arrived != self.arrived {
            (self.arrived, self.heard_at) = (arrived, now);
        }
        // Without a network there is nothing to move to.
        let moved = !source.is_unspecified() && source != self.source;
        if moved {
            self.source = source;
        }
        moved || (!source.is_unspecified() && now.saturating_duration_since(self.heard_at) >= SILENCE_BEFORE_REBIND)
    }
}

/// Watches a connection until it has ended. A new socket makes quinn send a probe at once, where its own become rare during an outage,
/// and makes the routers in between forget what they knew; the peer follows once the probe has proven the way (RFC 9000, 9).
pub(super) async fn follow(endpoint: quinn::Endpoint, connection: Weak<quinn::Connection>, remote: SocketAddr) {
    let mut way = Way { source: local_address_towards(remote), arrived: 0, heard_at: Instant::now() };
    loop {
        sleep(ROAMING_INTERVAL).await;
        let Some(connection) = connection.upgrade().filter(|connection| connection.close_reason().is_none()) else {
            return;
        };
        let arrived = connection.stats().udp_rx.datagrams;
        if way.is_stale(local_address_towards(remote), arrived, Instant::now()) {
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
        let mut way = Way { source: home, arrived: 5, heard_at: start };
        assert!(!way.is_stale(home, 6, at(2)));
        assert!(way.is_stale(away, 7, at(4)), "another address");
        assert!(!way.is_stale(away, 8, at(6)));
        assert!(!way.is_stale(nowhere, 8, at(8)), "no network at all");
        assert!(!way.is_stale(away, 8, at(18)), "the same network is back");
        assert!(way.is_stale(away, 8, at(19)), "nothing came for too long");
        assert!(!way.is_stale(away, 9, at(21)), "something came");
    }
}
