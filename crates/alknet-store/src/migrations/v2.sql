-- `sum_of` names the minute, network and action that a row about strangers sums up; rows about the known have none.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    identity   TEXT,
    credential TEXT,
    action     TEXT NOT NULL,
    resource   TEXT,
    addr       TEXT NOT NULL,
    detail     TEXT,
    count      INTEGER NOT NULL,
    sum_of     TEXT UNIQUE
) STRICT;

CREATE INDEX audit_of_identity ON audit (identity, id);

-- Allowed queries; an empty identity stands for the anonymous.
CREATE TABLE audit_counters (
    identity TEXT NOT NULL,
    action   TEXT NOT NULL,
    count    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (identity, action)
) STRICT, WITHOUT ROWID;
