//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Mutations that wait for the writer at a time; further callers wait for a place.
pub const MAX_QUEUED_JOBS: usize = 1024;
/// Mutations in one commit.
pub const MAX_BATCH_JOBS: usize = 256;
/// Connections that read at a time.
pub const MAX_READERS: usize = 8;
/// How often two connections try to begin at the same commit before one reads alone.
pub const SAME_COMMIT_TRIES: usize = 4;
/// How long a change that may wait for others does so, unless told otherwise.
pub const DEFAULT_GROUP_DELAY: Duration = Duration::from_millis(20);
/// The longest that it may be told to wait.
pub const MAX_GROUP_DELAY: Duration = Duration::from_secs(60);
/// What was acknowledged before it was synced is synced so long after, at the latest.
pub const LAZY_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How long SQLite waits for another process's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared; the least used make room for others.
pub const MAX_PREPARED_STATEMENTS: usize = 256;
/// Pages that the connection which writes keeps in memory, in KiB: with millions of rows every change touches many that are far apart.
pub const WRITER_CACHE_KIB: i64 = 32 * 1024;
/// The same of each connection that reads.
pub const READER_CACHE_KIB: i64 = 8 * 1024;
/// The largest database that is checked from end to end whenever it is opened, in bytes; of a larger one the trees of files are left out.
pub const MAX_WHOLE_CHECK_BYTES: u64 = 64 * 1024 * 1024;
/// What the write-ahead log is cut back to after a checkpoint, in bytes.
pub const MAX_IDLE_WAL_BYTES: u32 = 8 * 1024 * 1024;
/// From how many pages on the write-ahead log is copied into the database after a commit.
pub const COPIED_LOG_PAGES: u32 = 1000;
/// What is held of the log while it is written again, in bytes.
pub const LOG_COPY_BYTES: usize = 1 << 20;

/// Peers of one node.
pub const MAX_PEERS: usize = 65_536;
/// Keys of one peer.
pub const MAX_KEYS_PER_PEER: usize = 64;
/// Keys that sign SSH certificates for one peer.
pub const MAX_AUTHORITIES_PER_PEER: usize = 16;
/// Addresses of one peer.
pub const MAX_ADDRESSES_PER_PEER: usize = 16;
/// API keys of one node.
pub const MAX_API_KEYS: usize = 65_536;
/// Longest name of a role, in bytes.
pub const MAX_ROLE_NAME_BYTES: usize = 64;
/// An API key's last use is written at most so often.
pub const LAST_USED_INTERVAL: Duration = Duration::from_secs(60);

/// Audit rows that wait for the writer; further ones are counted as lost.
pub const MAX_QUEUED_AUDIT_ROWS: usize = 4096;
/// Pairs of identity and action counted between two flushes; further ones are counted as lost.
pub const MAX_PENDING_COUNTERS: usize = 4096;
/// Sums of what strangers did that are kept apart per minute; further ones share one sum per kind and outcome.
pub const MAX_STRANGER_SUMS: usize = 256;
/// How often counters reach the disk.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Audit rows about known identities that are kept, unless the configuration says otherwise.
pub const DEFAULT_AUDIT_ROWS: usize = 100_000;
/// Audit rows about strangers that are kept.
pub const MAX_STRANGER_ROWS: usize = 20_000;
/// Counters that are kept.
pub const MAX_COUNTER_ROWS: usize = 20_000;
/// Rows written between two looks at the bounds above.
pub const PRUNE_AFTER_ROWS: usize = 1000;
/// Longest text in an audit row, in bytes.
pub const MAX_AUDIT_TEXT_BYTES: usize = 512;
/// Rows in one answer to an audit query.
pub const MAX_AUDIT_QUERY_ROWS: usize = 1000;
/// Tokens in one answer to a token list.
pub const MAX_TOKEN_LIST_ROWS: usize = 10_000;

/// How long the outcome of a call that carried an idempotency key is kept.
pub const OUTCOME_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Calls with an idempotency key that are remembered for one identity.
pub const MAX_OUTCOMES_PER_IDENTITY: usize = 1000;
/// Calls with an idempotency key that are remembered in all.
pub const MAX_OUTCOMES: usize = 100_000;
/// Largest outcome that is kept, in bytes of JSON.
pub const MAX_OUTCOME_BYTES: usize = 256 * 1024;
/// Outcomes of one identity together, in bytes; small ones (this divided by their number) are let in beyond it.
pub const MAX_OUTCOME_BYTES_PER_IDENTITY: usize = 16 * 1024 * 1024;
/// Beginnings between two looks at how many calls are remembered in all.
pub const COUNT_OUTCOMES_EVERY: usize = 128;
/// Rows that a janitor deletes in one change, so that others get their turn between.
pub const PRUNE_ROWS_AT_ONCE: usize = 1000;

/// Call trees that are kept.
pub const MAX_KEPT_CALLS: usize = 1000;
/// Largest call tree that is kept, in bytes of JSON.
pub const MAX_KEPT_CALL_BYTES: usize = 1024 * 1024;
/// Rows in one answer to a list of kept calls.
pub const MAX_KEPT_CALL_ROWS: usize = 100;

/// Credentials of one node.
pub const MAX_CREDENTIALS: usize = 1024;
/// Largest sealed credential, in bytes of its text.
pub const MAX_SEALED_CREDENTIAL_BYTES: usize = 64 * 1024;
/// Longest note on a credential, in bytes.
pub const MAX_CREDENTIAL_NOTE_BYTES: usize = 256;

/// Longest name of a topic, a queue or a consumer, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 128;
/// Longest payload of an event or a job, in bytes of JSON.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Longest key of an event, in bytes.
pub const MAX_EVENT_KEY_BYTES: usize = 512;
/// Events that are published at a time.
pub const MAX_EVENTS_PER_PUBLISH: usize = 1000;
/// Payloads of the events that are published at a time, in bytes together.
pub const MAX_PUBLISH_BYTES: usize = 8 * 1024 * 1024;
/// Events, or dead letters, in one answer.
pub const MAX_EVENT_PAGE: usize = 1000;
/// Payloads in one answer, in bytes together; the last one may go beyond.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Topics of one node.
pub const MAX_TOPICS: usize = 1000;
/// Versions of one topic.
pub const MAX_VERSIONS_PER_TOPIC: usize = 64;
/// Longest schema of a version, in bytes of JSON.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Events that a topic may be told to keep.
pub const MAX_EVENTS_PER_TOPIC: u64 = 10_000_000;
/// How long a topic may be told to keep events.
pub const MAX_EVENT_AGE: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Events that a topic keeps, unless told otherwise.
pub const DEFAULT_MAX_EVENTS: u64 = 100_000;
/// How long a topic keeps events, unless told otherwise.
pub const DEFAULT_MAX_EVENT_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Consumers of one topic.
pub const MAX_CONSUMERS_PER_TOPIC: usize = 1000;
/// Consumers of one topic that one identity has.
pub const MAX_CONSUMERS_PER_IDENTITY: usize = 64;
/// A consumer that has not moved for so long is forgotten.
pub const MAX_CONSUMER_IDLE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Queues of one node.
pub const MAX_QUEUES: usize = 1000;
/// Jobs in one queue, dead letters not counted.
pub const MAX_QUEUE_JOBS: usize = 100_000;
/// Highest priority of a job; the lowest is 0.
pub const MAX_JOB_PRIORITY: u8 = 9;
/// How often a job may be claimed at most.
pub const MAX_ATTEMPTS: u32 = 1000;
/// How long a job may be delayed, and how long it may take to expire.
pub const MAX_JOB_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long a claim may hold without being extended.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(24 * 60 * 60);
/// Jobs that are claimed at a time.
pub const MAX_CLAIMED_AT_ONCE: usize = 100;
/// Jobs that one claim gives up on its way; the next goes on.
pub const MAX_BURIED_AT_ONCE: usize = 1000;
/// Longest error that is kept of an attempt, in bytes.
pub const MAX_JOB_ERROR_BYTES: usize = 1024;
/// Dead letters of one queue; the oldest go first.
pub const MAX_DEAD_LETTERS: usize = 10_000;
/// How long dead letters are kept.
pub const MAX_DEAD_LETTER_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Addresses, prefixes and keys that the gate remembers across a restart.
pub const MAX_GATE_ROWS: usize = 4096;
