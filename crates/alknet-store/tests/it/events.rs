use alknet_core::{Maintenance, PermitError};
use alknet_store::{DeclareError, NewEvent, NewTopic, PublishError, ReadError, StoreError};

use crate::{
    events_fixture::{NOW_MS, board, event, new_topic, permit_for, permit_of, somebody, topic},
    fixture::{eventually, name, new_peer, owner, permit},
};

#[tokio::test]
async fn what_is_published_is_read_in_the_order_of_ids_from_any_position() {
    // STORE-74
    let mut board = board();
    board.declare("orders").await;
    board.declare("bills").await;
    let mut orders = board.publish("orders", 0..3).await;
    let bills = board.publish("bills", 0..2).await;
    orders.extend(board.publish("orders", 3..5).await);
    let all = [&orders[..3], &bills, &orders[3..]].concat();
    assert!(all.is_sorted_by(|one, other| one < other), "{all:?}");
    board.reopen("");
    let read = board.read("orders", 0).await;
    assert_eq!(read.iter().map(|event| event.id).collect::<Vec<_>>(), orders);
    let numbers: Vec<_> = read.iter().map(|event| event.payload.as_str()).collect();
    assert_eq!(numbers[0], r#"{"number":0}"#);
    assert_eq!(numbers[4], r#"{"number":4}"#);
    let first = &read[0];
    assert_eq!((first.version, first.publisher.as_deref(), first.published_at_ms), (1, Some("me"), NOW_MS));
    for (index, id) in orders.iter().enumerate() {
        assert_eq!(board.read("orders", *id).await, read[index + 1..]);
    }
    let two = board.events().read(&owner("events:subscribe"), &topic("orders"), orders[0], 2).await.unwrap();
    assert_eq!(two, read[1..3]);
    let head = board.events().head(&owner("events:subscribe"), &topic("orders")).await.unwrap();
    assert_eq!(head, orders[4]);
}

#[tokio::test]
async fn only_declared_versions_are_published() {
    // STORE-71
    let board = board();
    let publish = async |events| board.events().publish(&owner("events:publish"), events).await;
    let error = publish(vec![event("orders", 1)]).await.unwrap_err();
    assert!(matches!(&error, PublishError::Undeclared(found) if *found == topic("orders")), "{error}");
    board.declare("orders").await;
    let second = NewEvent { version: 2, ..event("orders", 1) };
    let error = publish(vec![event("orders", 0), second.clone()]).await.unwrap_err();
    assert!(matches!(&error, PublishError::UnknownVersion { version: 2, known, .. } if *known == [1]), "{error}");
    assert_eq!(board.read("orders", 0).await, [], "all or none");
    board.events().declare(&owner("events:declare"), new_topic("orders", 2)).await.unwrap();
    publish(vec![event("orders", 0), second]).await.unwrap();
    assert_eq!(board.read("orders", 0).await.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2]);
    let unknown = board.events().read(&owner("events:subscribe"), &topic("bills"), 0, 1).await;
    assert!(matches!(unknown, Err(ReadError::Undeclared(_))));
}

#[tokio::test]
async fn a_version_means_one_shape_for_ever() {
    // STORE-71
    let mut board = board();
    board.declare("orders").await;
    board.declare("orders").await;
    let changed = NewTopic { schema: r#"{"type":"string"}"#.into(), ..new_topic("orders", 1) };
    let error = board.events().declare(&owner("events:declare"), changed).await.unwrap_err();
    assert!(matches!(error, DeclareError::SchemaChanged { version: 1, .. }), "{error}");
    board.reopen("");
    let shape = board.events().projection(&owner("events:publish"), &topic("orders"), 1).await.unwrap();
    assert_eq!((shape.version, shape.schema.as_str()), (1, r#"{"type":"object"}"#));
    let missing = board.events().projection(&owner("events:publish"), &topic("orders"), 2).await;
    assert!(matches!(missing, Err(DeclareError::Unknown { version: 2, .. })));
    let topics = board.events().topics(&owner("events:subscribe")).await.unwrap();
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["node.peers", "orders"]);
    assert_eq!((topics[0].owner.as_deref(), topics[1].owner.as_deref()), (None, Some("me")));
    assert_eq!(topics[1].versions, [1]);
}

#[tokio::test]
async fn the_nodes_own_topics_are_its_own() {
    // STORE-71
    let board = board();
    let forged = NewEvent { payload: r#"{"change":"added","name":"eve"}"#.into(), ..event("node.peers", 1) };
    let error = board.events().publish(&owner("events:publish"), vec![forged]).await.unwrap_err();
    assert!(matches!(error, PublishError::Reserved(_)), "{error}");
    let error = board.events().declare(&owner("events:declare"), new_topic("node.mine", 1)).await.unwrap_err();
    assert!(matches!(error, DeclareError::Reserved(_)), "{error}");
    let task = Maintenance::of("test");
    board.events().declare_own(&task, new_topic("node.calls", 1)).await.unwrap();
    assert!(board.events().declare_own(&task, new_topic("calls", 1)).await.is_err());
    assert_eq!(board.read("node.calls", 0).await, []);
}

#[tokio::test]
async fn a_change_of_the_peers_and_its_event_are_kept_together_or_not_at_all() {
    // STORE-73
    let board = board();
    let (peers, write) = (board.store.peers(), owner("peers:write"));
    peers.add(&write, new_peer("alice", "guest", &[1])).await.unwrap();
    peers.add_keys(&write, &name("alice"), vec![crate::fixture::key(2).into()], vec![]).await.unwrap();
    peers.add_keys(&write, &name("alice"), vec![crate::fixture::key(2).into()], vec![]).await.unwrap();
    peers.remove_keys(&write, &name("alice"), vec![crate::fixture::key(2)]).await.unwrap();
    let before = board.read("node.peers", 0).await;
    // The second peer is refused for its key, which takes the first along, and both their events.
    let refused = vec![new_peer("bob", "guest", &[3]), new_peer("carol", "guest", &[1])];
    assert!(peers.add_all(&write, refused).await.is_err());
    let unknown_key = vec![crate::fixture::key(1), crate::fixture::key(9)];
    assert!(peers.remove_keys(&write, &name("alice"), unknown_key).await.is_err());
    assert_eq!(board.read("node.peers", 0).await, before);
    peers.remove(&write, &name("alice")).await.unwrap();
    let events = board.read("node.peers", 0).await;
    let told: Vec<_> = events.iter().map(|event| event.payload.as_str()).collect();
    let line = |change: &str| format!(r#"{{"change":"{change}","name":"alice"}}"#);
    assert_eq!(told, [line("added"), line("changed"), line("changed"), line("removed")], "names, and nothing else");
    assert!(events.iter().all(|event| event.publisher.is_none() && event.key.as_deref() == Some("alice")));
}

#[tokio::test]
async fn listeners_hear_of_a_commit_after_it_and_of_the_end() {
    // STORE-75
    let board = board();
    board.declare("orders").await;
    let mut heard = board.events().watch();
    assert_eq!(*heard.borrow_and_update(), 0);
    let ids = board.publish("orders", 0..2).await;
    heard.changed().await.unwrap();
    assert_eq!(*heard.borrow_and_update(), ids[1]);
    assert_eq!(board.read("orders", 0).await.len(), 2, "what one hears of can be read");
    let nothing = vec![event("orders", 0), event("unknown", 0)];
    assert!(board.events().publish(&owner("events:publish"), nothing).await.is_err());
    assert!(!heard.has_changed().unwrap(), "of what was undone nobody hears");
    let again = board.publish("orders", [7]).await;
    heard.changed().await.unwrap();
    assert_eq!(*heard.borrow_and_update(), again[0]);
    board.store.peers().add(&owner("peers:write"), new_peer("alice", "guest", &[1])).await.unwrap();
    heard.changed().await.unwrap();
    board.store.close();
    assert!(heard.changed().await.is_err());
    let closed = board.events().publish(&owner("events:publish"), vec![event("orders", 1)]).await;
    assert!(matches!(closed, Err(PublishError::Store(StoreError::Closed))));
}

#[tokio::test]
async fn publishers_at_the_same_time_get_ids_of_their_own() {
    // STORE-74
    let board = board();
    board.declare("orders").await;
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let events = board.events();
            let new = (0..5).map(|number| event("orders", task * 5 + number)).collect();
            tokio::spawn(async move { events.publish(&owner("events:publish"), new).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        let own = task.await.unwrap();
        assert!(own.is_sorted());
        ids.extend(own);
    }
    ids.sort_unstable();
    assert_eq!(board.read("orders", 0).await.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn each_function_wants_its_own_scope() {
    // STORE-78
    let board = board();
    board.declare("orders").await;
    let events = board.events();
    let needs = |error: PermitError| match error {
        PermitError::NotCovered { needed, .. } => needed,
        PermitError::Revoked => "nothing".to_owned(),
    };
    let wrong = owner("fs:read");
    let Err(PublishError::Permit(error)) = events.publish(&wrong, vec![event("orders", 1)]).await else { panic!() };
    assert_eq!(needs(error), "events:publish");
    let Err(DeclareError::Permit(error)) = events.declare(&wrong, new_topic("bills", 1)).await else { panic!() };
    assert_eq!(needs(error), "events:declare");
    let Err(ReadError::Permit(error)) = events.read(&wrong, &topic("orders"), 0, 1).await else { panic!() };
    assert_eq!(needs(error), "events:subscribe");
    assert!(events.topics(&wrong).await.is_err() && events.head(&wrong, &topic("orders")).await.is_err());
    assert!(events.projection(&wrong, &topic("orders"), 1).await.is_err());
    assert!(events.consumers(&wrong, &topic("orders")).await.is_err());
}

#[tokio::test]
async fn a_permit_for_one_topic_reaches_no_other() {
    // STORE-78
    let board = board();
    board.declare("orders").await;
    board.declare("bills").await;
    let events = board.events();
    let publish = permit_for("events:publish", "topic", "orders");
    events.publish(&publish, vec![event("orders", 1)]).await.unwrap();
    let both = vec![event("orders", 2), event("bills", 2)];
    let error = events.publish(&publish, both).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Permit(PermitError::NotCovered { needed, .. }) if needed == "topic:bills"),
        "{error}"
    );
    let subscribe = permit_for("events:subscribe", "topic", "orders");
    assert_eq!(events.read(&subscribe, &topic("orders"), 0, 9).await.unwrap().len(), 1);
    assert!(matches!(events.read(&subscribe, &topic("bills"), 0, 9).await, Err(ReadError::Permit(_))));
    let listed = events.topics(&subscribe).await.unwrap();
    assert_eq!(listed.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["orders"]);
    let other_kind = permit_for("events:subscribe", "queue", "orders");
    assert!(matches!(events.read(&other_kind, &topic("orders"), 0, 9).await, Err(ReadError::Permit(_))));
    let declare = permit_for("events:declare", "topic", "orders");
    assert!(matches!(events.declare(&declare, new_topic("bills", 2)).await, Err(DeclareError::Permit(_))));
}

#[tokio::test]
async fn revoked_rights_end_at_once() {
    // STORE-78
    let board = board();
    board.declare("orders").await;
    let (alice, rights) = somebody("alice", "events:publish");
    let publish = permit(alice, "events:publish");
    board.events().publish(&publish, vec![event("orders", 1)]).await.unwrap();
    let (bob, bobs) = somebody("bob", "events:subscribe");
    let subscribe = permit(bob, "events:subscribe");
    assert_eq!(board.events().read(&subscribe, &topic("orders"), 0, 9).await.unwrap().len(), 1);
    for counter in [rights, bobs] {
        counter.fetch_add(1, std::sync::atomic::Ordering::Release);
    }
    let error = board.events().publish(&publish, vec![event("orders", 2)]).await.unwrap_err();
    assert!(matches!(error, PublishError::Permit(PermitError::Revoked)), "{error}");
    let error = board.events().read(&subscribe, &topic("orders"), 0, 9).await.unwrap_err();
    assert!(matches!(error, ReadError::Permit(PermitError::Revoked)), "{error}");
    let read = board.read("orders", 0).await;
    assert_eq!(read.iter().map(|event| event.publisher.as_deref()).collect::<Vec<_>>(), [Some("alice")]);
}

#[tokio::test]
async fn one_follows_a_topic_by_listening_and_reading() {
    // STORE-75
    let board = board();
    board.declare("orders").await;
    let (events, mut heard) = (board.events(), board.events().watch());
    let follower = tokio::spawn(async move {
        let (permit, orders) = (permit_of("bob", "events:subscribe"), topic("orders"));
        let (mut at, mut seen) = (0, 0);
        while seen < 100 {
            heard.mark_unchanged();
            let read = events.read(&permit, &orders, at, 7).await.unwrap();
            match read.last() {
                Some(last) => (at, seen) = (last.id, seen + read.len()),
                None => heard.changed().await.unwrap(),
            }
        }
        seen
    });
    for number in 0..100 {
        board.publish("orders", [number]).await;
    }
    eventually(async || follower.is_finished()).await;
    assert_eq!(follower.await.unwrap(), 100);
}
