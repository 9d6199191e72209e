//! Gives each hook its turn when there is something to tell.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use alknet_store::{Durability, Noted, Rights, StoreError, Tables};
use rusqlite::Connection;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Courier,
    rights::Gates,
    turn::{Post, TASK, turn},
};
use crate::{
    access::Access,
    error::FsError,
    ids::{BucketId, HookId, Seq},
    limits::{HOOK_BACKOFF, HOOK_GATHER, HOOK_NOTE_DELAY, MAX_BUCKET_WEBHOOKS_AT_ONCE, MAX_WEBHOOKS_AT_ONCE},
    rows::hook::{self, HookRow, Target},
};

/// Tells hooks of commits until it is stopped. One that does not answer holds up no other.
pub(crate) async fn keep(tables: Tables, access: Access, courier: Arc<dyn Courier>, stop: CancellationToken) {
    let gates = Gates::new(&access);
    let keeper = Keeper {
        post: Arc::new(Post { tables, gates, courier }),
        turns: JoinSet::new(),
        under_way: HashMap::new(),
        waiting: HashMap::new(),
        came: 0,
        looked_to: HashMap::new(),
    };
    tokio::select! { () = keeper.run() => {}, () = stop.cancelled() => {} }
}

struct Keeper {
    post: Arc<Post>,
    turns: JoinSet<Option<Seq>>,
    /// The hooks whose turn it is, by their tasks.
    under_way: HashMap<Id, UnderWay>,
    /// Since when hooks wait for their turn, as a number that grows: who waits for longer is the first.
    waiting: HashMap<HookId, u64>,
    /// How many came to wait.
    came: u64,
    /// How far hooks came that it is not written down of: nothing in between concerns them.
    looked_to: HashMap<HookId, Seq>,
}

/// A hook whose turn it is.
struct UnderWay {
    id: HookId,
    /// The bucket, of a webhook.
    web: Option<BucketId>,
}

impl Keeper {
    async fn run(mut self) {
        let mut commits = self.post.tables.watch();
        loop {
            commits.mark_unchanged();
            let rest = self.begin().await;
            tokio::select! {
                changed = commits.changed() => match changed {
                    Ok(()) => sleep(HOOK_GATHER).await,
                    Err(_) => return,
                },
                Some(ended) = self.turns.join_next_with_id() => self.ended(ended),
                () = sleep(rest.unwrap_or(HOOK_NOTE_DELAY).min(HOOK_NOTE_DELAY)) => self.note().await,
            }
        }
    }

    /// Begins the turns that are due. Answers when the next one will be.
    async fn begin(&mut self) -> Option<Duration> {
        let behind = |sql: &Connection| -> Result<_, StoreError> { Ok(hook::behind(sql)?) };
        let behind = match self.post.tables.read(behind).await {
            Ok(behind) => behind,
            Err(error) => {
                tracing::warn!(%error, "hooks could not be looked for; it is tried again");
                return Some(HOOK_BACKOFF.0);
            }
        };
        let there: HashSet<_> = behind.iter().map(|(row, _)| row.id).collect();
        self.looked_to.retain(|id, _| there.contains(id));
        let now_ms = self.post.tables.clock().now_ms();
        let (mut rest, mut due) = (None, Vec::new());
        for (row, head) in behind {
            let from = self.looked_to.get(&row.id).map_or(row.hook.after, |seen| row.hook.after.max(*seen));
            if from >= head || self.under_way.values().any(|other| other.id == row.id) {
                continue;
            }
            match waits(&row, now_ms) {
                Some(wait) => rest = Some(rest.map_or(wait, |rest: Duration| rest.min(wait))),
                None => due.push((self.since(row.id), row, from)),
            }
        }
        due.sort_unstable_by_key(|(since, ..)| *since);
        self.waiting = due.iter().map(|(since, row, _)| (row.id, *since)).collect();
        for (_, row, from) in due {
            self.spawn(row, from);
        }
        rest
    }

    /// Since when a hook waits for its turn.
    fn since(&mut self, id: HookId) -> u64 {
        self.came += 1;
        self.waiting.get(&id).copied().unwrap_or(self.came)
    }

    fn spawn(&mut self, row: HookRow, from: Seq) {
        let web = matches!(row.hook.target, Target::Webhook { .. }).then_some(row.hook.bucket);
        if web.is_some() {
            let (mut all, mut of_bucket) = (0, 0);
            for other in self.under_way.values().filter(|other| other.web.is_some()) {
                all += 1;
                of_bucket += usize::from(other.web == web);
            }
            if all >= MAX_WEBHOOKS_AT_ONCE || of_bucket >= MAX_BUCKET_WEBHOOKS_AT_ONCE {
                // Its turn comes when one of them ends.
                return;
            }
        }
        let (id, post) = (row.id, self.post.clone());
        self.waiting.remove(&id);
        let task = self.turns.spawn(async move { Some(turn(post, row, from).await) });
        self.under_way.insert(task.id(), UnderWay { id, web });
    }

    /// Writes down how far hooks came that nothing concerned: retention waits for them, and people look.
    async fn note(&mut self) {
        let came: Vec<_> = self.looked_to.drain().collect();
        if came.is_empty() {
            return;
        }
        let change = move |sql: &Connection, _: &mut Noted<'_>| -> Result<(), FsError> {
            came.into_iter().try_for_each(|(id, seq)| Ok(hook::came_to(sql, id, seq)?))
        };
        if let Err(error) = self.post.tables.change(&Rights::maintenance(&TASK), Durability::Lazy, change).await {
            tracing::warn!(%error, "how far hooks came could not be noted; they look again");
        }
    }

    fn ended(&mut self, ended: Result<(Id, Option<Seq>), JoinError>) {
        let (task, came_to) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // A turn notes its own failures; this one failed over that.
                tracing::error!(%error, "a hook's turn ended in the middle");
                if let Some(UnderWay { id, .. }) = self.under_way.remove(&error.id()) {
                    let resting = self.turns.spawn(async {
                        sleep(HOOK_BACKOFF.0).await;
                        None
                    });
                    self.under_way.insert(resting.id(), UnderWay { id, web: None });
                }
                return;
            }
        };
        if let Some(UnderWay { id, .. }) = self.under_way.remove(&task) {
            self.looked_to.extend(came_to.map(|seq| (id, seq)));
        }
    }
}

/// How long a hook that failed still rests. A clock that went back makes nobody wait longer than the longest rest.
fn waits(row: &HookRow, now_ms: u64) -> Option<Duration> {
    let wait = Duration::from_millis(row.next_ms?.saturating_sub(now_ms)).min(HOOK_BACKOFF.1);
    (!wait.is_zero()).then_some(wait)
}
