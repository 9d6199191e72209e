-- What may be published. `kept` counts the events that are there, `head` is the newest that ever was, `trimmed` the newest that is gone.
CREATE TABLE topics (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    owner      TEXT,
    max_age_ms INTEGER NOT NULL,
    max_events INTEGER NOT NULL,
    kept       INTEGER NOT NULL DEFAULT 0,
    head       INTEGER NOT NULL DEFAULT 0,
    trimmed    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE projections (
    topic       INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    schema      TEXT NOT NULL,
    declared_at INTEGER NOT NULL,
    PRIMARY KEY (topic, version)
) STRICT, WITHOUT ROWID;

-- An id is never given twice, also when the newest events are gone. No publisher: the node itself.
CREATE TABLE events (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    topic           INTEGER NOT NULL REFERENCES topics (id),
    version         INTEGER NOT NULL,
    key             TEXT,
    payload         TEXT NOT NULL,
    published_at_ms INTEGER NOT NULL,
    publisher       TEXT
) STRICT;

CREATE INDEX events_of_topic ON events (topic, id);

-- How far a consumer has come. Each identity has consumers of its own.
CREATE TABLE event_positions (
    topic    INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    identity TEXT NOT NULL,
    consumer TEXT NOT NULL,
    event    INTEGER NOT NULL,
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (topic, identity, consumer)
) STRICT, WITHOUT ROWID;

-- Counted, so that neither bound needs a walk over the jobs.
CREATE TABLE queues (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    jobs INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
) STRICT;

-- `due_at_ms`: when a job may be claimed; for one that is claimed, when the claim runs out.
CREATE TABLE jobs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    queue          INTEGER NOT NULL REFERENCES queues (id),
    priority       INTEGER NOT NULL,
    due_at_ms      INTEGER NOT NULL,
    payload        TEXT NOT NULL,
    attempt        INTEGER NOT NULL DEFAULT 0,
    max_attempts   INTEGER NOT NULL,
    claimed_by     TEXT,
    worker         TEXT,
    expires_at_ms  INTEGER,
    enqueued_at_ms INTEGER NOT NULL,
    producer       TEXT NOT NULL,
    error          TEXT
) STRICT;

CREATE INDEX jobs_to_claim ON jobs (queue, priority, due_at_ms, id);
CREATE INDEX jobs_claimed ON jobs (due_at_ms) WHERE claimed_by IS NOT NULL;
CREATE INDEX jobs_that_expire ON jobs (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

-- In the order in which they died.
CREATE TABLE dead_jobs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    job            INTEGER NOT NULL,
    queue          INTEGER NOT NULL REFERENCES queues (id),
    priority       INTEGER NOT NULL,
    payload        TEXT NOT NULL,
    attempts       INTEGER NOT NULL,
    max_attempts   INTEGER NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    died_at_ms     INTEGER NOT NULL,
    producer       TEXT NOT NULL,
    error          TEXT NOT NULL
) STRICT;

CREATE INDEX dead_jobs_of_queue ON dead_jobs (queue, id);
