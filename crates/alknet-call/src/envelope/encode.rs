//! From a meaning to the bytes of a frame.

use std::time::Duration;

use bytes::BytesMut;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Hello, HelloLimits, PresentedCredential, RequestId, Requested, Wants, hello::VERSION};
use crate::{
    CallError,
    wire::{EncodeError, encode_frame},
};

#[derive(Serialize)]
struct Frame<'a, P> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    payload: P,
}

/// A payload without members.
#[derive(Serialize)]
struct Empty {}

fn append(out: &mut BytesMut, kind: &'static str, id: &RequestId, payload: impl Serialize) -> Result<(), EncodeError> {
    encode_frame(&Frame { kind, id: id.as_str(), payload }, out)
}

/// What is short whatever it says: an id, a number, words of a bounded length.
fn append_short(out: &mut BytesMut, kind: &'static str, id: &RequestId, payload: impl Serialize) {
    let appended = append(out, kind, id, payload);
    debug_assert!(appended.is_ok(), "a short frame always fits");
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestPayload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    operation_id: &'a str,
    input: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    wants: Option<Wants>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    via: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
}

impl<'a> From<&'a Requested> for RequestPayload<'a> {
    fn from(requested: &'a Requested) -> Self {
        Self {
            id: None,
            operation_id: &requested.operation_id,
            input: &requested.input,
            wants: requested.wants,
            auth_token: requested.auth_token.as_ref().map(PresentedCredential::reveal),
            deadline_ms: requested.deadline.map(whole_millis),
            idempotency_key: requested.idempotency_key.as_deref(),
            credit: requested.credit,
            after_seq: requested.after_seq,
            parent_id: requested.parent_id.as_ref().map(RequestId::as_str),
            traceparent: requested.traceparent.as_ref().map(RequestId::as_str),
            via: &requested.via,
            origin: requested.origin.as_deref(),
        }
    }
}

/// Appends a `call.requested` frame.
pub(crate) fn encode_requested(out: &mut BytesMut, requested: &Requested) -> Result<(), EncodeError> {
    append(out, "call.requested", &requested.id, RequestPayload::from(requested))
}

/// Appends a `call.batch` frame.
pub(crate) fn encode_batch(out: &mut BytesMut, id: &RequestId, requests: &[Requested]) -> Result<(), EncodeError> {
    struct Requests<'a>(&'a [Requested]);
    impl Serialize for Requests<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(
                self.0
                    .iter()
                    .map(|asked| RequestPayload { id: Some(asked.id.as_str()), ..RequestPayload::from(asked) }),
            )
        }
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        requests: Requests<'a>,
    }
    append(out, "call.batch", id, Payload { requests: Requests(requests) })
}

/// Appends a `call.aborted` frame.
pub(crate) fn encode_aborted(out: &mut BytesMut, id: &RequestId) {
    append_short(out, "call.aborted", id, Empty {});
}

/// Appends a `call.credit` frame.
pub(crate) fn encode_credit(out: &mut BytesMut, id: &RequestId, items: u32) {
    #[derive(Serialize)]
    struct Payload {
        items: u32,
    }
    append_short(out, "call.credit", id, Payload { items });
}

#[derive(Serialize)]
struct OutputPayload<'a> {
    output: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// Appends the `call.responded` frame of a query or mutation.
pub(crate) fn encode_responded(out: &mut BytesMut, id: &RequestId, output: &Value) -> Result<(), EncodeError> {
    append(out, "call.responded", id, OutputPayload { output, seq: None })
}

/// Appends the `call.responded` frame of a subscription's item.
pub(crate) fn encode_item(out: &mut BytesMut, id: &RequestId, output: &Value, seq: u64) -> Result<(), EncodeError> {
    append(out, "call.responded", id, OutputPayload { output, seq: Some(seq) })
}

/// Appends a `call.completed` frame.
pub(crate) fn encode_completed(out: &mut BytesMut, id: &RequestId) {
    append_short(out, "call.completed", id, Empty {});
}

/// Appends a `call.error` frame.
pub(crate) fn encode_error(out: &mut BytesMut, id: &RequestId, error: &CallError) -> Result<(), EncodeError> {
    append(out, "call.error", id, ErrorPayload::from(error))
}

/// Appends a `call.hello` frame.
pub(crate) fn encode_hello(out: &mut BytesMut, id: &RequestId, hello: &Hello) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        version: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        node_id: Option<&'a str>,
        features: &'a [&'static str],
        limits: HelloLimits,
    }
    let node_id = hello.node_id.as_deref();
    append_short(
        out,
        "call.hello",
        id,
        Payload { version: VERSION, node_id, features: &hello.features, limits: hello.limits },
    );
}

/// An error as it travels.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorPayload<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> From<&'a CallError> for ErrorPayload<'a> {
    fn from(error: &'a CallError) -> Self {
        Self {
            code: error.code.as_str(),
            message: &error.message,
            retryable: error.retryable,
            details: error.details.as_ref(),
            retry_after_ms: error.retry_after.map(whole_millis),
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
