//! Auth tokens: which were made here, and which are denied although their signature still verifies.

use alknet_core::{Fingerprint, Maintenance, Permit, PermitError, ScopeSet, TokenBounds, TokenId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::MAX_TOKEN_LIST_ROWS,
    records::{parsed, scopes_of, scopes_text},
    store::Store,
    writer::Touches,
};

const READ: &str = "tokens:read";
const WRITE: &str = "tokens:write";

/// The tokens of a node.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
}

/// A token that was made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub id: TokenId,
    /// The key that signed it.
    pub key: Fingerprint,
    /// When it was made, in seconds since 1970.
    pub issued_at: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
    /// What it keeps of its key's rights; empty for all.
    pub scopes: ScopeSet,
}

/// A token that was made here, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// What it was made as.
    pub token: NewToken,
    /// Whether it is denied.
    pub denied: bool,
}

/// Which tokens are no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenDenial {
    /// The one with this id.
    Token(TokenId),
    /// Those of a key that were issued before a time, in seconds since 1970.
    KeyBefore(Fingerprint, u64),
}

/// Why the tokens were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// A token of that id was recorded before.
    #[error("the token {0} is recorded already")]
    Known(TokenId),
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for TokenStoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Tokens {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Notes a token that was made here, so that it is listed. Needs `tokens:write`.
    pub async fn record(&self, permit: &Permit, token: NewToken) -> Result<(), TokenStoreError> {
        self.store
            .mutate(permit, WRITE, Touches::Nothing, move |sql, _| {
                let mut insert = sql.prepare_cached(
                    "INSERT INTO tokens (id, key, issued_at, expires_at, scopes) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING",
                )?;
                let NewToken { id, key, issued_at, expires_at, scopes } = &token;
                let (issued_at, expires_at) = (stored(*issued_at), stored(*expires_at));
                let values = params![id.to_string(), key.as_str(), issued_at, expires_at, scopes_text(scopes)];
                if insert.execute(values)? == 0 { Err(TokenStoreError::Known(*id)) } else { Ok(()) }
            })
            .await
    }

    /// Denies tokens and ends what is being done with them. Needs `tokens:write`.
    ///
    /// Kept until no denied token could be accepted any more under `bounds`, the ones this node verifies with.
    pub async fn deny(
        &self,
        permit: &Permit,
        denial: TokenDenial,
        bounds: &TokenBounds,
    ) -> Result<(), TokenStoreError> {
        let (bounds, clock) = (*bounds, self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Rights, move |sql, _| {
                match denial {
                    TokenDenial::Token(id) => deny_token(sql, id, &bounds, clock.now())?,
                    TokenDenial::KeyBefore(key, before) => deny_key(sql, &key, before, &bounds)?,
                }
                Ok(())
            })
            .await
    }

    /// The tokens that were made here and are not yet pruned, the newest first. Needs `tokens:read`.
    pub async fn list(&self, permit: &Permit) -> Result<Vec<TokenRecord>, TokenStoreError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let tokens = select(sql)?;
                grant.check()?;
                Ok(tokens)
            })
            .await
    }

    /// Forgets tokens that are over, and denials of nothing that could still be accepted. Answers how many rows went.
    pub async fn prune(&self, task: &Maintenance) -> Result<usize, StoreError> {
        let now = stored(self.store.clock().now());
        tracing::debug!(task = task.task(), "pruning tokens");
        let prune = move |sql: &Connection| -> Result<usize, StoreError> {
            let mut gone = 0;
            for text in [
                "DELETE FROM tokens WHERE expires_at <= ?1",
                "DELETE FROM token_denials WHERE kept_until <= ?1",
                "DELETE FROM key_denials WHERE kept_until <= ?1",
            ] {
                gone += sql.prepare_cached(text)?.execute([now])?;
            }
            Ok(gone)
        };
        self.store.writer().write(Touches::Directory, prune).await
    }
}

fn deny_token(sql: &Connection, id: TokenId, bounds: &TokenBounds, now: u64) -> rusqlite::Result<()> {
    let mut known = sql.prepare_cached("SELECT expires_at FROM tokens WHERE id = ?1")?;
    let known: Option<i64> = known.query_row([id.to_string()], |row| row.get(0)).optional()?;
    let skew = bounds.skew.as_secs();
    // One made elsewhere may have been issued just now, by a clock that is ahead.
    let longest = now.saturating_add(skew).saturating_add(bounds.max_lifetime.as_secs());
    let kept_until = known.map_or(longest, loaded).saturating_add(skew);
    let mut insert = sql.prepare_cached(
        "INSERT INTO token_denials (id, kept_until) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET kept_until = max(kept_until, excluded.kept_until)",
    )?;
    insert.execute(params![id.to_string(), stored(kept_until)])?;
    Ok(())
}

fn deny_key(sql: &Connection, key: &Fingerprint, before: u64, bounds: &TokenBounds) -> rusqlite::Result<()> {
    let kept_until = before.saturating_add(bounds.max_lifetime.as_secs()).saturating_add(bounds.skew.as_secs());
    let mut insert = sql.prepare_cached(
        "INSERT INTO key_denials (key, issued_before, kept_until) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET
         issued_before = max(issued_before, excluded.issued_before), kept_until = max(kept_until, excluded.kept_until)",
    )?;
    insert.execute(params![key.as_str(), stored(before), stored(kept_until)])?;
    Ok(())
}

fn select(sql: &Connection) -> rusqlite::Result<Vec<TokenRecord>> {
    let mut statement = sql.prepare_cached(
        "SELECT id, key, issued_at, expires_at, scopes,
                EXISTS (SELECT 1 FROM token_denials AS denial WHERE denial.id = tokens.id)
                OR EXISTS (SELECT 1 FROM key_denials AS denial
                           WHERE denial.key = tokens.key AND tokens.issued_at < denial.issued_before)
         FROM tokens ORDER BY issued_at DESC, id LIMIT ?1",
    )?;
    let rows = statement.query_map([MAX_TOKEN_LIST_ROWS as i64], |row| {
        let token = NewToken {
            id: parsed(row, 0)?,
            key: parsed(row, 1)?,
            issued_at: loaded(row.get(2)?),
            expires_at: loaded(row.get(3)?),
            scopes: scopes_of(row, 4)?,
        };
        Ok(TokenRecord { token, denied: row.get(5)? })
    })?;
    rows.collect()
}
