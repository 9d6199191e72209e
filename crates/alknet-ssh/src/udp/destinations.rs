//! What an association sends to and hears from: pure, the time is an argument.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use super::allowance::Allowance;
use crate::{
    limits::{
        MAX_UDP_DESTINATIONS, MAX_UDP_JUDGEMENTS, MAX_UDP_WAITING, MAX_UDP_WAITING_BYTES, UDP_NEW_DESTINATIONS_BURST,
        UDP_NEW_DESTINATIONS_PER_SECOND, UDP_REPLY_LIFE, UDP_VERDICT_GRACE, UDP_VERDICT_LIFE,
    },
    socks::{ReachError, Target},
};

/// What the policy said about a destination: what it may be sent to, or why not.
pub(super) type Verdict<C> = Result<C, ReachError>;

/// What a destination may be sent to.
pub(super) trait Clearance {
    /// Whether rules and rights are still those under which it was given.
    fn stands(&self) -> bool;
}

/// The destinations of one association, with what the policy said about each.
pub(super) struct Destinations<C> {
    known: HashMap<Target, Destination<C>>,
    judgements: usize,
    waiting_bytes: usize,
    fresh: Allowance,
}

struct Destination<C> {
    verdict: Option<(Verdict<Arc<C>>, Instant)>,
    asked: bool,
    waiting: Vec<Bytes>,
    used: Instant,
}

/// What is to be done with a datagram.
pub(super) struct Step<'a, C> {
    /// The policy is to be asked; its verdict goes to [`Destinations::settle`].
    pub(super) ask: bool,
    /// It is to be sent now. Without this it waits for the verdict or is lost.
    pub(super) send: Option<&'a Arc<C>>,
}

impl<C: Clearance> Destinations<C> {
    pub(super) fn new(now: Instant) -> Self {
        let fresh = Allowance::new(UDP_NEW_DESTINATIONS_PER_SECOND, UDP_NEW_DESTINATIONS_BURST, now);
        Self { known: HashMap::new(), judgements: 0, waiting_bytes: 0, fresh }
    }

    /// Takes a datagram in. A verdict counts for [`UDP_VERDICT_LIFE`], unless what it gave was taken away; while the next is awaited, for a
    /// little longer.
    pub(super) fn offer(&mut self, target: &Target, payload: &Bytes, now: Instant) -> Step<'_, C> {
        if !self.known.contains_key(target) && !self.make_room(target, now) {
            return Step { ask: false, send: None };
        }
        let may_ask = self.judgements < MAX_UDP_JUDGEMENTS;
        let Some(destination) = self.known.get_mut(target) else { return Step { ask: false, send: None } };
        destination.used = now;
        let stands = |verdict: &Verdict<Arc<C>>| verdict.as_ref().map_or(true, |cleared| cleared.stands());
        let standing = destination.verdict.as_ref().filter(|(verdict, _)| stands(verdict));
        let age = standing.map(|(_, judged)| now.saturating_duration_since(*judged));
        let ask = may_ask && !destination.asked && age.is_none_or(|age| age >= UDP_VERDICT_LIFE);
        if ask {
            destination.asked = true;
            self.judgements += 1;
        }
        let counts = age.is_some_and(|age| age < UDP_VERDICT_LIFE + UDP_VERDICT_GRACE);
        let room =
            destination.waiting.len() < MAX_UDP_WAITING && self.waiting_bytes + payload.len() <= MAX_UDP_WAITING_BYTES;
        if !counts && destination.asked && room {
            self.waiting_bytes += payload.len();
            destination.waiting.push(payload.clone());
        }
        let verdict = destination.verdict.as_ref().filter(|_| counts);
        Step { ask, send: verdict.and_then(|(verdict, _)| verdict.as_ref().ok()) }
    }

    /// Why nothing is sent there, as far as the last verdict goes.
    pub(super) fn refusal(&self, target: &Target) -> Option<ReachError> {
        self.known.get(target)?.verdict.as_ref()?.0.as_ref().err().copied()
    }

    /// Takes a verdict in; answers with what waited for it.
    pub(super) fn settle(&mut self, target: &Target, verdict: Verdict<C>, now: Instant) -> Vec<Bytes> {
        self.judgements = self.judgements.saturating_sub(1);
        let Some(destination) = self.known.get_mut(target) else { return Vec::new() };
        destination.asked = false;
        destination.verdict = Some((verdict.map(Arc::new), now));
        let waited = std::mem::take(&mut destination.waiting);
        self.waiting_bytes -= waited.iter().map(Bytes::len).sum::<usize>();
        waited
    }

    /// Lets go of destinations that are idle or no longer allowed.
    pub(super) fn prune(&mut self, now: Instant) {
        self.known.retain(|_, destination| {
            let fell = matches!(&destination.verdict, Some((Ok(cleared), _)) if !cleared.stands());
            let idle = now.saturating_duration_since(destination.used) >= UDP_REPLY_LIFE;
            destination.asked || !(fell || idle)
        });
    }

    /// Enters a destination, for the one that was idle longest if need be; not too many in a short time.
    fn make_room(&mut self, target: &Target, now: Instant) -> bool {
        if self.judgements >= MAX_UDP_JUDGEMENTS || !self.fresh.take(now) {
            return false;
        }
        if self.known.len() >= MAX_UDP_DESTINATIONS {
            let idle = self.known.iter().filter(|(_, destination)| !destination.asked).min_by_key(|(_, it)| it.used);
            let Some(longest) = idle.map(|(target, _)| target.clone()) else { return false };
            self.known.remove(&longest);
        }
        let destination = Destination { verdict: None, asked: false, waiting: Vec::new(), used: now };
        self.known.insert(target.clone(), destination);
        true
    }
}

/// Whom an association hears: only addresses that it has sent to lately, for as long as what let it send there stands.
pub(super) struct Correspondents<C>(HashMap<SocketAddr, (Instant, Arc<C>)>);

impl<C: Clearance> Correspondents<C> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Something was sent there, as `cleared` allows.
    pub(super) fn sent(&mut self, to: SocketAddr, cleared: &Arc<C>, now: Instant) {
        if self.0.len() >= MAX_UDP_DESTINATIONS && !self.0.contains_key(&to) {
            let oldest = self.0.iter().min_by_key(|(_, (at, _))| *at).map(|(addr, _)| *addr);
            oldest.and_then(|addr| self.0.remove(&addr));
        }
        self.0.insert(to, (now, cleared.clone()));
    }

    /// Whether a datagram from there is an answer.
    pub(super) fn admits(&self, from: SocketAddr, now: Instant) -> bool {
        self.0.get(&from).is_some_and(|correspondent| is_heard(correspondent, now))
    }

    /// Lets go of those that are not heard any more.
    pub(super) fn prune(&mut self, now: Instant) {
        self.0.retain(|_, correspondent| is_heard(correspondent, now));
    }
}

fn is_heard<C: Clearance>((at, cleared): &(Instant, Arc<C>), now: Instant) -> bool {
    now.saturating_duration_since(*at) < UDP_REPLY_LIFE && cleared.stands()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    thread_local!(static FALLEN: std::cell::Cell<Option<u16>> = const { std::cell::Cell::new(None) });

    impl Clearance for u16 {
        fn stands(&self) -> bool {
            FALLEN.get() != Some(*self)
        }
    }

    fn target(port: u16) -> Target {
        Target::from(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    fn offer(destinations: &mut Destinations<u16>, port: u16, now: Instant) -> (bool, Option<u16>) {
        let step = destinations.offer(&target(port), &Bytes::from_static(b"x"), now);
        (step.ask, step.send.map(|cleared| **cleared))
    }

    #[test]
    fn nothing_is_sent_before_the_policy_has_said_so() {
        // SOCKS-17
        let now = Instant::now();
        let mut destinations = Destinations::new(now);
        assert_eq!(offer(&mut destinations, 1, now), (true, None));
        for _ in 0..2 * MAX_UDP_WAITING {
            assert_eq!(offer(&mut destinations, 1, now), (false, None), "asked once");
        }
        assert_eq!(destinations.settle(&target(1), Ok(1), now).len(), MAX_UDP_WAITING);
        assert_eq!(offer(&mut destinations, 1, now), (false, Some(1)));
        assert_eq!(offer(&mut destinations, 2, now), (true, None));
        assert_eq!(destinations.refusal(&target(2)), None);
        destinations.settle(&target(2), Err(ReachError::Denied), now);
        assert_eq!(offer(&mut destinations, 2, now), (false, None));
        assert_eq!(destinations.refusal(&target(2)), Some(ReachError::Denied));
    }

    #[test]
    fn a_verdict_is_asked_for_again_after_a_while() {
        // SOCKS-17
        let now = Instant::now();
        let mut destinations = Destinations::new(now);
        offer(&mut destinations, 1, now);
        destinations.settle(&target(1), Ok(1), now);
        let later = now + UDP_VERDICT_LIFE;
        assert_eq!(offer(&mut destinations, 1, later), (true, Some(1)), "the flow does not stop for it");
        assert_eq!(offer(&mut destinations, 1, later + UDP_VERDICT_GRACE), (false, None), "but not for ever");
        assert_eq!(destinations.settle(&target(1), Err(ReachError::Denied), later).len(), 1);
        assert_eq!(offer(&mut destinations, 1, later), (false, None));
    }

    #[test]
    fn what_is_taken_away_ends_at_once_and_what_is_idle_is_forgotten() {
        // SOCKS-17
        let now = Instant::now();
        let mut destinations = Destinations::new(now);
        for port in [1, 2] {
            offer(&mut destinations, port, now);
            destinations.settle(&target(port), Ok(port), now);
        }
        FALLEN.set(Some(1));
        assert_eq!(offer(&mut destinations, 2, now), (false, Some(2)));
        assert_eq!(offer(&mut destinations, 1, now), (true, None), "the policy is asked again");
        destinations.settle(&target(1), Err(ReachError::Denied), now);
        assert_eq!(offer(&mut destinations, 1, now), (false, None));
        FALLEN.set(Some(2));
        destinations.prune(now);
        assert_eq!(destinations.known.keys().collect::<Vec<_>>(), [&target(1)]);
        destinations.prune(now + UDP_REPLY_LIFE);
        assert!(destinations.known.is_empty());
    }

    #[test]
    fn nobody_is_heard_whom_nothing_allows_to_be_written_to_any_more() {
        // SOCKS-17
        let (now, addr) = (Instant::now(), SocketAddr::from(([10, 0, 0, 1], 1)));
        let mut correspondents = Correspondents::new();
        correspondents.sent(addr, &Arc::new(1), now);
        assert!(correspondents.admits(addr, now));
        FALLEN.set(Some(1));
        assert!(!correspondents.admits(addr, now));
        let other = Arc::new(2);
        correspondents.sent(addr, &other, now);
        assert!(correspondents.admits(addr, now), "allowed again");
        correspondents.prune(now);
        assert_eq!(Arc::strong_count(&other), 2);
        FALLEN.set(Some(2));
        correspondents.prune(now);
        assert_eq!(Arc::strong_count(&other), 1, "its place is given back");
    }

    #[test]
    fn new_destinations_are_bounded_in_number_and_in_rate() {
        // SOCKS-19
        let mut now = Instant::now();
        let mut destinations = Destinations::new(now);
        let asked = (0..1000).filter(|port| offer(&mut destinations, *port, now).0).count();
        assert_eq!(asked, MAX_UDP_JUDGEMENTS);
        (0..1000).for_each(|port| drop(destinations.settle(&target(port), Ok(port), now)));
        for port in 1000..1000 + 2 * MAX_UDP_DESTINATIONS as u16 {
            now += Duration::from_secs(1) / UDP_NEW_DESTINATIONS_PER_SECOND;
            if offer(&mut destinations, port, now).0 {
                destinations.settle(&target(port), Ok(port), now);
            }
        }
        assert_eq!(destinations.known.len(), MAX_UDP_DESTINATIONS);
        assert!(destinations.known.contains_key(&target(999 + 2 * MAX_UDP_DESTINATIONS as u16)), "the newest is there");
        let mut flood = Destinations::new(now);
        let mut admitted = 0;
        for port in 0..2000 {
            if offer(&mut flood, port, now).0 {
                admitted += 1;
                flood.settle(&target(port), Ok(port), now);
            }
        }
        assert_eq!(admitted, UDP_NEW_DESTINATIONS_BURST);
    }

    #[test]
    fn what_waits_for_verdicts_is_bounded_in_bytes() {
        // SOCKS-19
        let now = Instant::now();
        let mut destinations = Destinations::<u16>::new(now);
        let long = Bytes::from(vec![0; 60_000]);
        for port in 0..MAX_UDP_JUDGEMENTS as u16 {
            for _ in 0..MAX_UDP_WAITING {
                assert!(destinations.offer(&target(port), &long, now).send.is_none());
            }
        }
        let mut kept = 0;
        for port in 0..MAX_UDP_JUDGEMENTS as u16 {
            kept += destinations.settle(&target(port), Ok(port), now).len();
        }
        assert_eq!(kept, MAX_UDP_WAITING_BYTES / long.len());
        assert_eq!(destinations.waiting_bytes, 0);
    }

    #[test]
    fn only_who_was_written_to_is_heard() {
        // SOCKS-18
        let (now, mut correspondents, cleared) = (Instant::now(), Correspondents::new(), Arc::new(1));
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        correspondents.sent(addr(1), &cleared, now);
        assert!(correspondents.admits(addr(1), now));
        assert!(!correspondents.admits(addr(2), now), "another port is somebody else");
        assert!(!correspondents.admits(addr(1), now + UDP_REPLY_LIFE));
        (2..2000).for_each(|port| correspondents.sent(addr(port), &cleared, now + Duration::from_millis(1)));
        assert_eq!(correspondents.0.len(), MAX_UDP_DESTINATIONS);
        assert!(!correspondents.admits(addr(1), now));
    }
}
