//! Reading what was written down about who did what.

use std::fmt::Write as _;

use alknet_core::{AuditKind, AuditOutcome, Maintenance, Permit, PermitError};
use rusqlite::{Connection, Row, ToSql, types::Type};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{MAX_AUDIT_QUERY_ROWS, MAX_COUNTER_ROWS, MAX_STRANGER_ROWS},
    store::Store,
    writer::Touches,
};

const READ: &str = "audit:read";

/// The audit, for reading.
#[derive(Clone)]
pub struct Audit {
    store: Store,
}

/// Which rows are wanted; the default is the newest ones of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFilter {
    /// Not before this time, in seconds since 1970.
    pub since: Option<u64>,
    /// Before this time, in seconds since 1970.
    pub until: Option<u64>,
    /// About this identity.
    pub identity: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// About actions that begin so.
    pub action_prefix: Option<String>,
    /// So many at most; more than the crate's bound is cut to it.
    pub limit: Option<usize>,
    /// Older than the row with this id: the last id of the page before.
    pub before_id: Option<u64>,
}

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Grows with time.
    pub id: u64,
    /// Seconds since 1970; for a sum, the beginning of its minute.
    pub at: u64,
    /// What sort of event.
    pub kind: AuditKind,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Who; nobody for strangers.
    pub identity: Option<String>,
    /// Fingerprint or id of the credential.
    pub credential: Option<String>,
    /// The operation.
    pub action: String,
    /// What it was done to.
    pub resource: Option<String>,
    /// From where; for a sum, the network.
    pub addr: String,
    /// Why, in a few words.
    pub detail: Option<String>,
    /// How many events this row stands for.
    pub count: u64,
}

/// How often somebody was allowed to ask something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditCounter {
    /// Who; nobody for the anonymous.
    pub identity: Option<String>,
    /// The operation.
    pub action: String,
    /// How often.
    pub count: u64,
    /// When last, in seconds since 1970.
    pub last_at: u64,
}

/// Why the audit was not read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The permit does not cover it.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Audit {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Rows that match, newest first. Needs `audit:read`.
    pub async fn query(&self, permit: &Permit, filter: AuditFilter) -> Result<Vec<AuditRow>, AuditError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let rows = select(sql, &filter).map_err(StoreError::from)?;
                grant.check()?;
                Ok(rows)
            })
            .await
    }

    /// The counters of allowed queries, the most used first. Needs `audit:read`.
    pub async fn counters(&self, permit: &Permit) -> Result<Vec<AuditCounter>, AuditError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let rows = select_counters(sql).map_err(StoreError::from)?;
                grant.check()?;
                Ok(rows)
            })
            .await
    }

    /// Deletes the oldest rows beyond the bounds. The writer does so by itself every now and then.
    pub async fn prune(&self, task: &Maintenance) -> Result<(), StoreError> {
        tracing::debug!(task = task.task(), "pruning the audit");
        let keep = self.store.ledger().max_rows();
        let prune = move |sql: &Connection| {
            prune_rows(sql, keep, MAX_STRANGER_ROWS, MAX_COUNTER_ROWS).map_err(StoreError::from)
        };
        self.store.writer().write(Touches::Nothing, prune).await
    }
}

fn select(sql: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<AuditRow>> {
    let mut text = String::from(
        "SELECT id, at, kind, outcome, identity, credential, action, resource, addr, detail, count FROM audit WHERE 1",
    );
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut also = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        // Writing to a string does not fail.
        let _ = write!(text, " AND {}", condition.replace('?', &format!("?{}", values.len())));
    };
    if let Some(since) = filter.since {
        also("at >= ?", Box::new(stored(since)));
    }
    if let Some(until) = filter.until {
        also("at < ?", Box::new(stored(until)));
    }
    if let Some(identity) = &filter.identity {
        also("identity = ?", Box::new(identity.clone()));
    }
    if let Some(outcome) = filter.outcome {
        also("outcome = ?", Box::new(outcome_text(outcome)));
    }
    if let Some(prefix) = &filter.action_prefix {
        also("substr(action, 1, length(?)) = ?", Box::new(prefix.clone()));
    }
    if let Some(id) = filter.before_id {
        also("id < ?", Box::new(stored(id)));
    }
    let limit = filter.limit.unwrap_or(MAX_AUDIT_QUERY_ROWS).min(MAX_AUDIT_QUERY_ROWS);
    let _ = write!(text, " ORDER BY id DESC LIMIT {limit}");
    let mut statement = sql.prepare_cached(&text)?;
    statement.query_map(rusqlite::params_from_iter(values), row_of)?.collect()
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let unknown = |at: usize, what: String| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, what.into());
    let kind: String = row.get(2)?;
    let outcome: String = row.get(3)?;
    Ok(AuditRow {
        id: loaded(row.get(0)?),
        at: loaded(row.get(1)?),
        kind: kind_of(&kind).ok_or_else(|| unknown(2, kind))?,
        outcome: outcome_of(&outcome).ok_or_else(|| unknown(3, outcome))?,
        identity: row.get(4)?,
        credential: row.get(5)?,
        action: row.get(6)?,
        resource: row.get(7)?,
        addr: row.get(8)?,
        detail: row.get(9)?,
        count: loaded(row.get(10)?),
    })
}

fn select_counters(sql: &Connection) -> rusqlite::Result<Vec<AuditCounter>> {
    let mut statement = sql.prepare_cached(
        "SELECT nullif(identity, ''), action, count, last_at FROM audit_counters ORDER BY count DESC, identity, action LIMIT ?1",
    )?;
    let rows = statement.query_map([MAX_AUDIT_QUERY_ROWS as i64], |row| {
        Ok(AuditCounter {
            identity: row.get(0)?,
            action: row.get(1)?,
            count: loaded(row.get(2)?),
            last_at: loaded(row.get(3)?),
        })
    })?;
    rows.collect()
}

/// Keeps the newest rows of each sort.
pub(crate) fn prune_rows(sql: &Connection, known: usize, strangers: usize, counters: usize) -> rusqlite::Result<()> {
    for (which, keep) in [("IS NULL", known), ("IS NOT NULL", strangers)] {
        sql.execute(
            &format!(
                "DELETE FROM audit WHERE sum_of {which} AND id <=
                 (SELECT id FROM audit WHERE sum_of {which} ORDER BY id DESC LIMIT 1 OFFSET ?1)"
            ),
            [keep as i64],
        )?;
    }
    sql.execute(
        "DELETE FROM audit_counters WHERE (identity, action) IN
         (SELECT identity, action FROM audit_counters ORDER BY last_at DESC LIMIT -1 OFFSET ?1)",
        [counters as i64],
    )?;
    Ok(())
}

pub(crate) const fn kind_text(kind: AuditKind) -> &'static str {
    match kind {
        AuditKind::Authentication => "authentication",
        AuditKind::Mutation => "mutation",
        AuditKind::Query => "query",
    }
}

fn kind_of(text: &str) -> Option<AuditKind> {
    [AuditKind::Authentication, AuditKind::Mutation, AuditKind::Query].into_iter().find(|kind| kind_text(*kind) == text)
}

pub(crate) const fn outcome_text(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Allowed => "allowed",
        AuditOutcome::Denied => "denied",
    }
}

fn outcome_of(text: &str) -> Option<AuditOutcome> {
    [AuditOutcome::Allowed, AuditOutcome::Denied].into_iter().find(|outcome| outcome_text(*outcome) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_newest_of_each_sort() {
        // STORE-45
        let mut sql = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut sql, crate::migrations::STEPS).unwrap();
        for number in 0..10 {
            let row = "INSERT INTO audit (at, kind, outcome, action, addr, count, sum_of)
                       VALUES (?1, 'query', 'denied', 'a', '', 1, ?2)";
            sql.execute(row, (number, None::<String>)).unwrap();
            sql.execute(row, (number, Some(number.to_string()))).unwrap();
            sql.execute("INSERT INTO audit_counters VALUES ('', ?1, 1, ?2)", (number.to_string(), number)).unwrap();
        }
        prune_rows(&sql, 3, 5, 2).unwrap();
        let lowest = |text: &str| sql.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(lowest("SELECT count(*), min(at) FROM audit WHERE sum_of IS NULL"), (3, 7));
        assert_eq!(lowest("SELECT count(*), min(at) FROM audit WHERE sum_of IS NOT NULL"), (5, 5));
        assert_eq!(lowest("SELECT count(*), min(last_at) FROM audit_counters"), (2, 8));
        prune_rows(&sql, 3, 5, 2).unwrap();
        assert_eq!(lowest("SELECT count(*), min(at) FROM audit"), (8, 5));
    }
}
