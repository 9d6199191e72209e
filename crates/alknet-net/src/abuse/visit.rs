//! One connection at the gate, from its first byte to its end.

use std::{net::SocketAddr, time::Duration};

use alknet_core::{Fingerprint, Offence, Peer};

use super::{books::Offender, gate::AbuseGate, places::Signals, source::Source};
use crate::limits::{HANDSHAKE_TIMEOUT, MAX_HALF_OPEN_PENALISED, PENALISED_HANDSHAKE_TIMEOUT, PENALISED_LOGIN_TIMEOUT};

/// A connection's place and conduct. Dropping it gives the place back.
pub(crate) struct Visit {
    gate: AbuseGate,
    id: u64,
    addr: SocketAddr,
    signals: Signals,
    penalised: bool,
    /// How long the peer has from the end of the handshake to prove a key, when it is watched.
    login: Option<Duration>,
}

/// Why a visit must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A newcomer has taken its place.
    MadeRoom,
    /// It had the time to prove a key, and did not.
    Overdue,
}

impl Visit {
    pub(super) fn new(gate: AbuseGate, id: u64, addr: SocketAddr, signals: Signals, penalised: bool) -> Self {
        Self { gate, id, addr, signals, penalised, login: None }
    }

    /// How long the handshake may take.
    pub(crate) const fn handshake_timeout(&self) -> Duration {
        if self.penalised { PENALISED_HANDSHAKE_TIMEOUT } else { HANDSHAKE_TIMEOUT }
    }

    /// Waits until a newcomer has taken the place. Cancel safe.
    pub(crate) async fn displaced(&self) {
        self.signals.displaced.cancelled().await;
    }

    /// The handshake is done. Somebody known gives the place back; so does a stranger, unless everybody logs in at this door, or the
    /// source is penalised: then the place is held until a key is proven, or to the end.
    pub(crate) fn shook_hands(&mut self, peer: &Peer, known: bool, logs_in: bool) {
        let key = peer.key.map(Fingerprint::from);
        let now = self.gate.now();
        let mut state = self.gate.state();
        if known {
            state.prove(self.id, key);
            return;
        }
        let limit = key.clone().map(Source::Key).filter(|key| state.books.is_penalised(key, now));
        let watched = self.penalised || limit.is_some();
        if let Some(entry) = state.places.visit_mut(self.id) {
            (entry.validated, entry.key) = (true, key);
        }
        let mut losers = Vec::new();
        if !watched && !logs_in {
            state.places.release(self.id);
        } else if let Some(key) = limit {
            losers = state.places.hold_also(self.id, (key, MAX_HALF_OPEN_PENALISED));
        }
        drop(state);
        losers.iter().for_each(|loser| loser.displaced.cancel());
        self.login = (watched && logs_in).then_some(PENALISED_LOGIN_TIMEOUT);
    }

    /// Waits until the visit must end, which it need not. Cancel safe only as a whole: the time runs from the call.
    pub(crate) async fn ended(&self) -> Ended {
        let overdue = async {
            match self.login {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.signals.displaced.cancelled() => Ended::MadeRoom,
            () = self.signals.proven.cancelled() => std::future::pending().await,
            () = overdue => Ended::Overdue,
        }
    }

    /// Counts what the peer did. An address that was never shown to receive anything may be forged: nothing counts against it.
    pub(crate) fn offend(&self, offence: Offence, door: &str) {
        let now = self.gate.now();
        let mut state = self.gate.state();
        let Some(entry) = state.places.visit(self.id).filter(|entry| entry.validated) else { return };
        let offender = Offender { addr: self.addr, key: entry.key.clone(), known: entry.known };
        state.books.offend(&offender, offence, door, now);
        self.gate.unlock(state);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.gate.state().places.leave(self.id);
    }
}
