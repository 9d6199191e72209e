//! The call graph: every call that was let through, while it runs and for a while after.
//!
//! Calls are found by number in shards, so that two that begin at once seldom meet. Those that run are as many as may run; those that
//! ended are kept in a ring, by number and by age.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    ending::Ending,
    graph_node::{Bond, CallNode, CallNumber, NewCall},
    graph_stats::{OperationStats, OperationTally},
    graph_view::{self, CallFilter, CallStatus, CallTree, CallView},
    graph_watch::{CallWatch, Watchers},
    limits::{ENDED_CALL_LIFETIME, MAX_CALL_DEPTH, MAX_CALLS_BELOW, MAX_ENDED_CALLS, MAX_TALLIED_OPERATIONS},
};

/// Parts of the graph that are locked apart.
const SHARDS: usize = 16;

/// Why nothing may be begun below a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BelowError {
    /// The call has ended, or is about to.
    #[error("the call has ended")]
    Over,
    /// It stands as deep as calls may (CALL-50).
    #[error("calls nest at most {MAX_CALL_DEPTH} deep")]
    TooDeep,
    /// As many calls as one may have run below it (CALL-50).
    #[error("{MAX_CALLS_BELOW} composed calls of one call are running")]
    TooMany,
}

/// The calls of a node. Clones are handles on the same graph.
#[derive(Clone, Default)]
pub struct CallGraph(Arc<Inner>);

#[derive(Default)]
struct Inner {
    last: AtomicU64,
    shards: [Shard; SHARDS],
    operations: Mutex<BTreeMap<Arc<str>, Arc<OperationTally>>>,
    watchers: Watchers,
}

/// On cache lines of its own: shards are used by different cores at once.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Calls>);

/// The calls of a shard, running and ended; `ended` has the latter, the oldest first.
#[derive(Default)]
struct Calls {
    all: HashMap<CallNumber, Arc<CallNode>, BuildHasherDefault<NumberHasher>>,
    ended: VecDeque<Arc<CallNode>>,
}

/// Spreads numbers that follow each other: nobody outside chooses them.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio (Knuth, TAOCP 3, 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

impl CallGraph {
    /// The counts of an operation, made when first asked for. Whoever runs an operation asks once and keeps it.
    pub fn operation(&self, name: &str) -> Arc<OperationTally> {
        let mut operations = self.0.operations();
        if let Some(found) = operations.get(name) {
            return found.clone();
        }
        if operations.len() >= MAX_TALLIED_OPERATIONS {
            operations.retain(|_, tally| Arc::strong_count(tally) > 1);
        }
        let tally = Arc::new(OperationTally::new(name.into()));
        if operations.len() < MAX_TALLIED_OPERATIONS {
            operations.insert(tally.name().clone(), tally.clone());
        }
        tally
    }

    /// Enters a call that nothing here called.
    pub fn begin(&self, call: NewCall) -> LiveCall {
        self.enter(None, call)
    }

    /// Enters a call that `parent` composed.
    ///
    /// # Errors
    /// See [`BelowError`]; nothing is entered then.
    pub fn begin_below(&self, parent: &Arc<CallNode>, bond: Bond, call: NewCall) -> Result<LiveCall, BelowError> {
        if parent.is_over() {
            return Err(BelowError::Over);
        }
        if parent.depth() >= MAX_CALL_DEPTH {
            return Err(BelowError::TooDeep);
        }
        if !parent.take_place_below(MAX_CALLS_BELOW) {
            return Err(BelowError::TooMany);
        }
        let below = self.enter(Some((parent.clone(), bond)), call);
        // One that was called off between the look and the entry swept the graph before this call was in it.
        if parent.is_over() {
            return Err(BelowError::Over);
        }
        Ok(below)
    }

    fn enter(&self, parent: Option<(Arc<CallNode>, Bond)>, call: NewCall) -> LiveCall {
        let number = CallNumber(self.0.last.fetch_add(1, Ordering::Relaxed) + 1);
        let node = Arc::new(CallNode::new(number, parent, call));
        node.tally().begin(node.input_bytes());
        self.0.shard(number).all.insert(number, node.clone());
        self.0.watchers.announce(&node, CallStatus::Pending);
        LiveCall { graph: self.clone(), node, ended: false }
    }

    /// One call, if it runs or is still kept.
    pub fn get(&self, number: CallNumber) -> Option<Arc<CallNode>> {
        self.0.shard(number).all.get(&number).cloned()
    }

    /// The calls that `filter` lets through, the youngest first, at most `limit`.
    pub fn list(&self, filter: &CallFilter, limit: usize) -> Vec<CallView> {
        let mut found = self.0.select(|node| filter.admits(node));
        found.sort_unstable_by_key(|node| std::cmp::Reverse(node.number()));
        found.iter().take(limit).map(|node| CallView::of(node)).collect()
    }

    /// A call with everything below it.
    pub fn show(&self, number: CallNumber) -> Option<CallTree> {
        let root = self.get(number)?;
        Some(CallTree::of(&root, self.0.select(|node| node.is_below(number))))
    }

    /// Calls a call off, with everything below it, continuing calls too; answers how many were. `None` for one that is not known.
    pub fn abort(&self, number: CallNumber) -> Option<usize> {
        let root = self.get(number)?;
        // The root first: nothing is begun below a call that has its ending. What was just being begun is found by the next look.
        let mut called_off = usize::from(root.call_off(Ending::Aborted).is_ok());
        loop {
            let below = self.0.select(|node| node.ending().decided().is_none() && node.is_below(number));
            let hit = below.iter().filter(|node| node.call_off(Ending::Aborted).is_ok()).count();
            called_off += hit;
            if hit == 0 {
                return Some(called_off);
            }
        }
    }

    /// Watches what happens from now on.
    pub fn watch(&self) -> CallWatch {
        self.0.watchers.watch()
    }

    /// What the calls of each operation came to, by name; operations that were never called are left out.
    pub fn stats(&self) -> Vec<OperationStats> {
        let tallies: Vec<_> = self.0.operations().values().cloned().collect();
        tallies.iter().map(|tally| tally.view()).filter(|stats| stats.begun > 0).collect()
    }

    /// How many calls did not end yet.
    pub fn live(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.calls()).map(|calls| calls.all.len() - calls.ended.len()).sum()
    }
}

impl Inner {
    fn shard(&self, number: CallNumber) -> MutexGuard<'_, Calls> {
        self.shards[number.0 as usize % SHARDS].calls()
    }

    fn operations(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<OperationTally>>> {
        // A map of counters stays whole whoever panicked while holding it.
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select(&self, wanted: impl Fn(&CallNode) -> bool) -> Vec<Arc<CallNode>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let mut calls = shard.calls();
            calls.forget_old();
            found.extend(calls.all.values().filter(|node| wanted(node)).cloned());
        }
        found
    }

    fn end(&self, node: &Arc<CallNode>, wanted: Ending, output_bytes: u64) -> Ending {
        let (ending, took) = node.set_ended(wanted, output_bytes);
        node.tally().end(ending, took, output_bytes);
        let forgotten = self.shard(node.number()).keep_ended(node.clone());
        // Outside the lock: the last handle on a call may hold the last one on those above it.
        drop(forgotten);
        self.watchers.announce(node, graph_view::status(node));
        ending
    }
}

impl Shard {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Two collections that are changed together, by code that does not panic in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Moves a call to those that ended; gives back what had to make room for it.
    fn keep_ended(&mut self, node: Arc<CallNode>) -> Option<Arc<CallNode>> {
        self.ended.push_back(node);
        if self.ended.len() <= MAX_ENDED_CALLS / SHARDS {
            return None;
        }
        let oldest = self.ended.pop_front()?;
        self.all.remove(&oldest.number());
        Some(oldest)
    }

    fn forget_old(&mut self) {
        let is_old = |node: &mut Arc<CallNode>| {
            let age = node.began().elapsed().saturating_sub(node.took().unwrap_or_default());
            age > ENDED_CALL_LIFETIME
        };
        while let Some(old) = self.ended.pop_front_if(is_old) {
            self.all.remove(&old.number());
        }
    }
}

/// A call that is in the graph as not ended. Dropping it ends it as called off.
pub struct LiveCall {
    graph: CallGraph,
    node: Arc<CallNode>,
    ended: bool,
}

impl LiveCall {
    /// The call.
    pub const fn node(&self) -> &Arc<CallNode> {
        &self.node
    }

    /// Notes that its work begins.
    pub fn running(&self) {
        self.node.set_running();
        self.graph.0.watchers.announce(&self.node, CallStatus::Running);
    }

    /// Notes that its work is gone, with `ending` unless another was decided before; answers the one that stands.
    pub fn finish(mut self, ending: Ending, output_bytes: u64) -> Ending {
        self.ended = true;
        self.graph.0.end(&self.node, ending, output_bytes)
    }
}

impl Deref for LiveCall {
    type Target = CallNode;
    fn deref(&self) -> &CallNode {
        &self.node
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        if !self.ended {
            self.graph.0.end(&self.node, Ending::Aborted, 0);
        }
    }
}
