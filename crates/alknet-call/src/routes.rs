//! The operations of other nodes that offered them to this one (`docs/spec/call.md`, 13).
//!
//! A worker is here under its peer name as long as its offer stands. Readers see a table that is replaced whole; what they hold
//! of an older one stays usable, and fails as the worker's stream does.

mod balance;
mod forward;
mod line;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::Identity;
use arc_swap::ArcSwap;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::balance::Balance;
use self::{
    balance::{Standing, choose},
    line::Line,
};
use crate::{
    CallClient, CallError, CallGraph, RemoteOperation,
    limits::{MAX_OFFERS_READ, MAX_WORKERS},
    registered::Registered,
    spec::is_operation_name,
};

/// What stands for all workers that have an operation.
pub const ANY_WORKER: &str = "any";

/// Operations as `service/operation`.
type Operations = BTreeMap<String, Arc<Route>>;

/// The workers of this node and what they offer.
pub struct Routes {
    table: ArcSwap<BTreeMap<String, Arc<Worker>>>,
    /// Held while the table is replaced.
    writing: Mutex<()>,
    changes: watch::Sender<u64>,
    turns: Mutex<HashMap<String, usize>>,
    least_busy: AtomicBool,
    offers: AtomicU64,
    began: Instant,
    /// Offers that are checked at a time.
    pub(crate) reading: Semaphore,
}

/// A worker that offered; without a line it has gone since.
struct Worker {
    offer: u64,
    operations: Operations,
    line: Option<Arc<Line>>,
    left: Option<Instant>,
    replaced: CancellationToken,
}

/// An operation of a worker.
pub(crate) struct Route {
    pub(crate) remote: Arc<RemoteOperation>,
    /// As the registry runs it.
    pub(crate) registered: Arc<Registered>,
}

/// Where a call goes.
pub(crate) struct Way {
    pub(crate) route: Arc<Route>,
    /// `None` while the worker is gone.
    pub(crate) line: Option<Arc<Line>>,
}

/// A worker as its head sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Its peer name.
    pub name: String,
    /// How many operations it offers.
    pub operations: usize,
    /// Calls in progress.
    pub in_flight: u32,
    /// Whether its stream is there.
    pub connected: bool,
    /// Whether it failed to take a call, or to answer in time, in the last second.
    pub ailing: bool,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            writing: Mutex::default(),
            changes: watch::Sender::new(0),
            turns: Mutex::default(),
            least_busy: AtomicBool::new(false),
            offers: AtomicU64::new(0),
            began: Instant::now(),
            reading: Semaphore::new(MAX_OFFERS_READ),
        }
    }
}

impl Routes {
    /// Says how `any/…` chooses from now on.
    pub fn set_balance(&self, balance: Balance) {
        self.least_busy.store(balance == Balance::LeastBusy, Ordering::Relaxed);
    }

    fn balance(&self) -> Balance {
        if self.least_busy.load(Ordering::Relaxed) { Balance::LeastBusy } else { Balance::Turns }
    }

    /// Tells of every change: a worker came, went, or offers something else.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Every worker that is there or was lately, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        let table = self.table.load();
        let view = |(name, worker): (&String, &Arc<Worker>)| {
            let standing = worker.standing();
            WorkerView {
                name: name.clone(),
                operations: worker.operations.len(),
                in_flight: standing.map_or(0, |standing| standing.in_flight),
                connected: standing.is_some(),
                ailing: standing.is_some_and(|standing| !standing.is_well(self.now())),
            }
        };
        table.iter().map(view).collect()
    }

    /// The operations of workers that are there and that `identity` may call, by name.
    pub(crate) fn visible_to(&self, identity: Option<&Identity>) -> Vec<Arc<Registered>> {
        let table = self.table.load();
        let there = table.values().filter(|worker| worker.line().is_some());
        let routes = there.flat_map(|worker| worker.operations.values());
        routes.map(|route| &route.registered).filter(|found| found.is_visible_to(identity)).cloned().collect()
    }

    /// One of them.
    pub(crate) fn visible(&self, name: &str, identity: Option<&Identity>) -> Option<Arc<Registered>> {
        let (worker, local) = split(name)?;
        let table = self.table.load();
        let worker = table.get(worker).filter(|worker| worker.line().is_some())?;
        worker.operations.get(local).map(|route| &route.registered).filter(|it| it.is_visible_to(identity)).cloned()
    }

    /// Where a call to `node/service/operation` by `identity` goes. For one worker the gate is still to be asked; for any of them
    /// it is one that `identity` may know of. `key` keeps calls under it at one worker.
    pub(crate) fn find(&self, name: &str, identity: Option<&Identity>, key: Option<&str>) -> Option<Way> {
        let (node, local) = split(name)?;
        let table = self.table.load();
        if node != ANY_WORKER {
            let worker = table.get(node)?;
            return Some(Way { route: worker.operations.get(local)?.clone(), line: worker.line().cloned() });
        }
        let having = table.iter().filter_map(|(name, worker)| {
            let route = worker.operations.get(local).filter(|route| route.registered.is_visible_to(identity))?;
            Some((name, Way { route: route.clone(), line: worker.line().cloned() }))
        });
        let (mut there, gone): (Vec<_>, Vec<_>) = having.partition(|(_, way)| way.line.is_some());
        let chosen = match key {
            Some(key) => (0..there.len()).max_by_key(|&nth| weight(there[nth].0, key)),
            None => {
                let standings: Vec<_> =
                    there.iter().filter_map(|(_, way)| way.line.as_ref().map(|line| line.standing())).collect();
                choose(self.balance(), &standings, self.turn(local), self.now())
            }
        };
        match chosen {
            Some(nth) => Some(there.swap_remove(nth).1),
            None => gone.into_iter().next().map(|(_, way)| way),
        }
    }

    /// Takes what `worker` offers on `client`, in place of what it offered before. It stands as long as what is given back.
    ///
    /// # Errors
    /// `OVERLOADED` when there are too many workers.
    pub(crate) fn offer(
        self: &Arc<Self>,
        worker: &str,
        client: CallClient,
        accepts: Option<u32>,
        operations: BTreeMap<String, Arc<RemoteOperation>>,
        graph: &CallGraph,
    ) -> Result<Offered, CallError> {
        let line = Arc::new(Line::new(client, accepts.unwrap_or(u32::MAX), self.began));
        let route = |(name, remote): (String, Arc<RemoteOperation>)| {
            let registered = forward::registered(&line, &remote, graph);
            (name, Arc::new(Route { remote, registered }))
        };
        let operations = operations.into_iter().map(route).collect();
        let offer = self.offers.fetch_add(1, Ordering::Relaxed);
        let replaced = CancellationToken::new();
        let new = Worker { offer, operations, line: Some(line), left: None, replaced: replaced.clone() };
        self.change(|table| {
            if !table.contains_key(worker) && table.len() >= MAX_WORKERS {
                let oldest = table.iter().filter_map(|(name, it)| Some((it.left?, name.clone()))).min();
                let (_, name) = oldest.ok_or_else(|| CallError::overloaded("this head has too many workers"))?;
                table.remove(&name);
            }
            if let Some(old) = table.insert(worker.to_owned(), Arc::new(new)) {
                old.replaced.cancel();
            }
            Ok(())
        })?;
        Ok(Offered { routes: self.clone(), worker: worker.to_owned(), offer, replaced })
    }

    fn withdraw(&self, worker: &str, offer: u64) {
        let withdrawn = self.change(|table| {
            let Some(old) = table.get(worker).filter(|old| old.offer == offer) else { return Ok(()) };
            let gone = Worker {
                offer,
                operations: old.operations.clone(),
                line: None,
                left: Some(Instant::now()),
                replaced: old.replaced.clone(),
            };
            table.insert(worker.to_owned(), Arc::new(gone));
            Ok(())
        });
        debug_assert!(withdrawn.is_ok(), "nothing in it fails");
    }

    fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<String, Arc<Worker>>) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let _writing = locked(&self.writing);
        let mut table = BTreeMap::clone(&self.table.load());
        edit(&mut table)?;
        self.table.store(Arc::new(table));
        locked(&self.turns).clear();
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn turn(&self, local: &str) -> usize {
        let mut turns = locked(&self.turns);
        match turns.get_mut(local) {
            Some(turn) => {
                *turn = turn.wrapping_add(1);
                *turn
            }
            None => {
                turns.insert(local.to_owned(), 0);
                0
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Worker {
    /// The way to it, if it is still there.
    fn line(&self) -> Option<&Arc<Line>> {
        self.line.as_ref().filter(|line| !line.client.is_closed())
    }

    fn standing(&self) -> Option<Standing> {
        self.line().map(|line| line.standing())
    }
}

/// An offer that stands until this is dropped.
pub(crate) struct Offered {
    routes: Arc<Routes>,
    worker: String,
    offer: u64,
    replaced: CancellationToken,
}

impl Offered {
    /// Waits until the same worker has offered something else. Cancel safe.
    pub(crate) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.routes.withdraw(&self.worker, self.offer);
    }
}

/// The node and what it is asked for, of `node/service/operation`.
fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(_, local)| is_operation_name(local))
}

/// How much a key belongs to a worker: the largest of those that are there has it, so that it moves only when that one goes.
fn weight(worker: &str, key: &str) -> [u8; 32] {
    *blake3::Hasher::new().update(worker.as_bytes()).update(b"/").update(key.as_bytes()).finalize().as_bytes()
}

/// Tables and turns stay whole whoever panicked while holding them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
