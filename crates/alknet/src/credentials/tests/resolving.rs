use alknet_call::{CapabilityError, CredentialKind};
use alknet_store::NewCredential;

use super::{
    super::seal,
    fixture::{NOW, bearer, new, node, set, token_of, writing},
};

#[tokio::test]
async fn a_credential_opens_under_its_name_as_its_owner_last_gave_it() {
    // STORE-61
    let node = node();
    let missing = node.resolve("github").await.unwrap_err();
    assert!(matches!(&missing, CapabilityError::Missing(name) if name == "github"), "{missing}");
    node.add("github", &bearer("first")).await;
    assert_eq!(token_of(&node.resolve("github").await.unwrap()), "first");
    node.rotate("github", &bearer("second")).await;
    assert_eq!(token_of(&node.resolve("github").await.unwrap()), "second");
    node.store.credentials().remove(&writing(), &"github".parse().unwrap()).await.unwrap();
    node.resolver.forget("github");
    assert!(matches!(node.resolve("github").await, Err(CapabilityError::Missing(_))));
}

#[tokio::test]
async fn a_blob_that_was_moved_to_another_name_does_not_open() {
    // STORE-59
    let node = node();
    let sealed = seal(&node.identity, "bank", &bearer("secret")).unwrap();
    node.store.credentials().add(&writing(), new("weather", sealed.clone())).await.unwrap();
    let error = node.resolve("weather").await.unwrap_err();
    assert!(matches!(&error, CapabilityError::Unusable { name, .. } if name == "weather"), "{error}");
    node.store.credentials().add(&writing(), new("bank", sealed)).await.unwrap();
    assert_eq!(token_of(&node.resolve("bank").await.unwrap()), "secret");
}

#[tokio::test]
async fn another_nodes_blob_and_garbage_are_unusable() {
    // STORE-63
    let (node, other) = (node(), node());
    let foreign = seal(&other.identity, "a", &bearer("secret")).unwrap();
    for sealed in [foreign, "{}".to_owned(), "canary".to_owned()] {
        node.store.credentials().add(&writing(), new("a", sealed)).await.unwrap();
        let error = node.resolve("a").await.unwrap_err();
        assert!(matches!(error, CapabilityError::Unusable { .. }), "{error}");
        assert!(!error.to_string().contains("canary"));
        node.store.credentials().remove(&writing(), &"a".parse().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_credential_ends_at_its_time_although_it_is_open() {
    // STORE-63
    let node = node();
    let sealed = seal(&node.identity, "a", &bearer("secret")).unwrap();
    let ending = NewCredential { expires_at: Some(NOW + 5), ..new("a", sealed) };
    node.store.credentials().add(&writing(), ending).await.unwrap();
    node.set_clock(NOW + 4);
    assert!(node.resolve("a").await.is_ok());
    node.set_clock(NOW + 5);
    let error = node.resolve("a").await.unwrap_err();
    assert!(matches!(error, CapabilityError::Expired(_)), "{error}");
}

#[tokio::test]
async fn tokens_that_nothing_renews_are_good_until_they_end() {
    // STORE-63
    let node = node();
    let fields = [
        ("token_endpoint", "https://id.example/token"),
        ("client_id", "node"),
        ("access_token", "good"),
        ("expires_at", "1800000005"),
    ];
    node.add("a", &set(CredentialKind::Oidc, &fields)).await;
    assert_eq!(token_of(&node.resolve("a").await.unwrap()), "good");
    node.set_clock(NOW + 5);
    assert!(matches!(node.resolve("a").await, Err(CapabilityError::Expired(_))));
}

#[tokio::test]
async fn a_closed_database_is_an_error_that_passes() {
    // STORE-63
    let node = node();
    node.store.close();
    assert!(matches!(node.resolve("a").await, Err(CapabilityError::Unavailable { .. })));
}
