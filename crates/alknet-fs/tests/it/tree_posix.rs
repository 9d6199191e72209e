//! What POSIX says of renames, links, attributes and paths, rule by rule.

use alknet_fs::{
    Change, ContentHash, Errno, Expect, FsPath, Put, RemoveHow, RenameHow, Terms, Xattrs,
    limits::{MAX_COMMIT_ROWS, MAX_RESOLVE_STEPS, MAX_SYMLINK_HOPS, MAX_TARGET_BYTES},
    rows::Kind,
};
use futures_util::StreamExt;

use crate::node::{Node, bytes, errno, mkdir, path, put, put_if, remove};

pub fn rename(from: &str, to: &str, how: RenameHow) -> Change {
    Change::Rename { from: path(from), to: path(to), how }
}
pub fn symlink(at: &str, target: &str) -> Change {
    Change::Symlink { at: path(at), target: target.into(), mtime_ns: None }
}
pub fn hard_link(from: &str, to: &str) -> Change {
    Change::HardLink { from: path(from), to: path(to) }
}
fn set(at: &str, mode: Option<u16>, mtime_ns: Option<i64>) -> Change {
    Change::SetAttributes { at: path(at), mode, mtime_ns, xattrs: None, follow: true }
}

async fn node(changes: Vec<Change>) -> Node {
    let node = Node::with_bucket().await;
    node.change("main", changes).await.unwrap();
    node
}

#[tokio::test]
async fn a_rename_replaces_what_posix_lets_it_replace() {
    // TREE-20
    use RenameHow::Replace;
    let start = vec![mkdir("/d"), mkdir("/e"), put("/d/x", "1"), put("/f", "22"), put("/g", "333"), symlink("/l", "f")];
    let node = node(start).await;
    let moved = node.stat("proj/f").await.unwrap().ino;
    node.main(rename("/f", "/g", Replace)).await.unwrap();
    let found = node.stat("proj/g").await.unwrap();
    assert_eq!((found.ino, found.size), (moved, 2));
    assert_eq!(errno(node.stat("proj/f").await), Errno::NoEnt);
    assert_eq!(errno(node.main(rename("/g", "/e", Replace)).await), Errno::IsDir);
    assert_eq!(errno(node.main(rename("/e", "/g", Replace)).await), Errno::NotDir);
    assert_eq!(errno(node.main(rename("/e", "/d", Replace)).await), Errno::NotEmpty);
    node.main(rename("/d", "/e", Replace)).await.unwrap();
    assert_eq!(node.names("proj/e").await.unwrap(), ["x"], "what is in a folder comes with it");
    node.main(rename("/l", "/g", Replace)).await.unwrap();
    assert_eq!(node.stat("proj/g").await.unwrap().kind, Kind::Symlink, "a link is moved itself, and replaced itself");
    assert_eq!(errno(node.main(rename("/none", "/g", Replace)).await), Errno::NoEnt);
    assert_eq!(errno(node.main(rename("/g", "/none/x", Replace)).await), Errno::NoEnt);
    assert_eq!(errno(node.main(rename("/g/x", "/y", Replace)).await), Errno::NoEnt, "the link leads nowhere");
    let seq = node.main(rename("/e", "/e", Replace)).await.unwrap().seq;
    assert_eq!(node.main(rename("/e/x", "/e/x", Replace)).await.unwrap().seq, seq, "onto itself is nothing");
    let error = node.main(rename("/e/x", "/none/x", Replace)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot move /e/x to /none/x: no such entry");
}

#[tokio::test]
async fn a_rename_can_leave_or_exchange_what_is_there() {
    // TREE-21
    use RenameHow::{Exchange, NoReplace};
    let node = node(vec![mkdir("/d"), put("/d/x", "1"), put("/f", "22"), put("/g", "333")]).await;
    assert_eq!(errno(node.main(rename("/f", "/g", NoReplace)).await), Errno::Exist);
    assert_eq!(errno(node.main(rename("/f", "/f", NoReplace)).await), Errno::Exist);
    node.main(rename("/f", "/h", NoReplace)).await.unwrap();
    assert_eq!(errno(node.main(rename("/h", "/none", Exchange)).await), Errno::NoEnt);
    node.main(rename("/h", "/g", Exchange)).await.unwrap();
    assert_eq!((node.stat("proj/h").await.unwrap().size, node.stat("proj/g").await.unwrap().size), (3, 2));
    node.main(rename("/h", "/d", Exchange)).await.unwrap();
    assert_eq!(node.names("proj/h").await.unwrap(), ["x"], "also a file and a folder");
    assert_eq!(node.stat("proj/d").await.unwrap().size, 3);
    node.change("main", vec![mkdir("/h/i"), mkdir("/h/i/j")]).await.unwrap();
    for (from, to) in [("/h", "/h/i/j"), ("/h/i/j", "/h"), ("/h", "/h/i"), ("/h/i", "/h")] {
        assert_eq!(errno(node.main(rename(from, to, Exchange)).await), Errno::Inval, "{from} {to}");
    }
}

#[tokio::test]
async fn no_folder_comes_below_itself() {
    // TREE-22
    let node = node(vec![mkdir("/a"), mkdir("/a/b"), mkdir("/a/b/c"), symlink("/l", "/a/b")]).await;
    for to in ["/a/x", "/a/b", "/a/b/x", "/a/b/c/x", "/l/x", "/l/c/x"] {
        for how in [RenameHow::Replace, RenameHow::NoReplace] {
            assert_eq!(errno(node.main(rename("/a", to, how)).await), Errno::Inval, "{to}");
        }
    }
    assert_eq!(errno(node.main(rename("/a/b/c", "/a", RenameHow::Replace)).await), Errno::NotEmpty);
    for change in [rename("/", "/x", RenameHow::Replace), rename("/a", "/", RenameHow::Replace)] {
        assert_eq!(errno(node.main(change).await), Errno::Inval);
    }
    node.main(rename("/a/b", "/b", RenameHow::Replace)).await.unwrap();
    node.main(rename("/a", "/b/c/a", RenameHow::Replace)).await.unwrap();
    assert_eq!(node.names("proj/b/c").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_file_has_several_names_and_goes_with_the_last() {
    // TREE-23
    let node = node(vec![put("/a", "1"), mkdir("/d"), symlink("/l", "a")]).await;
    node.change("main", vec![hard_link("/a", "/b"), hard_link("/a", "/d/c"), hard_link("/l", "/m")]).await.unwrap();
    let stat = node.stat("proj/d/c").await.unwrap();
    assert_eq!((stat.nlink, stat.ino), (Some(3), node.stat("proj/a").await.unwrap().ino));
    let link = node.stat("proj/m").await.unwrap();
    assert_eq!((link.kind, link.nlink), (Kind::Symlink, Some(2)), "a link is linked itself");
    node.main(put("/b", "22")).await.unwrap();
    assert_eq!(node.stat("proj/a").await.unwrap().size, 2, "one content");
    let seq = node.main(put("/other", "")).await.unwrap().seq;
    assert_eq!(node.main(rename("/a", "/b", RenameHow::Replace)).await.unwrap().seq, seq, "two names of one file stay");
    assert_eq!(node.names("proj/").await.unwrap(), ["a", "b", "d", "l", "m", "other"]);
    node.main(remove("/a", RemoveHow::File)).await.unwrap();
    assert_eq!(node.stat("proj/b").await.unwrap().nlink, Some(2));
    node.main(remove("/d", RemoveHow::Recursive)).await.unwrap();
    assert_eq!(node.stat("proj/b").await.unwrap().nlink, Some(1));
    node.main(rename("/b", "/c", RenameHow::Replace)).await.unwrap();
    assert_eq!((node.stat("proj/c").await.unwrap().nlink, node.stat("proj/c").await.unwrap().size), (Some(1), 2));
    node.main(mkdir("/d")).await.unwrap();
    assert_eq!(errno(node.main(hard_link("/d", "/e")).await), Errno::Perm);
    assert_eq!(errno(node.main(hard_link("/c", "/d")).await), Errno::Exist);
    assert_eq!(errno(node.main(hard_link("/none", "/e")).await), Errno::NoEnt);
    assert_eq!(errno(node.main(hard_link("/", "/e")).await), Errno::Perm);
    assert_eq!(node.stat("proj@3/a").await.unwrap().nlink, Some(3), "as it was");
}

#[tokio::test]
async fn links_are_followed_within_the_branch_and_not_for_ever() {
    // TREE-24
    let node = node(vec![mkdir("/d"), mkdir("/d/e"), put("/d/f", "1"), put("/top", "22")]).await;
    let follow = |address: &'static str| {
        let node = &node;
        async move { node.view("proj").await.unwrap().stat(&path(address), true).await }
    };
    let links = [
        ("/to_d", "d"),
        ("/d/up", "../top"),
        ("/d/e/root", "/top"),
        ("/above", "../../../../d/f"),
        ("/slash", "d/"),
        ("/file_slash", "top/"),
        ("/dots", "./d/.//e/../f"),
        ("/d/self", "."),
        ("/nowhere", "none"),
        ("/parent", "d/e/.."),
        ("/loop", "loop"),
        ("/one", "two"),
        ("/two", "one"),
        ("/deep", "nowhere/x"),
        ("/through", "top/x"),
        ("/root", "/"),
    ];
    node.change("main", links.iter().map(|(at, target)| symlink(at, target)).collect()).await.unwrap();
    for (at, size) in
        [("/to_d/f", 1), ("/d/up", 2), ("/d/e/root", 2), ("/above", 1), ("/dots", 1), ("/d/self/self/f", 1)]
    {
        assert_eq!(follow(at).await.unwrap().size, size, "{at}");
    }
    let d = follow("/d").await.unwrap().ino;
    for at in ["/to_d", "/slash", "/parent", "/d/self", "/root/d"] {
        assert_eq!(follow(at).await.unwrap().ino, d, "{at}");
    }
    for at in ["/nowhere", "/deep"] {
        assert_eq!(errno(follow(at).await), Errno::NoEnt, "{at}");
    }
    for at in ["/file_slash", "/through", "/top/x"] {
        assert_eq!(errno(follow(at).await), Errno::NotDir, "{at}");
    }
    for at in ["/loop", "/one", "/loop/x", "/two/x"] {
        assert_eq!(errno(follow(at).await), Errno::Loop, "{at}");
    }
    let view = node.view("proj").await.unwrap();
    assert_eq!(&*view.read_link(&path("/one")).await.unwrap(), b"two");
    assert_eq!(errno(view.read_link(&path("/top")).await), Errno::Inval);
    assert_eq!(errno(view.read_link(&path("/none")).await), Errno::NoEnt);
    let link = view.stat(&path("/one"), false).await.unwrap();
    assert_eq!((link.kind, link.size, link.mode, link.target.as_deref()), (Kind::Symlink, 3, 0o777, Some(&b"two"[..])));
    assert_eq!(view.list(&path("/to_d"), None, 9, true).await.unwrap().entries.len(), 4);
}

#[tokio::test]
async fn forty_links_lead_on_and_one_more_does_not() {
    // TREE-24
    let last = MAX_SYMLINK_HOPS;
    let mut changes = vec![put("/l0", "1")];
    changes.extend((1..=last + 1).map(|number| symlink(&format!("/l{number}"), &format!("l{}", number - 1))));
    let node = node(changes).await;
    let view = node.view("proj").await.unwrap();
    assert_eq!(view.stat(&path(&format!("/l{last}")), true).await.unwrap().size, 1);
    assert_eq!(errno(view.stat(&path(&format!("/l{}", last + 1)), true).await), Errno::Loop);
    // Targets that multiply the way: bounded, and quickly so.
    let long = vec![mkdir("/d"), symlink("/w0", &"d/../".repeat(600)), symlink("/w1", &"w0/".repeat(30))];
    node.change("main", long).await.unwrap();
    const { assert!(30 * 1200 > MAX_RESOLVE_STEPS) };
    let view = node.view("proj").await.unwrap();
    assert_eq!(errno(view.stat(&path("/w1"), true).await), Errno::NameTooLong);
}

#[tokio::test]
async fn what_is_written_through_a_link_goes_where_it_leads() {
    // TREE-25
    let node =
        node(vec![mkdir("/d"), put("/f", "1"), symlink("/l", "f"), symlink("/new", "d/made"), symlink("/e", "d")])
            .await;
    node.main(put("/l", "22")).await.unwrap();
    assert_eq!(node.stat("proj/f").await.unwrap().size, 2);
    node.main(put("/new", "333")).await.unwrap();
    assert_eq!(node.stat("proj/d/made").await.unwrap().size, 3, "it is made where the link leads");
    node.main(put("/e/x", "4")).await.unwrap();
    assert_eq!(node.names("proj/d").await.unwrap(), ["made", "x"]);
    assert_eq!(errno(node.main(put("/e", "5")).await), Errno::IsDir);
    assert_eq!(errno(node.main(put_if("/l", "6", Expect::Absent)).await), Errno::Exist, "something is there: the link");
    assert_eq!(errno(node.main(mkdir("/l")).await), Errno::Exist);
    assert_eq!(errno(node.main(symlink("/l", "x")).await), Errno::Exist);
    let mkdirs = |at| Change::MakeFolder { at: path(at), mode: 0o755, parents: true };
    node.main(mkdirs("/e/y/z")).await.unwrap();
    assert_eq!(node.names("proj/d/y").await.unwrap(), ["z"]);
    node.main(mkdirs("/e")).await.unwrap();
    node.main(symlink("/dangling", "none")).await.unwrap();
    assert_eq!(errno(node.main(mkdirs("/dangling")).await), Errno::Exist);
    assert_eq!(errno(node.main(mkdirs("/dangling/x")).await), Errno::Exist);
    node.main(remove("/l", RemoveHow::File)).await.unwrap();
    assert_eq!(node.stat("proj/f").await.unwrap().size, 2, "a link is removed itself");
    let bad = [("", Errno::Inval), ("a\0b", Errno::Inval), (&*"x".repeat(MAX_TARGET_BYTES + 1), Errno::NameTooLong)];
    for (target, wanted) in bad {
        assert_eq!(errno(node.main(symlink("/bad", target)).await), wanted);
    }
    node.main(symlink("/long", &"x".repeat(MAX_TARGET_BYTES))).await.unwrap();
    let view = node.view("proj").await.unwrap();
    assert_eq!(errno(view.stat(&path("/long"), true).await), Errno::NameTooLong, "no name is that long");
}

#[tokio::test]
async fn attributes_are_set_one_by_one() {
    // TREE-11
    let node = node(vec![mkdir("/d"), put("/f", "1"), symlink("/l", "f")]).await;
    node.main(set("/l", Some(0o600), None)).await.unwrap();
    node.main(set("/f", None, Some(-7_000_000_001))).await.unwrap();
    let xattrs = Xattrs::new([("user.k", &b"v\0"[..])]).unwrap();
    let change = Change::SetAttributes {
        at: path("/f"),
        mode: None,
        mtime_ns: None,
        xattrs: Some(xattrs.clone()),
        follow: false,
    };
    node.main(change).await.unwrap();
    let stat = node.stat("proj/f").await.unwrap();
    assert_eq!((stat.mode, stat.mtime_ns, stat.xattrs, stat.size), (0o600, -7_000_000_001, xattrs, 1));
    assert_eq!(stat.hash, Some(ContentHash::of(b"1")));
    let itself = |mode, mtime_ns| Change::SetAttributes { at: path("/l"), mode, mtime_ns, xattrs: None, follow: false };
    assert_eq!(errno(node.main(itself(Some(0o600), None)).await), Errno::Inval, "a link has no permission bits");
    node.main(itself(None, Some(5))).await.unwrap();
    assert_eq!(node.stat("proj/l").await.unwrap().mtime_ns, 5);
    node.main(set("/", Some(0o700), None)).await.unwrap();
    assert_eq!(node.stat("proj/").await.unwrap().mode, 0o700);
    assert_eq!(errno(node.main(set("/f", Some(0o10_000), None)).await), Errno::Inval);
    assert_eq!(errno(node.main(set("/none", Some(0o600), None)).await), Errno::NoEnt);
    let seq = node.main(put("/x", "")).await.unwrap().seq;
    assert_eq!(node.main(set("/f", None, None)).await.unwrap().seq, seq, "nothing set is no commit");
}

#[tokio::test]
async fn a_folder_is_as_new_as_its_newest_entry_unless_its_time_is_set() {
    // TREE-14
    let node = node(vec![mkdir("/d"), put("/d/a", "1")]).await;
    let time = async |address: &'static str| node.stat(address).await.unwrap().mtime_ns;
    let now = node.tick();
    node.main(put("/d/a", "22")).await.unwrap();
    assert!(time("proj/d").await < now, "content is no entry");
    node.main(put("/d/b", "1")).await.unwrap();
    assert_eq!((time("proj/d").await, time("proj/").await < now), (now, true));
    let now = node.tick();
    node.main(remove("/d/b", RemoveHow::File)).await.unwrap();
    assert_eq!(time("proj/d").await, now);
    node.main(set("/d", None, Some(42))).await.unwrap();
    assert_eq!(time("proj/d").await, 42);
    let now = node.tick();
    node.main(set("/d", Some(0o700), None)).await.unwrap();
    assert_eq!(time("proj/d").await, 42, "bits leave the time");
    node.main(rename("/d/a", "/a", RenameHow::Replace)).await.unwrap();
    assert_eq!((time("proj/d").await, time("proj/").await), (now, now), "a rename is a change of both folders");
    let now = node.tick();
    node.change("main", vec![put("/d/c", "1"), set("/d", None, Some(43))]).await.unwrap();
    assert_eq!(time("proj/d").await, 43, "in one commit the last one counts");
    node.change("main", vec![set("/d", None, Some(44)), put("/d/e", "1")]).await.unwrap();
    assert_eq!(time("proj/d").await, now);
    node.change("main", vec![set("/d", Some(0o711), None), put("/d/f", "1")]).await.unwrap();
    assert_eq!((time("proj/d").await, node.stat("proj/d").await.unwrap().mode), (now, 0o711));
    node.tick();
    node.main(set("/d", Some(0o755), None)).await.unwrap();
    assert_eq!(time("proj/d").await, now);
}

#[tokio::test]
async fn a_copied_folder_is_as_old_as_it_was_until_the_same_change_goes_on_with_it() {
    // TREE-14, TREE-26
    let node = node(vec![mkdir("/s"), mkdir("/s/d"), put("/s/d/f", "1")]).await;
    node.change("main", vec![set("/s", None, Some(7)), set("/s/d", None, Some(8))]).await.unwrap();
    let from = node.view("proj").await.unwrap();
    let copy = |to: &str| Change::Clone { from: from.clone(), path: path("/s"), to: path(to) };
    let now = node.tick();
    node.change("main", vec![copy("/t"), mkdir("/t/new"), copy("/u"), remove("/u/d/f", RemoveHow::File)])
        .await
        .unwrap();
    for (folder, wanted) in [("t", now), ("t/d", 8), ("u", 7), ("u/d", now)] {
        assert_eq!(node.stat(&format!("proj/{folder}")).await.unwrap().mtime_ns, wanted, "{folder}");
    }
}

#[tokio::test]
async fn a_copy_shares_content_and_nothing_else() {
    // TREE-26
    let start = vec![
        mkdir("/s"),
        mkdir("/s/d"),
        put("/s/a", "1"),
        hard_link("/s/a", "/s/d/b"),
        symlink("/s/l", "a"),
        put("/f", "22"),
    ];
    let node = node(start).await;
    node.change("main", vec![set("/s/a", Some(0o600), Some(7)), set("/s/d", Some(0o700), Some(8))]).await.unwrap();
    let from = node.view("proj").await.unwrap();
    let copy = |path_of: &str, to: &str| Change::Clone { from: from.clone(), path: path(path_of), to: path(to) };
    node.tick();
    node.main(copy("/s", "/s/d/t")).await.unwrap();
    assert_eq!(node.names("proj/s/d/t").await.unwrap(), ["a", "d", "l"]);
    assert_eq!(node.names("proj/s/d/t/d").await.unwrap(), ["b"], "not the copy within the copy");
    let (old, new) = (node.stat("proj/s/a").await.unwrap(), node.stat("proj/s/d/t/a").await.unwrap());
    assert_eq!((new.mode, new.mtime_ns, new.nlink, new.hash), (0o600, 7, Some(2), old.hash));
    assert_ne!(new.ino, old.ino);
    assert_eq!(new.ino, node.stat("proj/s/d/t/d/b").await.unwrap().ino, "names of one file are names of one copy");
    let folder = node.stat("proj/s/d/t/d").await.unwrap();
    assert_eq!((folder.mode, folder.mtime_ns), (0o700, 8));
    assert_eq!(node.stat("proj/s/d/t/l").await.unwrap().target.as_deref(), Some(&b"a"[..]));
    node.main(put("/s/a", "333")).await.unwrap();
    assert_eq!(node.stat("proj/s/d/t/a").await.unwrap().size, 1);
    let there = node.stat("proj/f").await.unwrap().ino;
    node.main(copy("/s/a", "/f")).await.unwrap();
    let got = node.stat("proj/f").await.unwrap();
    assert_eq!(
        (got.ino, got.size, got.mode),
        (there, 1, 0o644),
        "content as it was in the view, onto the file that is there"
    );
    for (path_of, to, wanted) in [
        ("/s", "/f", Errno::Exist),
        ("/f", "/s", Errno::Exist),
        ("/none", "/x", Errno::NoEnt),
        ("/f", "/n/x", Errno::NoEnt),
    ] {
        assert_eq!(errno(node.main(copy(path_of, to)).await), wanted, "{path_of} {to}");
    }
}

#[tokio::test]
async fn a_walk_comes_to_everything_once_and_in_order() {
    // TREE-15
    let mut changes = vec![mkdir("/w"), symlink("/w/l", "."), mkdir("/w/z")];
    changes.extend(
        (0..300).flat_map(|number| [mkdir(&format!("/w/{number:03}")), put(&format!("/w/{number:03}/f"), "1")]),
    );
    let mut deep = String::from("/w/z");
    for _ in 0..250 {
        deep.push_str("/d");
        changes.push(mkdir(&deep));
    }
    let node = node(changes).await;
    let view = node.view("proj").await.unwrap();
    let walked: Vec<_> = view.walk(&path("/w")).map(|walked| walked.unwrap().path.to_string()).collect().await;
    assert_eq!(walked.len(), 300 * 2 + 2 + 250);
    assert_eq!(walked[..3], ["/w/000", "/w/000/f", "/w/001"]);
    assert_eq!(walked[600..603], ["/w/l", "/w/z", "/w/z/d"]);
    assert_eq!(walked.last(), Some(&deep));
    let none: Vec<_> = view.walk(&path("/none")).collect().await;
    assert_eq!(none.len(), 1);
    assert_eq!(errno(none.into_iter().next().unwrap()), Errno::NoEnt);
    assert_eq!(view.stat(&FsPath::parse(deep.as_bytes()).unwrap(), true).await.unwrap().kind, Kind::Folder);
    node.main(remove("/w", RemoveHow::Recursive)).await.unwrap();
    assert_eq!(node.names("proj/").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn some_attributes_are_set_and_the_others_stay() {
    // TREE-11, TREE-13
    let node = node(vec![put("/f", "1"), symlink("/l", "f")]).await;
    let edit = |at: &str, set: &[(&str, &str)], remove: &[&str]| Change::SetXattrs {
        at: path(at),
        set: set.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
        remove: remove.iter().map(|key| key.as_bytes().to_vec()).collect(),
    };
    let all = async |at: &str| node.stat(at).await.unwrap().xattrs;
    node.main(edit("/f", &[("user.a", "1"), ("user.b", "2")], &[])).await.unwrap();
    node.main(edit("/f", &[("user.b", "3"), ("user.c", "")], &["user.a", "user.none"])).await.unwrap();
    assert_eq!(all("proj/f").await, Xattrs::new([("user.b", "3"), ("user.c", "")]).unwrap());
    node.main(edit("/f", &[("user.c", "new")], &["user.c"])).await.unwrap();
    assert_eq!(all("proj/f").await.get(b"user.c"), Some(b"new".as_slice()));
    let seq = node.main(put("/g", "")).await.unwrap().seq;
    assert_eq!(node.main(edit("/f", &[("user.b", "3")], &["user.none"])).await.unwrap().seq, seq, "nothing is new");
    node.main(edit("/l", &[("user.l", "1")], &[])).await.unwrap();
    assert!(all("proj/f").await.get(b"user.l").is_none() && all("proj/l").await.get(b"user.l").is_some());
    let long = "x".repeat(alknet_fs::limits::MAX_XATTRS_BYTES - 20);
    assert_eq!(errno(node.main(edit("/f", &[("user.d", &long)], &[])).await), Errno::TooBig);
    assert_eq!(errno(node.main(edit("/f", &[("", "1")], &[])).await), Errno::Inval);
    assert_eq!(errno(node.main(edit("/none", &[("user.a", "1")], &[])).await), Errno::NoEnt);
}

#[tokio::test]
async fn one_commit_has_a_bound() {
    // TREE-16
    let node = Node::new();
    node.create_bucket(Terms::default()).await.unwrap();
    let many = |count: usize, at: &str| (0..count).map(|number| put(&format!("{at}{number}"), "x")).collect::<Vec<_>>();
    assert_eq!(errno(node.change("main", many(MAX_COMMIT_ROWS / 2 + 1, "/")).await), Errno::TooMuch);
    assert_eq!(node.names("proj/").await.unwrap(), Vec::<String>::new());
    node.main(put("/a", "1")).await.unwrap();
    let body = bytes("hello");
    node.main(Change::Put(Put { parents: true, ..Put::new(path("/b/c"), body) })).await.unwrap();
}

#[tokio::test]
async fn two_hundred_and_fifty_five_levels_are_as_good_as_one() {
    // TREE-27
    let deep = "/d".repeat(254);
    let node = node(vec![Change::MakeFolder { at: path(&deep), mode: 0o755, parents: true }]).await;
    node.main(put(&format!("{deep}/f"), "1")).await.unwrap();
    assert_eq!(node.stat(&format!("proj{deep}/f")).await.unwrap().size, 1);
    node.main(rename("/d", "/e", RenameHow::Replace)).await.unwrap();
    let moved = deep.replacen("/d", "/e", 1);
    assert_eq!(node.names(&format!("proj{moved}")).await.unwrap(), ["f"]);
    assert_eq!(errno(node.main(rename("/e", &format!("{moved}/x"), RenameHow::Replace)).await), Errno::Inval);
    node.main(hard_link(&format!("{moved}/f"), "/f")).await.unwrap();
    assert_eq!(node.stat("proj/f").await.unwrap().nlink, Some(2));
    node.main(remove("/e", RemoveHow::Recursive)).await.unwrap();
    assert_eq!(
        (node.names("proj/").await.unwrap(), node.stat("proj/f").await.unwrap().nlink),
        (vec!["f".to_owned()], Some(1))
    );
}

#[tokio::test]
async fn the_longest_names_and_any_bytes_are_names() {
    // TREE-27
    let longest = "n".repeat(255);
    let odd = FsPath::parse(b"/\xff\xfe\n\x01 ").unwrap();
    let node = node(vec![mkdir(&format!("/{longest}")), put(&format!("/{longest}/{longest}"), "1")]).await;
    node.main(Change::MakeFolder { at: odd.clone(), mode: 0o700, parents: false }).await.unwrap();
    assert_eq!(node.names(&format!("proj/{longest}")).await.unwrap(), [longest.as_str()]);
    let view = node.view("proj").await.unwrap();
    assert_eq!(view.stat(&odd, true).await.unwrap().mode, 0o700);
    let page = view.list(&path("/"), None, 9, false).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.name.as_bytes().len()).collect::<Vec<_>>(), [255, 5]);
    let error = view.stat(&odd.join(page.entries[1].name.clone()).unwrap(), true).await.unwrap_err();
    assert_eq!(error.to_string(), r"cannot look at /\xff\xfe\n\u{1} /\xff\xfe\n\u{1} : no such entry");
}
