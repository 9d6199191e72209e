-- What stands before the key in its line, in canonical text; a key with options is one for SSH only.
ALTER TABLE peer_keys ADD COLUMN options TEXT;

-- Keys that sign SSH certificates for a peer. Several peers may trust the same one.
CREATE TABLE peer_authorities (
    peer        TEXT NOT NULL REFERENCES peers (name) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    position    INTEGER NOT NULL,
    options     TEXT NOT NULL,
    PRIMARY KEY (peer, fingerprint),
    UNIQUE (peer, position)
) STRICT, WITHOUT ROWID;
