//! Forwards that run in this process: their specifications in ssh's syntax, and what listens for them.

mod local;
mod remote;
mod spec;

pub use local::LocalForward;
pub use remote::RemoteForward;
pub use spec::{LocalSpec, Place, RemoteSpec};

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::cli::note;

/// The same complaint is not made again for so long.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(5);

/// Says what went wrong with one of many connections, but not a thousand times.
#[derive(Default)]
struct Complaints(Mutex<Option<(String, Instant)>>);

impl Complaints {
    fn say(&self, text: String) {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_ref().is_some_and(|(said, at)| *said == text && at.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        note(&text);
        *last = Some((text, Instant::now()));
    }
}
