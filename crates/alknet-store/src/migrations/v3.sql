-- Calls that carried an idempotency key. `boot` counts the starts of the node: which one began it. An outcome that was too large to keep
-- is ended without one.
CREATE TABLE call_outcomes (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    identity     TEXT NOT NULL,
    operation    TEXT NOT NULL,
    key          TEXT NOT NULL,
    input_sha256 BLOB NOT NULL CHECK (length(input_sha256) = 32),
    boot         INTEGER NOT NULL,
    begun_at     INTEGER NOT NULL,
    ended_at     INTEGER,
    outcome      TEXT,
    bytes        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (identity, operation, key)
) STRICT;

CREATE INDEX call_outcomes_of_identity ON call_outcomes (identity, ended_at, bytes);
CREATE INDEX call_outcomes_by_end ON call_outcomes (ended_at);

-- Call trees that somebody asked to keep, as JSON.
CREATE TABLE kept_calls (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,
    identity  TEXT,
    kept_by   TEXT,
    kept_at   INTEGER NOT NULL,
    tree      TEXT NOT NULL
) STRICT;

-- Credentials for services elsewhere. `sealed` opens with the node's vault only.
CREATE TABLE credentials (
    name       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER,
    version    INTEGER NOT NULL,
    note       TEXT
) STRICT, WITHOUT ROWID;
