//! A gate, attackers and honest people in virtual time: a failing seed is printed and can be replayed.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alknet_core::{Caller, Identity, Offence, Peer, PeerAddr};
use alknet_testkit::simulation::{Chance, seeds};

use super::*;
use crate::limits::{MAX_HALF_OPEN, MAX_HALF_OPEN_PENALISED};

const NOW: u64 = 1_800_000_000_000;
/// How long a whole handshake and login takes, on a slow path.
const LOGIN_MS: u64 = 300;
const MINUTES: u64 = 10;

/// Somebody whose connection is under way.
struct Under {
    visit: Visit,
    done_at: u64,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Proves a key.
    Owner,
    /// Fails to.
    Wrong,
    /// Says nothing, ever.
    Stalls,
}

struct World {
    gate: AbuseGate,
    clock: Arc<AtomicU64>,
    under: BTreeMap<u64, Under>,
    next: u64,
}

impl World {
    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn arrive(&mut self, from: SocketAddr, what: What) -> u64 {
        let now = self.now();
        let mut visit = self.gate.enter(from, true);
        visit.shook_hands(&Peer { key: None, addr: PeerAddr::Ip(from), local: None, server_name: None }, false, true);
        let patience = if what == What::Stalls { 10_000 } else { LOGIN_MS };
        if !self.gate.state().books.penalties(from.ip(), now).is_empty() {
            let held = self.gate.state().places.count_of(&source::Source::of(from.ip()));
            assert!(held <= MAX_HALF_OPEN_PENALISED, "{held} places for somebody penalised");
        }
        self.next += 1;
        self.under.insert(self.next, Under { visit, done_at: now + patience, what });
        self.next
    }

    /// Lets a moment pass; answers whose connection ended, and whether it got what it wanted.
    fn pass(&mut self, millis: u64) -> Vec<(u64, What, bool)> {
        self.clock.fetch_add(millis, Ordering::Relaxed);
        let now = self.now();
        let mut ended = Vec::new();
        for (id, under) in &self.under {
            let displaced = futures_util::FutureExt::now_or_never(under.visit.displaced()).is_some();
            if displaced || under.done_at <= now {
                ended.push((*id, under.what, !displaced));
            }
        }
        for (id, what, in_time) in &ended {
            let Some(under) = self.under.remove(id) else { continue };
            match what {
                What::Owner => {}
                What::Wrong if *in_time => under.visit.offend(Offence::FailedAuthentication, "ssh"),
                What::Stalls if *in_time => under.visit.offend(Offence::NoAuthentication, "ssh"),
                What::Wrong | What::Stalls => {}
            }
        }
        ended
    }
}

fn host(number: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number as u32)
}

/// The owner shares the address of an attacker that floods and guesses all the time, among 50 others that do, and 50 honest people who
/// mistype now and then.
fn run(seed: u64) {
    let chance = Chance::new(seed);
    let clock = Arc::new(AtomicU64::new(NOW));
    let hand_set = clock.clone();
    let gate = AbuseGate::by_clock(move || hand_set.load(Ordering::Relaxed));
    let mut world = World { gate, clock, under: BTreeMap::new(), next: 0 };
    let (mut port, mut owner, mut logins, mut lost) = (0_u16, None, 0, 0);
    let mut guesses = 0;
    for _ in 0..MINUTES * 60 * 10 {
        let mut from = |number| {
            port = port.wrapping_add(1);
            SocketAddr::from((host(number), port))
        };
        // The attacker of the owner's address connects three times a second, the others as they like.
        if chance.below(10) < 3 {
            world.arrive(from(0), if chance.below(2) == 0 { What::Stalls } else { What::Wrong });
        }
        world.arrive(from(1 + chance.below(50)), if chance.below(2) == 0 { What::Stalls } else { What::Wrong });
        if chance.below(50) == 0 {
            // Somebody honest, who comes every few minutes and is wrong one time in five.
            world.arrive(from(100 + chance.below(50)), if chance.below(5) == 0 { What::Wrong } else { What::Owner });
        }
        if owner.is_none() && chance.below(20) == 0 {
            owner = Some(world.arrive(from(0), What::Owner));
            logins += 1;
        }
        for (id, what, in_time) in world.pass(100) {
            guesses += u64::from(what == What::Wrong && in_time);
            if owner == Some(id) {
                lost += u64::from(!in_time);
                owner = None;
            }
        }
        assert!(world.gate.unfinished() <= MAX_HALF_OPEN, "seed {seed}");
    }
    assert!(logins > 150, "seed {seed}: {logins}");
    assert!(
        lost * 2 < logins,
        "seed {seed}: the owner lost {lost} of {logins} attempts against three newcomers a second"
    );
    assert!((0..=50).filter(|number| penalised(&world, *number)).count() > 40, "seed {seed}: attackers are penalised");
    assert!((100..150).all(|number| !penalised(&world, number)), "seed {seed}: the honest are not");
    assert!(guesses > 0);
}

fn penalised(world: &World, number: u64) -> bool {
    !world.gate.state().books.penalties(host(number).into(), world.now()).is_empty()
}

#[test]
fn the_owner_gets_in_from_an_attackers_address_and_the_honest_are_left_alone() {
    // GATE-07 GATE-10 GATE-11
    seeds(0, 3).for_each(run);
}

#[test]
fn whoever_proves_a_key_is_never_displaced_afterwards() {
    // GATE-11
    let gate = AbuseGate::default();
    let owner = SocketAddr::from((host(0), 1));
    let mut visit = gate.enter(owner, true);
    visit.shook_hands(&Peer { key: None, addr: PeerAddr::Ip(owner), local: None, server_name: None }, false, true);
    let identity = Some(Arc::new(Identity::owner("me")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::Ip(owner) };
    alknet_core::AuthenticationWatch::proved(&gate, &caller, "ssh");
    let flood: Vec<_> = (2..5000).map(|port| gate.enter(SocketAddr::from((host(0), port)), true)).collect();
    assert!(futures_util::FutureExt::now_or_never(visit.displaced()).is_none());
    drop(flood);
}
