use alknet_core::Permit;
use alknet_store::{
    KeptCallError, NewKeptCall, Roles,
    limits::{MAX_KEPT_CALL_BYTES, MAX_KEPT_CALL_ROWS, MAX_KEPT_CALLS},
};

use crate::fixture::{NOW, node, owner};

fn tree(text: &str) -> NewKeptCall {
    NewKeptCall { operation: "demo/hello".to_owned(), identity: Some("alice".to_owned()), tree: text.to_owned() }
}

fn writing() -> Permit {
    owner("calls:write")
}

fn reading() -> Permit {
    owner("calls:read")
}

#[tokio::test]
async fn a_kept_call_is_there_until_it_is_removed() {
    // STORE-55
    let mut node = node();
    let id = node.store.kept_calls().keep(&writing(), tree(r#"{"children":["ä"]}"#)).await.unwrap();
    node.reopen(Roles::default());
    let calls = node.store.kept_calls();
    let (kept, text) = calls.show(&reading(), id).await.unwrap();
    assert_eq!(text, r#"{"children":["ä"]}"#);
    assert_eq!((kept.operation.as_str(), kept.identity.as_deref()), ("demo/hello", Some("alice")));
    assert_eq!((kept.kept_by.as_deref(), kept.kept_at, kept.bytes), (Some("me"), NOW, text.len() as u64));
    calls.remove(&writing(), id).await.unwrap();
    for gone in [calls.show(&reading(), id).await.err(), calls.remove(&writing(), id).await.err()] {
        assert!(matches!(gone, Some(KeptCallError::Unknown(unknown)) if unknown == id), "{gone:?}");
    }
}

#[tokio::test]
async fn kept_calls_are_bounded_and_the_oldest_go() {
    // STORE-55
    let node = node();
    let calls = node.store.kept_calls();
    let large = calls.keep(&writing(), tree(&"x".repeat(MAX_KEPT_CALL_BYTES + 1))).await;
    assert!(matches!(large, Err(KeptCallError::TooLarge { .. })));
    calls.keep(&writing(), tree(&"x".repeat(MAX_KEPT_CALL_BYTES))).await.unwrap();
    let mut last = 0;
    for _ in 0..MAX_KEPT_CALLS {
        last = calls.keep(&writing(), tree("{}")).await.unwrap();
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = calls.list(&reading(), usize::MAX, before).await.unwrap();
        assert!(page.len() <= MAX_KEPT_CALL_ROWS);
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.id);
        seen.extend(page.into_iter().map(|call| (call.id, call.bytes)));
    }
    assert_eq!((seen.len(), seen[0]), (MAX_KEPT_CALLS, (last, 2)));
    assert!(seen.iter().all(|(_, bytes)| *bytes == 2), "the large one was the oldest");
    assert!(seen.is_sorted_by(|newer, older| newer.0 > older.0));
    assert_eq!(calls.list(&reading(), 3, Some(last)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn each_function_wants_its_scope() {
    // STORE-55
    let node = node();
    let calls = node.store.kept_calls();
    let id = calls.keep(&writing(), tree("{}")).await.unwrap();
    let denied = [
        calls.keep(&reading(), tree("{}")).await.err(),
        calls.remove(&reading(), id).await.err(),
        calls.list(&writing(), 1, None).await.err(),
        calls.show(&writing(), id).await.err(),
    ];
    for denied in denied {
        assert!(matches!(denied, Some(KeptCallError::Permit(_))), "{denied:?}");
    }
}
