//! The joint to what remembers calls: what became of a mutation that carried an idempotency key.

use std::sync::Arc;

use crate::BoxFuture;

/// Names a call that is run at most once: who asked, for what, under which key. The key is the caller's and means nothing to others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutcomeKey {
    /// The identity that asked.
    pub identity: String,
    /// The operation, as `service/operation`.
    pub operation: String,
    /// What the caller chose.
    pub key: String,
}

/// What the journal knows of a call that is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing until now. Its beginning is on disk: it may run.
    Fresh,
    /// It ended before, with this outcome: JSON, as it was handed to [`CallJournal::end`].
    Ended(String),
    /// It ended before, and its outcome was too large to keep.
    TooLarge,
    /// It began before and no end was written: the node was stopped in the middle, or the end could not be written.
    /// Whether it took effect is not known. [`CallJournal::forget`] makes the key free, where running it again does no harm.
    Unknown,
    /// The key stands for another input.
    OtherInput,
}

/// Why the journal did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// As many calls as are kept for one identity are under way.
    #[error("too many calls with an idempotency key are under way for this identity")]
    Full,
    /// An end without a beginning.
    #[error("no call was begun under this key")]
    NotBegun,
    /// It could not be written or read.
    #[error("what becomes of calls cannot be written down now: {0}")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// Remembers what became of calls, across restarts, for a bounded time and number.
///
/// Who runs the calls keeps track of those that run now; this is for those that ran.
pub trait CallJournal: Send + Sync + 'static {
    /// Notes that a call begins, unless one was begun under the key before. The beginning is on disk before the answer comes.
    fn begin(&self, key: OutcomeKey, input_digest: [u8; 32]) -> BoxFuture<'_, Result<Begun, JournalError>>;
    /// Notes how a call ended. On disk before the answer comes.
    fn end(&self, key: OutcomeKey, outcome: String) -> BoxFuture<'_, Result<(), JournalError>>;
    /// Takes a beginning back: nothing was done, and the key is free again. One that is not there is no error.
    fn forget(&self, key: OutcomeKey) -> BoxFuture<'_, Result<(), JournalError>>;
}
