//! What a caller learns when something was not done.

use alknet_call::{CallError, ErrorCode, OperationBuilder};
use alknet_store::StoreError;
use serde_json::json;

use crate::{
    error::{Errno, FsError},
    path::BadPath,
};

/// The errors that operations on files declare, with when they happen.
const DECLARED: [(&str, &str); 12] = [
    ("EXISTS", "something has that name already"),
    ("NOT_EMPTY", "there is something in it"),
    ("NOT_A_FOLDER", "what stands where a folder is needed is none"),
    ("IS_A_FOLDER", "what stands where a file is needed is a folder"),
    ("QUOTA", "the bucket's quota is used up"),
    ("TOO_MUCH", "it is more than is done at once; less of it can be done"),
    (
        "TOO_MANY",
        "there are as many of its kind as there can be, until one is removed, or as many that it would read through, until one is flattened",
    ),
    ("CONFLICT", "somebody else changed it meanwhile, or it is not what was expected"),
    ("DAMAGED", "stored content is damaged; `details` has its path and hash"),
    ("LOOP", "too many symbolic links on the way"),
    ("STALE", "it is gone since it was opened"),
    ("TRIMMED", "what happened then is no longer kept; `details.oldest` is the oldest commit that is"),
];

/// Declares the errors of files.
pub(super) fn declaring(operation: OperationBuilder) -> OperationBuilder {
    DECLARED.into_iter().fold(operation, |operation, (code, when)| operation.error(code, when))
}

/// The error as a caller gets it.
pub(super) fn refusal(error: FsError) -> CallError {
    let words = error.to_string();
    match error {
        FsError::At { errno, .. } => of_errno(errno, words),
        FsError::Conflict { .. } => CallError::declared("CONFLICT", words),
        FsError::Damaged { path, hash, .. } => {
            tracing::error!(%words, "damaged content was asked for");
            CallError::declared("DAMAGED", words).with_details(json!({ "path": path, "hash": hash }))
        }
        FsError::Denied(denied) => denied.into(),
        FsError::Store(error) => not_stored(&error),
    }
}

fn of_errno(errno: Errno, words: String) -> CallError {
    match errno {
        Errno::NoEnt | Errno::NoBucketThen => CallError::not_found(words),
        Errno::Exist => CallError::declared("EXISTS", words),
        Errno::NotEmpty => CallError::declared("NOT_EMPTY", words),
        Errno::NotDir => CallError::declared("NOT_A_FOLDER", words),
        Errno::IsDir => CallError::declared("IS_A_FOLDER", words),
        Errno::Quota => CallError::declared("QUOTA", words),
        Errno::TooBig | Errno::TooMuch => CallError::declared("TOO_MUCH", words),
        Errno::TooMany => CallError::declared("TOO_MANY", words),
        Errno::Loop => CallError::declared("LOOP", words),
        Errno::Stale => CallError::declared("STALE", words),
        Errno::Perm => CallError::new(ErrorCode::Forbidden, words),
        Errno::NoSpace | Errno::Newer => CallError::unavailable(words),
        Errno::Again => CallError::unavailable(words).retryable(),
        Errno::Io => said(words),
        Errno::NameTooLong | Errno::Inval | Errno::XDev | Errno::ReadOnly | Errno::MLink => {
            CallError::invalid_input("", words)
        }
    }
}

/// What passes is said, the rest goes to the log.
pub(super) fn not_stored(error: &StoreError) -> CallError {
    match error {
        StoreError::Full | StoreError::RolledBack | StoreError::Closed => CallError::unavailable(error.to_string()),
        StoreError::Unknown(_) => said(error.to_string()),
        StoreError::Failed(_) | StoreError::Panicked => CallError::internal(error),
    }
}

/// A disk that fails is for its user to know of, and whether the change may have been kept.
fn said(words: String) -> CallError {
    tracing::error!(%words, "the disk failed under a call");
    CallError::new(ErrorCode::Internal, words)
}

/// A path that is none, in the member at `pointer`.
pub(super) fn bad_path(pointer: &'static str) -> impl Fn(BadPath) -> CallError {
    move |error| CallError::invalid_input(pointer, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_too_much_or_too_many_of_is_no_bad_input() {
        // FS-34
        let code = |errno| of_errno(errno, String::new()).code.as_str().to_owned();
        assert_eq!([Errno::TooMuch, Errno::TooBig, Errno::TooMany].map(code), ["TOO_MUCH", "TOO_MUCH", "TOO_MANY"]);
        assert!(["TOO_MUCH", "TOO_MANY"].iter().all(|code| DECLARED.iter().any(|(declared, _)| declared == code)));
    }
}
