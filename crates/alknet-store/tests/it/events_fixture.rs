//! A database whose clock is set by hand, in milliseconds, and short ways to say what is published and claimed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Demand, Effect, Identity, PeerAddr, Permit, ResourceGrants,
    ResourceId, Sessions, Standing,
};
use alknet_store::{
    Clock, ConsumerName, Event, Events, Job, NewEvent, NewJob, NewTopic, QueueName, Queues, Retention, Roles, Store,
    TopicName,
};
use tempfile::TempDir;

use crate::fixture::{NOW, owner, permit};

pub const NOW_MS: u64 = NOW * 1000;

pub struct Board {
    pub store: Store,
    pub clock: Arc<AtomicU64>,
    pub folder: TempDir,
}

pub fn board() -> Board {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(NOW_MS));
    let store = open(&folder.path().join("alknet.db"), &clock);
    Board { store, clock, folder }
}

fn open(path: &Path, clock: &Arc<AtomicU64>) -> Store {
    let clock = clock.clone();
    let clock = Clock::precise(move || Duration::from_millis(clock.load(Ordering::Relaxed)));
    Store::open_with_clock(path, Roles::default(), Sessions::default(), clock).unwrap()
}

impl Board {
    pub fn events(&self) -> Events {
        self.store.events()
    }
    pub fn queues(&self) -> Queues {
        self.store.queues()
    }
    pub fn pass(&self, span: Duration) {
        self.clock.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
    }
    /// Closes the database, lets `change` at the file, and opens it again.
    pub fn reopen(&mut self, change: &str) {
        self.store.close();
        let path = self.folder.path().join("alknet.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(change).unwrap();
        self.store = open(&path, &self.clock);
    }
    pub async fn declare(&self, name: &str) {
        self.events().declare(&owner("events:declare"), new_topic(name, 1)).await.unwrap();
    }
    pub async fn keep(&self, name: &str, retention: Retention) {
        let new = NewTopic { retention, ..new_topic(name, 1) };
        self.events().declare(&owner("events:declare"), new).await.unwrap();
    }
    pub async fn publish(&self, name: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let events = numbers.into_iter().map(|number| event(name, number)).collect();
        self.events().publish(&owner("events:publish"), events).await.unwrap()
    }
    pub async fn read(&self, name: &str, after: u64) -> Vec<Event> {
        self.events().read(&owner("events:subscribe"), &topic(name), after, 1000).await.unwrap()
    }
    pub async fn enqueue(&self, name: &str, payload: &str) -> u64 {
        self.queues().enqueue(&owner("queues:produce"), job(name, payload)).await.unwrap()
    }
    /// Claims for a minute.
    pub async fn claim(&self, name: &str, count: usize) -> Vec<Job> {
        let (permit, worker) = (owner("queues:consume"), consumer("worker"));
        self.queues().claim(&permit, &queue(name), &worker, count, Duration::from_secs(60)).await.unwrap()
    }
}

pub fn topic(text: &str) -> TopicName {
    text.parse().unwrap()
}

pub fn queue(text: &str) -> QueueName {
    text.parse().unwrap()
}

pub fn consumer(text: &str) -> ConsumerName {
    text.parse().unwrap()
}

pub fn new_topic(name: &str, version: u32) -> NewTopic {
    let schema = r#"{"type":"object"}"#.to_owned();
    NewTopic { name: topic(name), version, schema, retention: Retention::default() }
}

pub fn event(name: &str, number: u64) -> NewEvent {
    NewEvent { topic: topic(name), version: 1, key: None, payload: format!(r#"{{"number":{number}}}"#) }
}

pub fn job(name: &str, payload: &str) -> NewJob {
    let payload = payload.to_owned();
    NewJob { queue: queue(name), payload, delay: Duration::ZERO, priority: 0, max_attempts: 3, expires: None }
}

pub fn payloads(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.payload.as_str()).collect()
}

/// Somebody who holds one scope, and the counter that ends their rights when it moves.
pub fn somebody(name: &str, scope: &str) -> (Arc<Identity>, Arc<AtomicU64>) {
    let counter = Arc::new(AtomicU64::new(0));
    let scopes = [scope.parse().unwrap()].into_iter().collect();
    let identity = Identity::new(name, scopes, ResourceGrants::default());
    (Arc::new(identity.with_standing(Standing::at_present(&counter))), counter)
}

/// A permit of somebody's for `scope`.
pub fn permit_of(name: &str, scope: &str) -> Permit {
    permit(somebody(name, scope).0, scope)
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

/// The owner's permit for `scope` on one resource.
pub fn permit_for(scope: &str, kind: &str, id: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let resource = ResourceId::new(kind, id).unwrap();
    let identity = Some(Arc::new(Identity::owner("me")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "test/this", rule: &rule, resource: Some(&resource), effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}
