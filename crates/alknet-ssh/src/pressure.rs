//! How much of a connection's input nobody has taken yet (processes, subsystems, the targets of forwards, at a client the program that has
//! the channel), and what follows from it.
//!
//! The SSH library opens a channel's window again as soon as data *arrives*, and its loop stops for all channels when one channel's queue is
//! full. So every queue is emptied at once, and the pressure is put on elsewhere: first the windows are made small, which the library lets
//! us do for the connection as a whole; then the connection is read slowly, behind what is under way there may be a new channel, while its
//! loop keeps sending; and at last not at all. A consumer that must get rid of output before it can take input is why reading goes on at full
//! speed while output waits: the client's permission to send it may stand behind the very input that fills the buffer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

use crate::limits::{
    CALM_INPUT_BYTES, FULL_INPUT_BYTES, MAX_CHANNELS_LEFT, MAX_INPUT_BYTES, SLOW_READ_BYTES, SLOWEST_READ_BYTES,
    SMALL_WINDOW_BYTES, TINY_WINDOW_BYTES, WINDOW_BYTES,
};

/// One connection's account.
#[derive(Default)]
pub(crate) struct Pressure {
    held: AtomicUsize,
    sending: AtomicUsize,
    sessions: AtomicUsize,
    forwards: AtomicUsize,
    left: AtomicUsize,
    reader: AtomicWaker,
}

impl Pressure {
    /// Counts input that is kept until somebody takes it, by the bytes that it costs, until the share is dropped.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.held.fetch_add(bytes, SeqCst);
        Held { pressure: self.clone(), bytes }
    }

    /// Counts output that waits for the client, until the mark is dropped.
    pub(crate) fn sending(&self) -> Sending<'_> {
        if self.sending.fetch_add(1, SeqCst) == 0 {
            self.reader.wake();
        }
        Sending(self)
    }

    /// Counts an open channel, unless `max` of its kind are open or too many have been left behind.
    pub(crate) fn open_channel(self: &Arc<Self>, kind: ChannelKind, max: usize) -> Option<OpenChannel> {
        let open = OpenChannel { pressure: self.clone(), kind };
        let before = self.open_of(kind).fetch_add(1, SeqCst);
        (before < max && self.left_behind() < MAX_CHANNELS_LEFT).then_some(open)
    }

    /// How many channels are open.
    pub(crate) fn channels(&self) -> usize {
        self.sessions.load(SeqCst) + self.forwards.load(SeqCst)
    }

    const fn open_of(&self, kind: ChannelKind) -> &AtomicUsize {
        match kind {
            ChannelKind::Session => &self.sessions,
            ChannelKind::Forward => &self.forwards,
        }
    }

    /// Remembers that this side closed a channel first, of which the SSH library then keeps a part.
    pub(crate) fn leave_behind(&self) {
        self.left.fetch_add(1, SeqCst);
    }

    /// How many channels the SSH library keeps a part of.
    pub(crate) fn left_behind(&self) -> usize {
        self.left.load(SeqCst)
    }

    /// Whether so much is held that little or nothing is read.
    pub(crate) fn is_full(&self) -> bool {
        self.held.load(SeqCst) >= FULL_INPUT_BYTES
    }

    /// How much may be read now.
    pub(crate) fn intake(&self) -> Intake {
        let held = self.held.load(SeqCst);
        if held >= MAX_INPUT_BYTES {
            Intake::Stopped
        } else if held < FULL_INPUT_BYTES || self.sending.load(SeqCst) > 0 {
            Intake::Free
        } else if held < FULL_INPUT_BYTES + WINDOW_BYTES as usize {
            Intake::Paced(SLOW_READ_BYTES)
        } else {
            Intake::Paced(SLOWEST_READ_BYTES)
        }
    }

    /// Has `cx` woken when it becomes lighter.
    pub(crate) fn on_relief(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// How far the windows are to be opened from now on, in bytes.
    pub(crate) fn window(&self) -> u32 {
        match self.held.load(SeqCst) {
            held if held >= FULL_INPUT_BYTES => TINY_WINDOW_BYTES,
            held if held >= CALM_INPUT_BYTES => SMALL_WINDOW_BYTES,
            _ => WINDOW_BYTES,
        }
    }
}

/// How much may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Whatever comes.
    Free,
    /// So many bytes a tick ([`crate::limits::PACE_TICK`]).
    Paced(usize),
    /// Nothing.
    Stopped,
}

/// A share of what is held.
pub(crate) struct Held {
    pressure: Arc<Pressure>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.pressure.held.fetch_sub(self.bytes, SeqCst);
        if before >= FULL_INPUT_BYTES {
            self.pressure.reader.wake();
        }
    }
}

/// Output that waits.
pub(crate) struct Sending<'a>(&'a Pressure);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, SeqCst);
    }
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    /// A process, a subsystem, or nothing yet; at a client whatever it opened itself.
    Session,
    /// A forwarded connection; at a client only those that the node opened.
    Forward,
}

/// A channel that is open.
pub(crate) struct OpenChannel {
    pressure: Arc<Pressure>,
    kind: ChannelKind,
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.pressure.open_of(self.kind).fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_shrink_before_reading_slows_down_and_stops() {
        let pressure = Arc::new(Pressure::default());
        assert_eq!((pressure.window(), pressure.intake()), (WINDOW_BYTES, Intake::Free));
        let _calm = pressure.hold(CALM_INPUT_BYTES);
        assert_eq!((pressure.window(), pressure.intake()), (SMALL_WINDOW_BYTES, Intake::Free));
        let full = pressure.hold(FULL_INPUT_BYTES);
        assert_eq!((pressure.window(), pressure.intake()), (TINY_WINDOW_BYTES, Intake::Paced(SLOW_READ_BYTES)));
        let _window = pressure.hold(WINDOW_BYTES as usize);
        assert_eq!(pressure.intake(), Intake::Paced(SLOWEST_READ_BYTES));
        let last = pressure.hold(MAX_INPUT_BYTES);
        assert_eq!(pressure.intake(), Intake::Stopped);
        drop((full, last));
        assert_eq!((pressure.window(), pressure.intake()), (SMALL_WINDOW_BYTES, Intake::Free));
    }

    #[test]
    fn waiting_output_keeps_reading_alive_up_to_the_last_bound() {
        let pressure = Arc::new(Pressure::default());
        let _full = pressure.hold(FULL_INPUT_BYTES);
        let sending = pressure.sending();
        assert_eq!(pressure.intake(), Intake::Free);
        let _last = pressure.hold(MAX_INPUT_BYTES);
        assert_eq!(pressure.intake(), Intake::Stopped);
        drop(sending);
    }

    #[test]
    fn a_channel_counts_among_its_kind_as_long_as_it_is_open() {
        let pressure = Arc::new(Pressure::default());
        let open = |kind| pressure.open_channel(kind, 1);
        let first = open(ChannelKind::Session);
        assert!(first.is_some() && open(ChannelKind::Session).is_none());
        let forward = open(ChannelKind::Forward);
        assert!(forward.is_some() && open(ChannelKind::Forward).is_none());
        assert_eq!(pressure.channels(), 2);
        drop(first);
        assert!(open(ChannelKind::Session).is_some());
    }

    #[test]
    fn nothing_opens_once_too_much_was_left_behind() {
        let pressure = Arc::new(Pressure::default());
        (1..MAX_CHANNELS_LEFT).for_each(|_| pressure.leave_behind());
        assert!(pressure.open_channel(ChannelKind::Forward, 1).is_some());
        pressure.leave_behind();
        assert!(pressure.open_channel(ChannelKind::Forward, 1).is_none());
    }
}
