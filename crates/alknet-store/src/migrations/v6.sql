-- What the gate remembers of addresses, prefixes and keys. Times are milliseconds since 1970, points thousandths.
CREATE TABLE gate_scores (
    source             TEXT PRIMARY KEY,
    points             INTEGER NOT NULL,
    counted_at_ms      INTEGER NOT NULL,
    level              INTEGER NOT NULL,
    penalised_until_ms INTEGER NOT NULL,
    history            TEXT NOT NULL
) STRICT, WITHOUT ROWID;
