-- Branches that were flattened: what they showed through others is among their own rows. Where they came from is kept, and so is the row
-- of a removed branch that others came from or merged (hidden is 2 then: it has no other rows).
ALTER TABLE fs_branch ADD COLUMN flat INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fs_branch ADD COLUMN below INTEGER;      -- of a flat one: the branch that it still reads through, if there is one
ALTER TABLE fs_branch ADD COLUMN below_seq INTEGER;  -- and as of when
ALTER TABLE fs_branch ADD COLUMN copied_seq INTEGER; -- while it is being flattened: it has the rows of all commits after this one
CREATE INDEX fs_branch_below ON fs_branch (below) WHERE below IS NOT NULL;
CREATE INDEX fs_merge_from ON fs_merge (from_branch);

-- In buckets whose names are compared by more than their octets `name` is what is compared.
ALTER TABLE fs_dent ADD COLUMN shown BLOB; -- the name as it was written, where it differs

-- Webhooks and queues that are told of the commits of a branch.
DROP TABLE fs_hook;
CREATE TABLE fs_hook (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket     INTEGER NOT NULL,
    branch     INTEGER NOT NULL,
    name       TEXT NOT NULL,
    prefix     BLOB NOT NULL,
    suffix     BLOB NOT NULL,
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,          -- a URL, or the name of a queue
    credential TEXT,                   -- whose secret signs what is sent
    maker      TEXT NOT NULL,          -- on whose behalf it reads
    after_seq  INTEGER NOT NULL,       -- the newest commit that it was told of
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_ms    INTEGER,                -- not before then; null: at once
    error      TEXT,                   -- of the newest attempt
    CHECK (kind IN ('webhook', 'queue'))
) STRICT;
CREATE UNIQUE INDEX fs_hook_name ON fs_hook (bucket, name);

-- A conflict that is settled is no longer kept.
DELETE FROM fs_conflict WHERE settled_seq IS NOT NULL;
ALTER TABLE fs_conflict DROP COLUMN settled_seq;

-- Who took versions of a branch in: it is asked before a removed branch goes.
CREATE INDEX fs_merge_by_origin ON fs_merge (from_branch, into_branch);

-- Large content by its length: whoever sends a file hashes it first only where some content is as long.
CREATE INDEX fs_blob_large ON fs_blob (size) WHERE size >= 16777216;
