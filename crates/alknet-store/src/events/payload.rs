//! What may be the content of an event or a job: JSON text of a bounded size.

use serde::de::IgnoredAny;

use crate::limits::MAX_PAYLOAD_BYTES;

/// A payload that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// Too long.
    #[error("it has {0} bytes; {MAX_PAYLOAD_BYTES} are the most")]
    TooLong(usize),
    /// No JSON.
    #[error("it is no JSON: {0}")]
    NotJson(String),
}

/// Accepts one JSON value, of any type.
pub(super) fn check(payload: &str) -> Result<(), BadPayload> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(BadPayload::TooLong(payload.len()));
    }
    match serde_json::from_str::<IgnoredAny>(payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(BadPayload::NotJson(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_json_value_of_a_bounded_size_is_a_payload() {
        // STORE-79
        for good in ["{}", "null", " [1, \"a\"] ", "\"text\"", &format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES - 2))] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "{", "{} {}", "nul", "{\"a\":}", &"[".repeat(100_000)] {
            assert!(matches!(check(bad), Err(BadPayload::NotJson(_))), "{bad:.20}");
        }
        let long = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES - 1));
        assert_eq!(check(&long), Err(BadPayload::TooLong(MAX_PAYLOAD_BYTES + 1)));
    }
}
