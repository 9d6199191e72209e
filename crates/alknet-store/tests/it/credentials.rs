use alknet_core::{Maintenance, Permit};
use alknet_store::{
    CredentialError, NewCredential, Roles,
    limits::{MAX_CREDENTIAL_NOTE_BYTES, MAX_CREDENTIALS, MAX_SEALED_CREDENTIAL_BYTES},
};

use crate::fixture::{NOW, name, node, owner};

const TASK: Maintenance = Maintenance::of("test");

fn sealed(text: &str, sealed: &str) -> NewCredential {
    NewCredential {
        name: name(text),
        kind: "bearer".to_owned(),
        sealed: sealed.to_owned(),
        expires_at: None,
        note: None,
    }
}

fn writing() -> Permit {
    owner("credentials:write")
}

fn reading() -> Permit {
    owner("credentials:read")
}

#[tokio::test]
async fn a_credential_is_kept_sealed_and_listed_without_what_is_sealed() {
    // STORE-57
    let mut node = node();
    let new = NewCredential { expires_at: Some(NOW + 9), note: Some("mine".to_owned()), ..sealed("github", "blob-1") };
    let made = node.store.credentials().add(&writing(), new).await.unwrap();
    assert_eq!((made.created_at, made.rotated_at, made.version), (NOW, NOW, 1));
    node.store.credentials().add(&writing(), sealed("a.store", "blob-2")).await.unwrap();
    node.reopen(Roles::default());
    let credentials = node.store.credentials();
    let listed = credentials.list(&reading()).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a.store", "github"]);
    assert_eq!(listed[1], made);
    assert!(!format!("{listed:?}").contains("blob"));
    let found = credentials.sealed(&TASK, "github").await.unwrap().unwrap();
    assert_eq!((found.record, found.sealed.as_str()), (made, "blob-1"));
    assert_eq!(credentials.sealed(&TASK, "gitlab").await.unwrap(), None);
}

#[tokio::test]
async fn rotating_replaces_and_removing_ends() {
    // STORE-57
    let node = node();
    let credentials = node.store.credentials();
    let noted = NewCredential { note: Some("mine".to_owned()), ..sealed("github", "old") };
    credentials.add(&writing(), noted).await.unwrap();
    let again = credentials.add(&writing(), sealed("github", "other")).await;
    assert!(matches!(again, Err(CredentialError::NameTaken(_))), "{again:?}");
    node.set_clock(NOW + 5);
    let new = NewCredential { kind: "basic".to_owned(), expires_at: Some(NOW + 9), ..sealed("github", "new") };
    let rotated = credentials.rotate(&writing(), new).await.unwrap();
    assert_eq!((rotated.created_at, rotated.rotated_at, rotated.version), (NOW, NOW + 5, 2));
    assert_eq!(
        (rotated.kind.as_str(), rotated.expires_at, rotated.note.as_deref()),
        ("basic", Some(NOW + 9), Some("mine"))
    );
    assert_eq!(credentials.sealed(&TASK, "github").await.unwrap().unwrap().sealed, "new");
    credentials.remove(&writing(), &name("github")).await.unwrap();
    assert_eq!(credentials.sealed(&TASK, "github").await.unwrap(), None);
    let gone = [
        credentials.remove(&writing(), &name("github")).await.err(),
        credentials.rotate(&writing(), sealed("github", "new")).await.err(),
    ];
    for gone in gone {
        assert!(matches!(gone, Some(CredentialError::Unknown(_))), "{gone:?}");
    }
}

#[tokio::test]
async fn a_renewal_never_undoes_what_its_owner_did_meanwhile() {
    // STORE-58
    let mut node = node();
    node.store.credentials().add(&writing(), sealed("mail", "first")).await.unwrap();
    let found = node.store.credentials().sealed(&TASK, "mail").await.unwrap().unwrap();
    assert!(node.store.credentials().renew(&TASK, &found.record, "renewed".to_owned()).await.unwrap());
    node.reopen(Roles::default());
    let credentials = node.store.credentials();
    let renewed = credentials.sealed(&TASK, "mail").await.unwrap().unwrap();
    assert_eq!((renewed.sealed.as_str(), renewed.record.version), ("renewed", 2));
    assert!(!credentials.renew(&TASK, &found.record, "late".to_owned()).await.unwrap(), "another renewal was first");
    credentials.rotate(&writing(), sealed("mail", "owners")).await.unwrap();
    assert!(!credentials.renew(&TASK, &renewed.record, "late".to_owned()).await.unwrap());
    assert_eq!(credentials.sealed(&TASK, "mail").await.unwrap().unwrap().sealed, "owners");
    credentials.remove(&writing(), &name("mail")).await.unwrap();
    assert!(!credentials.renew(&TASK, &renewed.record, "late".to_owned()).await.unwrap());
    node.set_clock(NOW + 1);
    credentials.add(&writing(), sealed("mail", "another")).await.unwrap();
    assert!(!credentials.renew(&TASK, &found.record, "late".to_owned()).await.unwrap(), "it has the same version");
}

#[tokio::test]
async fn what_cannot_be_a_credential_is_refused_with_the_reason() {
    // STORE-57
    let node = node();
    let credentials = node.store.credentials();
    let over = NewCredential { expires_at: Some(NOW), ..sealed("a", "b") };
    assert!(matches!(credentials.add(&writing(), over).await, Err(CredentialError::Expired { now: NOW })));
    let large = sealed("a", &"x".repeat(MAX_SEALED_CREDENTIAL_BYTES + 1));
    let wordy = NewCredential { note: Some("x".repeat(MAX_CREDENTIAL_NOTE_BYTES + 1)), ..sealed("a", "b") };
    for refused in [large, wordy] {
        let refused = credentials.add(&writing(), refused).await;
        assert!(matches!(refused, Err(CredentialError::TooMuch { .. })), "{refused:?}");
    }
    for number in 0..MAX_CREDENTIALS {
        credentials.add(&writing(), sealed(&format!("c{number}"), "b")).await.unwrap();
    }
    let refused = credentials.add(&writing(), sealed("one-more", "b")).await.unwrap_err();
    assert!(refused.to_string().contains("1024"), "{refused}");
}

#[tokio::test]
async fn each_function_wants_its_scope() {
    // STORE-57
    let node = node();
    let credentials = node.store.credentials();
    credentials.add(&writing(), sealed("a", "b")).await.unwrap();
    let denied = [
        credentials.add(&reading(), sealed("c", "d")).await.err(),
        credentials.rotate(&reading(), sealed("a", "d")).await.err(),
        credentials.remove(&reading(), &name("a")).await.err(),
        credentials.list(&writing()).await.err(),
    ];
    for denied in denied {
        assert!(matches!(denied, Some(CredentialError::Permit(_))), "{denied:?}");
    }
}
