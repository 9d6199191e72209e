//! A database with the file system's tables, and a connection that writes to it outside of any store.

use std::{path::PathBuf, sync::OnceLock};

use alknet_core::Sessions;
use alknet_fs::{
    BlobId, BranchId, BucketId, ContentHash, Ino, Seq,
    rows::{
        Kind, On,
        blob::{self, NewBlob},
        branch::{self, Fork, Mode},
        bucket::{self, Terms},
        commit,
        dent::Dent,
        inode::{Changed, Inode},
    },
};
use alknet_store::{Roles, Store};
use rusqlite::Connection;
use tempfile::TempDir;

pub const NOW_MS: u64 = 1_800_000_000_000;

pub fn store() -> (TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alknet.db");
    let store = Store::open(&path, Roles::default(), Sessions::default()).unwrap();
    (folder, path, store)
}

/// An in-memory copy of a new database: quick to write, and nobody else's.
pub fn tables() -> Connection {
    static SCHEMA: OnceLock<String> = OnceLock::new();
    let sql = Connection::open_in_memory().unwrap();
    sql.execute_batch(SCHEMA.get_or_init(schema)).unwrap();
    sql
}

fn schema() -> String {
    let (_folder, path, store) = store();
    store.close();
    let sql = Connection::open(&path).unwrap();
    let mut all =
        sql.prepare("SELECT sql FROM sqlite_master WHERE tbl_name LIKE 'fs\\_%' ESCAPE '\\' AND sql <> ''").unwrap();
    let all: Vec<String> = all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    all.join(";\n")
}

pub fn bucket(sql: &Connection) -> BucketId {
    bucket::insert(sql, &"proj".parse().unwrap(), &Terms { policy: "{}".into(), ..Terms::default() }).unwrap()
}

pub fn branch(sql: &Connection, bucket: BucketId, name: &str, from: Option<(BranchId, u64, Mode)>) -> BranchId {
    let fork = from.map(|(parent, at, mode)| Fork { parent, at: seq(at), mode });
    branch::insert(sql, bucket, &name.parse().unwrap(), fork, Seq::ZERO).unwrap()
}

pub fn on(bucket: BucketId, branch: BranchId) -> On {
    On { bucket, branch, now_ms: NOW_MS }
}

pub fn begin(sql: &Connection, on: On) -> Seq {
    commit::begin(sql, on.bucket, on.branch, 1_000_000 * NOW_MS.cast_signed(), ("ann", "fs/test")).unwrap().seq
}

pub fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

pub fn ino(count: u64) -> Ino {
    Ino::new(0, count).unwrap()
}

pub fn dent(name: &str, at: u64, count: u64, kind: Kind) -> Dent {
    Dent { name: name.as_bytes().into(), seq: seq(at), ino: ino(count), kind, gone: false, made: false, shown: None }
}

pub fn file(count: u64, at: u64, blob: Option<BlobId>, size: u64) -> Inode {
    Inode {
        ino: ino(count),
        seq: seq(at),
        kind: Kind::File,
        blob,
        size,
        mode: 0o644,
        mtime_ns: 0,
        target: None,
        xattrs: None,
        changed: Changed::ALL,
    }
}

/// The row of these bytes; a new one if there is none.
pub fn inline(sql: &Connection, bytes: &[u8]) -> BlobId {
    let hash = ContentHash::of(bytes);
    if let Some(live) = blob::live(sql, &hash).unwrap() {
        return live.id;
    }
    let new = NewBlob { hash, generation: 1, size: bytes.len() as u64, bytes: Some(bytes) };
    blob::insert(sql, &new, NOW_MS).unwrap()
}
