//! How a call ends: decided once, by whatever comes first.
//!
//! The output, an abort, the deadline and the end of rights race. Each asks the cell; one is let through, the others learn who was
//! first. The model in `crates/alknet-call/loom` runs this file under every interleaving.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

/// What ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ending {
    /// It gave its output, or all of its items.
    Completed = 1,
    /// It gave an error.
    Failed,
    /// It was called off: by its caller, by whoever its caller is part of, or because the caller went away.
    Aborted,
    /// The deadline passed.
    TimedOut,
    /// The rights under which it ran were taken away.
    Revoked,
}

const UNDECIDED: u8 = 0;

impl Ending {
    const fn decode(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Completed),
            2 => Some(Self::Failed),
            3 => Some(Self::Aborted),
            4 => Some(Self::TimedOut),
            5 => Some(Self::Revoked),
            _ => None,
        }
    }
}

/// Holds the one ending of a call, once it is decided.
#[derive(Debug)]
pub struct EndingCell(AtomicU8);

impl Default for EndingCell {
    fn default() -> Self {
        Self(AtomicU8::new(UNDECIDED))
    }
}

impl EndingCell {
    /// Decides that the call ends so. What was written before is seen by everybody who reads the decision.
    ///
    /// # Errors
    /// The ending that was decided before; it stands.
    pub fn decide(&self, ending: Ending) -> Result<(), Ending> {
        match self.0.compare_exchange(UNDECIDED, ending as u8, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(first) => {
                Err(Ending::decode(first).expect("because only endings are ever stored over the first value"))
            }
        }
    }

    /// How the call ends, once that is decided.
    pub fn decided(&self) -> Option<Ending> {
        Ending::decode(self.0.load(Ordering::Acquire))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    // CALL-14: what came first stands.
    #[test]
    fn the_first_ending_stands() {
        let all = [Ending::Completed, Ending::Failed, Ending::Aborted, Ending::TimedOut, Ending::Revoked];
        for first in all {
            let cell = EndingCell::default();
            assert_eq!(cell.decided(), None);
            assert_eq!(cell.decide(first), Ok(()));
            for later in all {
                assert_eq!(cell.decide(later), Err(first));
            }
            assert_eq!(cell.decided(), Some(first));
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::{
        sync::{Arc, atomic::AtomicBool},
        thread,
    };

    use super::*;

    // CALL-14: whatever races, exactly one is let through, everybody agrees on it, and what the winner wrote before is seen.
    #[test]
    fn exactly_one_of_racing_endings_is_decided() {
        loom::model(|| {
            let cell = Arc::new(EndingCell::default());
            let output = Arc::new(AtomicU8::new(0));
            let race = |ending: Ending| {
                let (cell, output) = (cell.clone(), output.clone());
                thread::spawn(move || {
                    if ending == Ending::Completed {
                        output.store(7, Ordering::Relaxed);
                    }
                    let outcome = cell.decide(ending);
                    if outcome.err().unwrap_or(ending) == Ending::Completed {
                        assert_eq!(output.load(Ordering::Relaxed), 7);
                    }
                    (ending, outcome)
                })
            };
            let racers = [race(Ending::Completed), race(Ending::Aborted)];
            let mine = (Ending::TimedOut, cell.decide(Ending::TimedOut));
            let mut outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            outcomes.push(mine);
            let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).collect();
            assert_eq!(winners.len(), 1);
            let first = winners[0].0;
            assert_eq!(cell.decided(), Some(first));
            assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok() || *outcome == Err(first)));
        });
    }

    // CALL-15: a token made while the call is called off is cancelled, by whoever makes it or by whoever calls off.
    #[test]
    fn a_token_made_while_the_call_ends_is_never_missed() {
        loom::model(|| {
            let cell = Arc::new(EndingCell::default());
            // Stand-ins for the node's once-made token, with the orderings that `CallNode` adds to its `OnceLock`.
            let made = Arc::new(AtomicBool::new(false));
            let cancelled = Arc::new(AtomicBool::new(false));
            let maker = {
                let (cell, made, cancelled) = (cell.clone(), made.clone(), cancelled.clone());
                thread::spawn(move || {
                    made.store(true, Ordering::Release);
                    loom::sync::atomic::fence(Ordering::SeqCst);
                    if cell.decided().is_some() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                })
            };
            cell.decide(Ending::Aborted).unwrap();
            loom::sync::atomic::fence(Ordering::SeqCst);
            if made.load(Ordering::Acquire) {
                cancelled.store(true, Ordering::Relaxed);
            }
            maker.join().unwrap();
            assert!(cancelled.load(Ordering::Relaxed));
        });
    }
}
