//! Numbers that blob files are called by, besides their hash: none is given twice, whatever the clock does.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use alknet_store::{Durability, Rights, Tables};

use super::{ContentError, TASK};
use crate::rows::meta;

/// Which start of the node this is: rises with each, and is kept before a number of it is given.
const STARTS: &str = "content_starts";

/// The number of this start (31 bits), then a count (32 bits).
#[derive(Debug)]
pub(super) struct Generations {
    start: u32,
    count: AtomicU32,
}

impl Generations {
    pub async fn begin(tables: &Tables) -> Result<Self, ContentError> {
        let draw = |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<u32, ContentError> {
            let next = meta::read(sql, STARTS)?.unwrap_or(0).saturating_add(1);
            meta::write(sql, STARTS, next)?;
            let start = u32::try_from(next).ok().filter(|start| *start <= u32::MAX >> 1);
            Ok(start.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, next))?)
        };
        let start = tables.change(&Rights::maintenance(&TASK), Durability::Strict, draw).await?;
        Ok(Self { start, count: AtomicU32::new(0) })
    }

    /// # Errors
    /// Fails after four thousand million of one start.
    pub fn next(&self) -> io::Result<u64> {
        let draw = |count: u32| count.checked_add(1);
        let count = self.count.try_update(Ordering::Relaxed, Ordering::Relaxed, draw);
        let count = count.map_err(|_| io::Error::other("generations are used up until the node starts again"))?;
        Ok(u64::from(self.start) << 32 | u64::from(count))
    }

    /// Whether an earlier start gave this number.
    pub fn is_earlier(&self, generation: u64) -> bool {
        generation >> 32 < u64::from(self.start)
    }
}
