//! How a call fails, as its caller sees it. Internal causes go to the log, never to a peer.

use std::{borrow::Cow, fmt, time::Duration};

use alknet_core::{Denial, PermitError};
use serde_json::Value;

use crate::limits::{MAX_ERROR_CODE_BYTES, MAX_ERROR_MESSAGE_BYTES};

/// What sort of failure it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCode {
    /// There is no such operation or thing, or the caller may not know of it.
    NotFound,
    /// It needs a known identity, or a presented credential did not verify.
    Unauthenticated,
    /// The caller may do this, but not to that.
    Forbidden,
    /// The input is not what the operation takes.
    InvalidInput,
    /// The frame asks for something that this version does not do.
    InvalidOperationType,
    /// The caller called it off.
    Aborted,
    /// The deadline passed.
    Timeout,
    /// Too much is in progress.
    Overloaded,
    /// The other end is gone, or is stopping.
    Unavailable,
    /// Something failed on the callee's side.
    Internal,
    /// A code that the operation declares.
    Declared(Cow<'static, str>),
}

impl ErrorCode {
    /// The code as it travels.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::InvalidInput => "INVALID_INPUT",
            Self::InvalidOperationType => "INVALID_OPERATION_TYPE",
            Self::Aborted => "ABORTED",
            Self::Timeout => "TIMEOUT",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::Declared(code) => code,
        }
    }

    /// Reads a code; a text that cannot be one reads as [`Self::Internal`].
    pub fn from_wire(text: &str) -> Self {
        const BUILT_IN: [ErrorCode; 10] = [
            ErrorCode::NotFound,
            ErrorCode::Unauthenticated,
            ErrorCode::Forbidden,
            ErrorCode::InvalidInput,
            ErrorCode::InvalidOperationType,
            ErrorCode::Aborted,
            ErrorCode::Timeout,
            ErrorCode::Overloaded,
            ErrorCode::Unavailable,
            ErrorCode::Internal,
        ];
        match BUILT_IN.into_iter().find(|code| code.as_str() == text) {
            Some(code) => code,
            None if Self::is_code(text) => Self::Declared(Cow::Owned(text.to_owned())),
            None => Self::Internal,
        }
    }

    /// Whether `text` has the form of a code: `[A-Z][A-Z0-9_]{0,63}`.
    pub fn is_code(text: &str) -> bool {
        text.len() <= MAX_ERROR_CODE_BYTES
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed call: code and words for the caller.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// What sort of failure.
    pub code: ErrorCode,
    /// What happened, in words for the caller.
    pub message: String,
    /// Whether the same call may succeed later, and trying again does no harm.
    pub retryable: bool,
    /// More about it, in the form that the code implies.
    pub details: Option<Value>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// Fails with a code and words; long words are cut.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_ERROR_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_ERROR_MESSAGE_BYTES));
        }
        Self { code, message, retryable: false, details: None, retry_after: None }
    }
    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }
    /// Who asks is not known.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthenticated, message)
    }
    /// The input is wrong at `pointer` (RFC 6901; empty for the whole), which `details.pointer` repeats.
    pub fn invalid_input(pointer: &str, message: impl Into<String>) -> Self {
        let details = Some(serde_json::json!({ "pointer": pointer }));
        Self { details, ..Self::new(ErrorCode::InvalidInput, message) }
    }
    /// Too much is in progress; later it may work.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Overloaded, message).retryable()
    }
    /// The other end is gone or stopping.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }
    /// A failure that the operation declares under `code`.
    pub fn declared(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Declared(Cow::Borrowed(code)), message)
    }
    /// Something failed here: the cause is logged, the caller learns only that.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a call failed internally");
        Self::new(ErrorCode::Internal, "internal error; the node's log says more")
    }
    /// Says that trying again may succeed and does no harm.
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
    /// Adds details.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl From<Denial> for CallError {
    fn from(denial: Denial) -> Self {
        let code = match denial {
            Denial::Unauthenticated => ErrorCode::Unauthenticated,
            Denial::NotFound => ErrorCode::NotFound,
            Denial::Forbidden => ErrorCode::Forbidden,
        };
        Self::new(code, denial.to_string())
    }
}

impl From<PermitError> for CallError {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Revoked => Self::unauthenticated(error.to_string()),
            PermitError::NotCovered { .. } => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-20: unknown codes of a wrong form read as INTERNAL.
    #[test]
    fn codes_round_trip_and_garbage_reads_as_internal() {
        for text in ["NOT_FOUND", "UNAUTHENTICATED", "TIMEOUT", "INVALID_OPERATION_TYPE", "DISK_FULL"] {
            assert_eq!(ErrorCode::from_wire(text).as_str(), text);
        }
        assert!(matches!(ErrorCode::from_wire("DISK_FULL"), ErrorCode::Declared(_)));
        for text in ["", "not_found", "A B", "1A", "Ä", &"A".repeat(65)] {
            assert_eq!(ErrorCode::from_wire(text), ErrorCode::Internal, "{text}");
        }
    }

    // CALL-21: the cause stays here.
    #[test]
    fn an_internal_cause_is_not_told() {
        assert!(!CallError::internal("disk /dev/sda1 is on fire").to_string().contains("sda1"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let error = CallError::not_found("ä".repeat(MAX_ERROR_MESSAGE_BYTES));
        assert!(error.message.len() <= MAX_ERROR_MESSAGE_BYTES);
    }
}
