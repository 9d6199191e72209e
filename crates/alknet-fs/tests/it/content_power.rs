//! Power cuts, full disks and failing syncs at every operation of a write.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use alknet_core::PermitError;
use alknet_fs::{BlobId, Content, ContentHash, Errno, FsError, Placed, failpoints, limits::GROUP_BYTES};
use alknet_store::{Durability, Noted, Rights, Store, StoreError};
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    content_files::{TASK, pattern},
    content_steps::{Step, run, steps},
    fixture::{self, NOW_MS},
    sim_disk::SimDisk,
};

const GROUP: usize = GROUP_BYTES as usize;
const ROOT: &str = "/data";

/// A store, and content on disks in memory.
struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let (folder, _, store) = fixture::store();
        Self { _folder: folder, store }
    }
    async fn open(&self, disk: &Arc<SimDisk>) -> Content {
        Content::open_on(disk.clone(), self.store.tables(), Path::new(ROOT)).await.unwrap()
    }
    /// Links in a change that is kept, unless `outcome` says otherwise.
    async fn link(&self, placed: &Placed, fails: bool) -> Result<BlobId, FsError> {
        let ours = placed.clone();
        let change = move |sql: &rusqlite::Connection, _: &mut Noted<'_>| -> Result<BlobId, FsError> {
            let id = ours.link(sql, NOW_MS)?.unwrap();
            if fails { Err(FsError::Denied(PermitError::Revoked)) } else { Ok(id) }
        };
        self.store.tables().change(&Rights::maintenance(&TASK), Durability::Lazy, change).await
    }
    async fn stored(&self, content: &Content, bytes: &[u8]) -> Result<BlobId, FsError> {
        let placed = content.store(Bytes::copy_from_slice(bytes)).await?;
        let outcome = self.link(&placed, false).await;
        placed.settle(&outcome);
        outcome
    }
}

fn disk() -> Arc<SimDisk> {
    Arc::new(SimDisk::new(Path::new(ROOT)))
}

/// Different for each number.
fn bytes_of(number: usize) -> Vec<u8> {
    let mut bytes = pattern(5 * GROUP + 100);
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

async fn read(content: &Content, blob: BlobId) -> Bytes {
    content.reader(blob, "a").await.unwrap().read_at(0, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged_and_leaves_nothing_else() {
    // BLOB-10, BLOB-40, BLOB-41
    let bench = Bench::new();
    let (mut number, mut died, mut survived) = (0, 0, 0);
    for operations in 0..24 {
        for seed in 0..4 {
            let disk = disk();
            let content = bench.open(&disk).await;
            let before = bytes_of(number);
            let first = bench.stored(&content, &before).await.unwrap();
            disk.die(operations);
            let (second, after) = (bytes_of(number + 1), before.len());
            let linked = bench.stored(&content, &second).await;
            number += 2;
            drop(content);
            let cut = Arc::new(if seed == 0 { disk.after_death() } else { disk.after_power_cut(seed) });
            let content = bench.open(&cut).await;
            content.clean_spool(Vec::new()).await.unwrap();
            content.sweep().await.unwrap();
            assert!(read(&content, first).await == before, "{operations} {seed} {after}");
            let mut files = 2;
            match linked {
                Ok(blob) => {
                    survived += 1;
                    files += 2;
                    assert!(read(&content, blob).await == second, "{operations} {seed}");
                }
                Err(_) => died += 1,
            }
            assert_eq!(cut.files(Path::new(ROOT)).len(), files, "{operations} {seed}");
        }
    }
    assert!(died > 40 && survived > 8, "{died} {survived}");
}

#[tokio::test]
async fn a_full_disk_at_any_operation_leaves_the_old_state() {
    // BLOB-50
    let bench = Bench::new();
    let disk = disk();
    let content = bench.open(&disk).await;
    let first = bench.stored(&content, &bytes_of(0)).await.unwrap();
    let before = disk.files(Path::new(ROOT));
    let mut refused = 0;
    for operation in 0.. {
        disk.fail(operation, io::ErrorKind::StorageFull);
        let second = bench.stored(&content, &bytes_of(1 + operation)).await;
        disk.heal();
        match second {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, FsError::At { errno: Errno::NoSpace, .. }), "{error}"),
        }
        refused += 1;
        assert_eq!(disk.files(Path::new(ROOT)), before, "operation {operation}");
        assert!(read(&content, first).await == bytes_of(0));
    }
    assert!(refused > 8, "{refused}");
}

#[tokio::test]
async fn a_full_disk_while_writing_over_content_leaves_the_old_state() {
    // BLOB-50
    for disk in [disk(), Arc::new(SimDisk::new(Path::new(ROOT)).with_reflinks())] {
        let bench = Bench::new();
        let content = bench.open(&disk).await;
        let first = bench.stored(&content, &bytes_of(0)).await.unwrap();
        let before = disk.files(Path::new(ROOT));
        let write = async |operation: usize| -> Result<Placed, FsError> {
            let mut spool = content.spool_over(content.reader(first, "a").await?);
            disk.fail(operation, io::ErrorKind::StorageFull);
            spool.write_at(9000, Bytes::from_static(b"other"))?;
            spool.set_size(7 * GROUP_BYTES)?;
            content.place(content.seal(spool).await?).await
        };
        let mut refused = 0;
        for operation in 0.. {
            let written = write(operation).await;
            match (written, disk.heal()) {
                (Ok(_), false) => break,
                // What cannot be shared is copied.
                (Ok(_), true) => {}
                (Err(error), failed) => {
                    assert!(failed && matches!(error, FsError::At { errno: Errno::NoSpace, .. }), "{error}");
                    refused += 1;
                }
            }
            assert_eq!(disk.files(Path::new(ROOT)), before, "operation {operation}");
        }
        assert!(refused > 8, "{refused}");
        assert!(read(&content, first).await == bytes_of(0));
    }
}

#[tokio::test]
async fn a_sync_that_failed_is_not_tried_again() {
    // BLOB-51
    let bench = Bench::new();
    let disk = disk();
    let content = bench.open(&disk).await;
    let mut spool = content.spool();
    spool.write_at(0, bytes_of(0).into()).unwrap();
    disk.fail(0, io::ErrorKind::Other);
    let error = spool.sync().unwrap_err();
    assert!(matches!(error, FsError::At { errno: Errno::Io, .. }), "{error}");
    let syncs = || disk.trace().iter().filter(|done| done.starts_with("sync ") && !done.contains("folder")).count();
    let before = syncs();
    assert!(spool.sync().is_err() && spool.write_at(0, Bytes::from_static(b"x")).is_err());
    assert!(content.seal(spool).await.is_err());
    assert_eq!((syncs(), disk.files(Path::new(ROOT))), (before, Vec::new()));
}

#[tokio::test]
async fn the_steps_are_made_in_their_order() {
    // BLOB-10
    let bench = Bench::new();
    let disk = disk();
    let content = bench.open(&disk).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let armed = failpoints::arm(move |name| hears.lock().unwrap().push(name));
    let from = disk.trace().len();
    let placed = content.store(bytes_of(0).into()).await.unwrap();
    drop(armed);
    let steps = [
        "spool.created",
        "spool.written",
        "outboard.written",
        "spool.synced",
        "outboard.synced",
        "outboard.renamed",
        "blob.renamed",
        "folder.synced",
    ];
    assert_eq!(*heard.lock().unwrap(), steps);
    let hash = placed.hash().to_string();
    let done: Vec<String> = disk.trace()[from..].to_vec();
    let last = done.iter().position(|what| what.starts_with("sync ") && what.ends_with(".obao")).unwrap();
    assert!(done[last - 1].starts_with("sync ") && !done[last - 1].ends_with(".obao"), "{done:?}");
    let name = |ending: &str| format!("rename to {hash}.{:016x}{ending}", generation(&done));
    let folder = &hash[..2];
    let wanted = [
        format!("make folder {folder}"),
        name(".obao"),
        name(""),
        "sync folder blobs".into(),
        format!("sync folder {folder}"),
    ];
    assert_eq!(done[last + 1..], wanted);
    let again = disk.trace().len();
    let mut other = bytes_of(0);
    other.truncate(5 * GROUP);
    drop(content.store(other.into()).await.unwrap());
    let folders = disk.trace()[again..].iter().filter(|what| what.as_str() == "sync folder blobs").count();
    assert!(folders <= 1);
}

fn generation(done: &[String]) -> u64 {
    let renamed = done.iter().find(|what| what.starts_with("rename to") && !what.ends_with(".obao")).unwrap();
    u64::from_str_radix(renamed.rsplit('.').next().unwrap(), 16).unwrap()
}

#[tokio::test]
async fn the_file_of_a_change_whose_end_is_not_known_stays() {
    // BLOB-15
    let bench = Bench::new();
    let disk = disk();
    let content = bench.open(&disk).await;
    let unknown = StoreError::Unknown(rusqlite::Error::InvalidQuery.into());
    let cases: [(Result<(), FsError>, usize); 3] = [
        (Err(FsError::Denied(PermitError::Revoked)), 0),
        (Err(FsError::Store(StoreError::Full)), 0),
        (Err(FsError::Store(unknown)), 2),
    ];
    for (number, (outcome, stay)) in cases.into_iter().enumerate() {
        let placed = content.store(bytes_of(number).into()).await.unwrap();
        assert!(bench.link(&placed, true).await.is_err());
        placed.settle(&outcome);
        drop(placed);
        assert_eq!(disk.files(Path::new(ROOT)).len(), stay, "{outcome:?}");
    }
    // Of one that nobody settled, and of one that was linked twice, the file stays too.
    let unsettled = content.store(bytes_of(5).into()).await.unwrap();
    assert!(bench.link(&unsettled, true).await.is_err());
    drop(unsettled);
    assert_eq!(disk.files(Path::new(ROOT)).len(), 4);
    let twice = content.store(bytes_of(6).into()).await.unwrap();
    let (kept, undone) = (bench.link(&twice, false).await, bench.link(&twice, true).await);
    twice.settle(&kept);
    twice.settle(&undone);
    drop(twice);
    assert_eq!(disk.files(Path::new(ROOT)).len(), 6);
    assert!(read(&content, kept.unwrap()).await == bytes_of(6));
}

#[test]
fn where_the_disk_shares_bytes_writes_over_content_end_the_same() {
    // BLOB-07
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::new();
    let disk = Arc::new(SimDisk::new(Path::new(ROOT)).with_reflinks());
    let content = runtime.block_on(bench.open(&disk));
    let one = |(size, steps): (usize, Vec<Step>)| {
        let before = pattern(size);
        let (hash, model) = runtime.block_on(async {
            let blob = bench.stored(&content, &before).await.unwrap();
            let mut spool = content.spool_over(content.reader(blob, "a").await.unwrap());
            let mut model = before;
            run(&mut spool, &mut model, &steps);
            let sealed = content.seal(spool).await.unwrap();
            if sealed.size() == 0 {
                return (sealed.hash(), model);
            }
            let placed = content.place(sealed).await.unwrap();
            let outcome = bench.link(&placed, false).await;
            placed.settle(&outcome);
            assert!(read(&content, outcome.unwrap()).await == model);
            (placed.hash(), model)
        });
        assert_eq!(hash, ContentHash::of(&model));
        Ok(())
    };
    let sizes = prop_oneof![GROUP + 1..9 * GROUP, Just(8 * GROUP)];
    TestRunner::new(ProptestConfig::with_cases(50)).run(&(sizes, steps()), one).unwrap();
}
