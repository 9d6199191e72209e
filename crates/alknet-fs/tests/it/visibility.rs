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
        self.holds_for(SECRET, branches)
    }
    fn holds_for(&self, content: &[u8], branches: &[&str]) -> bool {
        let proj: BucketName = "proj".parse().unwrap();
        let may_read =
            |place: Place<'_>| place.bucket == &proj && branches.contains(&place.branch.map_or("", BranchName::as_str));
        visible(&self.sql, &ContentHash::of(content), None, may_read).unwrap().is_some()
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
    assert!(tree.exists_for(&["main"]));
    for made in ["late", "grandchild", "follower", "cousin"] {
        assert!(!tree.exists_for(&[made]), "{made}: who may not read main sees what it began as");
    }
    for (content, seeing) in [("before", ["early", "follower", "own"]), ("after", ["late", "grandchild", "cousin"])] {
        for seeing in seeing {
            assert!(tree.holds_for(content.as_bytes(), &[seeing]), "{seeing} shows what was there when it began");
        }
    }
    branch::hide(&tree.sql, late).unwrap();
    assert!(!tree.holds_for(b"after", &["late"]) && tree.holds_for(b"after", &["grandchild"]));
}

#[test]
fn content_that_has_no_name_any_more_on_a_following_branch_does_not_exist_for_its_readers() {
    // FS-05
    let tree = Tree::new();
    let file = tree.file_with(tree.main, "a", b"before");
    let follower = tree.fork("follower", tree.main, tree.head(), Mode::Follow);
    tree.remove(follower, Ino::ROOT, "a");
    tree.fill(tree.main, file, SECRET);
    let whole = |place: Place<'_>| place.branch.is_none_or(|branch| branch.as_str() == "follower");
    let exists = |content: &[u8]| visible(&tree.sql, &ContentHash::of(content), None, whole).unwrap().is_some();
    assert!(exists(b"before") && !exists(SECRET));
}
