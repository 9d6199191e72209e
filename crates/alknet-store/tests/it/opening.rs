use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use alknet_core::{Maintenance, Sessions};
use alknet_store::{BindError, OpenError, Roles, Store};
use rusqlite::Connection;

use crate::fixture::{NOW, key, name, new_peer, node, owner, ssh};

/// The version of the schema that this program writes.
const NEWEST: u32 = 9;

fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(path, Roles::default(), Sessions::default())
}

/// Opens what must be refused; answers the refusal after looking that nothing was touched.
fn refused(path: &Path) -> OpenError {
    let listing = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (bytes, names) = (fs::read(path).unwrap(), listing(path));
    let error = open(path).err().unwrap();
    assert!(fs::read(path).unwrap() == bytes, "the file was changed");
    assert_eq!(listing(path), names, "files appeared beside it");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error} does not name the file");
    error
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b?c#%.db");
    (folder, path)
}

/// A closed database with something in it.
fn made(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(path).unwrap();
        for number in 0..50 {
            let new = new_peer(&format!("peer{number}"), "guest", &[number]);
            store.peers().add(&owner("peers:write"), new).await.unwrap();
        }
        store.close();
    });
}

#[test]
fn a_new_database_is_only_its_owners_and_is_found_again() {
    // STORE-10
    let (_folder, path) = temp();
    made(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "it is taken back from others");
    assert_eq!(store.peers().list(&owner("peers:read")).unwrap().len(), 50);
}

#[test]
fn an_empty_file_of_an_interrupted_start_is_used() {
    let (_folder, path) = temp();
    fs::write(&path, b"").unwrap();
    made(&path);
}

#[test]
fn a_file_that_is_no_database_is_refused_untouched() {
    // STORE-11
    let (_folder, path) = temp();
    for bytes in [&b"hello"[..], &[0; 4096], &b"SQLite format 3\0"[..], &b"SQLite format 2\0".repeat(20)] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refused(&path), OpenError::NotADatabase { .. }));
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::NotADatabase { .. })));
}

#[test]
fn another_programs_database_is_refused_untouched() {
    // STORE-11
    for application in [0, 7] {
        let (_folder, path) = temp();
        let sql = Connection::open(&path).unwrap();
        sql.execute_batch(&format!("PRAGMA application_id = {application}; CREATE TABLE cookies (a);")).unwrap();
        drop(sql);
        let error = refused(&path);
        assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains("move it away"), "{error}");
    }
}

#[test]
fn another_programs_database_with_a_log_beside_it_is_refused_untouched() {
    // STORE-11
    let (_folder, path) = temp();
    let sql = Connection::open(&path).unwrap();
    sql.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    sql.execute_batch("CREATE TABLE cookies (a)").unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign { .. }));
}

#[test]
fn unknown_tables_are_refused_untouched() {
    // STORE-11
    let (_folder, path) = temp();
    made(&path);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE cookies (a); PRAGMA wal_checkpoint").unwrap();
    let error = refused(&path);
    assert!(matches!(&error, OpenError::Foreign { why, .. } if why.contains("cookies")), "{error}");
}

#[test]
fn a_newer_database_is_refused_untouched() {
    // STORE-12
    let (_folder, path) = temp();
    made(&path);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Newer { version: 99, .. }) && error.to_string().contains("newer Alknet"));
}

#[test]
fn a_newer_version_that_stands_only_in_the_log_is_refused() {
    // STORE-12
    let (_folder, path) = temp();
    made(&path);
    let sql = Connection::open(&path).unwrap();
    sql.pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(fs::read(&path).unwrap()[60..64], NEWEST.to_be_bytes(), "the file itself still has the old one");
    assert!(matches!(refused(&path), OpenError::Newer { version: 99, .. }));
}

#[test]
fn a_damaged_database_is_refused_untouched() {
    // STORE-13
    let (_folder, path) = temp();
    made(&path);
    let whole = fs::read(&path).unwrap();
    let mut garbled = whole.clone();
    garbled[4096..].fill(0x5a);
    let mut header = whole.clone();
    header[16..24].fill(0xff);
    for bad in [garbled, header, whole[..whole.len() / 2].to_vec()] {
        fs::write(&path, bad).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::Corrupt { .. } | OpenError::NotADatabase { .. }), "{error}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_the_way_out() {
    // STORE-14
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Permission bits do not bind root; the kernel's own files do.
    let bound = fs::write(folder.path().join("probe"), "").is_err();
    let path = if bound { folder.path().join("alknet.db") } else { PathBuf::from("/sys/kernel/alknet.db") };
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("writable"), "{error}");
    let error = open(&folder.path().join("missing/alknet.db")).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[test]
fn every_earlier_version_opens_with_what_it_holds() {
    // STORE-20
    let (_folder, path) = temp();
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch("PRAGMA application_id = 0x414c4b4e; PRAGMA journal_mode = WAL").unwrap_or_default();
    sql.execute_batch(include_str!("../../src/migrations/v1.sql")).unwrap();
    sql.execute_batch(include_str!("../fixtures/v1_rows.sql")).unwrap();
    sql.pragma_update(None, "user_version", 1).unwrap();
    drop(sql);
    let store = open(&path).unwrap();
    let peer = store.peers().show(&owner("peers:read"), &name("alice")).unwrap();
    assert_eq!((peer.role.as_str(), peer.created_at), ("guest", NOW));
    assert_eq!(peer.keys, [key(1).into(), key(2).into()]);
    assert_eq!(peer.addresses, ["host:4433".parse().unwrap()]);
    store.close();
    let version: u32 = Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    assert_eq!(version, NEWEST);
}

#[tokio::test]
async fn a_database_belongs_to_one_node() {
    // STORE-15
    use alknet_core::{KeyPurpose, KeySigner};
    let node = node();
    let task = Maintenance::of("test");
    let first = alknet_testkit::identities::TestKeys::new(1).public_key(KeyPurpose::Node);
    let second = alknet_testkit::identities::TestKeys::new(2).public_key(KeyPurpose::Node);
    assert_eq!(node.store.node_key().await.unwrap(), None);
    node.store.bind_node_key(&task, first).await.unwrap();
    node.store.bind_node_key(&task, first).await.unwrap();
    let error = node.store.bind_node_key(&task, second).await.unwrap_err();
    assert!(matches!(error, BindError::Another { .. }) && error.to_string().contains(&first.node_id()), "{error}");
    assert_eq!(node.store.node_key().await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_clock_at_1970_or_before_does_not_matter() {
    // STORE-16
    let node = node();
    node.set_clock(0);
    node.add("alice", "guest", &[1]).await;
    assert_eq!(node.store.peers().show(&owner("peers:read"), &name("alice")).unwrap().created_at, 0);
    assert_eq!(node.identify(&ssh(1)).unwrap().id(), "alice");
    node.store.tokens().prune(&Maintenance::of("test")).await.unwrap();
    node.set_clock(u64::MAX);
    node.add("bob", "guest", &[2]).await;
    node.store.audit().prune(&Maintenance::of("test")).await.unwrap();
}

#[test]
fn the_closed_database_is_one_file_that_sqlite_finds_whole() {
    // STORE-03
    let (_folder, path) = temp();
    made(&path);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "the log was folded in");
    let verdict: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
