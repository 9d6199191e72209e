CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Peers and API keys share one space of names, so that a name in the audit means one thing.
CREATE TABLE identities (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE peers (
    name TEXT PRIMARY KEY REFERENCES identities (name) ON DELETE CASCADE,
    role TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE peer_keys (
    fingerprint TEXT PRIMARY KEY,
    peer        TEXT NOT NULL REFERENCES peers (name) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    UNIQUE (peer, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE peer_addresses (
    peer     TEXT NOT NULL REFERENCES peers (name) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    address  TEXT NOT NULL,
    PRIMARY KEY (peer, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE REFERENCES identities (name) ON DELETE CASCADE,
    sha256       BLOB NOT NULL CHECK (length(sha256) = 32),
    role         TEXT,
    scopes       TEXT,
    expires_at   INTEGER,
    last_used_at INTEGER,
    CHECK ((role IS NULL) <> (scopes IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    key        TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    scopes     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token_denials (
    id         TEXT PRIMARY KEY,
    kept_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE key_denials (
    key           TEXT PRIMARY KEY,
    issued_before INTEGER NOT NULL,
    kept_until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
