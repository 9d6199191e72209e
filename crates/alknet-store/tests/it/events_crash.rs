//! A process that publishes, reads and claims is killed; what it was told has happened.
#![allow(clippy::print_stdout, reason = "the parent reads what the child prints")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use alknet_core::Sessions;
use alknet_store::{Clock, NewEvent, Roles, Store};

use crate::{
    events_fixture::{consumer, event, job, new_topic, queue, topic},
    fixture::owner,
};

const DATABASE: &str = "ALKNET_TEST_EVENTS_DATABASE";
const ROUND: &str = "ALKNET_TEST_EVENTS_ROUND";
const ROUNDS: u64 = 6;
/// Events in each batch that the child publishes.
const BATCH: u64 = 3;
const HOUR: Duration = Duration::from_secs(3600);

fn open(path: &Path, ahead: Duration) -> Store {
    let now = move || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + ahead;
    Store::open_with_clock(path, Roles::default(), Sessions::default(), Clock::precise(now)).unwrap()
}

/// Runs only as the child of the test below: publishes batches, reads behind them, claims jobs, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_publishes_and_claims() {
    let path = std::env::var(DATABASE).unwrap();
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = open(Path::new(&path), Duration::ZERO);
    store.events().declare(&owner("events:declare"), new_topic("orders", 1)).await.unwrap();
    let publisher = tokio::spawn(publish_for_ever(store.clone(), round));
    let reader = tokio::spawn(read_for_ever(store.clone()));
    let worker = tokio::spawn(claim_for_ever(store));
    let _ = tokio::join!(publisher, reader, worker);
}

async fn publish_for_ever(store: Store, round: u64) {
    for number in 0.. {
        let batch = format!(r#""{round}-{number}""#);
        let events = (0..BATCH).map(|_| NewEvent { payload: batch.clone(), ..event("orders", 0) }).collect();
        let ids = store.events().publish(&owner("events:publish"), events).await.unwrap();
        println!("published {}", ids[0]);
    }
}

async fn read_for_ever(store: Store) {
    let (permit, orders, me) = (owner("events:subscribe"), topic("orders"), consumer("reader"));
    let mut heard = store.events().watch();
    let mut at = store.events().position(&permit, &me, &orders).await.unwrap();
    loop {
        heard.mark_unchanged();
        match store.events().read(&permit, &orders, at, 50).await.unwrap().last() {
            Some(last) => at = store.events().save_position(&permit, &me, &orders, last.id).await.unwrap(),
            None => heard.changed().await.unwrap(),
        }
        println!("position {at}");
    }
}

async fn claim_for_ever(store: Store) {
    for number in 0.. {
        let id = store.queues().enqueue(&owner("queues:produce"), job("mail", &number.to_string())).await.unwrap();
        println!("enqueued {id}");
        let (permit, worker) = (owner("queues:consume"), consumer("worker"));
        let jobs = store.queues().claim(&permit, &queue("mail"), &worker, 1, HOUR / 2).await.unwrap();
        // Every second one is never heard of again.
        if number % 2 == 0
            && let Some(done) = jobs.first()
        {
            store.queues().ack(&permit, &done.claim).await.unwrap();
            println!("done {}", done.claim.job);
        }
    }
}

fn start_child(database: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "events_crash::child_that_publishes_and_claims", "--ignored", "--nocapture"])
        .env(DATABASE, database)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child said was so, before it was killed after some of it.
fn told(database: &Path, round: u64, told: &mut BTreeMap<String, Vec<u64>>) {
    let mut child = start_child(database, round);
    let kill_after = 20 + usize::from(getrandom::u32().unwrap() as u8);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut seen, mut line) = (0, String::new());
    while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let words: Vec<&str> = line.split_whitespace().rev().take(2).collect();
        if let [number, what] = words[..]
            && ["published", "position", "enqueued", "done"].contains(&what)
        {
            told.entry(what.to_owned()).or_default().push(number.parse().unwrap());
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(seen >= kill_after, "round {round}: the child ended by itself after {seen}");
}

#[tokio::test]
async fn what_was_acknowledged_is_delivered_after_kill_9() {
    // STORE-72, STORE-76, STORE-81
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("alknet.db");
    let mut all = BTreeMap::new();
    for round in 0..ROUNDS {
        told(&database, round, &mut all);
    }
    let store = open(&database, HOUR);
    events_are_whole(&store, &all).await;
    jobs_are_whole(&store, &all).await;
}

async fn events_are_whole(store: &Store, told: &BTreeMap<String, Vec<u64>>) {
    let (permit, orders, me) = (owner("events:subscribe"), topic("orders"), consumer("reader"));
    let (mut at, mut batches, mut ids) = (0, BTreeMap::<String, u64>::new(), Vec::new());
    loop {
        let page = store.events().read(&permit, &orders, at, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        at = last.id;
        for event in page {
            ids.push(event.id);
            *batches.entry(event.payload).or_default() += 1;
        }
    }
    assert!(ids.is_sorted_by(|one, other| one < other));
    assert!(batches.values().all(|count| *count == BATCH), "a batch is there by half: {batches:?}");
    for id in &told["published"] {
        assert!(ids.binary_search(id).is_ok(), "event {id} was acknowledged and is gone");
    }
    let position = store.events().position(&permit, &me, &orders).await.unwrap();
    let last = told["position"].iter().max().copied().unwrap_or_default();
    assert!(position >= last, "the position went back from {last} to {position}");
    let rest = store.events().read(&permit, &orders, position, 1000).await.unwrap();
    let expected = ids.iter().filter(|id| **id > position).count();
    assert_eq!(rest.len(), expected.min(1000), "everything after the position is delivered");
}

/// An hour later every job that was not done can be claimed, and none that was.
async fn jobs_are_whole(store: &Store, told: &BTreeMap<String, Vec<u64>>) {
    let (permit, worker) = (owner("queues:consume"), consumer("worker"));
    let mut left = Vec::new();
    loop {
        let jobs = store.queues().claim(&permit, &queue("mail"), &worker, 100, HOUR).await.unwrap();
        if jobs.is_empty() {
            break;
        }
        left.extend(jobs.into_iter().map(|job| job.claim.job));
    }
    for id in &told["done"] {
        assert!(!left.contains(id), "job {id} was done and comes back");
    }
    // Killed between the end of a job and the word of it, one job per round may be done without our knowing.
    let missing = told["enqueued"].iter().filter(|id| !told["done"].contains(id) && !left.contains(id)).count();
    assert!(missing as u64 <= ROUNDS, "{missing} jobs are gone");
    assert!(!left.is_empty(), "every second claim was never heard of again");
}
