//! What was acknowledged is there, whatever happens to the process.

use std::{collections::BTreeSet, sync::Mutex};

use alknet_call::{CALL, CallClient, CallOptions};
use alknet_net::connect_local;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::folder::{Folder, PATIENCE};

const ROUNDS: usize = 3;
const WRITERS: usize = 4;
/// The node is killed when so many peers are acknowledged, among others that are under way.
const ENOUGH: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_acknowledged_before_a_kill_are_there() {
    let folder = Folder::with_identity();
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 0..ROUNDS {
        let node = folder.serve();
        let connection = connect_local(&folder.data().join("alknet.sock"), &CALL).await.unwrap();
        let client = CallClient::connect(connection).await.unwrap();
        let enough = acknowledged.lock().unwrap().len() + ENOUGH;
        let writers = (0..WRITERS).map(|writer| add_until_cut_off(&client, &acknowledged, round, writer));
        let kill = async {
            while acknowledged.lock().unwrap().len() < enough {
                tokio::task::yield_now().await;
            }
            node.signal(Signal::KILL);
        };
        let everything = async { tokio::join!(futures_util::future::join_all(writers), kill) };
        tokio::time::timeout(PATIENCE, everything).await.unwrap();
        node.gone();

        let listed = folder.json(&["peer", "list"]);
        let listed: BTreeSet<_> = listed.as_array().unwrap().iter().map(|peer| text(&peer["name"])).collect();
        let acknowledged = acknowledged.lock().unwrap();
        let lost: Vec<_> = acknowledged.difference(&listed).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        assert!(listed.len() <= acknowledged.len() + (round + 1) * WRITERS, "only what was under way may be there too");
    }
}

/// Adds peers one after the other until the node is gone.
async fn add_until_cut_off(client: &CallClient, acknowledged: &Mutex<BTreeSet<String>>, round: usize, writer: usize) {
    for number in 0.. {
        let name = format!("p{round}-{writer}-{number}");
        let key = format!("ed25519:{:064x}", (round * WRITERS + writer) * 1_000_000 + number + 1);
        let input = json!({ "name": name, "key": key, "role": "guest" });
        let Ok(added) = client.call("peers/add", input, CallOptions::default()).await else { return };
        assert_eq!(added["name"], name);
        acknowledged.lock().unwrap().insert(name);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
