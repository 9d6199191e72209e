//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Mutations that wait for the writer at a time; further callers wait for a place.
pub const MAX_QUEUED_JOBS: usize = 1024;
/// Mutations in one commit.
pub const MAX_BATCH_JOBS: usize = 256;
/// Connections that read at a time.
pub const MAX_READERS: usize = 4;
/// How long SQLite waits for another process's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What the write-ahead log is cut back to after a checkpoint, in bytes.
pub const MAX_IDLE_WAL_BYTES: u32 = 8 * 1024 * 1024;

/// Peers of one node.
pub const MAX_PEERS: usize = 65_536;
/// Keys of one peer.
pub const MAX_KEYS_PER_PEER: usize = 64;
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
