//! Folders, files, removal, pages, quotas and permits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alknet_core::{Identity, PermitError, ResourceGrants, Standing};
use alknet_fs::{
    Body, Change, ContentHash, Errno, Expect, FsError, Policy, Put, RemoveHow, Right, Seq, Terms, Xattrs,
    rows::{Kind, commit},
};
use alknet_store::Durability;

use crate::node::{BEGIN_NS, Node, bytes, errno, main_branch, mkdir, name, path, proj, put, put_if, remove};

#[tokio::test]
async fn what_is_put_is_there_and_what_is_removed_is_not() {
    // TREE-01
    let node = Node::with_bucket().await;
    node.main(mkdir("/d")).await.unwrap();
    let committed = node.main(put("/d/f", "hello")).await.unwrap();
    assert_eq!((committed.seq, committed.durability), (Seq::new(3).unwrap(), Durability::Strict));
    let file = node.stat("proj/d/f").await.unwrap();
    assert_eq!((file.kind, file.size, file.mode, file.nlink), (Kind::File, 5, 0o644, Some(1)));
    assert_eq!((file.hash, file.seq), (Some(ContentHash::of(b"hello")), committed.seq));
    assert_eq!(file.mtime_ns, i64::try_from(BEGIN_NS).unwrap());
    let folder = node.stat("proj/d").await.unwrap();
    assert_eq!((folder.kind, folder.mode, folder.nlink, folder.hash), (Kind::Folder, 0o755, Some(1), None));
    assert_eq!(node.names("proj/").await.unwrap(), ["d"]);
    assert_eq!(errno(node.main(remove("/d", RemoveHow::File)).await), Errno::IsDir);
    assert_eq!(errno(node.main(remove("/d", RemoveHow::EmptyFolder)).await), Errno::NotEmpty);
    assert_eq!(errno(node.main(remove("/d/f", RemoveHow::EmptyFolder)).await), Errno::NotDir);
    assert_eq!(errno(node.main(remove("/x", RemoveHow::File)).await), Errno::NoEnt);
    node.main(remove("/d/f", RemoveHow::File)).await.unwrap();
    node.main(remove("/d", RemoveHow::EmptyFolder)).await.unwrap();
    assert_eq!(node.names("proj/").await.unwrap(), Vec::<String>::new());
    assert_eq!(node.names("proj@3/d").await.unwrap(), ["f"], "as it was");
    for change in [remove("/", RemoveHow::Recursive), remove("/", RemoveHow::EmptyFolder)] {
        assert_eq!(errno(node.main(change).await), Errno::Inval);
    }
    assert_eq!(errno(node.main(mkdir("/")).await), Errno::Exist);
}

#[tokio::test]
async fn many_changes_are_one_commit_or_none() {
    // TREE-02
    let node = Node::with_bucket().await;
    let all = vec![mkdir("/a"), put("/a/x", "1"), put("/a/x", "22"), remove("/a/x", RemoveHow::File), put("/y", "3")];
    assert_eq!(node.change("main", all).await.unwrap().seq, Seq::new(2).unwrap());
    assert_eq!(node.names("proj/").await.unwrap(), ["a", "y"]);
    assert_eq!(node.names("proj/a").await.unwrap(), Vec::<String>::new());
    let error = node.change("main", vec![put("/z", "1"), mkdir("/a")]).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot make the folder /a: it exists already");
    assert_eq!(errno(node.stat("proj/z").await), Errno::NoEnt, "the first change went with the second");
    let nothing = Change::MakeFolder { at: path("/a"), mode: 0o700, parents: true };
    assert_eq!(node.main(nothing).await.unwrap().seq, Seq::new(2).unwrap(), "what changes nothing is no commit");
    assert_eq!(node.main(put("/z", "1")).await.unwrap().seq, Seq::new(3).unwrap());
}

#[tokio::test]
async fn folders_above_are_made_on_demand() {
    // TREE-03
    let node = Node::with_bucket().await;
    assert_eq!(errno(node.main(mkdir("/a/b")).await), Errno::NoEnt);
    node.main(Change::MakeFolder { at: path("/a/b/c"), mode: 0o700, parents: true }).await.unwrap();
    assert_eq!(node.stat("proj/a/b").await.unwrap().mode, 0o755);
    assert_eq!(node.stat("proj/a/b/c").await.unwrap().mode, 0o700);
    let deep = Put { parents: true, ..Put::new(path("/a/n/f"), bytes("")) };
    node.main(Change::Put(deep)).await.unwrap();
    assert_eq!(node.names("proj/a").await.unwrap(), ["b", "n"]);
    assert_eq!(errno(node.main(mkdir("/a/n/f/x")).await), Errno::NotDir);
    let through = |at| Change::MakeFolder { at: path(at), mode: 0o700, parents: true };
    assert_eq!(errno(node.main(through("/a/n/f/x/y")).await), Errno::NotDir);
    assert_eq!(errno(node.main(through("/a/n/f")).await), Errno::Exist);
    assert_eq!(
        errno(node.main(Change::MakeFolder { at: path("/q"), mode: 0o10_000, parents: false }).await),
        Errno::Inval
    );
}

#[tokio::test]
async fn new_content_keeps_what_is_not_given() {
    // TREE-04
    let node = Node::with_bucket().await;
    let xattrs = Xattrs::new([("user.a", "1")]).unwrap();
    let first =
        Put { mode: Some(0o600), mtime_ns: Some(-5), xattrs: Some(xattrs.clone()), ..Put::new(path("/f"), bytes("1")) };
    node.main(Change::Put(first)).await.unwrap();
    let before = node.stat("proj/f").await.unwrap();
    assert_eq!((before.mode, before.mtime_ns, &before.xattrs), (0o600, -5, &xattrs));
    let now = node.tick();
    node.main(put("/f", "22")).await.unwrap();
    let after = node.stat("proj/f").await.unwrap();
    assert_eq!((after.ino, after.mode, after.mtime_ns, after.size), (before.ino, 0o600, now, 2));
    assert_eq!((after.xattrs, after.ctime_ns), (xattrs, Some(now)));
    node.main(Change::Put(Put { xattrs: Some(Xattrs::default()), ..Put::new(path("/f"), bytes("")) })).await.unwrap();
    let after = node.stat("proj/f").await.unwrap();
    assert_eq!((after.hash, after.xattrs.is_empty()), (Some(ContentHash::of(b"")), true));
    assert_eq!(errno(node.main(put("/", "x")).await), Errno::IsDir);
}

#[tokio::test]
async fn a_writer_can_say_what_it_expects() {
    // TREE-05
    let node = Node::with_bucket().await;
    let seq = node.main(put_if("/f", "1", Expect::Absent)).await.unwrap().seq;
    assert_eq!(errno(node.main(put_if("/f", "2", Expect::Absent)).await), Errno::Exist);
    node.main(put("/other", "")).await.unwrap();
    let now = node.main(put_if("/f", "2", Expect::Version(seq))).await.unwrap().seq;
    let refused = |expect| {
        let node = &node;
        async move { matches!(node.main(put_if("/f", "3", expect)).await, Err(FsError::Conflict { path }) if path == "/f") }
    };
    assert!(refused(Expect::Version(seq)).await);
    assert!(refused(Expect::Hash(ContentHash::of(b"1"))).await);
    assert!(matches!(node.main(put_if("/no", "3", Expect::Version(now))).await, Err(FsError::Conflict { .. })));
    node.main(put_if("/f", "", Expect::Hash(ContentHash::of(b"2")))).await.unwrap();
    node.main(put_if("/f", "4", Expect::Hash(ContentHash::of(b"")))).await.unwrap();
    node.main(remove("/f", RemoveHow::File)).await.unwrap();
    node.main(put_if("/f", "5", Expect::Absent)).await.unwrap();
}

#[tokio::test]
async fn everything_below_a_folder_goes_with_it() {
    // TREE-06
    let node = Node::with_bucket().await;
    let mut all = vec![mkdir("/d"), mkdir("/d/e"), mkdir("/d/e/f"), put("/keep", "")];
    for folder in ["/d", "/d/e", "/d/e/f"] {
        all.extend((0..300).map(|number| put(&format!("{folder}/{number}"), "x")));
    }
    let full = node.change("main", all).await.unwrap().seq;
    node.main(remove("/d", RemoveHow::Recursive)).await.unwrap();
    assert_eq!(node.names("proj/").await.unwrap(), ["keep"]);
    assert_eq!(node.names(&format!("proj@{full}/d/e/f")).await.unwrap().len(), 300);
    node.main(remove("/keep", RemoveHow::Recursive)).await.unwrap();
    assert_eq!(errno(node.main(remove("/keep", RemoveHow::Recursive)).await), Errno::NoEnt);
}

#[tokio::test]
async fn a_folder_is_read_in_pages() {
    // TREE-07
    let node = Node::with_bucket().await;
    node.change("main", (0..7).map(|number| put(&format!("/{number}"), "x")).collect()).await.unwrap();
    let view = node.view("proj").await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = view.list(&path("/"), after.as_ref(), 3, false).await.unwrap();
        assert!(page.entries.iter().all(|entry| entry.attributes.is_none()));
        seen.extend(page.entries.iter().map(|entry| entry.name.to_string()));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6"]);
    let last = view.list(&path("/"), Some(&name("3")), 3, true).await.unwrap();
    assert_eq!((last.entries.len(), last.next), (3, None), "no page is promised that would be empty");
    assert_eq!(last.entries[0].attributes.as_ref().unwrap().size, 1);
    assert_eq!(errno(view.list(&path("/1"), None, 3, true).await), Errno::NotDir);
    assert_eq!(errno(view.list(&path("/x"), None, 3, true).await), Errno::NoEnt);
}

#[tokio::test]
async fn a_view_stays_as_it_was_found() {
    // TREE-08
    let mut node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    let view = node.view("proj").await.unwrap();
    node.main(put("/b", "2")).await.unwrap();
    assert_eq!(view.list(&path("/"), None, 9, false).await.unwrap().entries.len(), 1);
    let here = view.here(|here| here.stat(&path("/a"), true)).unwrap();
    assert_eq!(here.size, 1);
    assert_eq!(node.tree.handles().pinned(view.bucket_id()), [view.bound()]);
    let id = view.bucket_id();
    drop(view);
    assert_eq!(node.tree.handles().pinned(id), []);
    node.restart();
    assert_eq!(node.names("proj/").await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_quota_is_asked_in_the_change_that_needs_it() {
    // TREE-60
    let node = Node::new();
    let terms = Terms { quota_bytes: Some(10), quota_files: Some(3), ..Terms::default() };
    node.create_bucket(terms).await.unwrap();
    node.main(put("/a", "123456")).await.unwrap();
    assert_eq!(errno(node.main(put("/b", "12345")).await), Errno::Quota);
    node.change("main", vec![put("/b", "1234"), mkdir("/d")]).await.unwrap();
    assert_eq!(errno(node.main(mkdir("/e")).await), Errno::Quota);
    assert_eq!(errno(node.main(put("/a", "1")).await), Errno::Quota, "the version before is kept");
    node.main(remove("/a", RemoveHow::File)).await.unwrap();
    let admin = node.permit(Right::Admin, None);
    let set = node.tree.set_bucket(&admin, &proj(), |terms| terms.quota_files = Some(1)).await.unwrap();
    assert_eq!((set.used_bytes, set.used_files, set.terms.quota_files), (10, 3, Some(1)));
    assert_eq!(errno(node.main(mkdir("/e")).await), Errno::Quota);
    node.main(remove("/d", RemoveHow::EmptyFolder)).await.unwrap();
    node.tree.set_bucket(&admin, &proj(), |terms| *terms = Terms::default()).await.unwrap();
    node.main(put("/a", "123456")).await.unwrap();
    let read = node.permit(Right::Read, None);
    assert_eq!(node.tree.bucket(&read, &proj()).await.unwrap().used_bytes, 16);
}

#[tokio::test]
async fn attributes_fill_a_quota_as_content_does() {
    // TREE-60, FS-91
    let node = Node::new();
    node.create_bucket(Terms { quota_bytes: Some(1000), ..Terms::default() }).await.unwrap();
    node.main(put("/a", "1")).await.unwrap();
    let set = |length: usize| Change::SetAttributes {
        at: path("/a"),
        mode: None,
        mtime_ns: None,
        xattrs: Some(Xattrs::new([("user.k", vec![7; length])]).unwrap()),
        follow: true,
    };
    node.main(set(400)).await.unwrap();
    node.main(set(401)).await.unwrap();
    assert_eq!(errno(node.main(set(402)).await), Errno::Quota, "the versions before are kept");
    assert_eq!(node.stat("proj/a").await.unwrap().xattrs.get(b"user.k").map(<[u8]>::len), Some(401));
    let read = node.permit(Right::Read, None);
    // Two bytes for how many there are, five and six for lengths and key.
    assert_eq!(node.tree.bucket(&read, &proj()).await.unwrap().used_bytes, 1 + 413 + 414);
    let usage = node.tree.usage(&read, &proj()).await.unwrap();
    assert_eq!(usage.branches[0].bytes, 1 + 413 + 414, "counted anew");
}

#[tokio::test]
async fn the_bucket_says_what_an_answer_means() {
    // TREE-62
    let node = Node::with_bucket().await;
    let admin = node.permit(Right::Admin, None);
    let lazy = |terms: &mut Terms| terms.policy = Policy { durability: Durability::Lazy, ..Policy::default() };
    assert_eq!(node.main(put("/a", "1")).await.unwrap().durability, Durability::Strict);
    node.tree.set_bucket(&admin, &proj(), lazy).await.unwrap();
    assert_eq!(node.main(put("/a", "2")).await.unwrap().durability, Durability::Lazy);
    let write = node.permit(Right::Write, Some("main"));
    let at = (&proj(), &main_branch());
    let group = node.tree.change(&write, at, vec![put("/a", "3")], Some(Durability::Group)).await.unwrap();
    assert_eq!(group.durability, Durability::Group);
}

#[tokio::test]
async fn buckets_are_made_listed_and_removed() {
    // TREE-63
    let node = Node::new();
    assert_eq!(errno(node.view("proj").await.map(|_| ())), Errno::NoEnt);
    assert_eq!(errno(node.main(put("/a", "1")).await), Errno::NoEnt);
    node.create_bucket(Terms::default()).await.unwrap();
    assert_eq!(errno(node.create_bucket(Terms::default()).await), Errno::Exist);
    assert_eq!(errno(node.change("dev", vec![mkdir("/a")]).await), Errno::NoEnt);
    let root = node.stat("proj/").await.unwrap();
    assert_eq!((root.mode, root.mtime_ns), (0o755, i64::try_from(BEGIN_NS).unwrap()), "as old as the bucket");
    node.main(put("/a", "1")).await.unwrap();
    let (admin, read) = (node.permit(Right::Admin, None), node.permit(Right::Read, None));
    let page = node.tree.buckets(&read, None, 10).await.unwrap();
    assert_eq!((page.buckets.len(), page.next), (1, None));
    assert_eq!(errno(node.tree.remove_bucket(&admin, &proj(), false).await), Errno::NotEmpty);
    let view = node.view("proj").await.unwrap();
    node.tree.remove_bucket(&admin, &proj(), true).await.unwrap();
    assert_eq!(errno(node.tree.remove_bucket(&admin, &proj(), true).await), Errno::NoEnt);
    assert_eq!(node.tree.buckets(&read, None, 10).await.unwrap().buckets, []);
    assert_eq!(view.list(&path("/"), None, 9, false).await.unwrap().entries.len(), 1, "who looks at it goes on");
    node.create_bucket(Terms::default()).await.unwrap();
    assert_eq!(node.names("proj/").await.unwrap(), Vec::<String>::new());
    node.tree.remove_bucket(&admin, &proj(), false).await.unwrap();
}

#[tokio::test]
async fn content_that_is_there_needs_no_bytes() {
    // TREE-10
    let node = Node::with_bucket().await;
    let known = |at, content: &[u8]| Change::Put(Put::new(path(at), Body::Known(ContentHash::of(content))));
    assert_eq!(errno(node.main(known("/b", b"hello")).await), Errno::NoEnt);
    node.main(put("/a", "hello")).await.unwrap();
    node.main(known("/b", b"hello")).await.unwrap();
    node.main(known("/c", b"")).await.unwrap();
    assert_eq!((node.stat("proj/b").await.unwrap().size, node.stat("proj/c").await.unwrap().size), (5, 0));
    let mut grants = ResourceGrants::default();
    grants.grant("bucket:proj/main".parse().unwrap(), "fs:write");
    let blind = Identity::new("ann", ["fs:write"].iter().map(|scope| scope.parse().unwrap()).collect(), grants);
    let permit = node.permit_of(blind, "fs/write", Right::Write, Some("main"));
    let change = node.tree.change(&permit, (&proj(), &main_branch()), vec![known("/d", b"hello")], None).await;
    assert_eq!(errno(change), Errno::NoEnt, "who may not read it, for them it is not there");
}

#[tokio::test]
async fn a_permit_for_something_else_opens_nothing() {
    // TREE-09
    let node = Node::with_bucket().await;
    let (bucket, main) = (proj(), main_branch());
    let not_covered =
        |outcome: Result<(), FsError>| matches!(outcome, Err(FsError::Denied(PermitError::NotCovered { .. })));
    let (read, write) = (node.permit(Right::Read, Some("main")), node.permit(Right::Write, Some("main")));
    let change = node.tree.change(&read, (&bucket, &main), vec![put("/a", "")], None).await;
    assert!(not_covered(change.map(|_| ())));
    let other = node.permit(Right::Write, Some("dev"));
    let change = node.tree.change(&other, (&bucket, &main), vec![put("/a", "")], None).await;
    assert!(not_covered(change.map(|_| ())));
    assert!(not_covered(node.tree.view_of(&write, &bucket, &main, &Default::default()).await.map(|_| ())));
    assert!(not_covered(node.tree.remove_bucket(&write, &bucket, true).await));
    let mut grants = ResourceGrants::default();
    grants.grant("bucket:proj/main".parse().unwrap(), "fs:read");
    grants.grant("bucket:proj/main".parse().unwrap(), "fs:write");
    let ann =
        Identity::new("ann", ["fs:read", "fs:write"].iter().map(|scope| scope.parse().unwrap()).collect(), grants);
    let rights = Arc::new(AtomicU64::new(0));
    let ann = ann.with_standing(Standing::at_present(&rights));
    let permit = node.permit_of(ann.clone(), "fs/put", Right::Write, Some("main"));
    node.tree.change(&permit, (&bucket, &main), vec![put("/a", "")], None).await.unwrap();
    let row = node.tree.tables().read_here(|sql| -> Result<_, FsError> {
        let bucket = alknet_fs::rows::bucket::find(sql, &proj())?.unwrap();
        Ok(commit::newest(sql, bucket.id)?.unwrap())
    });
    let row = row.unwrap();
    assert_eq!((row.actor.as_str(), row.op.as_str()), ("ann", "fs/put"));
    let view = {
        let permit = node.permit_of(ann.clone(), "fs/list", Right::Read, Some("main"));
        node.tree.view_of(&permit, &bucket, &main, &Default::default()).await.unwrap()
    };
    rights.fetch_add(1, Ordering::SeqCst);
    let revoked = |error| matches!(error, FsError::Denied(PermitError::Revoked));
    assert!(revoked(view.stat(&path("/a"), true).await.unwrap_err()));
    assert!(revoked(node.tree.change(&permit, (&bucket, &main), vec![put("/b", "")], None).await.unwrap_err()));
}

#[tokio::test]
async fn the_time_of_commits_does_not_go_back_with_the_clock() {
    // TREE-12
    let mut node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    node.set_clock(BEGIN_NS - 3_600_000_000_000);
    node.restart();
    node.main(put("/b", "2")).await.unwrap();
    let begin = i64::try_from(BEGIN_NS).unwrap();
    let late = node.stat("proj/b").await.unwrap();
    assert_eq!(
        (late.mtime_ns, late.ctime_ns),
        (begin - 3_600_000_000_000, Some(begin)),
        "what the clock says, what is so"
    );
    node.set_clock(BEGIN_NS);
    assert_eq!(node.names("proj@2027-01-15T07:59:59Z/").await.unwrap(), Vec::<String>::new());
    assert_eq!(node.names("proj@2027-01-15T08:00:00Z/").await.unwrap(), ["a", "b"]);
    node.tick();
    let later = node.main(put("/c", "3")).await.unwrap().seq;
    assert_eq!(node.names("proj@2027-01-15T08:00:00Z/").await.unwrap(), ["a", "b"]);
    assert_eq!(node.names(&format!("proj@{later}/")).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(errno(node.names("proj@99/").await), Errno::NoEnt);
    assert_eq!(node.names("proj@0/").await.unwrap(), Vec::<String>::new());
}
