//! Checks the rows of the trees: that names lead to something, that folders hang in one place below the root, and that what is counted
//! is so. The content that they name is for [`crate::content`] to check.

use std::{collections::BTreeSet, fmt};

use alknet_core::Maintenance;
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::Tree;
use crate::{
    chain::Chain,
    content::Check,
    error::FsError,
    ids::{BucketId, Ino, Seq},
    limits::{BUCKETS_LOOKED_AT_ONCE, CHECKED_ROWS_AT_ONCE},
    name::BucketName,
    path::Escaped,
    rows::{
        Kind,
        branch::{self, BranchRow},
        bucket, check, dent,
        dent::Keyed,
    },
};

const TASK: Maintenance = Maintenance::of("fs-fsck");

/// What may be wrong with the trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// What a bucket holds is counted wrongly.
    Usage {
        /// Which bucket.
        bucket: BucketName,
        /// Whether it is the bytes; else the files.
        of_bytes: bool,
        /// What is written down.
        stored: i64,
        /// What is so.
        counted: i64,
    },
    /// A name stands for what has no row.
    NoInode {
        /// Bucket, branch, number of the folder and name.
        place: String,
    },
    /// A folder has several places.
    Places {
        /// As before.
        place: String,
    },
    /// A folder lies below itself.
    Loop {
        /// As before.
        place: String,
    },
    /// SQLite finds a table damaged.
    Table {
        /// Which.
        table: &'static str,
        /// What it says.
        why: String,
    },
}

/// Something wrong, and whether it was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundWrong {
    /// What it is.
    pub wrong: Wrong,
    /// Whether it is so no more.
    pub repaired: bool,
}

/// Where findings go.
type Findings = mpsc::Sender<FoundWrong>;

impl Tree {
    /// Checks all trees, a few rows at a time, while others read and write. Findings go to `findings`; when its receiver is dropped the
    /// check ends. Of what is wrong only counts are repaired: what else a name should stand for nobody knows.
    ///
    /// # Errors
    /// Fails with the database.
    pub async fn check(&self, how: Check, findings: &Findings) -> Result<(), FsError> {
        if how.deep {
            for table in check::TABLES {
                if findings.is_closed() {
                    return Ok(());
                }
                let look = move |sql: &Connection| -> Result<_, FsError> { Ok(check::table(sql, table)?) };
                for why in self.tables().read(look).await? {
                    tell(findings, Wrong::Table { table, why }, false).await;
                }
            }
        }
        let mut after = None;
        loop {
            let from = after.take();
            let page = move |sql: &Connection| -> Result<_, FsError> {
                Ok(bucket::page(sql, from.as_ref(), BUCKETS_LOOKED_AT_ONCE)?)
            };
            let page = self.tables().read(page).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for row in page {
                if findings.is_closed() {
                    return Ok(());
                }
                self.check_usage(how, (row.id, &row.name), findings).await?;
                let id = row.id;
                let branches = move |sql: &Connection| -> Result<_, FsError> { Ok(branch::all(sql, id)?) };
                for branch in self.tables().read(branches).await? {
                    self.check_branch(&row.name, branch, findings).await?;
                }
            }
        }
    }

    async fn check_usage(
        &self,
        how: Check,
        (id, name): (BucketId, &BucketName),
        findings: &Findings,
    ) -> Result<(), FsError> {
        let count = move |sql: &Connection| -> Result<_, FsError> { Ok(check::usage(sql, id)?) };
        let [bytes, files] = self.tables().read(count).await?;
        for (of_bytes, usage) in [(true, bytes), (false, files)] {
            let check::Usage { stored, counted } = usage;
            if stored == counted {
                continue;
            }
            if how.repair {
                // What is counted meanwhile is counted rightly: the difference stays the same.
                let missing = counted - stored;
                let by = if of_bytes { (missing, 0) } else { (0, missing) };
                let repair = move |sql: &Connection, _: &mut Noted<'_>| -> Result<(), FsError> {
                    Ok(check::correct(sql, id, by)?)
                };
                self.tables().change(&Rights::maintenance(&TASK), Durability::Strict, repair).await?;
            }
            tell(findings, Wrong::Usage { bucket: name.clone(), of_bytes, stored, counted }, how.repair).await;
        }
        Ok(())
    }

    async fn check_branch(&self, bucket: &BucketName, row: BranchRow, findings: &Findings) -> Result<(), FsError> {
        let mut at = Some((Ino::ROOT, Box::<[u8]>::default(), Seq::ZERO));
        let place = format!("{bucket}:{}", row.name);
        while let Some(from) = at.take() {
            if findings.is_closed() {
                return Ok(());
            }
            let (id, place) = (row.id, place.clone());
            let look = move |sql: &Connection| -> Result<_, FsError> {
                let Some(chain) = Chain::of(sql, id, Seq::MAX)? else { return Ok((None, Vec::new())) };
                let rows = dent::from(sql, id, (from.0, &from.1, from.2), CHECKED_ROWS_AT_ONCE)?;
                let (next, standing) = standing(rows);
                let mut wrong = Vec::new();
                for Keyed { dir, dent } in standing {
                    let place = || format!("{place}, {} in folder {}", Escaped(&dent.name), dir.get());
                    if chain.inode(sql, dent.ino)?.is_none() {
                        wrong.push(Wrong::NoInode { place: place() });
                    }
                    if dent.kind == Kind::Folder && chain.places(sql, dent.ino)?.len() > 1 {
                        wrong.push(Wrong::Places { place: place() });
                    }
                    if dent.kind == Kind::Folder && is_below_itself(sql, &chain, dent.ino)? {
                        wrong.push(Wrong::Loop { place: place() });
                    }
                }
                Ok((next, wrong))
            };
            let (next, wrong) = self.tables().read(look).await?;
            for wrong in wrong {
                tell(findings, wrong, false).await;
            }
            at = next;
        }
        Ok(())
    }
}

/// Where the next page begins.
type Next = Option<(Ino, Box<[u8]>, Seq)>;

/// The newest row of each name, where it still stands.
fn standing(rows: Vec<Keyed>) -> (Next, Vec<Keyed>) {
    let is_last = rows.len() < CHECKED_ROWS_AT_ONCE;
    let next = rows.last().filter(|_| !is_last).map(|row| (row.dir, row.dent.name.clone(), row.dent.seq));
    let mut newest: Vec<Keyed> = Vec::new();
    for row in rows {
        if let Some(before) = newest.last_mut()
            && (before.dir, &before.dent.name) == (row.dir, &row.dent.name)
        {
            *before = row;
        } else {
            newest.push(row);
        }
    }
    if next.is_some() {
        // It is the first of the next page.
        newest.pop();
    }
    newest.retain(|row| !row.dent.gone);
    (next, newest)
}

fn is_below_itself(sql: &Connection, chain: &Chain, folder: Ino) -> rusqlite::Result<bool> {
    let (mut at, mut passed) = (folder, BTreeSet::from([folder]));
    while at != Ino::ROOT {
        match chain.places(sql, at)?.first() {
            Some((above, _)) if *above == folder => return Ok(true),
            // Another loop above is told where it is.
            Some((above, _)) if !passed.insert(*above) => return Ok(false),
            Some((above, _)) => at = *above,
            None => return Ok(false),
        }
    }
    Ok(false)
}

async fn tell(findings: &Findings, wrong: Wrong, repaired: bool) {
    tracing::warn!(?wrong, repaired, "fsck");
    // Nobody listens any more: the check ends with the next page.
    let _ = findings.send(FoundWrong { wrong, repaired }).await;
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { bucket, of_bytes, stored, counted } => {
                let what = if *of_bytes { "bytes" } else { "files" };
                write!(f, "the bucket {bucket} holds {counted} {what}, which are counted as {stored}")
            }
            Self::NoInode { place } => write!(f, "{place} stands for nothing that is known"),
            Self::Places { place } => write!(f, "the folder {place} has other places, too"),
            Self::Loop { place } => write!(f, "the folder {place} lies below itself"),
            Self::Table { table, why } => write!(f, "the table {table} is damaged: {why}"),
        }
    }
}
