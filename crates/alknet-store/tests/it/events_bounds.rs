//! Every bound, from both sides.

use std::time::Duration;

use alknet_store::{
    BadPayload, DeclareError, NewEvent, NewJob, NewTopic, PublishError, QueueError, ReadError, Retention,
    limits::{
        MAX_ATTEMPTS, MAX_CLAIMED_AT_ONCE, MAX_CONSUMERS_PER_IDENTITY, MAX_CONSUMERS_PER_TOPIC, MAX_DEAD_LETTERS,
        MAX_EVENT_AGE, MAX_EVENT_KEY_BYTES, MAX_EVENT_PAGE, MAX_EVENTS_PER_PUBLISH, MAX_EVENTS_PER_TOPIC,
        MAX_JOB_DELAY, MAX_JOB_PRIORITY, MAX_PAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_PUBLISH_BYTES, MAX_QUEUE_JOBS,
        MAX_QUEUES, MAX_SCHEMA_BYTES, MAX_TOPICS, MAX_VERSIONS_PER_TOPIC, MAX_VISIBILITY,
    },
};

use crate::{
    events_fixture::{board, consumer, event, job, new_topic, permit_of, queue, topic},
    fixture::owner,
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn of_bytes(count: usize) -> String {
    format!("\"{}\"", "x".repeat(count - 2))
}

/// So many rows, written at once.
fn rows(count: usize, insert: &str) -> String {
    format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) {insert}")
}

#[tokio::test]
async fn of_what_is_published_at_a_time() {
    // STORE-79
    let board = board();
    board.declare("orders").await;
    let publish = async |events| board.events().publish(&owner("events:publish"), events).await;
    let many = |count| (0..count as u64).map(|number| event("orders", number)).collect::<Vec<_>>();
    publish(many(MAX_EVENTS_PER_PUBLISH)).await.unwrap();
    assert!(matches!(publish(many(MAX_EVENTS_PER_PUBLISH + 1)).await, Err(PublishError::TooMany)));
    let of = |payload: String| NewEvent { payload, ..event("orders", 0) };
    let heavy = |count: usize| (0..count).map(|_| of(of_bytes(MAX_PAYLOAD_BYTES))).collect::<Vec<_>>();
    publish(heavy(MAX_PUBLISH_BYTES / MAX_PAYLOAD_BYTES)).await.unwrap();
    assert!(matches!(publish(heavy(MAX_PUBLISH_BYTES / MAX_PAYLOAD_BYTES + 1)).await, Err(PublishError::TooMany)));
    let error = publish(vec![event("orders", 0), of(of_bytes(MAX_PAYLOAD_BYTES + 1))]).await.unwrap_err();
    let too_long = BadPayload::TooLong(MAX_PAYLOAD_BYTES + 1);
    assert!(matches!(&error, PublishError::BadPayload { index: 1, source } if *source == too_long), "{error}");
    let error = publish(vec![of("{\"open\":".into())]).await.unwrap_err();
    assert!(matches!(&error, PublishError::BadPayload { index: 0, source: BadPayload::NotJson(_) }), "{error}");
    let key = |count| NewEvent { key: Some("k".repeat(count)), ..event("orders", 0) };
    publish(vec![key(MAX_EVENT_KEY_BYTES)]).await.unwrap();
    assert!(matches!(publish(vec![key(MAX_EVENT_KEY_BYTES + 1)]).await, Err(PublishError::KeyTooLong(0))));
    assert!(publish(Vec::new()).await.unwrap().is_empty(), "nothing is no error");
}

#[tokio::test]
async fn of_what_is_read_at_a_time() {
    // STORE-79
    let board = board();
    board.declare("orders").await;
    board.publish("orders", 0..1000).await;
    let last = board.publish("orders", 0..10).await[9];
    let read = async |after, limit| {
        board.events().read(&owner("events:subscribe"), &topic("orders"), after, limit).await.unwrap()
    };
    assert_eq!(read(0, usize::MAX).await.len(), MAX_EVENT_PAGE);
    assert_eq!(read(0, 0).await, []);
    let heavy = || NewEvent { payload: of_bytes(MAX_PAYLOAD_BYTES), ..event("orders", 0) };
    let many = (0..MAX_PAGE_BYTES / MAX_PAYLOAD_BYTES + 3).map(|_| heavy()).collect();
    board.events().publish(&owner("events:publish"), many).await.unwrap();
    let first = read(last, usize::MAX).await;
    assert_eq!(first.len(), MAX_PAGE_BYTES / MAX_PAYLOAD_BYTES);
    assert_eq!(read(first.last().unwrap().id, usize::MAX).await.len(), 3);
}

#[tokio::test]
async fn of_topics_and_their_versions() {
    // STORE-79
    let mut board = board();
    let schema = |count: usize| format!("{{\"title\":\"{}\"}}", "x".repeat(count - 12));
    let mut new = NewTopic { schema: schema(MAX_SCHEMA_BYTES), ..new_topic("orders", 1) };
    let declare = async |board: &crate::events_fixture::Board, new: &NewTopic| {
        board.events().declare(&owner("events:declare"), new.clone()).await
    };
    declare(&board, &new).await.unwrap();
    new.version = 2;
    for bad in [schema(MAX_SCHEMA_BYTES + 1), "[]".into(), "true".into(), String::new(), "{".into()] {
        let refused = declare(&board, &NewTopic { schema: bad, ..new.clone() }).await;
        assert!(matches!(refused, Err(DeclareError::BadSchema)));
    }
    for (max_age, max_events, good) in [
        (Duration::from_secs(1), 1, true),
        (MAX_EVENT_AGE, MAX_EVENTS_PER_TOPIC, true),
        (Duration::from_millis(999), 1, false),
        (MAX_EVENT_AGE + MILLISECOND, 1, false),
        (Duration::from_secs(1), 0, false),
        (Duration::from_secs(1), MAX_EVENTS_PER_TOPIC + 1, false),
    ] {
        new.retention = Retention { max_age, max_events };
        assert_eq!(declare(&board, &new).await.is_ok(), good, "{:?}", new.retention);
    }
    let versions = MAX_VERSIONS_PER_TOPIC - 2;
    let text = "INSERT INTO projections SELECT id, i + 2, '{}', 0 FROM n, topics WHERE name = 'orders'";
    board.reopen(&rows(versions - 1, text));
    declare(&board, &new_topic("orders", 1000)).await.unwrap();
    let refused = declare(&board, &new_topic("orders", 1001)).await.unwrap_err();
    assert!(matches!(refused, DeclareError::TooMany { most: MAX_VERSIONS_PER_TOPIC, .. }), "{refused}");
    // There are this one and the node's.
    let text = "INSERT INTO topics (name, max_age_ms, max_events) SELECT 'x' || i, 1, 1 FROM n";
    board.reopen(&rows(MAX_TOPICS - 3, text));
    declare(&board, &new_topic("last", 1)).await.unwrap();
    let refused = declare(&board, &new_topic("more", 1)).await.unwrap_err();
    assert!(matches!(refused, DeclareError::TooMany { what: "topics", most: MAX_TOPICS }), "{refused}");
    declare(&board, &new_topic("last", 2)).await.unwrap();
}

#[tokio::test]
async fn of_consumers() {
    // STORE-79
    let mut board = board();
    board.declare("orders").await;
    let save = async |board: &crate::events_fixture::Board, who: &str, name: String| {
        let permit = permit_of(who, "events:subscribe");
        board.events().save_position(&permit, &consumer(&name), &topic("orders"), 0).await
    };
    let text = "INSERT INTO event_positions SELECT id, 'alice', 'c' || i, 0, 0 FROM n, topics WHERE name = 'orders'";
    board.reopen(&rows(MAX_CONSUMERS_PER_IDENTITY - 1, text));
    save(&board, "alice", "last".into()).await.unwrap();
    let refused = save(&board, "alice", "more".into()).await.unwrap_err();
    assert!(matches!(refused, ReadError::TooManyConsumers { most: MAX_CONSUMERS_PER_IDENTITY, .. }), "{refused}");
    save(&board, "alice", "last".into()).await.unwrap();
    save(&board, "bob", "first".into()).await.unwrap();
    let text = "INSERT INTO event_positions SELECT id, 'peer' || i, 'c', 0, 0 FROM n, topics WHERE name = 'orders'";
    board.reopen(&rows(MAX_CONSUMERS_PER_TOPIC - MAX_CONSUMERS_PER_IDENTITY - 2, text));
    save(&board, "bob", "second".into()).await.unwrap();
    let refused = save(&board, "bob", "third".into()).await.unwrap_err();
    assert!(matches!(refused, ReadError::TooManyConsumers { most: MAX_CONSUMERS_PER_TOPIC, .. }), "{refused}");
}

#[tokio::test]
async fn of_jobs() {
    // STORE-79
    let mut board = board();
    let good = job("mail", "1");
    let largest = NewJob {
        payload: of_bytes(MAX_PAYLOAD_BYTES),
        delay: MAX_JOB_DELAY,
        priority: MAX_JOB_PRIORITY,
        max_attempts: MAX_ATTEMPTS,
        expires: Some(MAX_JOB_DELAY),
        ..good.clone()
    };
    let enqueue = async |board: &crate::events_fixture::Board, new: &NewJob| {
        board.queues().enqueue(&owner("queues:produce"), new.clone()).await
    };
    enqueue(&board, &largest).await.unwrap();
    for bad in [
        NewJob { delay: MAX_JOB_DELAY + MILLISECOND, ..good.clone() },
        NewJob { priority: MAX_JOB_PRIORITY + 1, ..good.clone() },
        NewJob { max_attempts: 0, ..good.clone() },
        NewJob { max_attempts: MAX_ATTEMPTS + 1, ..good.clone() },
        NewJob { expires: Some(Duration::ZERO), ..good.clone() },
        NewJob { expires: Some(MAX_JOB_DELAY + MILLISECOND), ..good.clone() },
    ] {
        assert!(matches!(enqueue(&board, &bad).await, Err(QueueError::OutOfBounds { .. })), "{bad:?}");
    }
    for bad in [of_bytes(MAX_PAYLOAD_BYTES + 1), "no".into()] {
        let refused = enqueue(&board, &NewJob { payload: bad, ..good.clone() }).await;
        assert!(matches!(refused, Err(QueueError::BadPayload(_))));
    }
    board.reopen(&format!("UPDATE queues SET jobs = {}", MAX_QUEUE_JOBS - 1));
    enqueue(&board, &good).await.unwrap();
    let refused = enqueue(&board, &good).await.unwrap_err();
    assert!(matches!(refused, QueueError::TooMany { most: MAX_QUEUE_JOBS, .. }), "{refused}");
    let claim = board.claim("mail", 1).await.remove(0).claim;
    board.queues().ack(&owner("queues:consume"), &claim).await.unwrap();
    enqueue(&board, &good).await.expect("one less, so there is room for one");
}

#[tokio::test]
async fn of_queues_and_claims() {
    // STORE-79
    let mut board = board();
    let enqueue = async |board: &crate::events_fixture::Board, name: &str| {
        board.queues().enqueue(&owner("queues:produce"), job(name, "1")).await
    };
    board.reopen(&rows(MAX_QUEUES - 1, "INSERT INTO queues (name) SELECT 'x' || i FROM n"));
    enqueue(&board, "mail").await.unwrap();
    let refused = enqueue(&board, "more").await.unwrap_err();
    assert!(matches!(refused, QueueError::TooMany { what: "queues", most: MAX_QUEUES }), "{refused}");
    let claim = async |count, visibility| {
        let permit = owner("queues:consume");
        board.queues().claim(&permit, &queue("mail"), &consumer("worker"), count, visibility).await
    };
    for (count, visibility) in [
        (0, MILLISECOND),
        (MAX_CLAIMED_AT_ONCE + 1, MILLISECOND),
        (1, Duration::ZERO),
        (1, MAX_VISIBILITY + MILLISECOND),
    ] {
        assert!(matches!(claim(count, visibility).await, Err(QueueError::OutOfBounds { .. })));
    }
    let held = claim(MAX_CLAIMED_AT_ONCE, MAX_VISIBILITY).await.unwrap().remove(0).claim;
    let (permit, queues) = (owner("queues:consume"), board.queues());
    assert!(queues.extend(&permit, &held, Duration::ZERO).await.is_err());
    assert!(queues.extend(&permit, &held, MAX_VISIBILITY + MILLISECOND).await.is_err());
    assert!(queues.retry(&permit, &held, MAX_JOB_DELAY + MILLISECOND, "").await.is_err());
    queues.ack(&permit, &held).await.expect("what was refused changed nothing");
}

#[tokio::test]
async fn of_dead_letters() {
    // STORE-79, STORE-83
    let mut board = board();
    board.enqueue("mail", "\"old\"").await;
    let (permit, read) = (owner("queues:consume"), owner("queues:read"));
    let claim = board.claim("mail", 1).await.remove(0).claim;
    board.queues().fail(&permit, &claim, "no").await.unwrap();
    let text = "INSERT INTO dead_jobs (job, queue, priority, payload, attempts, max_attempts, enqueued_at_ms, died_at_ms, producer, error)
                SELECT i, id, 0, '0', 1, 1, 0, 0, 'me', '' FROM n, queues";
    let count = format!("; UPDATE queues SET dead = {MAX_DEAD_LETTERS}");
    board.reopen(&(rows(MAX_DEAD_LETTERS - 1, text) + &count));
    let first = board.queues().dead(&read, &queue("mail"), 0, 1).await.unwrap().remove(0);
    assert_eq!(first.payload, "\"old\"");
    board.enqueue("mail", "\"new\"").await;
    let claim = board.claim("mail", 1).await.remove(0).claim;
    board.queues().fail(&permit, &claim, "no").await.unwrap();
    let after = board.queues().dead(&read, &queue("mail"), 0, 1).await.unwrap().remove(0);
    assert_eq!((after.payload.as_str(), after.id), ("0", first.id + 1), "the oldest went");
    let stats = board.queues().queue_stats(&read, &queue("mail")).await.unwrap();
    assert_eq!(stats.dead, MAX_DEAD_LETTERS as u64);
}
