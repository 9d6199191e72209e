use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use alknet_core::{Fingerprint, Maintenance, PermitError, Sessions};
use alknet_store::{Durability, NewPeer, Rights, Roles, Store, StoreError};

use crate::fixture::{name, owner};

const DATABASE: &str = "ALKNET_TEST_DATABASE";
const ROUND: &str = "ALKNET_TEST_ROUND";
const ROUNDS: usize = 10;
/// Peers that the child adds at the same time, so that commits have several.
const TASKS: usize = 8;

/// Runs only as the child of the test below: adds peers for ever and prints each that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_adds_peers() {
    let path = std::env::var(DATABASE).unwrap();
    let round = std::env::var(ROUND).unwrap();
    let store = Store::open(Path::new(&path), Roles::default(), Sessions::default()).unwrap();
    let tasks = (0..TASKS).map(|task| {
        let (store, round) = (store.clone(), round.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let text = format!("peer-{round}-{task}-{number}");
                let mut digest = [0; 32];
                digest[..text.len()].copy_from_slice(text.as_bytes());
                let (keys, role) = (vec![Fingerprint::of_sha256(&digest).into()], "guest".to_owned());
                let new = NewPeer { name: name(&text), role, keys, authorities: Vec::new(), addresses: Vec::new() };
                store.peers().add(&owner("peers:write"), new).await.unwrap();
                println!("acknowledged {text}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn start_child(test: &str, database: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DATABASE, database)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a child again and again, kills each after some of what it acknowledged, and looks now and then for all of that.
fn kill_again_and_again(test: &str, find_all: impl Fn(&Path, &[String])) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("alknet.db");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = start_child(test, &database, round);
        let kill_after = 1 + usize::from(getrandom::u32().unwrap() as u8 % 64);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut seen, mut line) = (0, String::new());
        // After the kill, what the pipe still holds was acknowledged too. A line cut short was not.
        while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            if let Some((_, name)) = line.trim_end().split_once("acknowledged ") {
                acknowledged.push(name.to_owned());
                seen += 1;
                if seen == kill_after {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "round {round}: the child ended by itself after {seen}");
        // Every second time it is the next child that finds the log which the kill left.
        if round % 2 == 1 {
            find_all(&database, &acknowledged);
        }
    }
    assert!(acknowledged.len() >= ROUNDS);
}

#[test]
fn every_acknowledged_peer_is_there_after_kill_9() {
    // STORE-01
    kill_again_and_again("durability::child_that_adds_peers", find_all);
}

#[derive(Debug)]
struct NotWritten;
impl From<PermitError> for NotWritten {
    fn from(_: PermitError) -> Self {
        Self
    }
}
impl From<StoreError> for NotWritten {
    fn from(_: StoreError) -> Self {
        Self
    }
}

/// Runs only as the child of the test below: writes rows with each durability for ever and prints each that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_writes_rows() {
    let path = std::env::var(DATABASE).unwrap();
    let round = std::env::var(ROUND).unwrap();
    let store = Store::open(Path::new(&path), Roles::default(), Sessions::default()).unwrap();
    let tables = store.tables();
    let rights = Rights::maintenance(&Maintenance::of("test"));
    for number in 0.. {
        let durability = [Durability::Lazy, Durability::Lazy, Durability::Group, Durability::Strict][number % 4];
        let key = format!("row-{round}-{number}");
        let row = key.clone();
        let write = move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| {
            let write = |key: &str| sql.execute("INSERT INTO fs_meta VALUES (?1, 1)", [key]).map(|_| ());
            [row.clone(), format!("{row}-half")].iter().try_for_each(|key| write(key)).map_err(|_| NotWritten)
        };
        tables.change(&rights, durability, write).await.unwrap();
        println!("acknowledged {key}");
    }
}

#[test]
fn every_acknowledged_row_is_there_after_kill_9_whatever_its_durability() {
    // STORE-08, STORE-09
    kill_again_and_again("durability::child_that_writes_rows", |database, acknowledged| {
        let store = Store::open(database, Roles::default(), Sessions::default()).unwrap();
        let rows = store.tables().read_here(|sql| -> Result<std::collections::BTreeSet<String>, StoreError> {
            let mut all = sql.prepare("SELECT key FROM fs_meta")?;
            Ok(all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        });
        let rows = rows.unwrap();
        for key in acknowledged {
            assert!(rows.contains(key) && rows.contains(&format!("{key}-half")), "{key} is not there, or by half");
        }
    });
}

fn find_all(database: &Path, acknowledged: &[String]) {
    let store = Store::open(database, Roles::default(), Sessions::default()).unwrap();
    for text in acknowledged {
        let peer = store.peers().show(&owner("peers:read"), &name(text)).unwrap();
        assert_eq!(peer.keys.len(), 1, "{text} is there by half");
        assert_eq!(store.peers().name_of(&peer.keys[0].fingerprint), Some(peer.name));
    }
}
