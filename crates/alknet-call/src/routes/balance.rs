//! Which of several workers a call for any of them goes to. Pure: the time is an argument.

use std::time::Duration;

use crate::limits::WORKER_PENALTY;

/// How `any/service/operation` chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    Turns,
    /// The one with the fewest calls in progress.
    LeastBusy,
}

/// What is known of a worker that could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Calls in progress.
    pub(super) in_flight: u32,
    /// Whether it takes no more of them.
    pub(super) full: bool,
    /// When it last failed to take a call, or to answer in time.
    pub(super) ailed_at: Option<Duration>,
}

impl Standing {
    pub(super) fn is_well(&self, now: Duration) -> bool {
        !self.full && self.ailed_at.is_none_or(|ailed| now.saturating_sub(ailed) >= WORKER_PENALTY)
    }
}

/// The index of the one to take; `turn` grows by one with each choice among the same. `None` only where there is nobody.
pub(super) fn choose(balance: Balance, standings: &[Standing], turn: usize, now: Duration) -> Option<usize> {
    let well: Vec<_> = (0..standings.len()).filter(|&nth| standings[nth].is_well(now)).collect();
    let pool = if well.is_empty() { (0..standings.len()).collect() } else { well };
    let first = turn.checked_rem(pool.len())?;
    match balance {
        Balance::Turns => pool.get(first).copied(),
        // Those that are equally busy take turns.
        Balance::LeastBusy => {
            let in_turn = pool[first..].iter().chain(&pool[..first]);
            in_turn.copied().min_by_key(|&nth| standings[nth].in_flight)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn well(in_flight: u32) -> Standing {
        Standing { in_flight, full: false, ailed_at: None }
    }

    fn ailed(millis_ago: u64) -> Standing {
        Standing { ailed_at: Some(NOW - Duration::from_millis(millis_ago)), ..well(0) }
    }

    // CALL-56
    #[test]
    fn turns_go_round() {
        let three = [well(9), well(0), well(3)];
        let chosen: Vec<_> = (0..6).map(|turn| choose(Balance::Turns, &three, turn, NOW).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
        assert_eq!(choose(Balance::Turns, &[], 0, NOW), None);
    }

    // CALL-56
    #[test]
    fn the_least_busy_is_taken_and_the_equal_take_turns() {
        assert_eq!(choose(Balance::LeastBusy, &[well(9), well(0), well(3)], 5, NOW), Some(1));
        let chosen: Vec<_> =
            (0..4).map(|turn| choose(Balance::LeastBusy, &[well(1), well(1)], turn, NOW).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 0, 1]);
    }

    // CALL-56
    #[test]
    fn who_ailed_in_the_last_second_is_passed_over_while_there_is_another() {
        assert_eq!(choose(Balance::LeastBusy, &[ailed(999), well(50)], 0, NOW), Some(1));
        assert_eq!(choose(Balance::LeastBusy, &[ailed(1000), well(50)], 0, NOW), Some(0));
        assert_eq!(choose(Balance::Turns, &[ailed(1), ailed(2)], 1, NOW), Some(1));
        assert_eq!(choose(Balance::Turns, &[Standing { full: true, ..well(0) }, well(7)], 0, NOW), Some(1));
    }

    proptest! {
        // CALL-56
        #[test]
        fn a_choice_is_fair_and_never_ails_needlessly(
            standings in proptest::collection::vec((0..5_u32, any::<bool>(), proptest::option::of(0..3000_u64)), 1..12),
            least in any::<bool>(),
            begin in any::<usize>(),
        ) {
            let standings: Vec<_> = standings
                .into_iter()
                .map(|(in_flight, full, ago)| Standing { in_flight, full, ailed_at: ago.map(|ago| NOW - Duration::from_millis(ago)) })
                .collect();
            let balance = if least { Balance::LeastBusy } else { Balance::Turns };
            let is_well = |nth: &usize| standings[*nth].is_well(NOW);
            let some_well = (0..standings.len()).any(|nth| is_well(&nth));
            let mut times = vec![0_usize; standings.len()];
            for turn in 0..standings.len() * 10 {
                let chosen = choose(balance, &standings, (begin % 1_000_000) + turn, NOW).unwrap();
                prop_assert!(is_well(&chosen) || !some_well);
                times[chosen] += 1;
            }
            if balance == Balance::Turns {
                let pool: Vec<_> = (0..standings.len()).filter(|nth| is_well(nth) || !some_well).map(|nth| times[nth]).collect();
                prop_assert!(pool.iter().max().unwrap() - pool.iter().min().unwrap() <= 1, "{:?}", times);
            }
        }
    }
}
