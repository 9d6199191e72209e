use alknet_call::{CapabilityError, CapabilitySource, CredentialKind, CredentialSet};
use alknet_testkit::http_server::answer;

use super::{
    super::renewal::{Need, need},
    fixture::{NOW, bearer, node, set, token_of},
    provider::{Provider, renewed},
};

const HOUR: u64 = 3600;

#[tokio::test]
async fn tokens_are_renewed_and_on_disk_before_they_are_used() {
    // STORE-62
    let node = node();
    let provider =
        Provider::start(&[renewed("new", Some("r2")), renewed("newer", None), renewed("newest", None)]).await;
    node.add("mail", &provider.tokens("old", "r1", NOW)).await;
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "new");
    assert_eq!(token_of(&node.kept("mail").await), "new");
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "new", "once is enough");
    node.set_clock(NOW + HOUR);
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "newer");
    node.set_clock(NOW + 2 * HOUR);
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "newest");
    let asked: Vec<_> = provider.asked().iter().map(|form| form.split('&').nth(1).unwrap().to_owned()).collect();
    assert_eq!(asked, ["refresh_token=r1", "refresh_token=r2", "refresh_token=r2"], "a provider need not give another");
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_renewal() {
    // STORE-62
    let node = node();
    let provider = Provider::start(&[renewed("new", None)]).await;
    node.add("mail", &provider.tokens("old", "r1", NOW)).await;
    let gate = provider.hold();
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let resolver = node.resolver.clone();
            tokio::spawn(async move { token_of(&resolver.resolve("mail").await.unwrap()).to_owned() })
        })
        .collect();
    provider.was_asked(1).await;
    gate.add_permits(32);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "new");
    }
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_renewal_goes_on_when_nobody_waits_any_more() {
    // STORE-62
    let node = node();
    let provider = Provider::start(&[renewed("new", Some("r2"))]).await;
    node.add("mail", &provider.tokens("old", "r1", NOW)).await;
    let gate = provider.hold();
    let resolver = node.resolver.clone();
    let caller = tokio::spawn(async move { resolver.resolve("mail").await.map(|_| ()) });
    provider.was_asked(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    while token_of(&node.kept("mail").await) != "new" {
        tokio::task::yield_now().await;
    }
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "new");
}

#[tokio::test]
async fn what_its_owner_gave_meanwhile_wins() {
    // STORE-58
    let node = node();
    let provider = Provider::start(&[renewed("new", None), renewed("again", None)]).await;
    node.add("mail", &provider.tokens("old", "r1", NOW)).await;
    let gate = provider.hold();
    let resolver = node.resolver.clone();
    let caller = tokio::spawn(async move { token_of(&resolver.resolve("mail").await.unwrap()).to_owned() });
    provider.was_asked(1).await;
    node.rotate("mail", &bearer("owners")).await;
    gate.add_permits(2);
    assert_eq!(caller.await.unwrap(), "owners");
    assert_eq!(token_of(&node.kept("mail").await), "owners");
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "owners");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_refusal_says_so_and_is_not_asked_for_at_once_again() {
    // STORE-63
    let node = node();
    let provider = Provider::start(&[answer("400 No", "", r#"{"error":"invalid_grant"}"#), renewed("new", None)]).await;
    node.add("mail", &provider.tokens("old", "canary", NOW)).await;
    for _ in 0..3 {
        let error = node.resolve("mail").await.unwrap_err();
        assert!(matches!(&error, CapabilityError::Refused { why, .. } if why.contains("invalid_grant")), "{error}");
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
    assert_eq!(provider.asked().len(), 1);
    node.rotate("mail", &provider.tokens("old", "r2", NOW)).await;
    assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "new", "its owner's change is seen at once");
}

#[tokio::test]
async fn a_provider_that_is_away_does_not_matter_while_the_tokens_are_good() {
    // STORE-63
    let node = node();
    let provider = Provider::start(&[]).await;
    node.add("mail", &provider.tokens("still good", "r1", NOW + 30)).await;
    for _ in 0..3 {
        assert_eq!(token_of(&node.resolve("mail").await.unwrap()), "still good");
    }
    assert_eq!(provider.asked().len(), 1, "it was tried, and not at every call");
    node.set_clock(NOW + 30);
    let error = node.resolve("mail").await.unwrap_err();
    assert!(matches!(error, CapabilityError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_token_endpoint_elsewhere_in_the_clear_is_never_asked() {
    // STORE-62
    let node = node();
    let fields = [("token_endpoint", "http://192.0.2.1/token"), ("client_id", "node"), ("refresh_token", "r1")];
    node.add("mail", &set(CredentialKind::Oidc, &fields)).await;
    let error = node.resolve("mail").await.unwrap_err();
    assert!(matches!(error, CapabilityError::Unusable { .. }), "{error}");
}

#[test]
fn tokens_are_renewed_a_minute_before_they_end() {
    let tokens = |access: bool, refresh: bool, expires_at: Option<u64>| {
        let end = expires_at.map(|end| end.to_string()).unwrap_or_default();
        let all = [
            Some(("token_endpoint", "https://id.example/token")),
            Some(("client_id", "node")),
            access.then_some(("access_token", "a")),
            refresh.then_some(("refresh_token", "r")),
            expires_at.is_some().then_some(("expires_at", end.as_str())),
        ];
        set(CredentialKind::Oidc, &all.into_iter().flatten().collect::<Vec<_>>())
    };
    let table = [
        (tokens(true, true, Some(NOW + 61)), Need::Nothing),
        (tokens(true, true, Some(NOW + 60)), Need::Soon),
        (tokens(true, true, Some(NOW)), Need::Now),
        (tokens(true, true, None), Need::Nothing),
        (tokens(false, true, None), Need::Now),
        (tokens(true, false, Some(NOW + 1)), Need::Nothing),
        (tokens(true, false, Some(NOW)), Need::Given),
        (tokens(true, false, None), Need::Nothing),
    ];
    for (number, (tokens, expected)) in table.iter().enumerate() {
        assert_eq!(need(tokens, NOW), *expected, "row {number}");
    }
    assert_eq!(need(&CredentialSet::parse(&bearer("x").seal_bytes()).unwrap(), u64::MAX), Need::Nothing);
}
