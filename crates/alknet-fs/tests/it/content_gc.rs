//! Removing what nothing refers to, against a model of what is referred to and what is open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_fs::{
    BlobId, BlobReader, BranchId, BucketId, Errno, FsError, Ino, Placed, failpoints,
    limits::GROUP_BYTES,
    rows::{On, inode},
};
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio_util::sync::CancellationToken;

use crate::{
    content_files::{Node, files, pattern},
    fixture,
};

const GROUP: usize = GROUP_BYTES as usize;
/// Long ago: whatever is dead since then is out of its grace.
const THEN_MS: u64 = 1;
const KINDS: usize = 4;

fn bytes_of(kind: usize) -> Bytes {
    // One of them is inline.
    pattern([100, GROUP + 1, 2 * GROUP, 3 * GROUP + 7][kind]).into()
}

#[derive(Debug, Clone)]
enum Step {
    Link(usize),
    Forget(prop::sample::Index),
    Open(prop::sample::Index),
    Close(prop::sample::Index),
    Collect(Meanwhile),
}

/// What others do after content was marked, before its files go.
#[derive(Debug, Clone)]
enum Meanwhile {
    Nothing,
    OpenAll,
    LinkAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let meanwhile = prop_oneof![Just(Meanwhile::Nothing), Just(Meanwhile::OpenAll), Just(Meanwhile::LinkAll)];
    let step = prop_oneof![
        4 => (0..KINDS).prop_map(Step::Link),
        4 => any::<prop::sample::Index>().prop_map(Step::Forget),
        2 => any::<prop::sample::Index>().prop_map(Step::Open),
        2 => any::<prop::sample::Index>().prop_map(Step::Close),
        3 => meanwhile.prop_map(Step::Collect),
    ];
    proptest::collection::vec(step, 1..14)
}

/// Which content is referred to, by which inode.
struct Model {
    node: Node,
    place: (BucketId, BranchId),
    next: u64,
    refs: BTreeMap<u64, (usize, BlobId)>,
    linked: Vec<(usize, BlobId)>,
    open: Vec<(usize, BlobReader)>,
}

fn at((bucket, branch): (BucketId, BranchId)) -> On {
    On { bucket, branch, now_ms: THEN_MS }
}

impl Model {
    async fn new() -> Self {
        let node = Node::new().await;
        let place = node.change(|sql| {
            let bucket = fixture::bucket(sql);
            Ok((bucket, fixture::branch(sql, bucket, "main", None)))
        });
        let place = place.await;
        Self { node, place, next: 2, refs: BTreeMap::new(), linked: Vec::new(), open: Vec::new() }
    }

    async fn link(&mut self, kind: usize) {
        let placed = self.node.content.store(bytes_of(kind)).await.unwrap();
        let (place, count) = (self.place, self.next);
        self.next += 1;
        let blob = refer(&self.node, place, placed, count).await;
        self.refs.insert(count, (kind, blob));
        self.linked.push((kind, blob));
    }

    async fn forget(&mut self, nth: usize) {
        let Some(count) = self.refs.keys().nth(nth).copied() else { return };
        self.refs.remove(&count);
        let place = self.place;
        self.node.change(move |sql| inode::prune(sql, at(place), ino(count), fixture::seq(1))).await;
    }

    async fn open(&mut self, which: prop::sample::Index) {
        if self.linked.is_empty() {
            return;
        }
        let (kind, blob) = self.linked[which.index(self.linked.len())];
        match self.node.content.reader(blob, "a").await {
            Ok(reader) => self.open.push((kind, reader)),
            Err(error) => assert_stale(&error, !self.refs.values().any(|(_, live)| *live == blob)),
        }
    }

    async fn collect(&mut self, meanwhile: Meanwhile) {
        let (opened, relinked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let armed = match meanwhile {
            Meanwhile::Nothing => None,
            Meanwhile::OpenAll => {
                let (content, linked, opened) = (self.node.content.clone(), self.linked.clone(), opened.clone());
                Some(failpoints::arm(move |name| {
                    if name == "gc.marked" {
                        let readers = linked.iter().map(|(kind, blob)| (*kind, content.reader_here(*blob, "a")));
                        opened.lock().unwrap().extend(readers.filter_map(|(kind, found)| Some((kind, found.ok()?))));
                    }
                }))
            }
            Meanwhile::LinkAll => {
                let (tables, content) = (self.node.tables(), self.node.content.clone());
                let (place, relinked, next) = (self.place, relinked.clone(), AtomicUsize::new(self.next as usize));
                self.next += KINDS as u64;
                let handle = tokio::runtime::Handle::current();
                let once = AtomicUsize::new(0);
                Some(failpoints::arm(move |name| {
                    if name == "gc.marked" && once.fetch_add(1, Ordering::SeqCst) == 0 {
                        for kind in 0..KINDS {
                            let count = next.fetch_add(1, Ordering::SeqCst) as u64;
                            let blob = handle.block_on(async {
                                let placed = content.store(bytes_of(kind)).await.unwrap();
                                refer_in(&tables, place, placed, count).await
                            });
                            relinked.lock().unwrap().push((count, kind, blob));
                        }
                    }
                }))
            }
        };
        self.node.content.collect(Duration::ZERO, false).await.unwrap();
        drop(armed);
        self.open.append(&mut opened.lock().unwrap());
        for (count, kind, blob) in relinked.lock().unwrap().drain(..) {
            self.refs.insert(count, (kind, blob));
            self.linked.push((kind, blob));
        }
        self.check().await;
    }

    /// What is referred to or open is whole; what is neither is gone.
    async fn check(&self) {
        for (kind, blob) in self.refs.values() {
            let reader = self.node.content.reader(*blob, "a").await.unwrap();
            assert_eq!(reader.read_at(0, usize::MAX).await.unwrap(), bytes_of(*kind));
        }
        for (kind, reader) in &self.open {
            assert_eq!(reader.read_at(0, usize::MAX).await.unwrap(), bytes_of(*kind));
        }
        if self.open.is_empty() {
            let kinds: std::collections::BTreeSet<_> = self.refs.values().map(|(kind, _)| *kind).collect();
            let rows = self.node.change(|sql| sql.query_row("SELECT count(*) FROM fs_blob", [], |row| row.get(0)));
            let rows: i64 = rows.await;
            assert_eq!(rows, kinds.len() as i64);
            let whole = kinds.iter().filter(|kind| bytes_of(**kind).len() > GROUP).count();
            assert_eq!(self.node.blob_files().len(), 2 * whole);
        }
    }
}

fn assert_stale(error: &FsError, may_be: bool) {
    assert!(may_be && matches!(error, FsError::At { errno: Errno::Stale, .. }), "{error}");
}

fn ino(count: u64) -> Ino {
    fixture::ino(count)
}

async fn refer(node: &Node, place: (BucketId, BranchId), placed: Placed, count: u64) -> BlobId {
    refer_in(&node.tables(), place, placed, count).await
}

/// Links content and lets an inode refer to it.
async fn refer_in(tables: &alknet_store::Tables, place: (BucketId, BranchId), placed: Placed, count: u64) -> BlobId {
    let ours = placed.clone();
    let change = move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<BlobId, FsError> {
        let blob = ours.link(sql, THEN_MS)?.unwrap();
        inode::write(sql, at(place), &fixture::file(count, 1, Some(blob), ours.size()))?;
        Ok(blob)
    };
    let rights = alknet_store::Rights::maintenance(&crate::content_files::TASK);
    let outcome = tables.change(&rights, alknet_store::Durability::Lazy, change).await;
    placed.settle(&outcome);
    outcome.unwrap()
}

#[test]
fn nothing_that_is_referred_to_or_open_goes_and_all_else_does() {
    // BLOB-30, BLOB-31, BLOB-32, BLOB-33
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let model = Mutex::new(runtime.block_on(Model::new()));
    let one = |steps: Vec<Step>| {
        let mut model = model.lock().unwrap();
        runtime.block_on(async {
            for step in steps {
                match step {
                    Step::Link(kind) => model.link(kind).await,
                    Step::Forget(which) => {
                        let nth = which.index(model.refs.len().max(1));
                        model.forget(nth).await;
                    }
                    Step::Open(which) => model.open(which).await,
                    Step::Close(which) if !model.open.is_empty() => {
                        let index = which.index(model.open.len());
                        drop(model.open.swap_remove(index));
                    }
                    Step::Close(_) => {}
                    Step::Collect(meanwhile) => model.collect(meanwhile).await,
                }
            }
            model.open.clear();
            while !model.refs.is_empty() {
                model.forget(0).await;
            }
            model.collect(Meanwhile::Nothing).await;
            assert!(model.node.blob_files().is_empty());
        });
        Ok(())
    };
    TestRunner::new(ProptestConfig { max_shrink_iters: 60, ..ProptestConfig::with_cases(40) })
        .run(&steps(), one)
        .unwrap();
}

#[tokio::test]
async fn a_collection_waits_out_the_grace_and_a_dry_one_only_counts() {
    // BLOB-31
    let node = Node::new().await;
    node.stored(&pattern(2 * GROUP)).await;
    node.stored(b"small").await;
    node.change(|sql| sql.execute("UPDATE fs_blob SET zero_since_ms = 1", [])).await;
    let collected = node.content.collect(Duration::from_secs(1 << 40), false).await.unwrap();
    assert_eq!((collected.blobs, node.blob_files().len()), (0, 2));
    let would = node.content.collect(Duration::from_secs(1), true).await.unwrap();
    assert_eq!((would.blobs, would.bytes, node.blob_files().len()), (2, 2 * GROUP_BYTES + 5, 2));
    let collected = node.content.collect(Duration::from_secs(1), false).await.unwrap();
    assert_eq!(collected, would);
    assert!(node.blob_files().is_empty());
}

#[tokio::test]
async fn a_collection_that_was_cut_off_is_ended_by_the_next() {
    // BLOB-32
    let node = Node::new().await;
    let blob = node.stored(&pattern(2 * GROUP)).await;
    let marked = node.change(move |sql| {
        sql.execute("UPDATE fs_blob SET zero_since_ms = 1", [])?;
        alknet_fs::rows::blob::mark_dying(sql, blob)
    });
    assert!(marked.await);
    std::fs::remove_file(&node.blob_files()[0]).unwrap();
    let node = node.restart().await;
    let again = node.content.store(pattern(2 * GROUP).into()).await.unwrap();
    let other = node.link(again).await.unwrap();
    assert_ne!(other, blob, "nobody links to what is being removed");
    assert_eq!(node.content.collect(Duration::from_secs(1), false).await.unwrap().blobs, 1);
    assert_eq!(files(&node.root().join("blobs")).len(), 2);
    let reader = node.content.reader(other, "a").await.unwrap();
    assert_eq!(reader.read_at(0, usize::MAX).await.unwrap(), pattern(2 * GROUP));
}

#[tokio::test]
async fn the_collector_goes_on_after_an_error_and_stops_when_told() {
    // BLOB-34
    let node = Node::new().await;
    node.stored(b"small").await;
    node.change(|sql| sql.execute("UPDATE fs_blob SET zero_since_ms = 1", [])).await;
    node.change(|sql| sql.execute_batch("ALTER TABLE fs_blob RENAME TO away")).await;
    let failed = Arc::new(tokio::sync::Notify::new());
    let told = failed.clone();
    let armed = failpoints::arm(move |name| {
        if name == "gc.failed" {
            told.notify_one();
        }
    });
    let stop = CancellationToken::new();
    let (content, ends) = (node.content.clone(), stop.clone());
    let task = tokio::spawn(async move { content.keep_collecting(Duration::ZERO, ends).await });
    failed.notified().await;
    failed.notified().await;
    node.change(|sql| sql.execute_batch("ALTER TABLE away RENAME TO fs_blob")).await;
    let mut commits = node.tables().watch();
    let count = "SELECT count(*) FROM fs_blob";
    while node.tables().read_here(|sql| Ok::<i64, FsError>(sql.query_row(count, [], |row| row.get(0))?)).unwrap() > 0 {
        commits.changed().await.unwrap();
    }
    stop.cancel();
    task.await.unwrap();
    drop(armed);
}
