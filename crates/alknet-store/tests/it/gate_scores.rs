use alknet_core::{GateJournal, GateRecord, Offence, PastOffence};
use alknet_store::{Roles, limits::MAX_GATE_ROWS};

use crate::fixture::node;

fn record(source: &str, until: u64) -> GateRecord {
    let past = PastOffence { at_ms: 7, offence: Offence::FailedAuthentication, door: "ssh".into() };
    GateRecord {
        source: source.into(),
        points: 1500,
        counted_at_ms: 9,
        level: 2,
        penalised_until_ms: until,
        history: vec![past],
    }
}

#[tokio::test]
async fn scores_outlive_a_restart_until_they_are_forgotten() {
    // GATE-22
    let mut node = node();
    let (one, other) = (record("192.0.2.1", 50), record("2001:db8::/64", 40));
    node.store.gate_scores().save(vec![one.clone(), other.clone()], Vec::new()).await.unwrap();
    node.reopen(Roles::default());
    assert_eq!(node.store.gate_scores().load().await.unwrap(), [one.clone(), other.clone()]);
    let worse = GateRecord { level: 3, penalised_until_ms: 99, ..other };
    node.store.gate_scores().save(vec![worse.clone()], vec![one.source]).await.unwrap();
    assert_eq!(node.store.gate_scores().load().await.unwrap(), [worse]);
}

#[tokio::test]
async fn beyond_the_bound_those_go_whose_penalties_end_first() {
    // GATE-22
    let node = node();
    let many =
        |from: usize, count: usize| (from..from + count).map(|n| record(&format!("key {n}"), n as u64)).collect();
    node.store.gate_scores().save(many(0, MAX_GATE_ROWS), Vec::new()).await.unwrap();
    node.store.gate_scores().save(many(MAX_GATE_ROWS, 5), Vec::new()).await.unwrap();
    let kept = node.store.gate_scores().load().await.unwrap();
    assert_eq!(kept.len(), MAX_GATE_ROWS);
    assert_eq!(kept.last().unwrap().source, "key 5");
}
