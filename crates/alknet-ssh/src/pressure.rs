//! How much input a connection's processes have not taken yet, and what follows from it.
//!
//! The SSH library opens a channel's window again as soon as data *arrives*, and its loop stops for all channels when one channel's queue is
//! full. So every queue is emptied at once, and the pressure is put on elsewhere: first the windows are made small, which the library lets
//! us do for the connection as a whole; then nothing more is read from the connection, while its loop keeps sending. A process that must
//! get rid of output before it can take input is why reading goes on, up to another bound, while output waits: the client's permission to
//! send it may stand behind the very input that fills the buffer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::limits::{
    CALM_INPUT_BYTES, FULL_INPUT_BYTES, MAX_INPUT_BYTES, SMALL_WINDOW_BYTES, TINY_WINDOW_BYTES, WINDOW_BYTES,
};

/// One connection's account.
#[derive(Default)]
pub(crate) struct Pressure {
    held: AtomicUsize,
    sending: AtomicUsize,
    channels: AtomicUsize,
    reader: AtomicWaker,
}

impl Pressure {
    /// Counts input that is kept for a process, until the share is dropped.
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

    /// Counts an open channel, unless `max` are open.
    pub(crate) fn open_channel(self: &Arc<Self>, max: usize) -> Option<OpenChannel> {
        let open = OpenChannel(self.clone());
        (self.channels.fetch_add(1, SeqCst) < max).then_some(open)
    }

    /// How many channels are open.
    pub(crate) fn channels(&self) -> usize {
        self.channels.load(SeqCst)
    }

    /// Whether nothing more is read for now.
    pub(crate) fn is_full(&self) -> bool {
        let held = self.held.load(SeqCst);
        held >= MAX_INPUT_BYTES || held >= FULL_INPUT_BYTES && self.sending.load(SeqCst) == 0
    }

    /// Ready when more may be read.
    pub(crate) fn poll_relief(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        // It may have become lighter just before the waker was there.
        if self.is_full() { Poll::Pending } else { Poll::Ready(()) }
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

/// A channel that is open.
pub(crate) struct OpenChannel(Arc<Pressure>);

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_windows_shrink_before_reading_stops() {
        let pressure = Arc::new(Pressure::default());
        assert_eq!(pressure.window(), WINDOW_BYTES);
        let _calm = pressure.hold(CALM_INPUT_BYTES);
        assert_eq!((pressure.window(), pressure.is_full()), (SMALL_WINDOW_BYTES, false));
        let more = pressure.hold(FULL_INPUT_BYTES);
        assert_eq!((pressure.window(), pressure.is_full()), (TINY_WINDOW_BYTES, true));
        drop(more);
        assert_eq!((pressure.window(), pressure.is_full()), (SMALL_WINDOW_BYTES, false));
    }

    #[test]
    fn waiting_output_keeps_reading_alive_up_to_the_last_bound() {
        let pressure = Arc::new(Pressure::default());
        let cx = Context::from_waker(Waker::noop());
        let _full = pressure.hold(FULL_INPUT_BYTES);
        assert!(pressure.poll_relief(&cx).is_pending());
        let sending = pressure.sending();
        assert!(pressure.poll_relief(&cx).is_ready());
        let last = pressure.hold(MAX_INPUT_BYTES);
        assert!(pressure.poll_relief(&cx).is_pending());
        drop((sending, last));
        assert!(pressure.poll_relief(&cx).is_pending());
    }

    #[test]
    fn a_channel_counts_as_long_as_it_is_open() {
        let pressure = Arc::new(Pressure::default());
        let first = pressure.open_channel(1);
        assert!(first.is_some() && pressure.open_channel(1).is_none());
        assert_eq!(pressure.channels(), 1);
        drop(first);
        assert!(pressure.open_channel(1).is_some());
    }
}
