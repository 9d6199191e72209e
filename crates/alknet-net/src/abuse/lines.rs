//! What the gate writes into the log. The words are an interface: other programs read them (docs/spec/gate.md).

use std::{net::SocketAddr, time::Duration};

use alknet_core::Offence;

use super::{
    score::{Change, Score},
    source::Source,
};
use crate::limits::{LINE_INTERVAL, LINES_PER_SECOND, MAX_LINES_AT_ONCE};

/// The log target of the gate's lines.
const TARGET: &str = "gate";

/// How many lines may be written now.
pub(super) struct Budget {
    left: u64,
    at: u64,
    left_out: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: MAX_LINES_AT_ONCE, at: 0, left_out: 0 }
    }
}

impl Budget {
    /// Takes a line; the second value is how many were left out before it. `None` when it is left out too.
    fn take(&mut self, now: u64) -> Option<u64> {
        let earned = now.saturating_sub(self.at).saturating_mul(LINES_PER_SECOND) / 1000;
        if earned > 0 || now < self.at {
            self.left = self.left.saturating_add(earned).min(MAX_LINES_AT_ONCE);
            self.at = now;
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Whether a line is due: not for every connection of a flood, and not for everything that a penalised source does.
fn is_due(score: &mut Score, offence: Offence, change: Change, now: u64) -> bool {
    let often = offence == Offence::Flood || change == Change::Prolonged;
    let interval = u64::try_from(LINE_INTERVAL.as_millis()).unwrap_or(u64::MAX);
    // A clock that was set back does not silence anybody.
    let soon = score.line_at <= now && now - score.line_at < interval;
    if often && soon && change != Change::Penalised {
        return false;
    }
    if often {
        score.line_at = now;
    }
    true
}

/// An offence that was counted, and what came of it.
pub(super) struct Told<'a> {
    pub(super) offence: Offence,
    pub(super) addr: SocketAddr,
    pub(super) door: &'a str,
    pub(super) change: Change,
    pub(super) threshold: u64,
    pub(super) now: u64,
}

/// Writes the line of an offence, if one is due.
pub(super) fn offence(budget: &mut Budget, score: &mut Score, told: &Told<'_>) {
    if !is_due(score, told.offence, told.change, told.now) {
        return;
    }
    if allowed(budget, told.now) {
        tracing::warn!(target: TARGET, "{}", told.line(score));
    }
}

/// Takes a line, and tells of those that were left out before it.
fn allowed(budget: &mut Budget, now: u64) -> bool {
    let Some(left_out) = budget.take(now) else { return false };
    if left_out > 0 {
        tracing::warn!(target: TARGET, "{left_out} lines about offences were left out");
    }
    true
}

impl Told<'_> {
    fn line(&self, score: &Score) -> String {
        let (ip, port) = (self.addr.ip(), self.addr.port());
        let standing = match score.penalised_for(self.now) {
            Some(left) => format!("penalised for {} s", left.div_ceil(1000)),
            None => format!("{} of {} points", points(score.points(self.now)), self.threshold / 1000),
        };
        format!("{} from {ip} port {port} on {} ({standing})", self.offence, self.door)
    }
}

/// Points with one decimal where there is one: never more than there are.
fn points(thousandths: u64) -> String {
    match (thousandths / 1000, thousandths / 100 % 10) {
        (whole, 0) => whole.to_string(),
        (whole, tenths) => format!("{whole}.{tenths}"),
    }
}

/// A penalty begins.
pub(super) fn penalty(source: &impl std::fmt::Display, score: &Score, now: u64) {
    let left = Duration::from_millis(score.penalised_for(now).unwrap_or_default()).as_secs();
    tracing::warn!(target: TARGET, "penalty for {source}: {left} s, level {}", score.level(now));
}

/// Writes the line of an offence of somebody known, if one is due: it counts against the key, if one was shown, and not against the address.
pub(super) fn known(budget: &mut Budget, key: Option<(&Source, &mut Score)>, told: &Told<'_>) {
    let Told { offence, addr, door, now, .. } = told;
    let (key, due) = match key {
        Some((key, score)) => (Some(key), is_due(score, *offence, told.change, *now)),
        None => (None, true),
    };
    if !due || !allowed(budget, *now) {
        return;
    }
    match key {
        Some(key) => tracing::warn!(target: TARGET, "{offence} by the known key {key} at {addr} on {door}"),
        None => tracing::warn!(target: TARGET, "{offence} by somebody known at {addr} on {door}"),
    }
}

/// A pardon.
pub(super) fn forgiven(source: &impl std::fmt::Display, by: &str) {
    tracing::warn!(target: TARGET, "forgiven {source} by {by}");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use alknet_core::Fingerprint;
    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use super::*;
    use crate::limits::PENALTY_POINTS;

    const NOW: u64 = 1_800_000_000_000;

    /// Keeps what is written at the gate's target.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == TARGET
        }
        fn event(&self, event: &Event<'_>) {
            struct Message(String);
            impl Visit for Message {
                fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
                    self.0 = format!("{value:?}");
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    /// What is written while `act` runs.
    fn written(act: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), act);
        log.0.lock().unwrap().clone()
    }

    fn told(offence: Offence, change: Change, now: u64) -> Told<'static> {
        let addr = "[2001:db8::7]:50222".parse().unwrap();
        Told { offence, addr, door: "ssh", change, threshold: PENALTY_POINTS, now }
    }

    #[test]
    fn the_words_are_these() {
        // GATE-30
        let mut score = Score::default();
        let mut line = |offence, times: usize| {
            let change = (0..times).map(|_| score.offend(offence, "ssh", NOW, PENALTY_POINTS)).last().unwrap();
            told(offence, change, NOW).line(&score)
        };
        let from = "from 2001:db8::7 port 50222 on ssh";
        assert_eq!(line(Offence::FailedAuthentication, 1), format!("failed authentication {from} (2 of 20 points)"));
        assert_eq!(line(Offence::NoAuthentication, 1), format!("no authentication in time {from} (4 of 20 points)"));
        assert_eq!(line(Offence::BadFrame, 1), format!("bad frame {from} (6 of 20 points)"));
        assert_eq!(line(Offence::Flood, 1), format!("flood {from} (6.2 of 20 points)"));
        assert_eq!(line(Offence::ProtocolCrash, 3), format!("protocol crash {from} (penalised for 60 s)"));
    }

    #[test]
    fn lines_about_floods_and_the_penalised_are_few() {
        // GATE-31
        let mut score = Score::default();
        let mut due = |offence, change, at| is_due(&mut score, offence, change, NOW + at);
        assert!(due(Offence::BadFrame, Change::Counted, 0) && due(Offence::BadFrame, Change::Counted, 0));
        assert!(due(Offence::Flood, Change::Counted, 0));
        assert!(!due(Offence::Flood, Change::Counted, 9_999) && due(Offence::Flood, Change::Counted, 10_000));
        assert!(due(Offence::Flood, Change::Penalised, 10_000));
        assert!(
            !due(Offence::BadFrame, Change::Prolonged, 10_001) && due(Offence::BadFrame, Change::Prolonged, 20_000)
        );
        assert!(due(Offence::Flood, Change::Counted, 0), "the clock was set back");
    }

    #[test]
    fn lines_in_all_are_bounded_and_the_left_out_are_counted() {
        // GATE-31
        let mut budget = Budget::default();
        let written = (0..10_000).filter(|_| budget.take(NOW).is_some()).count() as u64;
        assert_eq!(written, MAX_LINES_AT_ONCE);
        assert_eq!(budget.take(NOW + 1000), Some(10_000 - MAX_LINES_AT_ONCE));
        let more = (1..100_000).filter(|n| budget.take(NOW + 1000 + n / 10).is_some()).count() as u64;
        assert!(more <= LINES_PER_SECOND * 11, "{more}");
    }

    #[test]
    fn the_next_line_tells_how_many_were_left_out_before_it_whosever_it_is() {
        // GATE-31
        let (mut budget, mut score) = (Budget::default(), Score::default());
        let address = |now| told(Offence::BadFrame, Change::Counted, now);
        let lines = written(|| {
            (0..MAX_LINES_AT_ONCE + 7).for_each(|_| offence(&mut budget, &mut score, &address(NOW)));
            known(&mut budget, None, &address(NOW + 1000));
            (0..LINES_PER_SECOND + 2).for_each(|_| known(&mut budget, None, &address(NOW + 1000)));
            offence(&mut budget, &mut score, &address(NOW + 2000));
        });
        let known = "bad frame by somebody known at [2001:db8::7]:50222 on ssh";
        let (first, rest) = lines.split_at(MAX_LINES_AT_ONCE as usize);
        assert!(first.iter().all(|line| line.starts_with("bad frame from ")), "{first:?}");
        assert_eq!(rest[..2], ["7 lines about offences were left out", known]);
        let after = &rest[LINES_PER_SECOND as usize + 1..];
        assert_eq!((after[0].as_str(), after.len()), ("3 lines about offences were left out", 2), "{after:?}");
    }

    #[test]
    fn a_penalised_key_has_few_lines_and_its_neighbours_keep_theirs() {
        // GATE-31
        let (mut budget, mut score) = (Budget::default(), Score::default());
        let key = Source::Key(Fingerprint::of_sha256(&[7; 32]));
        let mut lines = |change, at| {
            written(|| {
                (0..1000).for_each(|_| {
                    known(&mut budget, Some((&key, &mut score)), &told(Offence::BadFrame, change, NOW + at));
                });
            })
        };
        let line = [format!("bad frame by the known key {key} at [2001:db8::7]:50222 on ssh")];
        assert_eq!(lines(Change::Prolonged, 0), line);
        assert!(lines(Change::Prolonged, 9_999).is_empty());
        assert_eq!(lines(Change::Prolonged, 10_000), line);
        assert_eq!(lines(Change::Counted, 10_000).len() as u64, MAX_LINES_AT_ONCE - 1);
    }
}
