//! A turn of one hook: what was committed since its last one is looked at, and told.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use alknet_core::{Identity, Maintenance};
use alknet_store::{Durability, NewJob, Noted, QueueError, QueueName, Rights, StoreError, Tables};
use futures_util::FutureExt;
use rusqlite::Connection;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Courier, Letter, PostError, letter,
    rights::{Gates, Lost},
};
use crate::{
    access::Place,
    error::FsError,
    events::{Heard, PathFilter, WatchError, page},
    failpoints::step,
    ids::{BranchId, BucketId, HookId, Seq},
    limits::{
        HOOK_BACKOFF, HOOK_POST_TIMEOUT, HOOK_TURN, MAX_HOOK_ATTEMPTS, MAX_HOOK_ERROR_BYTES, MAX_UNNOTED_COMMITS,
    },
    name::{BranchName, BucketName},
    rows::{
        branch::{self, BranchRow},
        bucket::{self, BucketRow},
        hook::{self, HookRow, NewHook, Target},
    },
    sight::Sight,
};

pub(super) const TASK: Maintenance = Maintenance::of("fs-hooks");
/// How often a job is claimed before it is given up, as where nobody says.
const JOB_ATTEMPTS: u32 = 10;

/// What every turn works with.
pub(super) struct Post {
    pub tables: Tables,
    pub gates: Gates,
    pub courier: Arc<dyn Courier>,
}

/// Why a turn ended before its time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Rights(#[from] Lost),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("the answer took longer than {} s", HOOK_POST_TIMEOUT.as_secs())]
    Silent,
    #[error("the job was not taken: {0}")]
    Job(#[from] QueueError),
    #[error("the node failed over it, and its log says how")]
    Panicked,
    /// It was removed.
    #[error("it is gone")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FsError> for Failed {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Store(error) => Self::Store(error),
            other => Self::Post(PostError::Later(other.to_string())),
        }
    }
}

/// What there is to tell.
struct Pending {
    bucket: BucketName,
    branch: BranchName,
    /// Up to which commit it was looked.
    at: Seq,
    heard: Vec<Heard>,
    /// How far its maker saw through the branch then.
    sight: Sight,
}

/// Tells a hook of what came after `from`, a page of commits at most, and of no more once [`HOOK_TURN`] is over. Answers how far it came.
pub(super) async fn turn(post: Arc<Post>, row: HookRow, from: Seq) -> Seq {
    let mut at = from;
    let outcome = AssertUnwindSafe(tell(&post, &row, &mut at)).catch_unwind().await;
    match outcome.unwrap_or(Err(Failed::Panicked)) {
        Ok(()) | Err(Failed::Gone) => {}
        Err(Failed::Store(StoreError::Panicked)) => note(&post.tables, &row, &Failed::Panicked).await,
        Err(Failed::Store(error)) => {
            tracing::warn!(hook = %row.hook.name, %error, "a hook could not be told; it is tried again");
            sleep(HOOK_BACKOFF.0).await;
        }
        Err(failed) => note(&post.tables, &row, &failed).await,
    }
    at
}

async fn tell(post: &Post, row: &HookRow, at: &mut Seq) -> Result<(), Failed> {
    let began = Instant::now();
    let Some(pending) = pending(&post.tables, row, *at, post.courier.identity(&row.hook.maker)).await? else {
        return Err(Failed::Gone);
    };
    step("hook.looked");
    if pending.heard.is_empty() {
        *at = pending.at;
        let unnoted = pending.at.get() - row.hook.after.get();
        return if unnoted < MAX_UNNOTED_COMMITS { Ok(()) } else { told(&post.tables, row.id, pending.at).await };
    }
    match &row.hook.target {
        Target::Queue(queue) => {
            let end = pending.at;
            if enqueue(post, row, queue, pending).await? {
                *at = end;
            }
            Ok(())
        }
        Target::Webhook { url, credential } => {
            let Pending { bucket, branch, at: end, heard, sight } = pending;
            let last = heard.len() - 1;
            for (index, heard) in heard.into_iter().enumerate() {
                if index > 0 && began.elapsed() >= HOOK_TURN {
                    return Ok(());
                }
                // Each time: rights may end between two deliveries. Where others have ended, the rest is looked at anew.
                post.gates.ask(&*post.courier, &row.hook, Place { bucket: &bucket, branch: Some(&branch) })?;
                if !still_sees(post, &row.hook, &sight).await? {
                    return Ok(());
                }
                let seq = heard.commit.seq;
                let body = letter::text(&bucket, &branch, &row.hook.name, heard).into();
                let id = format!("{}-{seq}", row.id.0);
                let letter = Letter { url: url.clone(), credential: credential.clone(), id, body };
                timeout(HOOK_POST_TIMEOUT, post.courier.post(&letter)).await.map_err(|_| Failed::Silent)??;
                step("hook.posted");
                let to = if index == last { end } else { seq };
                *at = to;
                told(&post.tables, row.id, to).await?;
            }
            Ok(())
        }
    }
}

/// What was committed after `from` that concerns the hook; `None` where its branch is gone.
async fn pending(
    tables: &Tables,
    row: &HookRow,
    from: Seq,
    maker: Option<Arc<Identity>>,
) -> Result<Option<Pending>, StoreError> {
    let NewHook { bucket, branch, prefix, suffix, name, .. } = row.hook.clone();
    let filter = PathFilter { prefix, suffix };
    let look = move |sql: &Connection| {
        let Some((of, on, sight)) = sight(sql, (bucket, branch), maker.as_deref())? else { return Ok(None) };
        let found = match page(sql, (branch, &sight), from, &filter) {
            Err(WatchError::Trimmed { oldest }) => {
                tracing::warn!(bucket = %of.name, hook = %name, after = %from, %oldest, "commits were forgotten that a hook was not told of");
                page(sql, (branch, &sight), oldest.before(), &filter)
            }
            found => found,
        };
        match found {
            Ok(page) => Ok(Some(Pending { bucket: of.name, branch: on.name, at: page.at, heard: page.heard, sight })),
            Err(WatchError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    };
    tables.read(look).await
}

/// How far the maker of a hook sees through its branch; `None` where that is gone.
fn sight(
    sql: &Connection,
    (bucket, branch): (BucketId, BranchId),
    maker: Option<&Identity>,
) -> rusqlite::Result<Option<(BucketRow, BranchRow, Sight)>> {
    let of = bucket::get(sql, bucket)?;
    let on = branch::get(sql, branch)?.filter(|row| !row.hidden);
    let (Some(of), Some(on)) = (of, on) else { return Ok(None) };
    let sight = match maker {
        Some(maker) => Sight::of_identity(sql, &of.name, &on, Some(maker))?,
        // Without him nothing is sent, and nothing passed over.
        None => Sight::default(),
    };
    Ok(Some((of, on, sight)))
}

/// Whether the maker of a hook sees as far as he did.
async fn still_sees(post: &Post, hook: &NewHook, before: &Sight) -> Result<bool, Failed> {
    let (maker, on) = (post.courier.identity(&hook.maker), (hook.bucket, hook.branch));
    let look = move |sql: &Connection| -> Result<_, StoreError> { Ok(sight(sql, on, maker.as_deref())?) };
    match post.tables.read(look).await? {
        Some((_, _, now)) => Ok(now == *before),
        None => Err(Failed::Gone),
    }
}

/// Hands the jobs in, and notes that the hook came so far: both or neither. Answers whether; if not, what was looked at may not be told
/// any more, and the hook is to look anew.
async fn enqueue(post: &Post, row: &HookRow, queue: &str, pending: Pending) -> Result<bool, Failed> {
    let Pending { bucket, branch, at, heard, sight: before } = pending;
    let (maker, on) = (post.courier.identity(&row.hook.maker), (row.hook.bucket, row.hook.branch));
    let rights = post.gates.ask(&*post.courier, &row.hook, Place { bucket: &bucket, branch: Some(&branch) })?;
    let queue: QueueName =
        queue.parse().map_err(|error: alknet_store::InvalidName| PostError::Never(error.to_string()))?;
    let job = |heard| NewJob {
        queue: queue.clone(),
        payload: letter::text(&bucket, &branch, &row.hook.name, heard),
        delay: Duration::ZERO,
        priority: 0,
        max_attempts: JOB_ATTEMPTS,
        expires: None,
    };
    let (id, jobs): (_, Vec<_>) = (row.id, heard.into_iter().map(job).collect());
    let change = move |sql: &Connection, noted: &mut Noted<'_>| -> Result<_, QueueError> {
        let Some((_, _, now)) = sight(sql, on, maker.as_deref())? else { return Ok(None) };
        if now != before {
            return Ok(Some(false));
        }
        let is_there = hook::told(sql, id, at)?;
        for job in jobs.iter().filter(|_| is_there) {
            noted.job(job)?;
        }
        Ok(is_there.then_some(true))
    };
    match post.tables.change(&rights, Durability::Group, change).await {
        Ok(Some(are_handed_in)) => Ok(are_handed_in),
        Ok(None) => Err(Failed::Gone),
        Err(QueueError::Store(error)) => Err(Failed::Store(error)),
        Err(error) => Err(error.into()),
    }
}

async fn told(tables: &Tables, id: HookId, at: Seq) -> Result<(), Failed> {
    let change = move |sql: &Connection, _: &mut Noted<'_>| -> Result<bool, FsError> { Ok(hook::told(sql, id, at)?) };
    let is_there = tables.change(&Rights::maintenance(&TASK), Durability::Group, change).await?;
    if is_there { Ok(()) } else { Err(Failed::Gone) }
}

/// Writes down that telling failed, and when it is tried again. What counts is what failed since it was last told anything, which may
/// have been in the same turn.
async fn note(tables: &Tables, row: &HookRow, failed: &Failed) {
    let mut error = failed.to_string();
    error.truncate(error.floor_char_boundary(MAX_HOOK_ERROR_BYTES));
    let is_final = matches!(failed, Failed::Rights(_) | Failed::Post(PostError::Never(_)));
    let (id, now_ms, words) = (row.id, tables.clock().now_ms(), error.clone());
    let change = move |sql: &Connection, _: &mut Noted<'_>| -> Result<_, FsError> {
        let Some(before) = hook::attempts(sql, id)? else { return Ok(None) };
        let pauses = is_final || before + 1 >= MAX_HOOK_ATTEMPTS;
        hook::failed(sql, id, (!pauses).then(|| later(now_ms, before)), &words)?;
        Ok(Some((before + 1, pauses)))
    };
    let name = &row.hook.name;
    match tables.change(&Rights::maintenance(&TASK), Durability::Group, change).await {
        Ok(Some((_, true))) => tracing::warn!(hook = %name, maker = row.hook.maker, error, "a hook is paused"),
        Ok(Some((attempts, false))) => {
            tracing::debug!(hook = %name, attempts, error, "a hook could not be told; it is tried again");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(hook = %name, %error, "that a hook failed could not be noted");
            sleep(HOOK_BACKOFF.0).await;
        }
    }
}

/// When the attempt after so many failed ones is made.
fn later(now_ms: u64, attempts: u32) -> u64 {
    let (first, most) = HOOK_BACKOFF;
    let rest = first.saturating_mul(1 << attempts.min(31)).min(most);
    now_ms.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_rests_twice_as_long_each_time_and_pauses_after_a_day() {
        // FS-74
        let rests: Vec<_> = (0..MAX_HOOK_ATTEMPTS - 1).map(|attempts| later(0, attempts)).collect();
        assert_eq!(rests[..3], [1_000, 2_000, 4_000]);
        assert!(rests.windows(2).all(|pair| pair[1] == (2 * pair[0]).min(3_600_000)), "{rests:?}");
        let hours = rests.iter().sum::<u64>() / 3_600_000;
        assert!((23..=25).contains(&hours), "{hours} h");
        assert_eq!(later(7, u32::MAX), 3_600_007);
    }
}
