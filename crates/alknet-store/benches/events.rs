//! Durable events in a second, beside plain inserts of the same rows in the same batches: `cargo bench -p alknet-store --bench events`.
//!
//! Both databases lie beside each other under the target folder, with a write-ahead log and `synchronous=FULL`. One publisher waits for
//! each batch to be on disk before it publishes the next.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{path::Path, sync::Arc, time::Instant};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Demand, Effect, Identity, PeerAddr, Permit, Sessions,
};
use alknet_store::{NewEvent, NewTopic, Retention, Roles, Store, TopicName, limits::DEFAULT_MAX_EVENT_AGE};
use alknet_testkit::measure::{Bar, Comparison, Figure};
use rusqlite::{Connection, params};

const RUNS: usize = 7;
const EVENTS_PER_RUN: usize = 20_000;
const BATCHES: [usize; 2] = [100, 1000];
const WANTED: Bar = Bar::AtLeast(20_000.0);
const AT: i64 = 1_800_000_000_000;

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let publisher = Publisher::start(&folder.path().join("alknet.db"), &runtime);
    let mut plain = Plain::start(&folder.path().join("plain.db"));
    for batch in BATCHES {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(runtime.block_on(publisher.run("growing", batch)));
            peer.push(plain.run(batch));
        }
        let name = format!("publish, batches of {batch}");
        println!("{}", Figure { name: &name, unit: "events/s", runs: &ours, bar: WANTED });
        let name = format!("publish by {batch}, beside inserts");
        println!("{}", Comparison { name: &name, unit: "events/s", ours: &ours, peer: &peer, bar: Bar::Open });
    }
    for batch in BATCHES {
        let full: Vec<f64> = (0..RUNS).map(|_| runtime.block_on(publisher.run("full", batch))).collect();
        let name = format!("publish, batches of {batch}, full");
        println!("{}", Figure { name: &name, unit: "events/s", runs: &full, bar: WANTED });
    }
}

/// What an event of some hundred bytes looks like.
fn payload(number: usize) -> String {
    format!(
        r#"{{"number":{number},"order":"2f6c1a90","state":"shipped","where":"Rotterdam","weight_g":1250,"note":"leave it with the neighbour"}}"#
    )
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

fn owner(scope: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let identity = Some(Arc::new(Identity::owner("me")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "bench/this", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

struct Publisher {
    store: Store,
    permit: Permit,
}

impl Publisher {
    fn start(path: &Path, runtime: &tokio::runtime::Runtime) -> Self {
        let store = Store::open(path, Roles::default(), Sessions::default()).unwrap();
        for (name, max_events) in [("growing", 10_000_000), ("full", EVENTS_PER_RUN as u64)] {
            let retention = Retention { max_age: DEFAULT_MAX_EVENT_AGE, max_events };
            let new = NewTopic { name: name.parse().unwrap(), version: 1, schema: "{}".to_owned(), retention };
            runtime.block_on(store.events().declare(&owner("events:declare"), new)).unwrap();
        }
        let this = Self { store, permit: owner("events:publish") };
        runtime.block_on(this.run("full", 1000));
        this
    }

    async fn run(&self, topic: &str, batch: usize) -> f64 {
        let topic: TopicName = topic.parse().unwrap();
        let event = |number| NewEvent { topic: topic.clone(), version: 1, key: None, payload: payload(number) };
        let begun = Instant::now();
        for first in (0..EVENTS_PER_RUN).step_by(batch) {
            let events = (first..first + batch).map(event).collect();
            let ids = self.store.events().publish(&self.permit, events).await.unwrap();
            assert_eq!(ids.len(), batch);
        }
        EVENTS_PER_RUN as f64 / begun.elapsed().as_secs_f64()
    }
}

/// The limit: the rows and nothing else.
struct Plain(Connection);

impl Plain {
    fn start(path: &Path) -> Self {
        let sql = Connection::open(path).unwrap();
        let mode: String = sql.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        sql.pragma_update(None, "synchronous", "FULL").unwrap();
        sql.execute_batch(
            "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, version INTEGER NOT NULL, key TEXT,
                                  payload TEXT NOT NULL, published_at_ms INTEGER NOT NULL, publisher TEXT) STRICT;
             CREATE INDEX events_of_topic ON events (topic, id)",
        )
        .unwrap();
        Self(sql)
    }

    fn run(&mut self, batch: usize) -> f64 {
        let begun = Instant::now();
        for first in (0..EVENTS_PER_RUN).step_by(batch) {
            let transaction = self.0.transaction().unwrap();
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO events (topic, version, key, payload, published_at_ms, publisher) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .unwrap();
            for number in first..first + batch {
                insert.execute(params![1, 1, None::<String>, payload(number), AT, "me"]).unwrap();
            }
            drop(insert);
            transaction.commit().unwrap();
        }
        EVENTS_PER_RUN as f64 / begun.elapsed().as_secs_f64()
    }
}
