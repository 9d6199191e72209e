use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use alknet_core::{Begun, CallJournal, JournalError, Maintenance, OutcomeKey, Sessions};
use alknet_store::{Roles, Store, limits::MAX_OUTCOME_BYTES};

use crate::fixture::{NOW, name, node, owner};

const DATABASE: &str = "ALKNET_TEST_DATABASE";
const ROUNDS: usize = 5;
const TASKS: usize = 8;
const DIGEST: [u8; 32] = [1; 32];

fn key(identity: &str, key: &str) -> OutcomeKey {
    OutcomeKey { identity: identity.to_owned(), operation: "pay/send".to_owned(), key: key.to_owned() }
}

async fn begin(store: &Store, who: &str, name: &str) -> Begun {
    store.outcomes().begin(key(who, name), DIGEST).await.unwrap()
}

async fn end(store: &Store, who: &str, name: &str, outcome: &str) {
    store.outcomes().end(key(who, name), outcome.to_owned()).await.unwrap();
}

#[tokio::test]
async fn an_outcome_is_found_again_after_the_database_was_closed() {
    // STORE-47
    let mut node = node();
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    end(&node.store, "alice", "k", r#"{"output":7}"#).await;
    for _ in 0..2 {
        assert_eq!(begin(&node.store, "alice", "k").await, Begun::Ended(r#"{"output":7}"#.to_owned()));
        node.reopen(Roles::default());
    }
    assert_eq!(begin(&node.store, "bob", "k").await, Begun::Fresh, "another identity's key is another key");
    let elsewhere = OutcomeKey { operation: "pay/take".to_owned(), ..key("alice", "k") };
    assert_eq!(node.store.outcomes().begin(elsewhere, DIGEST).await.unwrap(), Begun::Fresh);
}

#[tokio::test]
async fn a_key_stands_for_one_input() {
    // STORE-48
    let node = node();
    let journal = node.store.outcomes();
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    assert_eq!(journal.begin(key("alice", "k"), [2; 32]).await.unwrap(), Begun::OtherInput);
    end(&node.store, "alice", "k", "1").await;
    assert_eq!(journal.begin(key("alice", "k"), [2; 32]).await.unwrap(), Begun::OtherInput);
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Ended("1".to_owned()));
}

#[tokio::test]
async fn what_began_before_a_restart_and_did_not_end_is_unknown_until_it_is_forgotten() {
    // STORE-49
    let mut node = node();
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    node.reopen(Roles::default());
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Unknown);
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Unknown, "asking changes nothing");
    node.store.outcomes().forget(key("alice", "k")).await.unwrap();
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
}

#[tokio::test]
async fn a_forgotten_beginning_leaves_the_key_free_and_an_end_stays() {
    // STORE-49
    let node = node();
    let journal = node.store.outcomes();
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    journal.forget(key("alice", "k")).await.unwrap();
    journal.forget(key("alice", "k")).await.unwrap();
    let early = journal.end(key("alice", "k"), "1".to_owned()).await;
    assert!(matches!(early, Err(JournalError::NotBegun)), "{early:?}");
    assert_eq!(journal.begin(key("alice", "k"), [2; 32]).await.unwrap(), Begun::Fresh);
    journal.end(key("alice", "k"), "first".to_owned()).await.unwrap();
    let second = journal.end(key("alice", "k"), "second".to_owned()).await;
    assert!(matches!(second, Err(JournalError::NotBegun)), "the first outcome stands");
    journal.forget(key("alice", "k")).await.unwrap();
    assert_eq!(journal.begin(key("alice", "k"), [2; 32]).await.unwrap(), Begun::Ended("first".to_owned()));
}

#[tokio::test]
async fn an_outcome_beyond_the_bound_is_remembered_as_too_large() {
    // STORE-50
    let node = node();
    for (name, bytes) in [("fits", MAX_OUTCOME_BYTES), ("not", MAX_OUTCOME_BYTES + 1)] {
        assert_eq!(begin(&node.store, "alice", name).await, Begun::Fresh);
        end(&node.store, "alice", name, &"x".repeat(bytes)).await;
    }
    assert_eq!(begin(&node.store, "alice", "fits").await, Begun::Ended("x".repeat(MAX_OUTCOME_BYTES)));
    assert_eq!(begin(&node.store, "alice", "not").await, Begun::TooLarge);
}

#[tokio::test]
async fn pruning_forgets_after_a_day() {
    // STORE-51
    let node = node();
    let task = Maintenance::of("test");
    assert_eq!(begin(&node.store, "alice", "runs").await, Begun::Fresh);
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    end(&node.store, "alice", "k", "1").await;
    node.set_clock(NOW + 24 * 3600 - 1);
    assert_eq!(node.store.outcomes().prune(&task).await.unwrap(), 0);
    node.set_clock(NOW + 24 * 3600);
    assert_eq!(node.store.outcomes().prune(&task).await.unwrap(), 1);
    end(&node.store, "alice", "runs", "2").await;
    assert_eq!(begin(&node.store, "alice", "runs").await, Begun::Ended("2".to_owned()));
}

#[tokio::test]
async fn a_name_that_somebody_else_has_now_brings_no_outcomes_along() {
    // STORE-52
    let node = node();
    node.add("alice", "friend", &[1]).await;
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
    end(&node.store, "alice", "k", r#""hers""#).await;
    node.store.peers().remove(&owner("peers:write"), &name("alice")).await.unwrap();
    node.set_clock(NOW + 1);
    node.add("alice", "friend", &[2]).await;
    assert_eq!(begin(&node.store, "alice", "k").await, Begun::Fresh);
}

#[tokio::test]
async fn a_closed_database_is_an_error_and_not_a_fresh_call() {
    let node = node();
    node.store.close();
    let refused = node.store.outcomes().begin(key("alice", "k"), DIGEST).await;
    assert!(matches!(refused, Err(JournalError::Unavailable(_))), "{refused:?}");
}

/// Runs only as the child of the test below: begins and ends calls for ever and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_ends_calls() {
    let path = std::env::var(DATABASE).unwrap();
    let store = Store::open(Path::new(&path), Roles::default(), Sessions::default()).unwrap();
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (who, name) = (format!("peer{task}-{number}"), std::process::id().to_string());
                assert_eq!(begin(&store, &who, &name).await, Begun::Fresh);
                println!("begun {who} {name}");
                end(&store, &who, &name, &who).await;
                println!("ended {who} {name}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn start_child(database: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "outcomes::child_that_ends_calls", "--ignored", "--nocapture"])
        .env(DATABASE, database)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn no_acknowledged_call_is_fresh_after_kill_9() {
    // STORE-47
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("alknet.db");
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut child = start_child(&database);
        let kill_after = 1 + usize::from(getrandom::u32().unwrap() as u8 % 64);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut seen, mut line) = (0, String::new());
        while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            // The first line of all may follow the test runner's own words.
            if let [.., what, who, name] = &words[..]
                && (what == "begun" || what == "ended")
            {
                let list = if what == "begun" { &mut begun } else { &mut ended };
                list.push((who.clone(), name.clone()));
                seen += 1;
                if seen == kill_after {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "the child ended by itself after {seen}");
    }
    let store = Store::open(&database, Roles::default(), Sessions::default()).unwrap();
    for (who, name) in &ended {
        assert_eq!(begin(&store, who, name).await, Begun::Ended(who.clone()));
    }
    for call @ (who, name) in &begun {
        let expected = begin(&store, who, name).await;
        let good = if ended.contains(call) { expected == Begun::Ended(who.clone()) } else { expected != Begun::Fresh };
        assert!(good, "{who} {name}: {expected:?}");
    }
    assert!(begun.len() >= ROUNDS);
}
