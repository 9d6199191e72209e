//! What is told of commits, and watching them from any position.

use std::time::Duration;

use alknet_core::Maintenance;
use alknet_fs::{
    BranchId, FsError, Ino, Right, Seq, Sight,
    events::{PathFilter, Reach, Told, ToldChange, WatchError, Watcher, tell},
    rows::{Kind, branch::Mode, bucket, commit, dent, inode},
};
use alknet_store::{Durability, Rights, Store};
use rusqlite::Connection;
use tokio::time::timeout;

use crate::{fixture, tree_writer::Tree, world::World};

const REACH: Reach = Reach { rows: 64, changes: 16 };

fn told(tree: &Tree, branch: BranchId, filter: &PathFilter) -> Told {
    told_within(tree, branch, filter, REACH)
}

fn told_within(tree: &Tree, branch: BranchId, filter: &PathFilter, reach: Reach) -> Told {
    let commit = commit::newest(&tree.sql, tree.bucket).unwrap().unwrap();
    tell(&tree.sql, (branch, &Sight::default()), &commit, filter, reach).unwrap()
}

/// Each change as `path ways [from]`.
fn lines(told: &Told) -> Vec<String> {
    let line = |change: &ToldChange| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let from = change.from.as_deref().map_or_else(String::new, |from| format!(" from {}", text(from)));
        format!("{} {:?}{from}", text(&change.path), change.ways)
    };
    told.changes.iter().map(line).collect()
}

fn all(tree: &Tree, branch: BranchId) -> Vec<String> {
    lines(&told(tree, branch, &PathFilter::default()))
}

fn rewrite(tree: &Tree, branch: BranchId, ino: Ino, bytes: &[u8], mode: u16) {
    let seq = tree.begin(branch);
    let blob = fixture::inline(&tree.sql, bytes);
    let row = fixture::file(ino.get(), seq.get(), Some(blob), bytes.len() as u64);
    inode::write(&tree.sql, fixture::on(tree.bucket, branch), &inode::Inode { mode, ..row }).unwrap();
}

#[test]
fn a_commit_is_told_as_paths_and_what_became_of_them() {
    // FS-60
    let tree = Tree::new();
    let a = tree.make(tree.main, Ino::ROOT, "a", Kind::Folder);
    assert_eq!(all(&tree, tree.main), ["/a [Added]"]);
    let f = tree.make(tree.main, a, "f", Kind::File);
    assert_eq!(all(&tree, tree.main), ["/a/f [Added]"]);
    rewrite(&tree, tree.main, f, b"x", 0o644);
    assert_eq!(all(&tree, tree.main), ["/a/f [Content]"]);
    rewrite(&tree, tree.main, f, b"x", 0o600);
    assert_eq!(all(&tree, tree.main), ["/a/f [Attributes]"]);
    let found = tree.find(tree.main, a, "f").unwrap();
    tree.link(tree.main, &found, Ino::ROOT, "g");
    assert_eq!(all(&tree, tree.main), ["/g [Added]"]);
    rewrite(&tree, tree.main, f, b"y", 0o600);
    assert_eq!(all(&tree, tree.main), ["/a/f [Content]", "/g [Content]"], "under each of its names");
    tree.remove(tree.main, Ino::ROOT, "g");
    assert_eq!(all(&tree, tree.main), ["/g [Removed]"]);
    tree.rename(tree.main, (Ino::ROOT, "a"), (Ino::ROOT, "b"));
    assert_eq!(all(&tree, tree.main), ["/b [Renamed] from /a"], "what is below moves with it");
    tree.make(tree.main, Ino::ROOT, "new", Kind::File);
    let new = tree.find(tree.main, Ino::ROOT, "new").unwrap();
    tree.rename(tree.main, (Ino::ROOT, "new"), (a, "f"));
    assert_eq!(all(&tree, tree.main), ["/b/f [Removed, Renamed] from /new"], "what had the name is gone");
    assert_eq!(new.kind, Kind::File);
}

#[test]
fn a_filter_chooses_by_path_and_folders_speak_for_what_is_below() {
    // FS-61
    let tree = Tree::new();
    let a = tree.make(tree.main, Ino::ROOT, "a", Kind::Folder);
    let below = PathFilter { prefix: b"/a/".to_vec(), suffix: b".jpg".to_vec() };
    tree.make(tree.main, a, "x.png", Kind::File);
    assert_eq!(told(&tree, tree.main, &below), Told::default());
    tree.make(tree.main, a, "x.jpg", Kind::File);
    assert_eq!(lines(&told(&tree, tree.main, &below)), ["/a/x.jpg [Added]"]);
    tree.rename(tree.main, (a, "x.jpg"), (Ino::ROOT, "y.jpg"));
    assert_eq!(lines(&told(&tree, tree.main, &below)), ["/y.jpg [Renamed] from /a/x.jpg"], "it left what is watched");
    tree.rename(tree.main, (Ino::ROOT, "a"), (Ino::ROOT, "c"));
    assert_eq!(lines(&told(&tree, tree.main, &below)), ["/c [Renamed] from /a"]);
}

#[test]
fn what_is_too_much_is_cut_and_said_to_be() {
    // FS-62
    let tree = Tree::new();
    let seq = tree.begin(tree.main);
    for count in 0..20 {
        let ino = bucket::next_ino(&tree.sql, tree.bucket, 0).unwrap();
        let row = dent::Dent { made: true, ..fixture::dent(&format!("{count:02}"), seq.get(), ino.get(), Kind::File) };
        dent::write(&tree.sql, tree.main, Ino::ROOT, &row).unwrap();
    }
    let cut = told_within(&tree, tree.main, &PathFilter::default(), Reach { rows: 64, changes: 5 });
    assert_eq!((cut.changes.len(), cut.more), (5, true));
    let cut = told_within(&tree, tree.main, &PathFilter::default(), Reach { rows: 10, changes: 16 });
    assert_eq!((cut.changes.len(), cut.more), (10, true));
    let whole = told_within(&tree, tree.main, &PathFilter::default(), Reach { rows: 20, changes: 20 });
    assert_eq!((whole.changes.len(), whole.more), (20, false));
}

#[test]
fn a_branch_hears_of_its_parent_what_it_shows() {
    // FS-60
    let tree = Tree::new();
    let f = tree.make(tree.main, Ino::ROOT, "f", Kind::File);
    let (head, nothing) = (tree.head(), Vec::<String>::new());
    let pinned = tree.fork("pinned", tree.main, head, Mode::Pinned);
    let follow = tree.fork("follow", tree.main, head, Mode::Follow);
    tree.make(tree.main, Ino::ROOT, "g", Kind::File);
    assert_eq!(all(&tree, pinned), nothing);
    assert_eq!(all(&tree, follow), ["/g [Added]"]);
    rewrite(&tree, follow, f, b"mine", 0o644);
    assert_eq!(all(&tree, follow), ["/f [Content]"]);
    assert_eq!(all(&tree, tree.main), nothing);
    rewrite(&tree, tree.main, f, b"theirs", 0o644);
    assert_eq!(all(&tree, tree.main), ["/f [Content]"]);
    assert_eq!(all(&tree, follow), nothing, "its own content hides the parent's");
}

/// A database with a bucket, and as many commits as asked for, each a file of its number.
struct Kept {
    _folder: tempfile::TempDir,
    store: Store,
    bucket: alknet_fs::BucketId,
    main: BranchId,
}

impl Kept {
    async fn new(commits: u64) -> Self {
        let (folder, _, store) = fixture::store();
        let make = |sql: &Connection| {
            let bucket = fixture::bucket(sql);
            Ok((bucket, fixture::branch(sql, bucket, "main", None)))
        };
        let (bucket, main) = change(&store, make).await;
        let kept = Self { _folder: folder, store, bucket, main };
        for _ in 0..commits {
            kept.add().await;
        }
        kept
    }
    async fn add(&self) {
        let (bucket, main) = (self.bucket, self.main);
        let add = move |sql: &Connection| {
            let seq = fixture::begin(sql, fixture::on(bucket, main));
            let ino = bucket::next_ino(sql, bucket, 0)?;
            let row = dent::Dent { made: true, ..fixture::dent(&seq.to_string(), seq.get(), ino.get(), Kind::File) };
            dent::write(sql, main, Ino::ROOT, &row)
        };
        change(&self.store, add).await;
    }
    async fn watcher(&self, after: Option<u64>) -> Result<Watcher, WatchError> {
        Watcher::new(self.store.tables(), self.main, PathFilter::default(), after.map(fixture::seq)).await
    }
}

async fn change<T: Send + 'static>(
    store: &Store,
    body: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> T {
    let (tables, rights) = (store.tables(), Rights::maintenance(&Maintenance::of("test")));
    let changed = tables.change(&rights, Durability::Strict, move |sql, _| Ok::<_, FsError>(body(sql)?));
    changed.await.unwrap()
}

async fn next(watcher: &mut Watcher) -> Seq {
    let heard = timeout(Duration::from_secs(20), watcher.next()).await.expect("it comes").unwrap().unwrap();
    assert_eq!(heard.told.changes[0].path, format!("/{}", heard.commit.seq).into_bytes());
    heard.commit.seq
}

#[tokio::test]
async fn watching_goes_on_after_any_commit_without_a_gap_or_a_double() {
    // FS-63
    let kept = Kept::new(150).await;
    for after in [0, 1, 63, 64, 65, 149, 150] {
        let mut watcher = kept.watcher(Some(after)).await.unwrap();
        for seq in after + 1..=150 {
            assert_eq!(next(&mut watcher).await.get(), seq);
        }
    }
    let (mut newest, mut last) = (kept.watcher(None).await.unwrap(), kept.watcher(Some(150)).await.unwrap());
    for seq in 151..=153 {
        let (one, other, ()) = tokio::join!(next(&mut newest), next(&mut last), kept.add());
        assert_eq!((one.get(), other.get()), (seq, seq), "what comes wakes whoever waits");
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_said_and_so_is_what_never_was() {
    // FS-64
    let kept = Kept::new(10).await;
    change(&kept.store, |sql| sql.execute("DELETE FROM fs_commit WHERE seq <= 4", [])).await;
    for after in [0, 3] {
        let Err(WatchError::Trimmed { oldest }) = kept.watcher(Some(after)).await else { panic!("after {after}") };
        assert_eq!(oldest.get(), 5);
    }
    assert_eq!(next(&mut kept.watcher(Some(4)).await.unwrap()).await.get(), 5);
    assert!(matches!(kept.watcher(Some(11)).await, Err(WatchError::Ahead { .. })));
    let mut watcher = kept.watcher(None).await.unwrap();
    let main = kept.main;
    change(&kept.store, move |sql| sql.execute("UPDATE fs_branch SET hidden = 1 WHERE id = ?1", [main])).await;
    let ended = timeout(Duration::from_secs(20), watcher.next()).await.unwrap();
    assert!(matches!(ended, Err(WatchError::Removed)));
}

async fn remove_branch(world: &World, name: &str) {
    let permit = world.permit(Right::Branch, "proj", Some(name));
    world.fs.tree().remove_branch(&permit, &"proj".parse().unwrap(), &name.parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn whoever_goes_on_with_another_branch_of_the_name_is_told() {
    // FS-66
    let world = World::new().await;
    let goes_on = async |branch: BranchId, after: Seq| match Watcher::new(
        world.store.tables(),
        branch,
        PathFilter::default(),
        Some(after),
    )
    .await
    {
        Ok(_) => true,
        Err(WatchError::Another { position, .. }) if position == after => false,
        Err(error) => panic!("{error}"),
    };
    let first = world.put("proj/a", "1").await.unwrap().seq;
    let branch = world.branch_as("try", Mode::Pinned).await;
    let own = world.put("proj:try/b", "2").await.unwrap().seq;
    assert!(goes_on(branch, own).await && goes_on(branch, first).await && goes_on(branch, Seq::ZERO).await);
    remove_branch(&world, "try").await;
    let later = world.put("proj/c", "3").await.unwrap().seq;
    let again = world.branch_as("try", Mode::Pinned).await;
    assert!(!goes_on(again, own).await, "that was a commit of the other");
    for after in [Seq::ZERO, first, later] {
        assert!(goes_on(again, after).await, "it began with {after}");
    }
    let last = world.put("proj:try/d", "4").await.unwrap().seq;
    let beside = world.branch_as("beside", Mode::Pinned).await;
    assert!(goes_on(beside, last).await, "with the branch, whoever made that commit");
    remove_branch(&world, "try").await;
    let third = world.branch_as("try", Mode::Pinned).await;
    assert!(!goes_on(third, last).await, "made again before anything else was committed");

    let live = world.branch_as("live", Mode::Follow).await;
    let theirs = world.put("proj/e", "5").await.unwrap().seq;
    assert!(goes_on(live, theirs).await);
    remove_branch(&world, "live").await;
    world.put("proj/f", "6").await.unwrap();
    let live = world.branch_as("live", Mode::Follow).await;
    assert!(!goes_on(live, theirs).await, "it may have been told beside what the other had of its own");
    assert!(goes_on(live, Seq::ZERO).await);
    let at = crate::world::address("proj");
    let main = world.fs.tree().view(&world.permit_at(Right::Read, &at), &at).await.unwrap().branch_id();
    for after in [first, own, later, last, theirs] {
        assert!(goes_on(main, after).await, "a bucket's first branch is older than all");
    }
    world.end().await;
}
