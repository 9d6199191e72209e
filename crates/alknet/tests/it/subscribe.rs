//! `alknet subscribe`.

use std::{io::BufRead, process::Stdio, time::Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::folder::{Folder, PATIENCE};

/// A running node with five events in the topic `builds`.
fn node(folder: &Folder) -> crate::running::RunningNode {
    let node = folder.serve();
    folder.run(&["call", "events/declare", r#"{"topic":"builds","version":1}"#]);
    let publish =
        r#"{"topic":"builds","events":[{"payload":0},{"payload":1},{"payload":2},{"payload":3},{"payload":4}]}"#;
    folder.run(&["call", "events/publish", publish]);
    node
}

const ALL: [&str; 3] = ["subscribe", "events/subscribe", r#"{"topic":"builds","from":"oldest"}"#];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn items_are_lines_of_json() {
    let folder = Folder::with_identity();
    let _node = node(&folder);
    let items = lines(&folder.run(&[&ALL[..], &["--count", "5"]].concat()));
    assert_eq!(items.iter().map(|item| item["payload"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let items = lines(&folder.run(&[&ALL[..], &["--count", "2", "--json"]].concat()));
    let after = items[1]["seq"].to_string();
    let rest = lines(&folder.run(&[&ALL[..], &["--count", "3", "--after", &after]].concat()));
    assert_eq!(rest.iter().map(|item| item["payload"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn the_wrong_verb_is_told_the_right_one() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    folder.run(&["call", "events/declare", r#"{"topic":"builds","version":1}"#]);
    let complaint = folder.refused(&["call", "events/subscribe", r#"{"topic":"builds","from":"oldest"}"#], 1);
    assert!(complaint.contains("INVALID_OPERATION_TYPE") && complaint.contains("alknet subscribe"), "{complaint}");
    let complaint = folder.refused(&["subscribe", "node/identify"], 1);
    assert!(complaint.contains("INVALID_OPERATION_TYPE") && complaint.contains("alknet call"), "{complaint}");
    assert!(folder.refused(&["subscribe", "no/thing"], 4).contains("alknet services"));
}

#[test]
fn an_interrupt_or_a_closed_pipe_ends_it_well() {
    let folder = Folder::with_identity();
    let _node = node(&folder);
    let mut child = folder.command(&ALL).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["payload"], 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    let mut child = folder.command(&ALL).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let start = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(start.elapsed() < PATIENCE);
}
