//! Envelopes: what one frame says (`docs/spec/call.md`, 3). Pure: no IO, no clock.

mod decode;
mod encode;
mod hello;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;

pub use self::hello::{Hello, HelloLimits};
pub(crate) use self::{
    decode::{decode_error, present},
    encode::{
        ErrorPayload, encode_aborted, encode_batch, encode_completed, encode_credit, encode_error, encode_hello,
        encode_item, encode_requested, encode_responded,
    },
};
use crate::{CallError, limits::MAX_REQUEST_ID_BYTES, registered::json_bytes, scan::JsonDefect};

/// The id of a request: 1 to 64 visible ASCII characters, unique among what its caller has open on the connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Arc<str>);

/// A text that is no request id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id has 1 to {MAX_REQUEST_ID_BYTES} visible ASCII characters")]
pub struct InvalidRequestId;

impl RequestId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;
    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        let good = (1..=MAX_REQUEST_ID_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self(text.into())) } else { Err(InvalidRequestId) }
    }
}

/// A credential as a caller presents it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedCredential(String);

impl PresentedCredential {
    /// Takes an auth token or an API key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself, to verify or to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedCredential(…)")
    }
}

/// What a caller can take; an operation of another kind is then not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wants {
    /// One output: of a query or mutation.
    Output,
    /// Items: of a subscription.
    Items,
}

/// A request for a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    /// Its id.
    pub id: RequestId,
    /// The operation as it travels: `/service/operation`, or `/node/service/operation`.
    pub operation_id: String,
    /// What the operation is given.
    pub input: Value,
    /// What the caller can take; anything where it does not say.
    pub wants: Option<Wants>,
    /// A credential that goes before the connection's.
    pub auth_token: Option<PresentedCredential>,
    /// How long the caller still waits.
    pub deadline: Option<Duration>,
    /// Under which a mutation is done once only; its form is checked with the input.
    pub idempotency_key: Option<String>,
    /// How many items of a subscription may be sent before more is said.
    pub credit: Option<u32>,
    /// The item of a resumable subscription after which it goes on.
    pub after_seq: Option<u64>,
    /// The caller's request that caused this one: information.
    pub parent_id: Option<RequestId>,
    /// Where it belongs in a trace (W3C Trace Context): information.
    pub traceparent: Option<RequestId>,
    /// The nodes that passed it on; of more than are allowed, one more than that is kept.
    pub via: Vec<String>,
    /// For whom a head calls: a statement, never a right.
    pub origin: Option<String>,
}

impl Requested {
    /// A request that says nothing but what is called.
    pub fn new(id: RequestId, operation_id: impl Into<String>, input: Value) -> Self {
        Self {
            id,
            operation_id: operation_id.into(),
            input,
            wants: None,
            auth_token: None,
            deadline: None,
            idempotency_key: None,
            credit: None,
            after_seq: None,
            parent_id: None,
            traceparent: None,
            via: Vec::new(),
            origin: None,
        }
    }

    /// About how many bytes of a frame it takes: as part of a batch, which has no length of its own for each.
    pub(crate) fn weight(&self) -> usize {
        self.operation_id.len() + json_bytes(&self.input)
    }
}

/// One frame's meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Envelope {
    /// `call.requested`: the caller asks.
    Requested(Box<Requested>),
    /// `call.batch`: the caller asks for several things at once.
    Batch {
        /// The batch's own id, which is not answered.
        id: RequestId,
        /// What is asked: 1 to 64 requests with different ids.
        requests: Vec<Requested>,
    },
    /// `call.responded`: the callee gives an output, or an item of a subscription.
    Responded {
        /// The request's id.
        id: RequestId,
        /// What the operation gave.
        output: Value,
        /// The item's number; absent where this is the output of a query or mutation.
        seq: Option<u64>,
    },
    /// `call.completed`: the callee has no more items.
    Completed {
        /// The request's id.
        id: RequestId,
    },
    /// `call.aborted`: the caller calls it off.
    Aborted {
        /// The request's id.
        id: RequestId,
    },
    /// `call.credit`: the caller takes so many items more.
    Credit {
        /// The request's id.
        id: RequestId,
        /// How many.
        items: u32,
    },
    /// `call.error`: the callee says that it failed.
    Error {
        /// The request's id.
        id: RequestId,
        /// How.
        error: CallError,
    },
    /// `call.hello`: a side says what it is and can.
    Hello {
        /// The envelope's id, which the answer repeats.
        id: RequestId,
        /// What it says.
        hello: Hello,
    },
}

/// Why a frame is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Its bytes are not UTF-8.
    #[error("a frame is not UTF-8")]
    NotUtf8,
    /// Its JSON is refused.
    #[error("a frame is refused: {0}")]
    Json(#[from] JsonDefect),
    /// It is JSON of another shape.
    #[error("a frame is no envelope")]
    Shape,
    /// Its id is none.
    #[error("an envelope's id is none")]
    Id,
    /// Its type is unknown.
    #[error("an envelope's type is unknown")]
    Type,
    /// A batch has no requests, or too many.
    #[error("a batch has 1 to 64 requests")]
    BatchSize,
    /// An id stands twice in a batch.
    #[error("an id stands twice in a batch")]
    BatchTwice,
    /// A hello speaks of another version.
    #[error("a hello speaks of another version")]
    Version,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decode(value: &Value) -> Result<Envelope, EnvelopeError> {
        Envelope::decode(value.to_string().as_bytes())
    }

    fn full(id: &str) -> Requested {
        Requested {
            wants: Some(Wants::Items),
            auth_token: Some(PresentedCredential::new("t")),
            deadline: Some(Duration::from_millis(5)),
            idempotency_key: Some("key".into()),
            credit: Some(7),
            after_seq: Some(1 << 60),
            parent_id: Some("p".parse().unwrap()),
            traceparent: Some("00-1-2-01".parse().unwrap()),
            via: vec!["a".into(), "b".into()],
            origin: Some("alice".into()),
            ..Requested::new(id.parse().unwrap(), "/a/b", json!({"x": [1, null]}))
        }
    }

    /// What decodes from the one frame that `encode` appends.
    fn sent(encode: impl FnOnce(&mut BytesMut)) -> Envelope {
        let mut out = BytesMut::new();
        encode(&mut out);
        Envelope::decode(&out[4..]).unwrap()
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let id: RequestId = "8".parse().unwrap();
        let requested = full("7");
        assert_eq!(
            sent(|out| encode_requested(out, &requested).unwrap()),
            Envelope::Requested(Box::new(requested.clone()))
        );
        let least = Requested::new("9".parse().unwrap(), "/a/b", json!({}));
        let requests = vec![requested, least];
        assert_eq!(
            sent(|out| encode_batch(out, &id, &requests).unwrap()),
            Envelope::Batch { id: id.clone(), requests: requests.clone() }
        );
        let error = CallError { retry_after: Some(Duration::from_secs(2)), ..CallError::invalid_input("/x", "no") };
        assert_eq!(sent(|out| encode_error(out, &id, &error).unwrap()), Envelope::Error { id: id.clone(), error });
        assert_eq!(sent(|out| encode_aborted(out, &id)), Envelope::Aborted { id: id.clone() });
        assert_eq!(sent(|out| encode_completed(out, &id)), Envelope::Completed { id: id.clone() });
        assert_eq!(sent(|out| encode_credit(out, &id, 9)), Envelope::Credit { id: id.clone(), items: 9 });
        let hello = Hello { node_id: Some("n".into()), ..Hello::of_this_version() };
        assert_eq!(sent(|out| encode_hello(out, &id, &hello)), Envelope::Hello { id: id.clone(), hello });
        for seq in [None, Some(0), Some(u64::MAX)] {
            let expected = Envelope::Responded { id: id.clone(), output: Value::Null, seq };
            let encoded = sent(|out| match seq {
                None => encode_responded(out, &id, &Value::Null).unwrap(),
                Some(seq) => encode_item(out, &id, &Value::Null, seq).unwrap(),
            });
            assert_eq!(encoded, expected);
        }
    }

    // CALL-05
    #[test]
    fn ids_are_visible_ascii_and_bounded() {
        assert!("a".repeat(64).parse::<RequestId>().is_ok());
        for bad in ["", " ", "a b", "ä", "a\n", "\u{7f}", &"a".repeat(65)] {
            assert_eq!(bad.parse::<RequestId>(), Err(InvalidRequestId), "{bad:?}");
        }
    }

    // CALL-09: members that are not named here are ignored; an absent input is an empty object.
    #[test]
    fn unknown_members_are_ignored_and_a_missing_input_is_empty() {
        let envelope = decode(&json!({
            "type": "call.requested", "id": "1", "future": [1],
            "payload": {"operationId": "/a/b", "future": {}, "id": 7}
        }));
        let Ok(Envelope::Requested(requested)) = envelope else { panic!("{envelope:?}") };
        assert_eq!(requested.input, json!({}));
        let null = json!({"type": "call.requested", "id": "1", "payload": {"operationId": "/a/b", "input": null}});
        let Ok(Envelope::Requested(requested)) = decode(&null) else { panic!() };
        assert_eq!(requested.input, Value::Null);
    }

    // CALL-09
    #[test]
    fn information_that_is_no_id_reads_as_absent() {
        let asked = |text: &str| {
            let payload = json!({"operationId": "/a/b", "parentId": text, "traceparent": text});
            let envelope = decode(&json!({"type": "call.requested", "id": "1", "payload": payload}));
            let Ok(Envelope::Requested(requested)) = envelope else { panic!("{envelope:?}") };
            (requested.parent_id.is_some(), requested.traceparent.is_some())
        };
        assert_eq!(asked(&"a".repeat(64)), (true, true));
        for absent in ["", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(asked(absent), (false, false), "{absent:?}");
        }
    }

    // CALL-41: a sum beyond 2^32−1 reads as that.
    #[test]
    fn more_credit_than_can_be_counted_reads_as_the_most() {
        for items in [u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let envelope = decode(&json!({"type": "call.credit", "id": "1", "payload": {"items": items}}));
            assert_eq!(envelope, Ok(Envelope::Credit { id: "1".parse().unwrap(), items: u32::MAX }));
        }
    }

    // CALL-55: memory does not follow the number of names; that there are too many is still seen.
    #[test]
    fn of_too_many_nodes_only_one_too_many_is_kept() {
        let via: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        let payload = json!({"operationId": "/a/b", "via": via});
        let envelope = decode(&json!({"type": "call.requested", "id": "1", "payload": payload}));
        let Ok(Envelope::Requested(requested)) = envelope else { panic!("{envelope:?}") };
        assert_eq!(requested.via, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_presented_credential_is_not_shown() {
        let payload = json!({"operationId": "/a/b", "authToken": "hunter2"});
        let asked = decode(&json!({"type": "call.requested", "id": "1", "payload": payload.clone()}));
        let mut element = payload;
        element["id"] = json!("1");
        let batch = decode(&json!({"type": "call.batch", "id": "1", "payload": {"requests": [element]}}));
        for envelope in [asked, batch] {
            assert!(envelope.is_ok() && !format!("{envelope:?}").contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn any_mutation_is_safe(at in 0..160_usize, byte in any::<u8>()) {
            let mut bytes = br#"{"type":"call.batch","id":"1","payload":{"requests":[{"id":"a","operationId":"/a/b","input":{"a":[1,2,{"b":"c"}]},"via":["x"],"deadlineMs":9}]}}"#.to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = Envelope::decode(&bytes);
        }
    }
}
