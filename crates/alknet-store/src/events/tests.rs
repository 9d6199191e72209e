//! Failures inside a transaction, seen from inside.

use std::{sync::Arc, time::Duration};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Demand, Effect, Identity, PeerAddr, Permit, Sessions,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{clock::Clock, error::StoreError, limits::MAX_PAYLOAD_BYTES, roles::Roles, store::Store, writer::Touches};

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("alknet.db"), Roles::default(), Sessions::default()).unwrap();
    (folder, store)
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

fn owner(scope: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let identity = Some(Arc::new(Identity::owner("me")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "test/this", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

async fn declare(store: &Store) {
    let (name, schema) = ("orders".parse().unwrap(), "{}".to_owned());
    let new = NewTopic { name, version: 1, schema, retention: Retention::default() };
    store.events().declare(&owner("events:declare"), new).await.unwrap();
}

fn event(payload: String) -> NewEvent {
    NewEvent { topic: "orders".parse().unwrap(), version: 1, key: None, payload }
}

/// Lets the database grow no further, or again.
async fn room(store: &Store, pages: u32) {
    let limit = move |sql: &Connection| -> Result<(), StoreError> {
        Ok(sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
    };
    store.writer().write(Touches::Nothing, limit).await.unwrap();
}

fn large() -> String {
    format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES - 2))
}

#[tokio::test]
async fn a_full_disk_is_said_and_takes_no_event() {
    // STORE-06, STORE-72
    let (_folder, store) = store();
    declare(&store).await;
    let (publish, subscribe) = (owner("events:publish"), owner("events:subscribe"));
    let first = store.events().publish(&publish, vec![event("1".into())]).await.unwrap();
    room(&store, 1).await;
    let error = store.events().publish(&publish, vec![event("2".into()), event(large())]).await.unwrap_err();
    assert!(matches!(error, PublishError::Store(StoreError::Full)), "{error:?}");
    room(&store, 100_000).await;
    let second = store.events().publish(&publish, vec![event("3".into())]).await.unwrap();
    assert!(second[0] > first[0]);
    let read = store.events().read(&subscribe, &"orders".parse().unwrap(), 0, 10).await.unwrap();
    assert_eq!(read.iter().map(|event| event.payload.as_str()).collect::<Vec<_>>(), ["1", "3"]);
}

#[tokio::test]
async fn a_full_disk_is_no_lost_claim() {
    // STORE-06, STORE-82
    let (_folder, store) = store();
    let mail: QueueName = "mail".parse().unwrap();
    let new = NewJob {
        queue: mail.clone(),
        payload: large(),
        delay: Duration::ZERO,
        priority: 0,
        max_attempts: 1,
        expires: None,
    };
    store.queues().enqueue(&owner("queues:produce"), new.clone()).await.unwrap();
    let permit = owner("queues:consume");
    let worker = "worker".parse().unwrap();
    let jobs = store.queues().claim(&permit, &mail, &worker, 1, Duration::from_secs(60)).await.unwrap();
    // Takes the pages that became free when the job was written again.
    store.queues().enqueue(&owner("queues:produce"), new).await.unwrap();
    room(&store, 1).await;
    let error = store.queues().fail(&permit, &jobs[0].claim, "no").await.unwrap_err();
    assert!(matches!(error, QueueError::Store(StoreError::Full)), "{error:?}");
    room(&store, 100_000).await;
    store.queues().fail(&permit, &jobs[0].claim, "no").await.expect("the claim still holds");
}

#[tokio::test]
async fn an_event_is_undone_with_the_change_that_it_tells_of() {
    // STORE-73
    let (_folder, store) = store();
    let clock = Clock::system();
    let mut heard = store.events().watch();
    heard.mark_unchanged();
    let change = |kept: bool| {
        let clock = clock.clone();
        move |sql: &Connection| -> Result<u64, StoreError> {
            sql.execute("INSERT INTO meta VALUES ('changed', 'x')", [])?;
            let id = outbox::publish_in(sql, &outbox::PEERS, "alice", "{}", &clock)?;
            if kept { Ok(id) } else { Err(StoreError::RolledBack) }
        }
    };
    store.writer().write(Touches::Nothing, change(false)).await.unwrap_err();
    assert!(!heard.has_changed().unwrap());
    let id = store.writer().write(Touches::Nothing, change(true)).await.unwrap();
    heard.changed().await.unwrap();
    assert_eq!(*heard.borrow(), id);
    let topic = "node.peers".parse().unwrap();
    let read = store.events().read(&owner("events:subscribe"), &topic, 0, 10).await.unwrap();
    assert_eq!(read.iter().map(|event| event.id).collect::<Vec<_>>(), [id]);
}
