use std::time::Duration;

use alknet_core::Maintenance;
use alknet_store::{ReadError, limits::MAX_CONSUMER_IDLE};

use crate::{
    events_fixture::{board, consumer, permit_of, topic},
    fixture::owner,
};

#[tokio::test]
async fn a_position_is_kept_and_goes_back_only_when_asked() {
    // STORE-76
    let mut board = board();
    board.declare("orders").await;
    let ids = board.publish("orders", 0..5).await;
    let (orders, mail, permit) = (topic("orders"), consumer("mail"), owner("events:subscribe"));
    assert_eq!(board.events().position(&permit, &mail, &orders).await.unwrap(), 0);
    assert_eq!(board.events().save_position(&permit, &mail, &orders, ids[3]).await.unwrap(), ids[3]);
    assert_eq!(board.events().save_position(&permit, &mail, &orders, ids[1]).await.unwrap(), ids[3]);
    board.reopen("");
    assert_eq!(board.events().position(&permit, &mail, &orders).await.unwrap(), ids[3]);
    assert_eq!(board.events().rewind(&permit, &mail, &orders, ids[1]).await.unwrap(), ids[1]);
    assert_eq!(board.events().position(&permit, &mail, &orders).await.unwrap(), ids[1]);
    assert_eq!(board.read("orders", ids[1]).await.len(), 3, "what came after it is delivered again");
}

#[tokio::test]
async fn nobody_moves_anothers_consumer() {
    // STORE-76
    let board = board();
    board.declare("orders").await;
    let ids = board.publish("orders", 0..5).await;
    let (orders, mail) = (topic("orders"), consumer("mail"));
    let (alice, bob) = (permit_of("alice", "events:subscribe"), permit_of("bob", "events:subscribe"));
    board.events().save_position(&alice, &mail, &orders, ids[1]).await.unwrap();
    assert_eq!(board.events().position(&bob, &mail, &orders).await.unwrap(), 0);
    board.events().save_position(&bob, &mail, &orders, ids[4]).await.unwrap();
    assert_eq!(board.events().position(&alice, &mail, &orders).await.unwrap(), ids[1]);
    let all = board.events().consumers(&alice, &orders).await.unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.identity.as_str(), one.consumer.as_str(), one.position)).collect();
    assert_eq!(all, [("alice", "mail", ids[1]), ("bob", "mail", ids[4])]);
    board.events().forget(&bob, &mail, &orders).await.unwrap();
    let error = board.events().forget(&bob, &mail, &orders).await.unwrap_err();
    assert!(matches!(error, ReadError::NoSuchConsumer { .. }), "{error}");
    assert_eq!(board.events().position(&alice, &mail, &orders).await.unwrap(), ids[1]);
}

#[tokio::test]
async fn a_position_that_no_event_has_reached_is_refused() {
    // STORE-76
    let board = board();
    board.declare("orders").await;
    let newest = board.publish("orders", 0..2).await[1];
    let (orders, mail, permit) = (topic("orders"), consumer("mail"), owner("events:subscribe"));
    for ahead in [newest + 1, u64::MAX] {
        let read = board.events().read(&permit, &orders, ahead, 1).await.unwrap_err();
        assert!(matches!(read, ReadError::Ahead { position, newest: found } if position == ahead && found == newest));
        assert!(board.events().save_position(&permit, &mail, &orders, ahead).await.is_err());
    }
    assert_eq!(board.events().consumers(&permit, &orders).await.unwrap(), []);
    assert_eq!(board.events().read(&permit, &orders, newest, 1).await.unwrap(), []);
}

#[tokio::test]
async fn consumers_that_never_come_back_are_forgotten() {
    // STORE-76
    let board = board();
    board.declare("orders").await;
    let (orders, permit, task) = (topic("orders"), owner("events:subscribe"), Maintenance::of("test"));
    board.events().save_position(&permit, &consumer("old"), &orders, 0).await.unwrap();
    board.pass(Duration::from_secs(1));
    board.events().save_position(&permit, &consumer("young"), &orders, 0).await.unwrap();
    board.pass(MAX_CONSUMER_IDLE);
    assert_eq!(board.events().prune(&task).await.unwrap().consumers, 1);
    let left = board.events().consumers(&permit, &orders).await.unwrap();
    assert_eq!(left.iter().map(|one| one.consumer.as_str()).collect::<Vec<_>>(), ["young"]);
}
