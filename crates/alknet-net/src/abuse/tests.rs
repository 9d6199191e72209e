//! The gate by a clock that is set by hand.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, AuthenticationWatch, Authorizer, BoxFuture, Caller, Demand, Effect, Fingerprint,
    GateJournal, GateJournalError, GateRecord, Identity, NodeKey, Offence, Peer, PeerAddr, Permit, PermitError,
};

use super::*;
use crate::limits::{MAX_GATE_SAVE_DELAY, MAX_HALF_OPEN_PER_SOURCE, PENALISED_LOGIN_TIMEOUT};

const NOW: u64 = 1_800_000_000_000;

struct World {
    gate: AbuseGate,
    clock: Arc<AtomicU64>,
}

fn world() -> World {
    let clock = Arc::new(AtomicU64::new(NOW));
    let hand_set = clock.clone();
    World { gate: AbuseGate::by_clock(move || hand_set.load(Ordering::Relaxed)), clock }
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

fn permit(scope: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let caller = Caller { identity: Some(Arc::new(Identity::owner("me"))), credential: None, addr: ip("192.0.2.9:1") };
    let demand = Demand { action: "gate/test", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
fn ip(text: &str) -> PeerAddr {
    PeerAddr::Ip(addr(text))
}
fn key(times: u8) -> NodeKey {
    // Multiples of the base point would do; these are the y coordinates of points (RFC 8032) that tests use elsewhere.
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    match times {
        1 => NodeKey::from_bytes(bytes).unwrap(),
        _ => NodeKey::from_bytes(hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).unwrap(),
    }
}
fn hex(text: &str) -> [u8; 32] {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}
fn peer(from: &str, key: Option<NodeKey>) -> Peer {
    Peer { key, addr: ip(from), local: None, server_name: None }
}
fn stranger(from: &str, credential: Option<String>) -> Caller {
    Caller { identity: None, credential, addr: ip(from) }
}

impl World {
    fn standing(&self, source: &str) -> GateReport {
        self.gate.why(&permit("gate:read"), &source.parse().unwrap()).unwrap().0.remove(0)
    }
    fn penalise(&self, from: &str) {
        let visit = self.gate.enter(addr(from), true);
        (0..10).for_each(|_| visit.offend(Offence::BadFrame, "tls"));
    }
    fn unfinished(&self) -> usize {
        self.gate.unfinished()
    }
}

fn is_displaced(visit: &Visit) -> bool {
    futures_util::FutureExt::now_or_never(visit.displaced()).is_some()
}

#[test]
fn what_may_be_forged_never_counts() {
    // GATE-03
    let world = world();
    let visits: Vec<_> = (0..200).map(|_| world.gate.enter(addr("192.0.2.1:5"), false)).collect();
    visits.iter().for_each(|visit| visit.offend(Offence::NoAuthentication, "quic"));
    assert_eq!(world.gate.list(&permit("gate:read")).unwrap(), []);
    let mut shown = world.gate.enter(addr("192.0.2.1:6"), false);
    shown.shook_hands(&peer("192.0.2.1:6", None), false, false);
    shown.offend(Offence::BadFrame, "alknet/call");
    assert_eq!(world.standing("192.0.2.1").points, 2_000, "a whole handshake shows that the address receives");
}

#[test]
fn failures_at_every_door_count_against_the_address_and_a_key_that_was_proven() {
    // GATE-01 GATE-05 GATE-13
    let world = world();
    world.gate.failed(&stranger("192.0.2.1:5", None), "ssh");
    let proven = Fingerprint::from(key(1)).to_string();
    world.gate.failed(&stranger("192.0.2.2:5", Some(proven.clone())), "alknet/call");
    for label in ["apikey:abcdefgh", "token:00", "local-socket"] {
        world.gate.failed(&stranger("192.0.2.3:5", Some(label.into())), "http/bearer");
    }
    world.gate.failed(&Caller { addr: PeerAddr::LocalOwner { pid: 7 }, ..stranger("0.0.0.0:0", None) }, "alknet/call");
    let known: Vec<_> = world.gate.list(&permit("gate:read")).unwrap().into_iter().map(|it| it.source).collect();
    assert_eq!(known, ["192.0.2.3", "192.0.2.1", "192.0.2.2", &proven], "names of tokens can be made up by anybody");
}

#[test]
fn somebody_known_costs_its_neighbours_nothing() {
    // GATE-04
    let world = world();
    let mut visit = world.gate.enter(addr("192.0.2.1:5"), true);
    visit.shook_hands(&peer("192.0.2.1:5", Some(key(1))), true, false);
    visit.offend(Offence::BadFrame, "alknet/call");
    world.gate.failed(&stranger("192.0.2.1:5", None), "alknet/call");
    let over_ssh = world.gate.enter(addr("192.0.2.1:6"), true);
    let fingerprint = Fingerprint::of_sha256(&[7; 32]).to_string();
    let me = Some(Arc::new(Identity::owner("me")));
    world.gate.proved(&Caller { identity: me, credential: Some(fingerprint.clone()), addr: ip("192.0.2.1:6") }, "ssh");
    over_ssh.offend(Offence::ProtocolCrash, "ssh");
    assert_eq!(world.standing("192.0.2.1").points, 0);
    assert_eq!(world.standing(&Fingerprint::from(key(1)).to_string()).points, 4_000);
    assert_eq!(world.standing(&fingerprint).points, 5_000);
}

#[test]
fn a_penalised_source_has_two_places_and_its_neighbours_all_of_theirs() {
    // GATE-10
    let world = world();
    world.penalise("192.0.2.1:5");
    let visits: Vec<_> = (0..5).map(|port| world.gate.enter(addr(&format!("192.0.2.1:{port}")), true)).collect();
    assert_eq!(visits.iter().map(is_displaced).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(world.standing("192.0.2.1").history.len(), 8);
    assert!(world.standing("192.0.2.1").history.iter().all(|past| past.offence == Offence::BadFrame), "no flood");
    let others: Vec<_> =
        (0..MAX_HALF_OPEN_PER_SOURCE).map(|port| world.gate.enter(addr(&format!("192.0.2.2:{port}")), true)).collect();
    assert!(!others.iter().any(is_displaced));
    world.clock.fetch_add(60_001, Ordering::Relaxed);
    let visits: Vec<_> = (0..5).map(|port| world.gate.enter(addr(&format!("192.0.2.1:{port}")), true)).collect();
    assert!(!visits.iter().any(is_displaced), "the penalty is over");
}

#[test]
fn a_penalised_site_has_two_places_in_all() {
    // GATE-09 GATE-10
    let world = world();
    (1..5).for_each(|network| world.penalise(&format!("[2001:db8:1:{network}::1]:5")));
    let visits: Vec<_> =
        (10..15).map(|network| world.gate.enter(addr(&format!("[2001:db8:1:{network}::1]:5")), true)).collect();
    assert_eq!(visits.iter().filter(|visit| !is_displaced(visit)).count(), 2);
}

#[test]
fn wanting_more_places_than_anybody_needs_is_a_flood() {
    // GATE-02
    let world = world();
    let visits: Vec<_> = (0..1000).map(|port| world.gate.enter(addr(&format!("192.0.2.1:{port}")), true)).collect();
    assert_eq!(visits.iter().filter(|visit| !is_displaced(visit)).count(), 2);
    let standing = world.standing("192.0.2.1");
    assert!(standing.penalised_for.is_some() && standing.history.iter().all(|past| past.offence == Offence::Flood));
    drop(visits);
    assert_eq!(world.unfinished(), 0);
    let crowd: Vec<_> =
        (0..600).map(|n| world.gate.enter(addr(&format!("10.0.{}.{}:5", n / 250, n % 250)), true)).collect();
    assert_eq!(world.gate.list(&permit("gate:read")).unwrap().len(), 1, "a crowd is nobody's fault");
    drop(crowd);
}

#[test]
fn a_proof_gives_the_place_back_and_leaves_the_score() {
    // GATE-11
    let world = world();
    world.penalise("192.0.2.1:5");
    let before = world.standing("192.0.2.1");
    let mut owners = Vec::new();
    for port in 10..20 {
        let mut visit = world.gate.enter(addr(&format!("192.0.2.1:{port}")), true);
        match port % 2 {
            0 => visit.shook_hands(&peer("192.0.2.1:5", Some(key(1))), true, true),
            _ => {
                visit.shook_hands(&peer("192.0.2.1:5", None), false, true);
                let me = Some(Arc::new(Identity::owner("me")));
                let credential = Some("cert:whatever".to_owned());
                world.gate.proved(&Caller { identity: me, credential, addr: ip(&format!("192.0.2.1:{port}")) }, "ssh");
            }
        }
        owners.push(visit);
    }
    let _strangers: Vec<_> = (30..40).map(|port| world.gate.enter(addr(&format!("192.0.2.1:{port}")), true)).collect();
    assert!(!owners.iter().any(is_displaced));
    assert_eq!(world.standing("192.0.2.1"), before);
}

#[test]
fn where_everybody_logs_in_the_place_is_held_until_then() {
    // GATE-14
    let world = world();
    let enter = |port: u16, logs_in| {
        let from = format!("192.0.2.1:{port}");
        let mut visit = world.gate.enter(addr(&from), true);
        visit.shook_hands(&peer(&from, None), false, logs_in);
        visit
    };
    let web = enter(1, false);
    assert_eq!(world.unfinished(), 0);
    let ssh = enter(2, true);
    assert_eq!(world.unfinished(), 1);
    world.penalise("192.0.2.1:5");
    let penalised = enter(3, false);
    assert_eq!(world.unfinished(), 2, "and a penalised stranger holds it everywhere");
    let _newest = enter(4, true);
    assert!(is_displaced(&ssh) && !is_displaced(&penalised) && !is_displaced(&web));
}

#[tokio::test(start_paused = true)]
async fn the_penalised_have_less_time() {
    // GATE-15
    let world = world();
    let mut usual = world.gate.enter(addr("192.0.2.2:5"), true);
    world.penalise("192.0.2.1:5");
    let mut watched = world.gate.enter(addr("192.0.2.1:6"), true);
    assert!(watched.handshake_timeout() < usual.handshake_timeout());
    usual.shook_hands(&peer("192.0.2.2:5", None), false, true);
    watched.shook_hands(&peer("192.0.2.1:6", None), false, true);
    let begin = tokio::time::Instant::now();
    assert_eq!(watched.ended().await, Ended::Overdue);
    assert_eq!(begin.elapsed(), PENALISED_LOGIN_TIMEOUT);
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, usual.ended()).await.is_err(), "its door sees to the time");
    let me = Some(Arc::new(Identity::owner("me")));
    world.gate.proved(&Caller { identity: me, credential: None, addr: ip("192.0.2.1:6") }, "ssh");
    assert!(tokio::time::timeout(day, watched.ended()).await.is_err(), "a proof takes the limit away");
}

#[test]
fn a_penalised_strangers_key_has_two_connections_wherever_they_come_from() {
    // GATE-16
    let world = world();
    let enter = |host: u8, key| {
        let from = format!("192.0.2.{host}:5");
        let mut visit = world.gate.enter(addr(&from), true);
        visit.shook_hands(&peer(&from, Some(key)), false, false);
        visit
    };
    for host in 0..10 {
        enter(host, key(1)).offend(Offence::BadFrame, "alknet/call");
    }
    let visits: Vec<_> = (20..25).map(|host| enter(host, key(1))).collect();
    assert_eq!(visits.iter().map(is_displaced).collect::<Vec<_>>(), [true, true, true, false, false]);
    let others: Vec<_> = (20..25).map(|host| enter(host, key(2))).collect();
    assert!(!others.iter().any(is_displaced));
}

#[test]
fn an_address_that_is_penalised_or_busy_is_shown_first() {
    // GATE-17
    let world = world();
    let at = |text: &str| world.gate.wants_validation(text.parse().unwrap());
    assert!(!at("192.0.2.1"));
    world.penalise("192.0.2.1:5");
    assert!(at("192.0.2.1") && !at("192.0.2.2"));
    let _busy: Vec<_> = (0..8).map(|port| world.gate.enter(addr(&format!("192.0.2.2:{port}")), false)).collect();
    assert!(at("192.0.2.2"));
}

#[test]
fn the_gate_answers_and_forgives_under_a_permit() {
    // GATE-20 GATE-21
    let world = world();
    world.penalise("192.0.2.1:5");
    world.gate.enter(addr("[2001:db8::1]:5"), true).offend(Offence::BadFrame, "tls");
    let (read, write) = (permit("gate:read"), permit("gate:write"));
    let listed: Vec<_> = world.gate.list(&read).unwrap().into_iter().map(|it| (it.source, it.level)).collect();
    let named = |text: &str, level| (text.to_owned(), level);
    assert_eq!(listed, [named("192.0.2.1", 1), named("2001:db8::/48", 0), named("2001:db8::/64", 0)]);
    let (reports, place) = world.gate.why(&read, &"203.0.113.1".parse().unwrap()).unwrap();
    assert_eq!((reports[0].points, place), (0, Some(Place { exempt: false, unfinished: 0 })), "nobody yet");
    let not_covered = |error| matches!(error, PermitError::NotCovered { .. });
    assert!(
        not_covered(world.gate.list(&write).unwrap_err()) && not_covered(world.gate.forgive(&read, None).unwrap_err())
    );
    let target = "192.0.2.1:50222".parse().unwrap();
    assert_eq!(world.gate.forgive(&write, Some(&target)).unwrap(), ["192.0.2.1"]);
    assert_eq!(world.gate.forgive(&write, Some(&target)).unwrap(), [""; 0]);
    assert_eq!(world.gate.forgive(&write, None).unwrap(), ["2001:db8::/48", "2001:db8::/64"]);
    assert_eq!(world.gate.list(&read).unwrap(), []);
}

/// A journal in memory that can be out of order, or slow.
#[derive(Default)]
struct Kept {
    records: Mutex<Vec<GateRecord>>,
    broken: AtomicBool,
    attempts: AtomicU64,
    /// What the first attempt waits for, if it waits.
    first_waits_for: Option<tokio::sync::Notify>,
}

impl GateJournal for Kept {
    fn load(&self) -> BoxFuture<'_, Result<Vec<GateRecord>, GateJournalError>> {
        Box::pin(async { Ok(self.records.lock().unwrap().clone()) })
    }
    fn save(&self, kept: Vec<GateRecord>, forgotten: Vec<String>) -> BoxFuture<'_, Result<(), GateJournalError>> {
        Box::pin(async move {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            if let (0, Some(go_on)) = (attempt, &self.first_waits_for) {
                go_on.notified().await;
            }
            if self.broken.load(Ordering::Relaxed) {
                return Err(GateJournalError(Arc::new(std::io::Error::other("out of order"))));
            }
            let mut records = self.records.lock().unwrap();
            let gone = |source: &String| forgotten.contains(source) || kept.iter().any(|it| it.source == *source);
            records.retain(|record| !gone(&record.source));
            records.extend(kept);
            Ok(())
        })
    }
}

#[tokio::test]
async fn penalties_outlive_a_restart_and_pardons_too() {
    // GATE-22
    let journal = Arc::new(Kept::default());
    let first = world();
    first.gate.remember_in(journal.clone()).await.unwrap();
    first.penalise("192.0.2.1:5");
    first.gate.enter(addr("192.0.2.2:5"), true).offend(Offence::BadFrame, "tls");
    journal.broken.store(true, Ordering::Relaxed);
    assert!(first.gate.save().await.is_err());
    journal.broken.store(false, Ordering::Relaxed);
    first.gate.save().await.unwrap();
    let after = world();
    after.gate.remember_in(journal.clone()).await.unwrap();
    assert_eq!(after.standing("192.0.2.1"), first.standing("192.0.2.1"));
    assert_eq!(after.standing("192.0.2.2").points, 0, "a few points do not");
    after.gate.forgive(&permit("gate:write"), None).unwrap();
    after.gate.save().await.unwrap();
    assert_eq!(*journal.records.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_written_soon_and_what_time_took_back_is_deleted() {
    // GATE-22
    let (journal, world) = (Arc::new(Kept::default()), world());
    world.gate.remember_in(journal.clone()).await.unwrap();
    let saver = tokio::spawn(world.gate.clone().keep_saving());
    world.penalise("192.0.2.1:5");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(journal.records.lock().unwrap().len(), 1);
    world.clock.fetch_add(3 * 86_400_000, Ordering::Relaxed);
    world.gate.tidy();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(*journal.records.lock().unwrap(), []);
    saver.abort();
}

#[tokio::test]
async fn what_changed_later_is_written_later() {
    // GATE-22
    let journal = Arc::new(Kept { first_waits_for: Some(tokio::sync::Notify::new()), ..Kept::default() });
    let world = world();
    world.gate.remember_in(journal.clone()).await.unwrap();
    world.penalise("192.0.2.1:5");
    let pardon = async {
        world.gate.forgive(&permit("gate:write"), None).unwrap();
        world.gate.save().await
    };
    let go_on = async { journal.first_waits_for.as_ref().unwrap().notify_one() };
    let (penalty, pardon, ()) = tokio::join!(world.gate.save(), pardon, go_on);
    penalty.and(pardon).unwrap();
    assert_eq!(*journal.records.lock().unwrap(), [], "a slow write must not bring back what was forgiven meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_not_tried_every_second_and_told_as_often() {
    // GATE-22
    let (journal, world) = (Arc::new(Kept { broken: true.into(), ..Kept::default() }), world());
    world.gate.remember_in(journal.clone()).await.unwrap();
    let saver = tokio::spawn(world.gate.clone().keep_saving());
    world.penalise("192.0.2.1:5");
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    let attempts = journal.attempts.load(Ordering::Relaxed);
    assert!((30..60).contains(&attempts), "{attempts} in six hours");
    journal.broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(MAX_GATE_SAVE_DELAY).await;
    assert_eq!(journal.records.lock().unwrap().len(), 1);
    saver.abort();
}

#[tokio::test]
async fn a_journal_that_somebody_edited_does_no_harm() {
    // GATE-22
    let record = |source: &str| GateRecord {
        source: source.into(),
        points: u64::MAX,
        counted_at_ms: u64::MAX,
        level: u32::MAX,
        penalised_until_ms: u64::MAX,
        history: Vec::new(),
    };
    let journal =
        Kept { records: Mutex::new(vec![record("192.0.2.1"), record("no source"), record("")]), ..Kept::default() };
    let world = world();
    world.gate.remember_in(Arc::new(journal)).await.unwrap();
    assert_eq!(world.gate.list(&permit("gate:read")).unwrap().len(), 1);
    let standing = world.standing("192.0.2.1");
    assert_eq!((standing.penalised_for, standing.level), (Some(Duration::from_secs(86_400)), 5));
    assert!(standing.points < standing.threshold);
}
