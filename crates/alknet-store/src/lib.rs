//! One SQLite database: migrations, one writer with group commit, peers, keys, tokens, audit.
