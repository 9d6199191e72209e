//! The score of one source: what an offence adds, what time takes back, and when it becomes a penalty. Pure.

use std::{collections::VecDeque, time::Duration};

use alknet_core::{GateRecord, Offence, PastOffence};

use crate::limits::{MAX_DOOR_BYTES, MAX_REMEMBERED_OFFENCES, PENALTIES, PENALTY_FORGOTTEN_AFTER, POINTS_PER_MINUTE};

const MINUTE_MS: u64 = 60_000;

/// What an offence adds, in thousandths of a point. A flood is counted by the connection, the others by what was done.
pub(super) const fn weight(offence: Offence) -> u64 {
    match offence {
        Offence::FailedAuthentication | Offence::NoAuthentication | Offence::BadFrame => 2_000,
        Offence::ProtocolCrash => 5_000,
        Offence::Flood => 250,
    }
}

/// What an offence led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// More points.
    Counted,
    /// A penalty.
    Penalised,
    /// A penalty that goes on is prolonged.
    Prolonged,
}

/// The score of one source. Times are milliseconds since 1970; a clock that is set back takes nothing back and penalises nobody longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Score {
    points: u64,
    counted_at: u64,
    /// How many penalties there were when the last offence came.
    level: u32,
    until: u64,
    history: VecDeque<PastOffence>,
    /// When a line about it was written last.
    pub(super) line_at: u64,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long the penalty of a level lasts.
fn length(level: u32) -> u64 {
    let nth = usize::try_from(level.saturating_sub(1)).unwrap_or(usize::MAX).min(PENALTIES.len() - 1);
    millis(PENALTIES[nth])
}

impl Score {
    /// Thousandths of a point that are left.
    pub(super) fn points(&self, now: u64) -> u64 {
        let taken_back = now.saturating_sub(self.counted_at).saturating_mul(POINTS_PER_MINUTE) / MINUTE_MS;
        self.points.saturating_sub(taken_back)
    }

    /// How long it is still penalised, in milliseconds; `None` when it is not.
    pub(super) fn penalised_for(&self, now: u64) -> Option<u64> {
        let left = self.until.saturating_sub(now).min(length(u32::MAX));
        (left > 0).then_some(left)
    }

    /// How many penalties still count.
    pub(super) fn level(&self, now: u64) -> u32 {
        let quiet = now.saturating_sub(self.until.max(self.counted_at));
        let forgotten = u32::try_from(quiet / millis(PENALTY_FORGOTTEN_AFTER)).unwrap_or(u32::MAX);
        self.level.saturating_sub(forgotten)
    }

    /// Whether it is as good as unknown.
    pub(super) fn is_blank(&self, now: u64) -> bool {
        self.points(now) == 0 && self.level(now) == 0 && self.penalised_for(now).is_none()
    }

    /// Whether it should outlive a restart.
    pub(super) fn outlives(&self, now: u64) -> bool {
        self.level(now) > 0
    }

    /// The last offences, oldest first.
    pub(super) fn history(&self) -> impl Iterator<Item = &PastOffence> {
        self.history.iter()
    }

    /// Counts an offence; at `threshold` points it is a penalty.
    pub(super) fn offend(&mut self, offence: Offence, door: &str, now: u64, threshold: u64) -> Change {
        let (points, level, penalised) = (self.points(now), self.level(now), self.penalised_for(now));
        self.remember(offence, door, now);
        (self.points, self.level, self.counted_at) = (points, level, now);
        if let Some(left) = penalised {
            self.until = now.saturating_add(left.max(length(level)));
            return Change::Prolonged;
        }
        self.points += weight(offence);
        if self.points < threshold {
            return Change::Counted;
        }
        (self.points, self.level) = (0, level.saturating_add(1).min(PENALTIES.len() as u32));
        self.until = now.saturating_add(length(self.level));
        Change::Penalised
    }

    fn remember(&mut self, offence: Offence, door: &str, now: u64) {
        if self.history.len() >= MAX_REMEMBERED_OFFENCES {
            self.history.pop_front();
        }
        let mut end = door.len().min(MAX_DOOR_BYTES);
        while !door.is_char_boundary(end) {
            end -= 1;
        }
        self.history.push_back(PastOffence { at_ms: now, offence, door: door[..end].to_owned() });
    }

    /// As it is remembered across a restart.
    pub(super) fn record(&self, source: String) -> GateRecord {
        GateRecord {
            source,
            points: self.points,
            counted_at_ms: self.counted_at,
            level: self.level,
            penalised_until_ms: self.until,
            history: self.history.iter().cloned().collect(),
        }
    }

    /// The way back, within the bounds of a score.
    pub(super) fn recorded(record: GateRecord, threshold: u64) -> Self {
        let first = record.history.len().saturating_sub(MAX_REMEMBERED_OFFENCES);
        Self {
            points: record.points.min(threshold.saturating_sub(1)),
            counted_at: record.counted_at_ms,
            level: record.level.min(PENALTIES.len() as u32),
            until: record.penalised_until_ms,
            history: record.history.into_iter().skip(first).collect(),
            line_at: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::PENALTY_POINTS;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: u64 = 86_400_000;

    fn offend(score: &mut Score, times: usize, now: u64) -> Change {
        let mut last = Change::Counted;
        for _ in 0..times {
            last = score.offend(Offence::FailedAuthentication, "ssh", now, PENALTY_POINTS);
        }
        last
    }

    #[test]
    fn ten_failures_in_a_row_are_a_penalty_and_one_each_two_minutes_never_is() {
        // GATE-06 GATE-07
        let mut quick = Score::default();
        assert_eq!(offend(&mut quick, 9, NOW), Change::Counted);
        assert_eq!(quick.penalised_for(NOW), None);
        assert_eq!(offend(&mut quick, 1, NOW), Change::Penalised);
        assert_eq!(quick.penalised_for(NOW), Some(60_000));
        let mut slow = Score::default();
        for turn in 0..10_000 {
            assert_eq!(offend(&mut slow, 1, NOW + turn * 2 * MINUTE_MS), Change::Counted);
        }
    }

    #[test]
    fn penalties_grow_up_to_a_day_and_days_of_quiet_take_them_back() {
        // GATE-08
        let (mut score, mut now) = (Score::default(), NOW);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            assert_eq!(offend(&mut score, 10, now), Change::Penalised);
            lengths.push(score.penalised_for(now).unwrap() / 1000);
            now += score.penalised_for(now).unwrap();
            assert_eq!(score.penalised_for(now), None);
        }
        assert_eq!(lengths, [60, 300, 1_800, 10_800, 86_400, 86_400, 86_400]);
        assert_eq!(score.level(now), 5);
        assert_eq!(score.level(now + DAY), 4);
        assert_eq!(score.level(now + 5 * DAY), 0);
        assert!(!score.is_blank(now + DAY) && score.is_blank(now + 5 * DAY));
        now += 4 * DAY;
        offend(&mut score, 10, now);
        assert_eq!(score.penalised_for(now), Some(300_000), "as a second penalty");
    }

    #[test]
    fn an_offence_within_a_penalty_prolongs_it_and_does_not_raise_the_next() {
        // GATE-08
        let mut score = Score::default();
        offend(&mut score, 10, NOW);
        assert_eq!(offend(&mut score, 1000, NOW + 40_000), Change::Prolonged);
        assert_eq!(score.penalised_for(NOW + 40_000), Some(60_000));
        assert_eq!((score.level(NOW + 100_000), score.points(NOW + 100_000)), (1, 0));
    }

    #[test]
    fn a_clock_that_was_wrong_penalises_nobody_for_years() {
        // GATE-08
        let mut score = Score::default();
        offend(&mut score, 10, NOW + 3650 * DAY);
        assert_eq!(score.penalised_for(NOW), Some(DAY));
        offend(&mut score, 1, NOW);
        assert_eq!(score.penalised_for(NOW + DAY), None);
    }

    #[test]
    fn the_last_offences_are_remembered_with_their_door() {
        let mut score = Score::default();
        for number in 0..20 {
            score.offend(Offence::Flood, &"é".repeat(40), NOW + number, PENALTY_POINTS);
        }
        let history: Vec<_> = score.history().collect();
        assert_eq!((history.len(), history[0].at_ms), (MAX_REMEMBERED_OFFENCES, NOW + 12));
        assert!(history.iter().all(|past| past.door.len() <= MAX_DOOR_BYTES));
    }

    fn offence() -> impl Strategy<Value = Offence> {
        (0..Offence::ALL.len()).prop_map(|nth| Offence::ALL[nth])
    }

    proptest! {
        // GATE-06 GATE-07 GATE-08
        #[test]
        fn time_only_takes_back_and_nothing_leaves_its_bounds(
            steps in proptest::collection::vec((offence(), -100_000_i64..10_000_000), 1..200),
            later in 0_u64..10 * DAY,
        ) {
            let (mut score, mut now) = (Score::default(), NOW);
            for (offence, after) in steps {
                now = now.saturating_add_signed(after);
                let before = score.penalised_for(now).is_some();
                let change = score.offend(offence, "ssh", now, PENALTY_POINTS);
                prop_assert_eq!(change == Change::Prolonged, before);
                prop_assert!(score.points(now) < PENALTY_POINTS);
                prop_assert!(score.level(now) as usize <= PENALTIES.len());
                prop_assert!(score.penalised_for(now).unwrap_or(0) <= DAY);
                prop_assert_eq!(score.penalised_for(now).is_some(), change != Change::Counted);
            }
            prop_assert!(score.points(now + later) <= score.points(now));
            prop_assert!(score.level(now + later) <= score.level(now));
            prop_assert!(score.penalised_for(now + later).unwrap_or(0) <= score.penalised_for(now).unwrap_or(0));
            prop_assert!(score.is_blank(now + 8 * DAY));
            // GATE-22
            let back = Score::recorded(score.record("x".into()), PENALTY_POINTS);
            prop_assert_eq!(back, Score { line_at: 0, ..score });
        }
    }
}
