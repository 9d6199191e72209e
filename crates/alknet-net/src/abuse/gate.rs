//! The gate as listeners, doors and operations hold it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use alknet_core::{AuthenticationWatch, Caller, Fingerprint, GateJournal, Offence, PeerAddr};
use tokio::sync::Notify;

use super::{
    books::{Books, Offender},
    places::{Limit, Loser, Places},
    source::{AddressRange, Source},
    visit::Visit,
};
use crate::limits::{MAX_HALF_OPEN_PENALISED, MAX_HALF_OPEN_PER_SOURCE, RETRY_ABOVE_HALF_OPEN_PER_SOURCE};

/// Milliseconds since 1970.
type Now = dyn Fn() -> u64 + Send + Sync;

/// Keeps the score of addresses, prefixes and keys, and gives places to connections accordingly. Clones share it.
#[derive(Clone)]
pub struct AbuseGate(Arc<Inner>);

pub(super) struct Inner {
    state: Mutex<State>,
    now: Box<Now>,
    pub(super) journal: OnceLock<Arc<dyn GateJournal>>,
    pub(super) changed: Notify,
    /// Held while something is written: what was taken first is written first.
    pub(super) saving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) books: Books,
    pub(super) places: Places,
}

impl Default for AbuseGate {
    /// A gate by the system's clock that knows nobody and remembers nothing across a restart.
    fn default() -> Self {
        Self::by_clock(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Debug for AbuseGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AbuseGate")
    }
}

impl AbuseGate {
    /// The same by another clock, in milliseconds since 1970.
    pub fn by_clock(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            now: Box::new(now),
            journal: OnceLock::new(),
            changed: Notify::new(),
            saving: tokio::sync::Mutex::default(),
        }))
    }

    /// What comes from these ranges has no score from now on.
    pub fn set_exempt(&self, exempt: Vec<AddressRange>) {
        let mut state = self.state();
        state.books.set_exempt(exempt);
        self.unlock(state);
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(super) fn now(&self) -> u64 {
        (self.0.now)()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change of books and places is complete before anything could panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a newcomer a place. `validated` says that the address was shown to receive what is sent to it.
    pub(crate) fn enter(&self, addr: SocketAddr, validated: bool) -> Visit {
        let now = self.now();
        let mut state = self.state();
        let penalties = state.books.penalties(addr.ip(), now);
        let penalised = !penalties.is_empty();
        let limits = limits(addr.ip(), penalties);
        let arrival = state.places.arrive(addr, validated, &limits);
        if !penalised {
            state.blame_for_flood(&arrival.losers, now);
        }
        self.unlock(state);
        // Outside the lock: waking its task may end its visit at once.
        arrival.losers.iter().for_each(|loser| loser.displaced.cancel());
        Visit::new(self.clone(), arrival.id, addr, arrival.signals, penalised)
    }

    /// Whether a QUIC client from there must first show that it receives at its address.
    pub(crate) fn wants_validation(&self, ip: IpAddr) -> bool {
        let now = self.now();
        let state = self.state();
        state.places.count_of(&Source::of(ip)) >= RETRY_ABOVE_HALF_OPEN_PER_SOURCE
            || !state.books.penalties(ip, now).is_empty()
    }

    /// Unfinished handshakes at present.
    pub(crate) fn unfinished(&self) -> usize {
        self.state().places.count()
    }

    /// Lets the lock go, and wakes who saves when there is something to save.
    pub(super) fn unlock(&self, state: MutexGuard<'_, State>) {
        let unsaved = state.books.has_unsaved();
        drop(state);
        if unsaved {
            self.0.changed.notify_one();
        }
    }
}

/// The places that an address may have: of each penalised source few, else those of everybody.
fn limits(ip: IpAddr, penalties: Vec<Source>) -> Vec<Limit> {
    let narrow = Source::of(ip);
    let mut limits: Vec<Limit> = penalties.into_iter().map(|source| (source, MAX_HALF_OPEN_PENALISED)).collect();
    if limits.iter().all(|(source, _)| *source != narrow) {
        limits.push((narrow, MAX_HALF_OPEN_PER_SOURCE));
    }
    limits
}

impl State {
    /// A source that wants more places than anybody needs floods. What is penalised has so few that honest people may want more.
    fn blame_for_flood(&mut self, losers: &[Loser], now: u64) {
        for loser in losers.iter().filter(|loser| loser.own_source && loser.validated) {
            let offender = Offender { addr: loser.addr, key: None, known: false };
            self.books.offend(&offender, Offence::Flood, "listener", now);
        }
    }

    /// Who speaks from an address, by the visits that are there.
    fn offender(&self, addr: SocketAddr, proven: Option<Fingerprint>) -> Offender {
        let visits = self.places.visits_from(addr);
        let entries = || visits.iter().filter_map(|id| self.places.visit(*id));
        let known = entries().find(|entry| entry.known);
        let shown = known.or_else(|| entries().find(|entry| entry.key.is_some()));
        let key = if known.is_some() { None } else { proven }.or_else(|| shown.and_then(|entry| entry.key.clone()));
        Offender { addr, key, known: known.is_some() }
    }
}

impl AuthenticationWatch for AbuseGate {
    /// The places that are held from there are given back; no score changes.
    fn proved(&self, caller: &Caller, _door: &str) {
        let PeerAddr::Ip(addr) = caller.addr else { return };
        let key: Option<Fingerprint> = caller.credential.as_deref().and_then(|label| label.parse().ok());
        let mut state = self.state();
        for id in state.places.visits_from(addr) {
            state.prove(id, key.clone());
        }
    }

    fn failed(&self, caller: &Caller, door: &str) {
        let PeerAddr::Ip(addr) = caller.addr else { return };
        let now = self.now();
        let mut state = self.state();
        let proven = caller.credential.as_deref().and_then(|label| label.parse().ok());
        let offender = state.offender(addr, proven);
        state.books.offend(&offender, Offence::FailedAuthentication, door, now);
        self.unlock(state);
    }
}

impl State {
    /// Notes that somebody known is there; the place is given back.
    pub(super) fn prove(&mut self, id: u64, key: Option<Fingerprint>) {
        self.places.release(id);
        if let Some(entry) = self.places.visit_mut(id) {
            (entry.validated, entry.known) = (true, true);
            entry.key = key.or(entry.key.take());
            entry.signals.proven.cancel();
        }
    }
}
