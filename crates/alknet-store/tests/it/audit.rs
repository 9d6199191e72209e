use alknet_core::{AuditEvent, AuditKind, AuditOutcome, Maintenance};
use alknet_store::limits::{MAX_AUDIT_QUERY_ROWS, MAX_AUDIT_TEXT_BYTES, MAX_QUEUED_AUDIT_ROWS, PRUNE_AFTER_ROWS};
use alknet_store::{AuditFilter, AuditRow};

use crate::fixture::{NOW, Node, eventually, node, owner, roles};

use AuditKind::{Authentication, Mutation, Query};
use AuditOutcome::{Allowed, Denied};

fn event(kind: AuditKind, outcome: AuditOutcome, identity: Option<&str>, action: &str) -> AuditEvent {
    AuditEvent {
        kind,
        outcome,
        identity: identity.map(str::to_owned),
        credential: Some("SHA256:x".into()),
        action: action.into(),
        resource: None,
        addr: "192.0.2.7:4000".into(),
        detail: None,
    }
}

async fn all(node: &Node) -> Vec<AuditRow> {
    node.store.flush().await.unwrap();
    node.store.audit().query(&owner("audit:read"), AuditFilter::default()).await.unwrap()
}

#[tokio::test]
async fn denials_mutations_and_authentications_are_rows_that_stay() {
    // STORE-40
    let mut node = node();
    let log = node.store.audit_log();
    log.record(event(Mutation, Allowed, Some("alice"), "peers/add"));
    log.record(event(Query, Denied, Some("bob"), "peers/list"));
    log.record(event(Authentication, Allowed, Some("carol"), "ssh"));
    // Nobody flushes: closing does.
    node.reopen(roles(&[]));
    let rows = all(&node).await;
    let seen: Vec<_> = rows.iter().map(|r| (r.kind, r.outcome, r.identity.as_deref(), r.action.as_str())).collect();
    assert_eq!(
        seen,
        [
            (Authentication, Allowed, Some("carol"), "ssh"),
            (Query, Denied, Some("bob"), "peers/list"),
            (Mutation, Allowed, Some("alice"), "peers/add"),
        ]
    );
    assert!(rows.iter().all(|row| row.at == NOW && row.count == 1 && row.addr == "192.0.2.7:4000"));
}

#[tokio::test]
async fn rows_reach_the_disk_without_anybody_asking() {
    // STORE-40
    let node = node();
    node.store.audit_log().record(event(Mutation, Allowed, Some("alice"), "peers/add"));
    let query = async || node.store.audit().query(&owner("audit:read"), AuditFilter::default()).await.unwrap();
    eventually(async || query().await.len() == 1).await;
}

#[tokio::test]
async fn allowed_queries_are_counted_per_identity_and_action() {
    // STORE-41
    let node = node();
    let log = node.store.audit_log();
    for _ in 0..3 {
        log.record(event(Query, Allowed, Some("alice"), "peers/list"));
    }
    log.record(event(Query, Allowed, None, "services/list"));
    let counters = async || node.store.audit().counters(&owner("audit:read")).await.unwrap();
    eventually(async || counters().await.len() == 2).await;
    log.record(event(Query, Allowed, Some("alice"), "peers/list"));
    assert!(all(&node).await.is_empty(), "they are no rows");
    let seen: Vec<_> = counters().await.into_iter().map(|c| (c.identity, c.action, c.count, c.last_at)).collect();
    assert_eq!(
        seen,
        [(Some("alice".to_owned()), "peers/list".to_owned(), 4, NOW), (None, "services/list".to_owned(), 1, NOW)]
    );
}

#[tokio::test]
async fn strangers_are_summed_up_per_minute_network_and_action() {
    // STORE-42
    let node = node();
    let log = node.store.audit_log();
    let stranger = |host: u32, action: &str| {
        let addr = format!("198.51.{}.{}:1", host / 256, host % 256);
        AuditEvent { addr, ..event(Query, Denied, None, action) }
    };
    for host in 0..512 {
        log.record(stranger(host, "peers/list"));
    }
    node.store.flush().await.unwrap();
    for host in 0..512 {
        log.record(stranger(host, "peers/list"));
    }
    let rows = all(&node).await;
    let mut seen: Vec<_> = rows.iter().map(|row| (row.addr.as_str(), row.count)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("198.51.0.0/24", 512), ("198.51.1.0/24", 512)]);
    assert!(rows.iter().all(|row| row.credential.is_none() && row.identity.is_none() && row.at == NOW / 60 * 60));
    node.set_clock(NOW + 60);
    log.record(stranger(0, "peers/list"));
    assert_eq!(all(&node).await.len(), 3);
}

#[tokio::test]
async fn what_did_not_fit_is_counted_and_said() {
    // STORE-43
    let node = node();
    let log = node.store.audit_log();
    // Faster than any disk: the queue is full before the writer has taken it out.
    let total = 20 * MAX_QUEUED_AUDIT_ROWS as u64;
    for _ in 0..total {
        log.record(event(Mutation, Allowed, Some("alice"), "peers/add"));
    }
    node.store.flush().await.unwrap();
    let mut filter = AuditFilter::default();
    let (mut rows, mut lost) = (0, 0);
    loop {
        let page = node.store.audit().query(&owner("audit:read"), filter.clone()).await.unwrap();
        assert!(page.len() <= MAX_AUDIT_QUERY_ROWS);
        let Some(last) = page.last() else { break };
        filter.before_id = Some(last.id);
        rows += page.iter().filter(|row| row.action == "peers/add").count() as u64;
        lost += page.iter().filter(|row| row.action == "audit/lost").map(|row| row.count).sum::<u64>();
    }
    assert_eq!(rows + lost, total);
}

#[tokio::test]
async fn a_query_finds_what_it_asks_for() {
    let node = node();
    let log = node.store.audit_log();
    for (at, who, outcome, action) in [
        (1, "alice", Allowed, "peers/add"),
        (2, "bob", Denied, "peers/remove"),
        (3, "alice", Denied, "keys/create"),
        (4, "bob", Allowed, "peersx"),
    ] {
        node.set_clock(NOW + at);
        log.record(event(Mutation, outcome, Some(who), action));
    }
    node.store.flush().await.unwrap();
    let find = async |filter| {
        let rows = node.store.audit().query(&owner("audit:read"), filter).await.unwrap();
        rows.into_iter().map(|row| row.at - NOW).collect::<Vec<_>>()
    };
    let none = AuditFilter::default;
    assert_eq!(find(none()).await, [4, 3, 2, 1]);
    assert_eq!(find(AuditFilter { since: Some(NOW + 2), until: Some(NOW + 4), ..none() }).await, [3, 2]);
    assert_eq!(find(AuditFilter { identity: Some("alice".into()), ..none() }).await, [3, 1]);
    assert_eq!(find(AuditFilter { outcome: Some(Denied), ..none() }).await, [3, 2]);
    assert_eq!(find(AuditFilter { action_prefix: Some("peers/".into()), ..none() }).await, [2, 1]);
    assert_eq!(find(AuditFilter { action_prefix: Some("%".into()), ..none() }).await, [0; 0]);
    assert_eq!(find(AuditFilter { limit: Some(1), ..none() }).await, [4]);
    let other = node.store.audit().query(&owner("peers:read"), none()).await;
    assert!(other.is_err(), "it needs its own scope");
}

#[tokio::test]
async fn long_texts_are_cut_between_characters() {
    // STORE-44
    let node = node();
    let long = "ä".repeat(MAX_AUDIT_TEXT_BYTES);
    let detail = Some(format!("x{long}"));
    node.store.audit_log().record(AuditEvent { detail, ..event(Mutation, Denied, Some("alice"), &long) });
    let rows = all(&node).await;
    assert_eq!(rows[0].action.len(), MAX_AUDIT_TEXT_BYTES);
    assert_eq!(rows[0].detail.as_ref().unwrap().len(), MAX_AUDIT_TEXT_BYTES - 1);
}

#[tokio::test]
async fn as_many_rows_are_kept_as_the_configuration_says() {
    // STORE-45
    let node = node();
    node.store.set_audit_rows(3);
    for number in 0..10 {
        node.store.audit_log().record(event(Mutation, Allowed, Some("alice"), &format!("a/{number}")));
    }
    assert_eq!(all(&node).await.len(), 10, "pruning is not done for each row");
    node.store.audit().prune(&Maintenance::of("test")).await.unwrap();
    let actions: Vec<_> = all(&node).await.into_iter().map(|row| row.action).collect();
    assert_eq!(actions, ["a/9", "a/8", "a/7"]);
}

#[tokio::test]
async fn the_writer_prunes_by_itself() {
    // STORE-45
    let node = node();
    node.store.set_audit_rows(3);
    for _ in 0..PRUNE_AFTER_ROWS {
        node.store.audit_log().record(event(Mutation, Allowed, Some("alice"), "peers/add"));
    }
    assert!(all(&node).await.len() < PRUNE_AFTER_ROWS);
}

#[tokio::test]
async fn what_is_counted_by_hand_counts_like_events() {
    // STORE-41
    let mut node = node();
    let log = node.store.audit_log();
    let counter = log.counter(Some("alice"), "fs/list").unwrap();
    for _ in 0..3 {
        counter.add();
    }
    log.record(event(Query, Allowed, Some("alice"), "fs/list"));
    let counters = async |node: &Node| {
        let counters = node.store.audit().counters(&owner("audit:read")).await.unwrap();
        counters.iter().map(|row| (row.identity.clone(), row.action.clone(), row.count)).collect::<Vec<_>>()
    };
    let expected = |count| vec![(Some("alice".to_owned()), "fs/list".to_owned(), count)];
    // Nobody flushes: they reach the disk by themselves.
    eventually(async || counters(&node).await == expected(4)).await;
    counter.add();
    drop((counter, log));
    node.store.flush().await.unwrap();
    assert_eq!(counters(&node).await, expected(5), "also of a counter that nobody holds any more");
    node.store.audit_log().counter(Some("alice"), "fs/list").unwrap().add();
    // Nobody flushes: closing does.
    node.reopen(roles(&[]));
    assert_eq!(counters(&node).await, expected(6));
}
