//! The live tree of calls, as lines of a terminal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alknet_call::{CallNumber, CallStatus, CallView};

use crate::{cli::output, operations::calls::CallStep};

/// How long a call that ended stays on the board.
const AFTERGLOW: Duration = Duration::from_secs(3);
/// Most calls on the board.
const MAX_CALLS: usize = 5000;

/// The calls that are shown.
#[derive(Default)]
pub struct Board {
    calls: BTreeMap<CallNumber, Shown>,
    /// Whether calls that ended stay for good.
    keep_ended: bool,
    begun: u64,
    ended: u64,
    missed: u64,
}

struct Shown {
    call: CallView,
    seen: Instant,
}

impl Board {
    /// An empty board; `keep_ended` for one on which what ended stays.
    pub fn new(keep_ended: bool) -> Self {
        Self { keep_ended, ..Self::default() }
    }

    /// Takes a step that was told now.
    pub fn take(&mut self, step: CallStep, now: Instant) {
        let call = match step {
            CallStep::Missed(steps) => {
                self.missed += steps;
                return;
            }
            CallStep::Call(call) => call,
        };
        let before = self.calls.get(&call.number);
        // A step that is told twice, or after a later one, changes nothing.
        if before.is_some_and(|before| before.call.status.is_ended()) {
            return;
        }
        self.begun += u64::from(before.is_none());
        self.ended += u64::from(call.status.is_ended());
        self.calls.insert(call.number, Shown { call, seen: now });
        if self.calls.len() > MAX_CALLS {
            self.drop_oldest();
        }
    }

    /// An ended one first: one that runs may still change.
    fn drop_oldest(&mut self) {
        let ended = self.calls.iter().find(|(_, shown)| shown.call.status.is_ended());
        if let Some(oldest) = ended.or_else(|| self.calls.iter().next()).map(|(number, _)| *number) {
            self.calls.remove(&oldest);
        }
    }

    /// The lines for a window of this size, the first one a summary.
    pub fn lines(&mut self, now: Instant, columns: usize, rows: usize) -> Vec<String> {
        if !self.keep_ended {
            self.calls.retain(|_, shown| !shown.call.status.is_ended() || now - shown.seen < AFTERGLOW);
        }
        let tree = self.tree(now);
        let mut lines = vec![self.summary()];
        let room = rows.saturating_sub(1);
        if tree.len() <= room {
            lines.extend(tree);
        } else {
            let shown = room.saturating_sub(1);
            let more = tree.len() - shown;
            // The youngest are at the end, where something happens.
            lines.extend(tree.into_iter().skip(more));
            lines.push(format!("… and {more} more above"));
        }
        lines.truncate(rows);
        lines.iter().map(|line| line.chars().take(columns).collect()).collect()
    }

    fn summary(&self) -> String {
        let live = self.calls.values().filter(|shown| !shown.call.status.is_ended()).count();
        let missed = if self.missed > 0 { format!(", {} steps missed", self.missed) } else { String::new() };
        format!("{live} calls run; {} seen, {} ended{missed}. Ctrl-C ends this.", self.begun, self.ended)
    }

    fn tree(&self, now: Instant) -> Vec<String> {
        let mut children: BTreeMap<Option<CallNumber>, Vec<CallNumber>> = BTreeMap::new();
        for (number, shown) in &self.calls {
            let parent = shown.call.parent.filter(|parent| self.calls.contains_key(parent));
            children.entry(parent).or_default().push(*number);
        }
        let mut lines = Vec::new();
        // Depth first; a call's parent has a smaller number, so there is no circle.
        let roots = children.remove(&None).unwrap_or_default();
        let mut waiting: Vec<_> = roots.into_iter().rev().map(|number| (number, 0)).collect();
        while let Some((number, depth)) = waiting.pop() {
            if let Some(shown) = self.calls.get(&number) {
                lines.push(line(&shown.call, depth, now - shown.seen));
            }
            let below = children.remove(&Some(number)).unwrap_or_default();
            waiting.extend(below.into_iter().rev().map(|number| (number, depth + 1)));
        }
        lines
    }
}

/// A call in one line; `since` is how long ago it was seen so.
pub fn line(call: &CallView, depth: usize, since: Duration) -> String {
    let running = if call.status.is_ended() { Duration::ZERO } else { since };
    let took = Duration::from_micros(call.took_us) + running;
    let who = call.identity.as_deref().unwrap_or("-");
    let origin = call.origin.as_deref().map(|origin| format!(" for {}", output::printable(origin)));
    let reason = call.reason.as_deref().map(|reason| format!(" ({})", output::printable(reason)));
    format!(
        "{mark} {indent}{operation}  {number}  {who}{origin}  {status}{reason}  {took}",
        mark = mark(call.status),
        indent = "  ".repeat(depth),
        operation = output::printable(&call.operation),
        number = call.number,
        who = output::printable(who),
        origin = origin.unwrap_or_default(),
        status = call.status.name(),
        reason = reason.unwrap_or_default(),
        took = time(took),
    )
}

const fn mark(status: CallStatus) -> char {
    match status {
        CallStatus::Pending => '·',
        CallStatus::Running => '▸',
        CallStatus::Completed => '✓',
        CallStatus::Failed => '✗',
        CallStatus::Aborted => '⊘',
    }
}

/// A time as short as it is exact enough.
pub fn time(took: Duration) -> String {
    match took.as_micros() {
        micros @ 0..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.1} ms", took.as_secs_f64() * 1000.0),
        10_000..1_000_000 => format!("{} ms", took.as_millis()),
        _ if took < Duration::from_secs(60) => format!("{:.1} s", took.as_secs_f64()),
        _ => output::duration(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64, parent: Option<u64>, status: CallStatus) -> CallStep {
        CallStep::Call(CallView {
            number: CallNumber(number),
            parent: parent.map(CallNumber),
            id: String::new(),
            operation: format!("a/n{number}"),
            identity: Some("alice".into()),
            origin: None,
            status,
            reason: None,
            began_ms: 0,
            took_us: 1_500,
            input_bytes: 0,
            output_bytes: 0,
        })
    }

    #[test]
    fn calls_stand_below_their_parents_and_leave_after_a_while() {
        let (mut board, now) = (Board::new(false), Instant::now());
        for step in [
            call(1, None, CallStatus::Running),
            call(2, None, CallStatus::Pending),
            call(3, Some(1), CallStatus::Running),
            call(4, Some(3), CallStatus::Pending),
            call(3, Some(1), CallStatus::Failed),
            call(3, Some(1), CallStatus::Running),
        ] {
            board.take(step, now);
        }
        let lines = board.lines(now, 200, 50);
        assert_eq!(lines[0], "3 calls run; 4 seen, 1 ended. Ctrl-C ends this.");
        assert_eq!(
            lines[1..],
            [
                "▸ a/n1  1  alice  running  1.5 ms",
                "✗   a/n3  3  alice  failed  1.5 ms",
                "·     a/n4  4  alice  pending  1.5 ms",
                "· a/n2  2  alice  pending  1.5 ms",
            ]
        );
        let later = board.lines(now + AFTERGLOW, 200, 50);
        assert!(later.iter().all(|line| !line.contains("a/n3")), "{later:?}");
        assert!(later[2].starts_with("· a/n2") || later[2].starts_with("· a/n4"), "an orphan is a root: {later:?}");
    }

    #[test]
    fn it_fits_the_window() {
        let (mut board, now) = (Board::new(true), Instant::now());
        for number in 1..100 {
            board.take(call(number, None, CallStatus::Completed), now);
        }
        board.take(CallStep::Missed(7), now);
        let lines = board.lines(now + AFTERGLOW * 2, 30, 10);
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| line.chars().count() <= 30));
        assert!(lines[8].contains("a/n99") && lines[9].starts_with("… and 91 more"), "{lines:?}");
        assert!(board.summary().contains("7 steps missed"));
        assert_eq!(board.lines(now, 80, 1).len(), 1);
        assert!(board.lines(now, 80, 0).is_empty());
    }

    #[test]
    fn the_board_is_bounded_and_drops_what_ended_first() {
        let (mut board, now) = (Board::new(true), Instant::now());
        board.take(call(1, None, CallStatus::Running), now);
        for number in 2..MAX_CALLS as u64 + 10 {
            board.take(call(number, None, CallStatus::Completed), now);
        }
        assert_eq!(board.calls.len(), MAX_CALLS);
        assert!(board.calls.contains_key(&CallNumber(1)) && !board.calls.contains_key(&CallNumber(2)));
    }

    #[test]
    fn what_a_peer_wrote_does_not_steer_the_terminal() {
        let CallStep::Call(view) = call(1, None, CallStatus::Running) else { unreachable!() };
        let text = line(&CallView { origin: Some("a\u{1b}[2J".into()), ..view }, 0, Duration::ZERO);
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
