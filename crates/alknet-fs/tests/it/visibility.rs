//! For whom a hash exists (FS-05).

use alknet_fs::{
    BranchId, BranchName, BucketName, ContentHash, Ino, Place, Seq,
    rows::{Kind, branch, branch::Mode, bucket, inode},
    visible,
};

use crate::{fixture, tree_writer::Tree};

const SECRET: &[u8] = b"the plan";

impl Tree {
    /// Gives a file content, as the branch's newest commit.
    fn fill(&self, branch: BranchId, ino: Ino, bytes: &[u8]) -> Seq {
        let (seq, blob) = (self.begin(branch), fixture::inline(&self.sql, bytes));
        let row = inode::Inode { ino, ..fixture::file(2, seq.get(), Some(blob), bytes.len() as u64) };
        inode::write(&self.sql, fixture::on(self.bucket, branch), &row).unwrap();
        seq
    }
    fn file_with(&self, branch: BranchId, name: &str, bytes: &[u8]) -> Ino {
        let ino = self.make(branch, Ino::ROOT, name, Kind::File);
        self.fill(branch, ino, bytes);
        ino
    }
    /// Whether the content exists for somebody who may read these branches of the bucket `proj` and nothing else.
    fn exists_for(&self, branches: &[&str]) -> bool {
        let proj: BucketName = "proj".parse().unwrap();
        let may_read =
            |place: Place<'_>| place.bucket == &proj && branches.contains(&place.branch.map_or("", BranchName::as_str));
        visible(&self.sql, &ContentHash::of(SECRET), None, may_read).unwrap().is_some()
    }
}

#[test]
fn a_hash_exists_for_who_may_read_a_branch_with_it_and_for_nobody_else() {
    // FS-05
    let tree = Tree::new();
    assert!(!tree.exists_for(&["main"]), "nobody stored it yet");
    let side = tree.fork("side", tree.main, tree.head(), Mode::Pinned);
    let file = tree.file_with(side, "a", SECRET);
    assert!(tree.exists_for(&["side"]) && !tree.exists_for(&["main"]) && !tree.exists_for(&[]));
    tree.fill(side, file, b"something else");
    assert!(tree.exists_for(&["side"]), "in its history");
    let elsewhere = fixture::branch(&tree.sql, tree.bucket, "elsewhere", None);
    tree.file_with(elsewhere, "b", b"of no interest");
    assert!(!tree.exists_for(&["elsewhere"]));
    let found = |within| visible(&tree.sql, &ContentHash::of(SECRET), Some(within), |_| true).unwrap().is_some();
    let other = bucket::insert(&tree.sql, &"other".parse().unwrap(), &bucket::Terms::default()).unwrap();
    assert!(found(tree.bucket) && !found(other), "another bucket does not refer to it");
    bucket::remove(&tree.sql, tree.bucket).unwrap();
    assert!(!tree.exists_for(&["side"]), "a removed bucket shows nothing");
}

#[test]
fn a_branch_sees_the_content_of_those_it_was_made_from_as_far_as_it_sees_them() {
    // FS-05
    let tree = Tree::new();
    let file = tree.file_with(tree.main, "a", b"before");
    tree.fork("early", tree.main, tree.head(), Mode::Pinned);
    let follower = tree.fork("follower", tree.main, tree.head(), Mode::Follow);
    let own = tree.fork("own", tree.main, tree.head(), Mode::Follow);
    tree.fill(own, file, b"its own words");
    tree.fill(tree.main, file, SECRET);
    tree.fill(tree.main, file, b"after");
    let late = tree.fork("late", tree.main, tree.head(), Mode::Pinned);
    tree.fork("grandchild", late, tree.head(), Mode::Pinned);
    tree.fork("cousin", follower, tree.head(), Mode::Pinned);
    assert!(!tree.exists_for(&["early"]), "made before the content came");
    assert!(!tree.exists_for(&["own"]), "what it overrides it never shows");
    for seeing in ["main", "late", "grandchild", "follower", "cousin"] {
        assert!(tree.exists_for(&[seeing]), "{seeing}");
    }
    branch::hide(&tree.sql, late).unwrap();
    assert!(!tree.exists_for(&["late"]) && tree.exists_for(&["grandchild"]));
}
