//! Every bound of this crate, with its unit (`docs/spec/call.md`, 15).

use std::time::Duration;

/// Longest frame from an identified peer, in bytes of JSON.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Longest frame while nobody knows who the peer is, in bytes of JSON.
pub const MAX_UNIDENTIFIED_FRAME_BYTES: usize = 64 * 1024;
/// Deepest nesting of arrays and objects in a frame.
pub const MAX_JSON_DEPTH: usize = 64;
/// Longest request id, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest segment of an operation's name, in bytes.
pub const MAX_NAME_SEGMENT_BYTES: usize = 64;
/// Longest error code, in bytes.
pub const MAX_ERROR_CODE_BYTES: usize = 64;
/// Longest error message, in bytes; longer ones are cut.
pub const MAX_ERROR_MESSAGE_BYTES: usize = 1024;
/// Calls that run for one connection at a time.
pub const MAX_CALLS_IN_FLIGHT: usize = 256;
/// Requests of one `call.batch`.
pub const MAX_BATCH_REQUESTS: usize = 64;
/// Requests of one stream and direction that wait for their first frame, in bytes: a caller keeps more only where it is one
/// request, a callee that has more reads nothing further.
pub const MAX_UNANSWERED_BYTES: usize = 4 * 1024 * 1024;
/// Nodes that a call passes.
pub const MAX_VIA: usize = 4;
/// Features of a `call.hello` that are looked at.
pub const MAX_HELLO_FEATURES: usize = 64;
/// Frames of a subscription are handed on when so many bytes of them wait, or nothing more is there.
pub const FEED_CHUNK_BYTES: usize = 16 * 1024;
/// Such portions of all subscriptions of a stream that wait to leave; then nobody is asked for items.
pub const MAX_WAITING_CHUNKS: usize = MAX_QUEUED_BYTES / FEED_CHUNK_BYTES;
/// How long a client waits at first before it connects again.
pub const FIRST_RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// How long a client waits at most before it connects again; a connection that lasted so long was a good one.
pub const LONGEST_RECONNECT_WAIT: Duration = Duration::from_secs(30);
/// How long a client looks up whether an operation may be repeated.
pub const NATURE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of one connection that are served at a time.
pub const MAX_STREAMS: usize = 64;
/// Answers that wait for a slow reader, in bytes; beyond them no answer or item is taken from what runs.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Answers are written at the latest when so many bytes wait.
pub const COALESCED_BYTES: usize = 16 * 1024;
/// How much is asked of a stream at once, in bytes.
pub const READ_BYTES: usize = 8 * 1024;
/// How long a peer may accept nothing of what waits for it.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an operation may run unless it says otherwise.
pub const DEFAULT_OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest schema, in bytes of JSON.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// Most references in one schema.
pub const MAX_SCHEMA_REFERENCES: usize = 1024;
/// Largest compiled `pattern` of a schema, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// Request credentials that a connection remembers as verified.
pub const MAX_REMEMBERED_CREDENTIALS: usize = 16;
/// Entries in one page of `services/list` unless the caller says otherwise.
pub const DEFAULT_LIST_PAGE: u32 = 100;
/// Most entries in one page of `services/list`.
pub const MAX_LIST_PAGE: u32 = 200;
/// Most operations in one `services/schema`.
pub const MAX_SCHEMAS_ASKED: usize = 64;
/// How long a byte ticket waits to be used.
pub const BYTE_TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// Byte tickets that wait for one identity.
pub const MAX_TICKETS_PER_IDENTITY: usize = 64;
/// Byte tickets that wait in all.
pub const MAX_TICKETS: usize = 4096;
/// How long a byte stream may take to show its ticket.
pub const TICKET_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a byte stream may move nothing.
pub const BYTES_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The time spent waiting for the bytes of an upload within which `LEAST_PACE_BYTES` must have come, again and again.
pub const BYTES_PACE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Least that comes of an upload within `BYTES_PACE_INTERVAL`, in bytes.
pub const LEAST_PACE_BYTES: usize = 64 * 1024;
/// How long the answer to an upload may take once everything was sent.
pub const UPLOAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How much of a byte stream is held at once, in bytes.
pub const BYTES_CHUNK_BYTES: usize = 64 * 1024;
/// How much of a byte stream of the machine's own user is held at once, in bytes.
pub const LOCAL_BYTES_CHUNK_BYTES: usize = 512 * 1024;
/// Longest answer to an upload, in bytes of JSON.
pub const MAX_UPLOAD_ANSWER_BYTES: usize = MAX_UNIDENTIFIED_FRAME_BYTES;
/// How long the last bytes of a stream may take to be delivered after it ended.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How deep compositions nest.
pub const MAX_CALL_DEPTH: u32 = 16;
/// Composed calls of one call that run at a time.
pub const MAX_CALLS_BELOW: u32 = 256;
/// Calls that ended and are still in the call graph.
pub const MAX_ENDED_CALLS: usize = 4096;
/// How long a call that ended is in the call graph.
pub const ENDED_CALL_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Operations whose calls are counted; remote ones of workers that left make room.
pub const MAX_TALLIED_OPERATIONS: usize = 8192;
/// Changes of the call graph that wait for a slow watcher; beyond them it misses the oldest.
pub const MAX_UNSEEN_CHANGES: usize = 1024;

/// Longest member of a set of credentials, in bytes.
pub const MAX_SECRET_BYTES: usize = 16 * 1024;
/// A set of credentials, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 32 * 1024;
/// Members of a set of credentials.
pub const MAX_CREDENTIAL_FIELDS: usize = 16;
/// Items of a subscription that may be on their way unless the caller says otherwise.
pub const DEFAULT_CREDIT: u32 = 64;

/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Operations that a worker offers.
pub const MAX_REMOTE_OPERATIONS: usize = 1024;
/// The specifications that a worker offers, in bytes of JSON.
pub const MAX_REMOTE_OFFER_BYTES: usize = 4 * 1024 * 1024;
/// One specification of a worker, in bytes of JSON.
pub const MAX_REMOTE_SPEC_BYTES: usize = 64 * 1024;
/// Errors, tags, and scopes of a worker's specification, each.
pub const MAX_REMOTE_LIST: usize = 64;
/// Examples of a worker's specification.
pub const MAX_REMOTE_EXAMPLES: usize = 16;
/// Title, tag and description of an error in a worker's specification, in bytes.
pub const MAX_REMOTE_TITLE_BYTES: usize = 256;
/// Description in a worker's specification, in bytes.
pub const MAX_REMOTE_TEXT_BYTES: usize = 8 * 1024;
/// Longest time that a worker's operation may ask for.
pub const MAX_REMOTE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Subschemas of a worker's schema.
pub const MAX_REMOTE_SUBSCHEMAS: usize = 4096;
/// Subschemas of subschemas that a worker's schema applies to one value.
pub const MAX_IN_PLACE_DEPTH: usize = 16;
/// Ways on which a worker's schema comes to a subschema for one value, in all.
pub const MAX_IN_PLACE_SUBSCHEMAS: usize = 32 * 1024;
/// States of all patterns in a worker's schema.
pub const MAX_PATTERN_STATES: u64 = 8 * 1024;
/// Steps that checking an input against a worker's schema may take; one takes well under a microsecond.
pub const MAX_VALIDATION_STEPS: u64 = 4_000_000;
/// Specifications that are compiled on the runtime's own threads, in bytes of JSON; more of them leave it.
pub const MAX_INLINE_OFFER_BYTES: usize = 32 * 1024;
/// Steps up to which an input is checked on the thread that asks.
pub const MAX_INLINE_STEPS: u64 = 4_000;
/// Steps up to which a refusal names the place in the input.
pub const MAX_EXPLAINED_STEPS: u64 = 20_000;
/// Deepest nesting of a worker's schema.
pub const MAX_REMOTE_SCHEMA_DEPTH: usize = 48;
/// How often a worker asks whether its head is still there, and how long that may take to answer.
pub const HEAD_HEARTBEAT: Duration = Duration::from_secs(5);
/// Workers of a head, with those that left and may come back.
pub const MAX_WORKERS: usize = 256;
/// Offers that a head checks at a time.
pub const MAX_OFFERS_READ: usize = 2;
/// How long a worker is passed over that failed to take a call, or to answer in time.
pub const WORKER_PENALTY: Duration = Duration::from_secs(1);
/// Calls with an idempotency key that are in progress at a time.
pub const MAX_ONCE_CALLS: usize = 4096;
