use alknet_core::{Maintenance, Sessions};
use alknet_store::{BackupError, Roles, Store};

use crate::fixture::{new_peer, node, owner};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_peers_are_added_is_whole_and_opens() {
    // STORE-04
    let node = node();
    for seed in 0..20 {
        node.add(&format!("before{seed}"), "friend", &[seed]).await;
    }
    let store = node.store.clone();
    let adding = tokio::spawn(async move {
        for seed in 20..120 {
            store
                .peers()
                .add(&owner("peers:write"), new_peer(&format!("during{seed}"), "friend", &[seed]))
                .await
                .unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    node.store.backup_to(&Maintenance::of("test"), &copy).await.unwrap();
    adding.await.unwrap();
    let restored = Store::open(&copy, Roles::default(), Sessions::default()).unwrap();
    let names = restored.peers().list(&owner("peers:read")).unwrap();
    assert_eq!(names.iter().filter(|peer| peer.name.as_str().starts_with("before")).count(), 20);
    // A commit is in the copy whole or not at all: the peers added meanwhile are the first so many.
    let during = names.iter().filter(|peer| peer.name.as_str().starts_with("during")).count();
    for seed in 20..20 + during {
        assert!(names.iter().any(|peer| peer.name.as_str() == format!("during{seed}") && peer.keys.len() == 1));
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_no_half_copy() {
    // STORE-04
    let node = node();
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "precious").unwrap();
    let task = Maintenance::of("test");
    assert!(matches!(node.store.backup_to(&task, &taken).await, Err(BackupError::Exists(_))));
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
    let nowhere = folder.path().join("missing/copy");
    assert!(matches!(node.store.backup_to(&task, &nowhere).await, Err(BackupError::Io { .. })));
}
