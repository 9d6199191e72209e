//! How a call that runs is ended: once, by whoever is first.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering, fence},
};

use tokio_util::sync::CancellationToken;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    Completed = 1,
    Failed = 2,
    Aborted = 3,
    TimedOut = 4,
    Revoked = 5,
}

/// Whether a call still runs, and the token that tells what hangs on it that it does not.
#[derive(Debug, Default)]
pub(crate) struct Life {
    ended: AtomicU8,
    token: OnceLock<CancellationToken>,
}

impl Life {
    /// The token, made now if nobody asked before.
    pub(crate) fn token(&self, make: impl FnOnce() -> CancellationToken) -> &CancellationToken {
        let token = self.token.get_or_init(make);
        // Either this sees the ending, or the ending sees the token.
        fence(Ordering::SeqCst);
        if self.ended.load(Ordering::Relaxed) != 0 {
            token.cancel();
        }
        token
    }

    /// Ends the call, unless it has ended: then it says how.
    pub(crate) fn end(&self, how: Ending) -> Result<(), Ending> {
        let decided = self.ended.compare_exchange(0, how as u8, Ordering::AcqRel, Ordering::Acquire);
        if let Err(first) = decided {
            return Err(Ending::from_number(first));
        }
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
        Ok(())
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            number => Some(Ending::from_number(number)),
        }
    }
}

impl Ending {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Completed,
            2 => Self::Failed,
            4 => Self::TimedOut,
            5 => Self::Revoked,
            _ => Self::Aborted,
        }
    }
}
