-- The file system (alknet-fs). Times are nanoseconds since 1970 unless named otherwise. No foreign keys: rows go in bulk, and fsck counts.
CREATE TABLE fs_meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE fs_bucket (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL,
    policy      TEXT NOT NULL,              -- JSON
    quota_bytes INTEGER,                    -- null: no bound
    quota_files INTEGER,
    used_bytes  INTEGER NOT NULL DEFAULT 0, -- of the fs_inode rows that changed content
    used_files  INTEGER NOT NULL DEFAULT 0, -- inodes that have rows, counted once for each branch
    head_seq    INTEGER NOT NULL DEFAULT 0,
    next_ino    INTEGER NOT NULL DEFAULT 2, -- 1 is the root
    removed     INTEGER NOT NULL DEFAULT 0  -- 1: its rows are on their way out
) STRICT;
CREATE UNIQUE INDEX fs_bucket_name ON fs_bucket (name) WHERE removed = 0;

CREATE TABLE fs_commit (
    bucket  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    branch  INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, -- never before that of the commit before it
    hlc     INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    op      TEXT NOT NULL,
    PRIMARY KEY (bucket, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX fs_commit_by_time ON fs_commit (bucket, time_ns);

CREATE TABLE fs_branch (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket     INTEGER NOT NULL,
    name       TEXT NOT NULL,
    parent     INTEGER,
    parent_seq INTEGER,                   -- where it forked
    mode       TEXT NOT NULL,             -- pinned or follow
    made_seq   INTEGER NOT NULL,
    hidden     INTEGER NOT NULL DEFAULT 0, -- 1: removed, but children still read through it
    CHECK (mode IN ('pinned', 'follow')),
    CHECK ((parent IS NULL) = (parent_seq IS NULL)),
    CHECK (parent < id)
) STRICT;
CREATE UNIQUE INDEX fs_branch_name ON fs_branch (bucket, name) WHERE hidden = 0;
CREATE INDEX fs_branch_parent ON fs_branch (parent) WHERE parent IS NOT NULL;

CREATE TABLE fs_snapshot (
    bucket  INTEGER NOT NULL,
    name    TEXT NOT NULL,
    branch  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (bucket, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE fs_dent (
    branch INTEGER NOT NULL,
    dir    INTEGER NOT NULL,
    name   BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    ino    INTEGER NOT NULL, -- of a whiteout: what the name was taken from
    kind   INTEGER NOT NULL, -- 1 file, 2 folder, 3 symbolic link; the same below 0: a whiteout of it
    made   INTEGER NOT NULL, -- 1: the first name that the inode ever had
    PRIMARY KEY (branch, dir, name, seq),
    CHECK (abs(kind) IN (1, 2, 3))
) STRICT, WITHOUT ROWID;
CREATE INDEX fs_dent_by_seq ON fs_dent (branch, seq);
CREATE INDEX fs_dent_by_ino ON fs_dent (ino, branch, seq);
CREATE INDEX fs_dent_by_folder ON fs_dent (branch, dir, seq); -- a folder is as new as its newest entry

CREATE TABLE fs_inode (
    branch   INTEGER NOT NULL,
    ino      INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    kind     INTEGER NOT NULL, -- as in fs_dent
    blob     INTEGER,          -- content of a file; null: empty, or no file
    size     INTEGER NOT NULL,
    mode     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    target   BLOB,             -- of a symbolic link
    xattrs   BLOB,
    changed  INTEGER NOT NULL, -- bits: 1 content, 2 attributes
    PRIMARY KEY (branch, ino, seq),
    CHECK (kind IN (1, 2, 3))
) STRICT, WITHOUT ROWID;
CREATE INDEX fs_inode_by_seq ON fs_inode (branch, seq);
CREATE INDEX fs_inode_by_blob ON fs_inode (blob) WHERE blob IS NOT NULL;

CREATE TABLE fs_blob (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    hash          BLOB NOT NULL,
    gen           INTEGER NOT NULL, -- of its file; never given twice
    size          INTEGER NOT NULL,
    class         INTEGER NOT NULL, -- 0 inline, 1 a whole file, 2 packed
    state         INTEGER NOT NULL, -- 0 live, 1 dying, 3 missing
    refs          INTEGER NOT NULL, -- fs_inode rows that name it
    zero_since_ms INTEGER,          -- since when refs is 0
    bytes         BLOB,             -- of an inline one
    CHECK (length(hash) = 32),
    CHECK ((refs = 0) = (zero_since_ms IS NOT NULL)),
    CHECK ((class = 0) = (bytes IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX fs_blob_by_hash ON fs_blob (hash, gen);
CREATE UNIQUE INDEX fs_blob_live ON fs_blob (hash) WHERE state = 0;
CREATE INDEX fs_blob_dead ON fs_blob (zero_since_ms) WHERE refs = 0;

CREATE TABLE fs_ref (
    blob   INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    branch INTEGER NOT NULL,
    count  INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (blob, bucket, branch)
) STRICT, WITHOUT ROWID;

CREATE TABLE fs_merge (
    into_branch INTEGER NOT NULL,
    into_seq    INTEGER NOT NULL,
    from_branch INTEGER NOT NULL,
    from_seq    INTEGER NOT NULL,
    PRIMARY KEY (into_branch, into_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE fs_conflict (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket      INTEGER NOT NULL,
    branch      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    dir         INTEGER NOT NULL,
    name        BLOB NOT NULL,
    ours        TEXT NOT NULL, -- JSON
    theirs      TEXT NOT NULL, -- JSON
    settled_seq INTEGER
) STRICT;
CREATE INDEX fs_conflict_by_branch ON fs_conflict (branch, seq);

CREATE TABLE fs_session (
    id         BLOB PRIMARY KEY, -- of a resumable upload
    bucket     INTEGER NOT NULL,
    branch     INTEGER NOT NULL,
    path       BLOB NOT NULL,
    hash       BLOB NOT NULL,
    size       INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    made_ms    INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE fs_hook (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket INTEGER NOT NULL,
    prefix BLOB NOT NULL,
    suffix BLOB NOT NULL,
    kind   TEXT NOT NULL,
    target TEXT NOT NULL
) STRICT;
