use std::time::Duration;

use alknet_core::Maintenance;
use alknet_store::{ReadError, Retention};

use crate::{
    events_fixture::{Board, board, topic},
    fixture::owner,
};

const HOUR: Duration = Duration::from_secs(3600);

fn keeping(max_events: u64, max_age: Duration) -> Retention {
    Retention { max_age, max_events }
}

async fn trimmed(board: &Board, after: u64) -> Option<u64> {
    match board.events().read(&owner("events:subscribe"), &topic("orders"), after, 1000).await {
        Ok(_) => None,
        Err(ReadError::Trimmed { oldest, .. }) => Some(oldest),
        Err(other) => panic!("{other}"),
    }
}

async fn prune(board: &Board) -> usize {
    board.events().prune(&Maintenance::of("test")).await.unwrap().events
}

#[tokio::test]
async fn a_topic_keeps_so_many_and_reading_from_before_says_so() {
    // STORE-77
    let mut board = board();
    board.keep("orders", keeping(10, HOUR)).await;
    board.declare("bills").await;
    let mut ids = board.publish("orders", 0..8).await;
    let bills = board.publish("bills", 0..20).await;
    ids.extend(board.publish("orders", 8..15).await);
    assert_eq!(trimmed(&board, 0).await, Some(ids[4] + 1), "15 came, 10 are kept");
    assert_eq!(trimmed(&board, ids[3]).await, Some(ids[4] + 1));
    let kept = board.read("orders", ids[4]).await;
    assert_eq!(kept.iter().map(|event| event.id).collect::<Vec<_>>(), ids[5..]);
    assert_eq!(board.read("bills", 0).await.len(), bills.len(), "of others nothing goes");
    board.reopen("");
    assert_eq!(trimmed(&board, 0).await, Some(ids[4] + 1));
    let topics = board.events().topics(&owner("events:subscribe")).await.unwrap();
    let orders = topics.iter().find(|found| found.name == topic("orders")).unwrap();
    assert_eq!((orders.kept, orders.head, orders.oldest), (10, ids[14], ids[4] + 1));
}

#[tokio::test]
async fn a_lower_bound_holds_from_the_next_pruning() {
    // STORE-77
    let board = board();
    board.declare("orders").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend(board.publish("orders", 0..1000).await);
    }
    board.keep("orders", keeping(5, HOUR)).await;
    ids.extend(board.publish("orders", [1]).await);
    assert_eq!(trimmed(&board, 0).await, Some(ids[1] + 1), "one publisher does not pay for all of it");
    assert_eq!(prune(&board).await, 3001 - 2 - 5);
    assert_eq!(trimmed(&board, 0).await, Some(ids[2995] + 1));
    assert_eq!(board.read("orders", ids[2995]).await.len(), 5);
    assert_eq!(prune(&board).await, 0);
}

#[tokio::test]
async fn events_go_when_they_are_old() {
    // STORE-77
    let board = board();
    board.keep("orders", keeping(1_000_000, HOUR)).await;
    let mut ids = board.publish("orders", 0..1000).await;
    ids.extend(board.publish("orders", 0..500).await);
    board.pass(HOUR);
    ids.extend(board.publish("orders", 0..3).await);
    assert_eq!(prune(&board).await, 0, "on the hour they are still there");
    board.pass(Duration::from_millis(1));
    assert_eq!(prune(&board).await, 1500);
    assert_eq!(trimmed(&board, ids[1498]).await, Some(ids[1499] + 1));
    assert_eq!(board.read("orders", ids[1499]).await.len(), 3);
    board.pass(2 * HOUR);
    assert_eq!(prune(&board).await, 3);
    assert_eq!(trimmed(&board, 0).await, Some(ids[1502] + 1), "also when nothing is left");
    assert_eq!(board.read("orders", ids[1502]).await, []);
    let next = board.publish("orders", [1]).await;
    assert!(next[0] > ids[1502], "an id is never given twice");
    assert_eq!(board.read("orders", ids[1502]).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_went_back_takes_nothing_that_is_young() {
    // STORE-77
    let board = board();
    board.keep("orders", keeping(1000, HOUR)).await;
    board.pass(5 * HOUR);
    board.publish("orders", [1]).await;
    board.clock.fetch_sub((4 * HOUR).as_millis() as u64, std::sync::atomic::Ordering::Relaxed);
    board.publish("orders", [2]).await;
    board.pass(2 * HOUR);
    assert_eq!(prune(&board).await, 0, "the second is old by now, but what it follows is not");
    board.pass(4 * HOUR);
    assert_eq!(prune(&board).await, 2);
}
