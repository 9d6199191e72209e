//! Branches, snapshots, versions by name and time, and what goes when a branch or bucket does.

use std::{collections::BTreeSet, str::FromStr};

use alknet_core::{Identity, Maintenance, ResourceGrants};
use alknet_fs::{
    Address, BranchName, Change, Errno, FsError, RemoveHow, Right, Seq, Terms, When, history::History,
    limits::MAX_CHAIN_LEVELS, rows::branch::Mode,
};

use crate::node::{Node, errno, main_branch, mkdir, path, proj, put, remove};

const TASK: Maintenance = Maintenance::of("test");

impl Node {
    pub async fn branch(&self, name: &str, from: &str, mode: Mode) -> Result<alknet_fs::Branch, FsError> {
        let view = self.view(from).await?;
        self.tree.create_branch(&self.permit(Right::Branch, Some(name)), &name.parse().unwrap(), &view, mode).await
    }
    pub async fn remove_branch(&self, name: &str) -> Result<(), FsError> {
        let permit = self.permit(Right::Branch, Some(name));
        self.tree.remove_branch(&permit, &proj(), &name.parse().unwrap()).await
    }
    pub async fn snapshot(&self, branch: &str, name: &str, when: When) -> Result<alknet_fs::Snapshot, FsError> {
        let (permit, of) = (self.permit(Right::Branch, Some(branch)), branch.parse().unwrap());
        self.tree.create_snapshot(&permit, (&proj(), &of), &name.parse().unwrap(), &when).await
    }
    pub async fn remove_snapshot(&self, branch: &str, name: &str) -> Result<(), FsError> {
        let (permit, of) = (self.permit(Right::Branch, Some(branch)), branch.parse().unwrap());
        self.tree.remove_snapshot(&permit, (&proj(), &of), &name.parse().unwrap()).await
    }
    pub async fn branch_names(&self) -> BTreeSet<String> {
        let permit = self.permit(Right::Read, None);
        let branches = self.tree.branches(&permit, &proj()).await.unwrap();
        branches.into_iter().map(|branch| branch.name.to_string()).collect()
    }
    /// Rows of the file system that are left.
    pub fn rows_left(&self) -> Vec<(&'static str, i64)> {
        let tables = ["fs_dent", "fs_inode", "fs_commit", "fs_branch", "fs_snapshot", "fs_ref", "fs_bucket"];
        let count = |sql: &rusqlite::Connection, table: &str| -> Result<i64, FsError> {
            Ok(sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
        };
        let all = |sql: &rusqlite::Connection| tables.map(|table| count(sql, table).map(|left| (table, left)));
        let counts = self.tree.tables().read_here(|sql| Ok::<_, FsError>(all(sql))).unwrap();
        counts.into_iter().map(Result::unwrap).filter(|(_, left)| *left > 0).collect()
    }
}

#[tokio::test]
async fn a_branch_begins_as_a_version_and_goes_its_own_way() {
    // TREE-40
    let node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    let early = node.main(put("/a", "22")).await.unwrap().seq;
    node.main(put("/b", "3")).await.unwrap();
    let made = node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    let origin = made.origin.clone().unwrap();
    assert_eq!((origin.parent, origin.at, origin.mode), (Some(main_branch()), made.made, Mode::Pinned));
    node.branch("old", &format!("proj@{early}"), Mode::Pinned).await.unwrap();
    node.branch("live", "proj", Mode::Follow).await.unwrap();
    node.main(put("/c", "4")).await.unwrap();
    node.change("dev", vec![remove("/a", RemoveHow::File), put("/d", "5")]).await.unwrap();
    assert_eq!(node.names("proj:dev/").await.unwrap(), ["b", "d"]);
    assert_eq!(node.names("proj:old/").await.unwrap(), ["a"]);
    assert_eq!(node.names("proj:live/").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(node.names("proj/").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(node.names("proj:dev@2/").await.unwrap(), ["a"], "before the fork it shows its parent");
    assert_eq!(errno(node.branch("dev", "proj", Mode::Pinned).await), Errno::Exist);
    assert_eq!(errno(node.branch("x", "proj:none", Mode::Pinned).await), Errno::NoEnt);
    assert_eq!(errno(node.branch("x", "proj@none", Mode::Pinned).await), Errno::NoEnt);
}

#[tokio::test]
async fn a_chain_of_branches_has_an_end() {
    // TREE-40
    let node = Node::with_bucket().await;
    for (kind, mode) in [("p", Mode::Pinned), ("f", Mode::Follow)] {
        let mut last = "main".to_owned();
        for number in 1..MAX_CHAIN_LEVELS {
            let name = format!("{kind}{number}");
            node.branch(&name, &format!("proj:{last}"), mode).await.unwrap();
            last = name;
        }
        node.change(&last, vec![put("/a", "1")]).await.unwrap();
        for mode in [Mode::Pinned, Mode::Follow] {
            let error = node.branch("more", &format!("proj:{last}"), mode).await.unwrap_err();
            assert!(
                error.to_string().contains("flatten the one that it is made from, or follow one that comes before it"),
                "{error}"
            );
            assert_eq!(errno(Err::<(), _>(error)), Errno::TooMany);
        }
    }
    node.branch("more", "proj:f62", Mode::Follow).await.unwrap();
}

#[tokio::test]
async fn a_removed_branch_lives_on_in_those_made_from_it() {
    // TREE-41
    let node = Node::with_bucket().await;
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    node.change("dev", vec![put("/a", "1")]).await.unwrap();
    node.branch("leaf", "proj:dev", Mode::Pinned).await.unwrap();
    node.change("leaf", vec![put("/b", "2")]).await.unwrap();
    node.remove_branch("dev").await.unwrap();
    assert_eq!(errno(node.view("proj:dev").await.map(|_| ())), Errno::NoEnt);
    assert_eq!(errno(node.change("dev", vec![put("/x", "")]).await), Errno::NoEnt);
    assert_eq!(node.branch_names().await, ["leaf".to_owned(), "main".to_owned()].into());
    assert!(!node.tree.reap(&TASK).await.unwrap(), "nothing goes while a branch reads through it");
    assert_eq!(node.names("proj:leaf/").await.unwrap(), ["a", "b"]);
    let listed = node.tree.branches(&node.permit(Right::Read, None), &proj()).await.unwrap();
    assert_eq!(listed[0].origin.as_ref().unwrap().parent, None, "a name that stands for nothing any more");
    node.branch("dev", "proj:leaf", Mode::Pinned).await.unwrap();
    assert_eq!(node.names("proj:dev/").await.unwrap(), ["a", "b"], "the name is free");
    node.remove_branch("dev").await.unwrap();
    let view = node.view("proj:leaf").await.unwrap();
    node.remove_branch("leaf").await.unwrap();
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(view.list(&path("/"), None, 9, true).await.unwrap().entries.len(), 2, "who looks at it goes on");
    drop(view);
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(node.rows_left(), [("fs_commit", 3), ("fs_branch", 1), ("fs_bucket", 1)]);
    let usage = node.tree.usage(&node.permit(Right::Read, None), &proj()).await.unwrap();
    assert_eq!((usage.bucket.used_bytes, usage.bucket.used_files), (0, 0), "the quota is given back");
    assert_eq!(errno(node.remove_branch("main").await), Errno::Perm, "a bucket has a branch");
}

#[tokio::test]
async fn a_removed_bucket_leaves_no_row() {
    // TREE-41
    let node = Node::with_bucket().await;
    node.change("main", (0..600).map(|number| put(&format!("/{number}"), &format!("{number}"))).collect())
        .await
        .unwrap();
    node.branch("dev", "proj", Mode::Follow).await.unwrap();
    node.change("dev", vec![remove("/1", RemoveHow::File), mkdir("/d")]).await.unwrap();
    node.snapshot("dev", "s", When::Now).await.unwrap();
    node.tree.remove_bucket(&node.permit(Right::Admin, None), &proj(), true).await.unwrap();
    node.create_bucket(Terms::default()).await.unwrap();
    node.main(put("/new", "1")).await.unwrap();
    while node.tree.reap(&TASK).await.unwrap() {}
    assert_eq!(node.names("proj/").await.unwrap(), ["new"]);
    let left = [("fs_dent", 1), ("fs_inode", 1), ("fs_commit", 2), ("fs_branch", 1), ("fs_ref", 1), ("fs_bucket", 1)];
    assert_eq!(node.rows_left(), left);
}

#[tokio::test]
async fn a_snapshot_is_a_name_for_a_version() {
    // TREE-42
    let mut node = Node::with_bucket().await;
    let first = node.main(put("/a", "1")).await.unwrap().seq;
    let taken = node.snapshot("main", "one", When::Now).await.unwrap();
    assert_eq!((taken.seq, taken.branch), (first, main_branch()));
    node.main(put("/b", "2")).await.unwrap();
    node.snapshot("main", "again", When::Snapshot("one".parse().unwrap())).await.unwrap();
    node.restart();
    assert_eq!(node.names("proj@one/").await.unwrap(), ["a"]);
    assert_eq!(node.names("proj@again/").await.unwrap(), ["a"]);
    assert_eq!(errno(node.snapshot("main", "one", When::Now).await), Errno::Exist);
    assert_eq!(errno(node.snapshot("main", "two", When::Seq(Seq::new(99).unwrap())).await), Errno::NoEnt);
    // HIST-32
    for before in [When::Seq(Seq::ZERO), When::Time(0)] {
        assert_eq!(errno(node.snapshot("main", "two", before).await), Errno::NoBucketThen);
    }
    assert_eq!(errno(node.branch("early", "proj@1970-01-01T00:00:00Z", Mode::Pinned).await), Errno::NoBucketThen);
    node.branch("dev", "proj@one", Mode::Pinned).await.unwrap();
    assert_eq!(node.names("proj:dev/").await.unwrap(), ["a"], "a branch can begin at it");
    assert_eq!(errno(node.names("proj:dev@one/").await), Errno::NoEnt, "it is of its branch alone");
    assert_eq!(errno(node.remove_snapshot("dev", "one").await), Errno::NoEnt);
    node.snapshot("dev", "two", When::Now).await.unwrap();
    assert_eq!(errno(node.remove_branch("dev").await), Errno::NotEmpty, "a snapshot keeps its branch");
    node.remove_snapshot("dev", "two").await.unwrap();
    node.remove_branch("dev").await.unwrap();
    node.remove_snapshot("main", "one").await.unwrap();
    let names: Vec<_> = node.tree.snapshots(&node.permit(Right::Read, None), &proj()).await.unwrap();
    assert_eq!(names.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["again"]);
}

#[tokio::test]
async fn branches_and_snapshots_that_may_not_be_read_are_not_listed() {
    // TREE-43
    let node = Node::with_bucket().await;
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    node.snapshot("main", "one", When::Now).await.unwrap();
    node.snapshot("dev", "two", When::Now).await.unwrap();
    let mut grants = ResourceGrants::default();
    grants.grant("bucket:proj/dev".parse().unwrap(), "fs:read");
    let ann = Identity::new("ann", std::iter::once("fs:read".parse().unwrap()).collect(), grants);
    let permit = node.permit_of(ann, "fs/branch.list", Right::Read, Some("dev"));
    let branches = node.tree.branches(&permit, &proj()).await.unwrap();
    assert_eq!(branches.len(), 1);
    assert_eq!((branches[0].name.as_str(), branches[0].origin.as_ref().unwrap().parent.as_ref()), ("dev", None));
    let snapshots = node.tree.snapshots(&permit, &proj()).await.unwrap();
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["two"]);
    assert_eq!(node.tree.buckets(&permit, None, 9).await.unwrap().buckets.len(), 1);
    let nobody = Identity::new("bob", std::iter::once("fs:read".parse().unwrap()).collect(), {
        let mut grants = ResourceGrants::default();
        grants.grant("bucket:proj/other".parse().unwrap(), "fs:read");
        grants
    });
    let permit = node.permit_of(nobody, "fs/branch.list", Right::Read, Some("other"));
    assert_eq!(errno(node.tree.branches(&permit, &proj()).await), Errno::NoEnt);
    assert_eq!(errno(node.tree.snapshots(&permit, &proj()).await), Errno::NoEnt);
    assert_eq!(node.tree.buckets(&permit, None, 9).await.unwrap().buckets, []);
    let other: BranchName = "other".parse().unwrap();
    assert_eq!(errno(node.tree.view_of(&permit, &proj(), &other, &When::Now).await.map(|_| ())), Errno::NoEnt);
}

/// Somebody who may read these branches and no others.
fn reader(branches: &[&str]) -> Identity {
    let mut grants = ResourceGrants::default();
    for branch in branches {
        grants.grant(format!("bucket:proj/{branch}").parse().unwrap(), "fs:read");
    }
    Identity::new("bob", std::iter::once("fs:read".parse().unwrap()).collect(), grants)
}

impl Node {
    async fn seen(&self, who: &Identity, address: &str) -> Result<Vec<String>, FsError> {
        let at = Address::parse(address.as_bytes(), 0).unwrap();
        let permit = self.permit_of(who.clone(), "fs/list", Right::Read, Some(at.branch_or_main().as_str()));
        let page = self.tree.view(&permit, &at).await?.list(&path("/"), None, 9, true).await?;
        Ok(page.entries.iter().map(|entry| entry.name.to_string()).collect())
    }
}

#[tokio::test]
async fn who_may_not_read_the_parent_sees_nothing_of_it_from_before_the_fork() {
    // FS-88
    let node = Node::with_bucket().await;
    node.main(put("/secret", "1")).await.unwrap();
    let before = node.main(put("/a", "2")).await.unwrap().seq;
    let fork = node.main(remove("/secret", RemoveHow::File)).await.unwrap().seq;
    node.branch("public", "proj", Mode::Pinned).await.unwrap();
    let own = node.change("public", vec![put("/b", "3")]).await.unwrap().seq;
    node.branch("copy", "proj:public", Mode::Pinned).await.unwrap();
    let partner = reader(&["public", "copy"]);
    for flattened in [false, true] {
        if flattened {
            let (permit, names) =
                (node.permit(Right::Branch, Some("public")), (proj(), BranchName::from_str("public").unwrap()));
            History::new(node.tree.clone()).flatten(&permit, (&names.0, &names.1)).await.unwrap();
        }
        for branch in ["public", "copy"] {
            let at = |seq: Seq| format!("proj:{branch}@{seq}/");
            assert_eq!(node.seen(&partner, &at(own)).await.unwrap(), ["a", "b"]);
            assert_eq!(node.seen(&partner, &at(fork)).await.unwrap(), ["a"], "as it began");
            assert_eq!(errno(node.seen(&partner, &at(before)).await), Errno::NoEnt, "{branch}");
            for may in [reader(&["public", "copy", "main"]), Identity::owner("me")] {
                assert_eq!(node.seen(&may, &at(before)).await.unwrap(), ["a", "secret"]);
            }
        }
        assert_eq!(node.seen(&reader(&["copy"]), &format!("proj:copy@{own}/")).await.unwrap(), ["a", "b"]);
        assert_eq!(errno(node.seen(&reader(&["copy"]), &format!("proj:copy@{fork}/")).await), Errno::NoEnt);
    }
}

#[tokio::test]
async fn who_may_not_read_a_followed_parent_sees_nothing_of_what_came_to_it_later() {
    // FS-88
    let node = Node::with_bucket().await;
    node.main(put("/a", "1")).await.unwrap();
    node.branch("live", "proj", Mode::Follow).await.unwrap();
    node.branch("second", "proj:live", Mode::Follow).await.unwrap();
    node.change("live", vec![put("/own", "2")]).await.unwrap();
    node.main(put("/later", "3")).await.unwrap();
    node.main(put("/a", "changed")).await.unwrap();
    let narrow = reader(&["live", "second"]);
    for branch in ["live", "second"] {
        let at = format!("proj:{branch}/");
        assert_eq!(node.seen(&narrow, &at).await.unwrap(), ["a", "own"], "{branch}");
        for may in [reader(&["live", "second", "main"]), Identity::owner("me")] {
            assert_eq!(node.seen(&may, &at).await.unwrap(), ["a", "later", "own"], "{branch}");
        }
    }
    assert_eq!(node.seen(&reader(&["second"]), "proj:second/").await.unwrap(), ["a"]);
    let permit = node.permit_of(narrow, "fs/branch.create", Right::Read, Some("live"));
    let view = node.tree.view(&permit, &Address::parse(b"proj:live", 0).unwrap()).await.unwrap();
    assert_eq!(view.stat(&path("/a"), false).await.unwrap().size, 1);
    let make = node.permit(Right::Branch, Some("kept"));
    let made = node.tree.create_branch(&make, &"kept".parse().unwrap(), &view, Mode::Pinned).await;
    assert_eq!(errno(made), Errno::Perm, "it would show what its maker does not see");
}

#[tokio::test]
async fn what_is_put_on_a_follower_counts_also_where_it_had_only_attributes_of_its_own() {
    // TREE-30
    let node = Node::with_bucket().await;
    node.main(put("/f", "1")).await.unwrap();
    node.branch("live", "proj", Mode::Follow).await.unwrap();
    let mode =
        |mode| Change::SetAttributes { at: path("/f"), mode: Some(mode), mtime_ns: None, xattrs: None, follow: true };
    node.change("live", vec![mode(0o600)]).await.unwrap();
    node.main(put("/f", "22")).await.unwrap();
    assert_eq!(node.stat("proj:live/f").await.unwrap().size, 2, "content comes from the parent still");
    node.change("live", vec![put("/f", "1")]).await.unwrap();
    let (live, main) = (node.stat("proj:live/f").await.unwrap(), node.stat("proj/f").await.unwrap());
    assert_eq!((live.size, live.mode, main.size), (1, 0o600, 2));
    node.main(put("/f", "333")).await.unwrap();
    assert_eq!(node.stat("proj:live/f").await.unwrap().size, 1);
}
