use alknet_fs::{
    BlobId, BranchId, ContentHash, FsError, Seq,
    rows::{
        Kind,
        blob::{self, Class, NewBlob, State},
        branch::{self, Fork, Mode},
        bucket::{self, Terms},
        commit,
        dent::{self, Dent},
        inode::{self, Changed, Inode},
        meta,
        snapshot::{self, SnapshotRow},
    },
};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::fixture::{NOW_MS, branch, bucket, dent, file, inline, ino, on, seq, store, tables};

#[test]
fn a_bucket_is_found_by_its_name_until_it_is_removed() {
    let sql = tables();
    let id = bucket(&sql);
    let name = "proj".parse().unwrap();
    assert_eq!(bucket::find(&sql, &name).unwrap().unwrap().id, id);
    assert!(bucket::insert(&sql, &name, &Terms::default()).is_err(), "a name is one bucket's");
    let terms = Terms { policy: "{\"a\":1}".into(), quota_bytes: Some(u64::MAX), quota_files: Some(7) };
    bucket::set(&sql, id, &terms).unwrap();
    let stands = bucket::get(&sql, id).unwrap().unwrap();
    assert_eq!((stands.terms.quota_files, stands.terms.quota_bytes), (Some(7), Some(i64::MAX.unsigned_abs())));
    assert_eq!((stands.used_bytes, stands.used_files, stands.head), (0, 0, Seq::ZERO));
    let other = bucket::insert(&sql, &"a".parse().unwrap(), &Terms::default()).unwrap();
    let names = |after: Option<&str>, count| {
        let after = after.map(|name| name.parse().unwrap());
        let page = bucket::page(&sql, after.as_ref(), count).unwrap();
        page.into_iter().map(|row| row.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 9), ["a", "proj"]);
    assert_eq!(names(Some("a"), 9), ["proj"]);
    assert_eq!(names(None, 1), ["a"]);
    bucket::remove(&sql, id).unwrap();
    assert_eq!(bucket::find(&sql, &name).unwrap(), None);
    let again = bucket::insert(&sql, &name, &Terms::default()).unwrap();
    assert!(again > id && again > other, "a number is never given twice");
}

#[test]
fn commits_are_numbered_without_gaps_and_their_time_does_not_go_back() {
    // FS-80
    let sql = tables();
    let bucket = bucket(&sql);
    let main = branch(&sql, bucket, "main", None);
    let begin = |now_ns| commit::begin(&sql, bucket, main, now_ns, ("ann", "fs/mkdir")).unwrap();
    assert_eq!(commit::newest(&sql, bucket).unwrap(), None);
    let commits: Vec<_> = [5_000_000, 9_000_000, 2_000_000, 9_500_000].into_iter().map(begin).collect();
    assert_eq!(commits.iter().map(|commit| commit.seq.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(commits.iter().map(|it| it.time_ns).collect::<Vec<_>>(), [5_000_000, 9_000_000, 9_000_000, 9_500_000]);
    assert!(commits.windows(2).all(|pair| pair[0].hlc < pair[1].hlc));
    let at = |time_ns| commit::at_time(&sql, bucket, time_ns).unwrap().get();
    assert_eq!([at(0), at(5_000_000), at(8_999_999), at(9_000_000), at(i64::MAX)], [0, 1, 1, 3, 4]);
    assert_eq!(commit::get(&sql, bucket, seq(2)).unwrap().as_ref(), Some(&commits[1]));
    assert_eq!(commit::newest(&sql, bucket).unwrap().as_ref(), Some(&commits[3]));
    let page = commit::page(&sql, bucket, seq(4), 2).unwrap();
    assert_eq!(page, [commits[2].clone(), commits[1].clone()]);
    assert_eq!(bucket::get(&sql, bucket).unwrap().unwrap().head, seq(4));
    let inos: Vec<_> = (0..3).map(|_| bucket::next_ino(&sql, bucket, 0).unwrap()).collect();
    assert_eq!(inos, [ino(2), ino(3), ino(4)], "1 is the root");
}

#[test]
fn branches_keep_where_they_come_from() {
    let sql = tables();
    let bucket = bucket(&sql);
    let main = branch(&sql, bucket, "main", None);
    let dev = branch(&sql, bucket, "dev", Some((main, 3, Mode::Follow)));
    let found = branch::find(&sql, bucket, &"dev".parse().unwrap()).unwrap().unwrap();
    assert_eq!((found.id, found.fork), (dev, Some(Fork { parent: main, at: seq(3), mode: Mode::Follow })));
    assert_eq!(branch::children(&sql, main).unwrap(), [found]);
    let names = || branch::list(&sql, bucket).unwrap().into_iter().map(|row| row.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["dev", "main"]);
    branch::hide(&sql, main).unwrap();
    assert_eq!(names(), ["dev"]);
    assert!(branch::get(&sql, main).unwrap().unwrap().hidden);
    let again = branch(&sql, bucket, "main", None);
    assert!(again > dev, "the name of a hidden branch is free, its number is not");
    branch::remove(&sql, main).unwrap();
    let kept = branch::get(&sql, main).unwrap().unwrap();
    assert!(kept.gone && kept.hidden, "where its child came from stays known");
    branch::remove(&sql, dev).unwrap();
    assert_eq!([main, dev].map(|id| branch::get(&sql, id).unwrap()), [None, None], "until nobody asks any more");
}

#[test]
fn snapshots_are_names_for_versions() {
    let sql = tables();
    let bucket = bucket(&sql);
    let main = branch(&sql, bucket, "main", None);
    let row = |name: &str| SnapshotRow { name: name.parse().unwrap(), branch: main, seq: seq(2), time_ns: 5 };
    for name in ["v2", "v1"] {
        snapshot::insert(&sql, bucket, &row(name)).unwrap();
    }
    assert!(snapshot::insert(&sql, bucket, &row("v1")).is_err());
    assert_eq!(snapshot::list(&sql, bucket).unwrap(), [row("v1"), row("v2")]);
    assert!(snapshot::remove(&sql, bucket, &row("v1").name).unwrap());
    assert!(!snapshot::remove(&sql, bucket, &row("v1").name).unwrap());
    assert_eq!(snapshot::find(&sql, bucket, &row("v1").name).unwrap(), None);
    assert_eq!(snapshot::find(&sql, bucket, &row("v2").name).unwrap(), Some(row("v2")));
}

#[test]
fn numbers_are_kept_by_name() {
    let sql = tables();
    assert_eq!(meta::read(&sql, "last_gen").unwrap(), None);
    for value in [5, -3] {
        meta::write(&sql, "last_gen", value).unwrap();
        assert_eq!(meta::read(&sql, "last_gen").unwrap(), Some(value));
    }
}

#[test]
fn the_newest_version_of_a_name_at_or_before_a_bound_counts() {
    // FS-81
    let sql = tables();
    let bucket = bucket(&sql);
    let main = branch(&sql, bucket, "main", None);
    let root = ino(1);
    let write = |dent: &Dent| dent::write(&sql, main, root, dent).unwrap();
    write(&dent("a", 1, 2, Kind::File));
    write(&dent("a", 4, 3, Kind::Symlink));
    write(&Dent { gone: true, ..dent("a", 6, 3, Kind::Symlink) });
    write(&dent("b", 2, 4, Kind::Folder));
    let newest = |bound| dent::newest(&sql, main, root, b"a", seq(bound)).unwrap();
    assert_eq!(newest(0), None);
    assert_eq!(newest(3), Some(dent("a", 1, 2, Kind::File)));
    assert_eq!(newest(5), Some(dent("a", 4, 3, Kind::Symlink)));
    assert!(newest(9).unwrap().gone);
    let page = |after: &str, bound, count| dent::page(&sql, (main, root), after.as_bytes(), seq(bound), count).unwrap();
    assert_eq!(page("", 5, 9), [dent("a", 4, 3, Kind::Symlink), dent("b", 2, 4, Kind::Folder)]);
    assert_eq!(page("a", 5, 9), [dent("b", 2, 4, Kind::Folder)]);
    assert_eq!(page("", 1, 9), [dent("a", 1, 2, Kind::File)]);
    assert_eq!(page("", 9, 1).len(), 1);
    write(&dent("a", 4, 7, Kind::File));
    assert_eq!(newest(5).unwrap().ino, ino(7), "a commit's later word about a name is its only one");
    assert_eq!(dent::between(&sql, (main, root), b"a", seq(1), seq(6)).unwrap().len(), 2);
    let place = (root, b"a".as_slice().into());
    assert_eq!(dent::places(&sql, main, ino(3), Seq::MAX).unwrap(), [place]);
    assert!(!dent::places_it(&sql, main, ino(3), seq(5)).unwrap());
    dent::prune(&sql, main, root, b"a", seq(6)).unwrap();
    assert_eq!(newest(9).unwrap().ino, ino(7));
}

#[test]
fn hostile_names_are_kept_byte_for_byte() {
    // FS-12
    let sql = tables();
    let bucket = bucket(&sql);
    let main = branch(&sql, bucket, "main", None);
    let mut names: Vec<Vec<u8>> = (1..=255u8).filter(|byte| *byte != b'/').map(|byte| vec![byte]).collect();
    names.extend([vec![0xff; 255], b"'; DROP TABLE fs_dent; --".to_vec(), "é".into(), "e\u{301}".into()]);
    for name in &names {
        let row = Dent { name: name.as_slice().into(), ..dent("", 1, 2, Kind::File) };
        dent::write(&sql, main, ino(1), &row).unwrap();
    }
    names.sort();
    let page = dent::page(&sql, (main, ino(1)), b"", Seq::MAX, 1000).unwrap();
    let found: Vec<_> = page.into_iter().map(|dent| dent.name.into_vec()).collect();
    assert_eq!(found, names, "in the order of their bytes");
}

#[test]
fn content_lives_while_something_refers_to_it() {
    // FS-90
    let sql = tables();
    let on = {
        let bucket = bucket(&sql);
        on(bucket, branch(&sql, bucket, "main", None))
    };
    let hash = ContentHash::of(b"hello");
    let id = inline(&sql, b"hello");
    assert_eq!(blob::bytes(&sql, id).unwrap().unwrap(), b"hello");
    let row = blob::get(&sql, id).unwrap().unwrap();
    assert_eq!((row.class, row.state, row.refs, row.size), (Class::Inline, State::Live, 0, 5));
    assert_eq!(holders(&sql, &hash), []);
    inode::write(&sql, on, &file(2, 1, Some(id), 5)).unwrap();
    inode::write(&sql, on, &file(3, 2, Some(id), 5)).unwrap();
    assert_eq!(holders(&sql, &hash), [on.branch]);
    assert!(!blob::mark_dying(&sql, id).unwrap(), "something refers to it");
    inode::prune(&sql, on, ino(2), seq(1)).unwrap();
    assert_eq!(holders(&sql, &hash), [on.branch]);
    inode::prune(&sql, on, ino(3), seq(2)).unwrap();
    assert_eq!(holders(&sql, &hash), []);
    assert_eq!(blob::dead(&sql, NOW_MS, None, 9).unwrap(), [], "not yet");
    assert_eq!(blob::dead(&sql, NOW_MS + 1, None, 9).unwrap()[0].row.id, id);
    assert!(blob::mark_dying(&sql, id).unwrap());
    assert_eq!(blob::live(&sql, &hash).unwrap(), None);
    assert!(inode::write(&sql, on, &file(4, 3, Some(id), 5)).is_err(), "nothing refers to what is being removed");
    assert!(blob::revive(&sql, id).unwrap() && blob::mark_dying(&sql, id).unwrap());
    let again = blob::insert(&sql, &NewBlob { hash, generation: 2, size: 5, bytes: None }, NOW_MS).unwrap();
    assert_eq!(blob::live(&sql, &hash).unwrap().map(|row| (row.id, row.class)), Some((again, Class::Whole)));
    assert!(!blob::revive(&sql, id).unwrap(), "its successor has come");
    let twice = NewBlob { hash, generation: 3, size: 5, bytes: None };
    assert!(blob::insert(&sql, &twice, NOW_MS).is_err(), "one live row a hash");
    assert!(!blob::remove(&sql, again).unwrap(), "it is live");
    assert!(blob::remove(&sql, id).unwrap());
    assert_eq!(blob::get(&sql, id).unwrap(), None);
    assert_eq!(blob::bytes(&sql, id).unwrap(), None);
}

#[test]
fn content_that_did_not_change_is_not_charged_again() {
    // FS-91
    let sql = tables();
    let on = {
        let bucket = bucket(&sql);
        on(bucket, branch(&sql, bucket, "main", None))
    };
    let used = || bucket::get(&sql, on.bucket).unwrap().map(|row| (row.used_bytes, row.used_files)).unwrap();
    let first = inline(&sql, b"hello");
    inode::write(&sql, on, &file(2, 1, Some(first), 5)).unwrap();
    assert_eq!(used(), (5, 1));
    let chmod = Changed { content: false, attributes: true };
    inode::write(&sql, on, &Inode { mode: 0o600, changed: chmod, ..file(2, 2, Some(first), 5) }).unwrap();
    assert_eq!(used(), (5, 1));
    let second = inline(&sql, b"hello world");
    inode::write(&sql, on, &file(2, 3, Some(second), 11)).unwrap();
    assert_eq!(used(), (16, 1), "a version that is kept is charged");
    inode::write(&sql, on, &Inode { changed: chmod, ..file(2, 3, Some(second), 11) }).unwrap();
    assert_eq!(used(), (16, 1), "what one commit writes twice is one version");
    inode::prune(&sql, on, ino(2), seq(1)).unwrap();
    assert_eq!(used(), (16, 1), "its heir still has its content");
    let heir = inode::newest(&sql, on.branch, ino(2), seq(2)).unwrap().unwrap();
    assert_eq!((heir.changed, heir.mode), (Changed::ALL, 0o600));
    inode::prune(&sql, on, ino(2), seq(2)).unwrap();
    assert_eq!(used(), (11, 1));
    inode::prune(&sql, on, ino(2), seq(3)).unwrap();
    inode::prune(&sql, on, ino(2), seq(3)).unwrap();
    assert_eq!(used(), (0, 0));
}

#[test]
fn extended_attributes_are_charged_with_each_version_that_keeps_them() {
    // FS-91
    let sql = tables();
    let on = {
        let bucket = bucket(&sql);
        on(bucket, branch(&sql, bucket, "main", None))
    };
    let used = || bucket::get(&sql, on.bucket).unwrap().unwrap().used_bytes;
    let with = |at: u64, bytes: usize, changed: Changed| Inode {
        xattrs: Some(vec![7; bytes].into()),
        changed,
        ..file(2, at, None, 0)
    };
    let attributes = Changed { content: false, attributes: true };
    inode::write(&sql, on, &with(1, 100, Changed::ALL)).unwrap();
    inode::write(&sql, on, &with(2, 30, attributes)).unwrap();
    assert_eq!(used(), 130);
    inode::write(&sql, on, &with(2, 50, attributes)).unwrap();
    assert_eq!(used(), 150, "what one commit writes twice is one version");
    let content = inline(&sql, b"hello");
    inode::write(
        &sql,
        on,
        &Inode { blob: Some(content), size: 5, ..with(3, 50, Changed { content: true, attributes: false }) },
    )
    .unwrap();
    assert_eq!(used(), 205, "it is kept with the new content too");
    for (at, left) in [(1, 105), (2, 55), (3, 0)] {
        inode::prune(&sql, on, ino(2), seq(at)).unwrap();
        assert_eq!(used(), left);
    }
}

/// Every counter, counted again from the rows that it sums up.
fn counters_are_right(sql: &Connection) {
    let differs = |text: &str| sql.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap();
    let checks = [
        "SELECT count(*) FROM fs_blob WHERE refs <> (SELECT count(*) FROM fs_inode WHERE blob = fs_blob.id)",
        "SELECT count(*) FROM fs_blob WHERE refs <> coalesce((SELECT sum(count) FROM fs_ref WHERE blob = fs_blob.id), 0)",
        "SELECT count(*) FROM fs_ref WHERE count <>
            (SELECT count(*) FROM fs_inode WHERE blob = fs_ref.blob AND branch = fs_ref.branch)",
        "SELECT used_bytes - (SELECT coalesce(sum(size), 0) FROM fs_inode WHERE changed & 1)
            - (SELECT coalesce(sum(length(xattrs)), 0) FROM fs_inode) FROM fs_bucket",
        "SELECT used_files - (SELECT count(*) FROM (SELECT DISTINCT branch, ino FROM fs_inode)) FROM fs_bucket",
    ];
    for check in checks {
        assert_eq!(differs(check), 0, "{check}");
    }
}

proptest! {
    #[test]
    fn counters_hold_whatever_is_written_and_forgotten(
        steps in proptest::collection::vec((0..2usize, 1..4u64, 1..6u64, 0..4u8, any::<bool>(), any::<bool>(), 0..4usize), 1..60)
    ) {
        // FS-90, FS-91
        let sql = tables();
        let bucket = bucket(&sql);
        let main = branch(&sql, bucket, "main", None);
        let branches = [on(bucket, main), on(bucket, branch(&sql, bucket, "dev", Some((main, 3, Mode::Pinned))))];
        let blobs: Vec<BlobId> = (0..3u8).map(|size| inline(&sql, &vec![7; usize::from(size) + 1])).collect();
        for (which, count, at, what, content, attributes, length) in steps {
            let on = branches[which];
            match what.checked_sub(1) {
                None => inode::prune(&sql, on, ino(count), seq(at)).unwrap(),
                Some(blob) => {
                    let row = file(count, at, Some(blobs[usize::from(blob)]), u64::from(blob) + 1);
                    let xattrs = (length > 0).then(|| vec![7; length].into());
                    inode::write(&sql, on, &Inode { xattrs, changed: Changed { content, attributes }, ..row }).unwrap();
                }
            }
            counters_are_right(&sql);
        }
    }
}

#[tokio::test]
async fn a_row_that_no_version_writes_is_an_error_and_no_panic() {
    let (_folder, path, store) = store();
    store.close();
    let sql = Connection::open(path).unwrap();
    sql.execute_batch(
        "PRAGMA ignore_check_constraints = ON; INSERT INTO fs_dent VALUES (1, 1, x'61', 1, 2, 9, 0, NULL);
         INSERT INTO fs_bucket (name, policy) VALUES ('No Name', '')",
    )
    .unwrap();
    assert!(dent::page(&sql, (branch_one(&sql), ino(1)), b"", Seq::MAX, 9).is_err());
    let error = FsError::from(bucket::page(&sql, None, 9).unwrap_err());
    assert!(error.to_string().contains("is no name of a bucket"), "{error}");
}

fn branch_one(sql: &Connection) -> BranchId {
    let bucket = bucket(sql);
    branch(sql, bucket, "main", None)
}

/// The branches with rows of their own that refer to content of this hash.
fn holders(sql: &Connection, hash: &ContentHash) -> Vec<BranchId> {
    let live = blob::live(sql, hash).unwrap();
    live.map_or_else(Vec::new, |row| {
        blob::holders(sql, row.id, None).unwrap().into_iter().map(|(_, _, branch)| branch).collect()
    })
}
