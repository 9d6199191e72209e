//! An outcome as it is kept, and which are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CallError, Ending, ErrorCode};

/// What came of a call.
pub(super) type Outcome = Result<Value, CallError>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Output(Value),
    Error(KeptError),
}

#[derive(Serialize, Deserialize)]
struct KeptError {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The outcome as text; `None` where it says that nothing was done, or that doing it again does no harm.
pub(super) fn kept(outcome: &Outcome, ending: Option<Ending>, idempotent: bool) -> Option<String> {
    let interrupted = !matches!(ending, Some(Ending::Completed | Ending::Failed));
    let kept = match outcome {
        Ok(output) => Kept::Output(output.clone()),
        Err(_) if interrupted && idempotent => return None,
        // Who had the rights taken away in the middle may get them back: then this is what is known.
        Err(error) if interrupted && error.code == ErrorCode::Unauthenticated => {
            Kept::Error(KeptError::from(&unknown()))
        }
        Err(error) if !interrupted && did_nothing(error) => return None,
        Err(error) => Kept::Error(KeptError::from(error)),
    };
    serde_json::to_string(&kept).ok()
}

fn unknown() -> CallError {
    CallError::unavailable("it was interrupted, and whether it took effect is not known")
        .with_details(serde_json::json!({"outcome": "unknown"}))
}

fn did_nothing(error: &CallError) -> bool {
    match error.code {
        ErrorCode::Unauthenticated | ErrorCode::NotFound | ErrorCode::Forbidden | ErrorCode::Overloaded => true,
        // Another node that is gone may have acted before.
        ErrorCode::Unavailable => error.retryable,
        _ => false,
    }
}

/// Reads what was kept.
pub(super) fn read(text: &str) -> Outcome {
    match serde_json::from_str(text) {
        Ok(Kept::Output(output)) => Ok(output),
        Ok(Kept::Error(error)) => Err(error.into()),
        Err(error) => Err(CallError::internal(format_args!("a kept outcome is unreadable: {error}"))),
    }
}

impl From<&CallError> for KeptError {
    fn from(error: &CallError) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            retryable: error.retryable,
            details: error.details.clone(),
            retry_after_ms: error.retry_after.map(millis),
        }
    }
}

impl From<KeptError> for CallError {
    fn from(kept: KeptError) -> Self {
        Self {
            code: ErrorCode::from_wire(&kept.code),
            message: kept.message,
            retryable: kept.retryable,
            details: kept.details,
            retry_after: kept.retry_after_ms.map(Duration::from_millis),
        }
    }
}

/// A digest of the input that does not depend on the order of members.
pub(super) fn digest(input: &Value) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, input);
    *hasher.finalize().as_bytes()
}

/// As deep as the input nests, which is bounded.
fn feed(hasher: &mut blake3::Hasher, value: &Value) {
    let mut length = |mark: &[u8], length: usize| {
        hasher.update(mark);
        hasher.update(&(length as u64).to_be_bytes());
    };
    match value {
        Value::Array(items) => {
            length(b"[", items.len());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(members) => {
            length(b"{", members.len());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in members {
                feed(hasher, &Value::String(name.clone()));
                feed(hasher, member);
            }
        }
        Value::String(text) => {
            length(b"\"", text.len());
            hasher.update(text.as_bytes());
        }
        plain => {
            let text = plain.to_string();
            length(b"=", text.len());
            hasher.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // CALL-26
    #[test]
    fn a_digest_tells_inputs_apart_and_not_their_spelling() {
        let one: Value = serde_json::from_str(r#"{"a": [1, {"x": null, "y": "é"}], "b": 2}"#).unwrap();
        let same: Value = serde_json::from_str(r#"{"b":2,"a":[1,{"y":"\u00e9","x":null}]}"#).unwrap();
        assert_eq!(digest(&one), digest(&same));
        let others = [json!([]), json!({}), json!(""), json!("[]"), json!([[], []]), json!([[[]]]), json!(null)];
        for (nth, other) in others.iter().enumerate() {
            assert!(others[..nth].iter().all(|before| digest(before) != digest(other)), "{other}");
        }
        assert_ne!(digest(&json!(["ab", "c"])), digest(&json!(["a", "bc"])));
    }

    // CALL-46
    #[test]
    fn what_did_nothing_is_not_kept() {
        let fail = |error: CallError, ending| kept(&Err(error), Some(ending), false);
        let declared = CallError::declared("FULL", "no room").with_details(json!({"free": 0}));
        let text = fail(declared.clone(), Ending::Failed).unwrap();
        assert_eq!(read(&text), Err(declared));
        assert_eq!(read(&kept(&Ok(json!({"a": 1})), Some(Ending::Completed), false).unwrap()), Ok(json!({"a": 1})));
        for code in [ErrorCode::Unauthenticated, ErrorCode::NotFound, ErrorCode::Forbidden, ErrorCode::Overloaded] {
            assert_eq!(fail(CallError::new(code, ""), Ending::Failed), None);
        }
        assert_eq!(fail(CallError::unavailable("").retryable(), Ending::Failed), None);
        assert!(fail(CallError::unavailable("a worker vanished"), Ending::Failed).is_some());
        for (ending, code) in [(Ending::TimedOut, ErrorCode::Timeout), (Ending::Aborted, ErrorCode::Aborted)] {
            let error = CallError::new(code.clone(), "");
            assert_eq!(read(&fail(error.clone(), ending).unwrap()).unwrap_err().code, code);
            assert_eq!(kept(&Err(error), Some(ending), true), None, "it may be run again");
        }
        let revoked = fail(CallError::unauthenticated(""), Ending::Revoked).unwrap();
        assert_eq!(read(&revoked).unwrap_err().details, Some(json!({"outcome": "unknown"})));
        assert_eq!(read("{").unwrap_err().code, ErrorCode::Internal);
    }
}
