//! Removing and copying of more than one commit holds, while others change the same folders; and what one commit costs.

use std::time::Duration;

use alknet_fs::{
    Change, Errno, FsError, Policy, Put, RemoveHow, RenameHow, Right, Steps, Terms,
    limits::{ENTRIES_PER_STEP, MAX_COMMIT_STEPS},
    rows::Kind,
};
use alknet_store::Durability;

use crate::{
    node::{Node, bytes, errno, main_branch, mkdir, name, path, proj, put, remove},
    tree_posix::{hard_link, rename, symlink},
};

async fn node(changes: Vec<Change>) -> Node {
    let node = Node::new();
    let policy = Policy { durability: Durability::Lazy, ..Policy::default() };
    node.create_bucket(Terms { policy, ..Terms::default() }).await.unwrap();
    node.change("main", changes).await.unwrap();
    node
}

async fn remove_all(node: &Node, at: &str) -> Result<Steps, FsError> {
    node.tree.remove_all(&node.permit(Right::Write, Some("main")), (&proj(), &main_branch()), path(at)).await
}

async fn copy_all(node: &Node, from: &str, at: &str, to: &str) -> Result<Steps, FsError> {
    let view = node.view(from).await.unwrap();
    let permit = node.permit(Right::Write, Some("main"));
    node.tree.copy_all(&permit, (&proj(), &main_branch()), (view, path(at)), path(to)).await
}

/// Folders `/d/0`, `/d/1` … with so many files each.
fn tree(folders: usize, files: usize) -> Vec<Change> {
    let mut changes = vec![mkdir("/d")];
    for folder in 0..folders {
        changes.push(mkdir(&format!("/d/{folder}")));
        changes.extend((0..files).map(|file| put(&format!("/d/{folder}/{file:04}"), "x")));
    }
    changes
}

#[tokio::test]
async fn what_is_more_than_one_step_goes_in_several_commits() {
    // TREE-17
    let node = node(
        [tree(3, 700), vec![hard_link("/d/1/0003", "/kept"), symlink("/d/l", "/kept")]].into_iter().flatten().collect(),
    )
    .await;
    let small = remove_all(&node, "/d/2").await.unwrap();
    assert_eq!(small.commits, 1, "what fits goes together");
    let before = node.view("proj").await.unwrap();
    let steps = remove_all(&node, "/d").await.unwrap();
    assert_eq!(steps.commits as usize, 1403 / ENTRIES_PER_STEP + 1);
    assert_eq!(node.names("proj/").await.unwrap(), ["kept"]);
    assert_eq!(node.stat("proj/kept").await.unwrap().nlink, Some(1), "each name by itself");
    assert_eq!(before.list(&path("/d/0"), None, 1000, true).await.unwrap().entries.len(), 700);
    assert_eq!(errno(remove_all(&node, "/d").await), Errno::NoEnt);
    assert_eq!(errno(remove_all(&node, "/").await), Errno::Inval);
    assert_eq!(remove_all(&node, "/kept").await.unwrap().commits, 1);
}

#[tokio::test]
async fn what_others_do_meanwhile_is_removed_too_or_stays_where_it_was_moved() {
    // TREE-17
    let node = node([tree(4, 600), vec![mkdir("/safe")]].into_iter().flatten().collect()).await;
    let removing = remove_all(&node, "/d");
    let meddling = async {
        let mut moved = false;
        for count in 0.. {
            let into = put(&format!("/d/{}/!new{count}", count % 4), "y");
            let above = put(&format!("/d/!{count}"), "y");
            let away = rename("/d/3", "/safe/3", RenameHow::Replace);
            moved |= !moved && node.main(away).await.is_ok();
            if let (Err(_), Err(error)) = (node.main(into).await, node.main(above).await) {
                assert_eq!(errno::<()>(Err(error)), Errno::NoEnt);
                break;
            }
        }
        moved
    };
    let (steps, moved) = futures_util::join!(removing, meddling);
    assert!(steps.unwrap().commits > 1 && moved);
    assert_eq!(node.names("proj/").await.unwrap(), ["safe"]);
    assert!(node.names("proj/safe/3").await.unwrap().len() >= 600, "it was moved before its turn");
    let usage = node.view("proj").await.unwrap();
    assert_eq!(usage.stat(&path("/safe/3/0000"), true).await.unwrap().nlink, Some(1));
}

#[tokio::test]
async fn a_folder_that_another_took_the_place_of_is_not_removed() {
    // TREE-17
    let node =
        node([tree(1, 2 * ENTRIES_PER_STEP), vec![mkdir("/new"), put("/new/f", "1")]].into_iter().flatten().collect())
            .await;
    let exchange = async {
        // The first step is in the writer's queue before this is.
        tokio::task::yield_now().await;
        node.main(rename("/new", "/d", RenameHow::Exchange)).await
    };
    let (removed, exchanged) = tokio::join!(biased; remove_all(&node, "/d"), exchange);
    exchanged.unwrap();
    assert_eq!(errno(removed), Errno::Stale);
    assert_eq!(node.names("proj/d").await.unwrap(), ["f"]);
}

#[tokio::test]
async fn a_large_copy_grows_and_is_what_it_was_made_of() {
    // TREE-17, TREE-26
    let links = vec![hard_link("/d/0/0000", "/d/1/link"), symlink("/d/0/sym", "x"), mkdir("/d/1/empty")];
    let node = node([tree(2, 700), links].into_iter().flatten().collect()).await;
    node.tick();
    let steps = copy_all(&node, "proj", "/d", "/e").await.unwrap();
    assert_eq!(steps.commits as usize, 1405 / ENTRIES_PER_STEP + 1);
    for folder in ["", "/0", "/1"] {
        let theirs = node.names(&format!("proj/d{folder}")).await.unwrap();
        assert_eq!(node.names(&format!("proj/e{folder}")).await.unwrap(), theirs);
        let time = async |at: String| node.stat(&at).await.unwrap().mtime_ns;
        assert_eq!(time(format!("proj/e{folder}")).await, time(format!("proj/d{folder}")).await, "{folder}");
    }
    let (one, link) = (node.stat("proj/e/0/0000").await.unwrap(), node.stat("proj/e/1/link").await.unwrap());
    assert_eq!((one.ino, one.nlink), (link.ino, Some(2)));
    assert_eq!(node.stat("proj/e/1/empty").await.unwrap().kind, Kind::Folder);
    // Somebody removes the copy while it grows.
    let removing = async {
        while node.stat("proj/g").await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        remove_all(&node, "/g").await
    };
    let (copied, removed) = futures_util::join!(copy_all(&node, "proj", "/d", "/g"), removing);
    removed.unwrap();
    assert!(copied.is_ok() || errno(copied) == Errno::Stale);
    assert_eq!(node.names("proj/").await.unwrap(), ["d", "e"]);
}

#[tokio::test]
async fn a_copy_of_what_is_there_already_is_charged_once() {
    // TREE-26, TREE-60
    let node = node(vec![put("/a", "hello"), put("/b", "hello"), put("/c", "other")]).await;
    let used = async || {
        let usage = node.tree.usage(&node.permit(Right::Read, None), &proj()).await.unwrap();
        usage.bucket.used_bytes
    };
    let before = used().await;
    copy_all(&node, "proj", "/a", "/a").await.unwrap();
    copy_all(&node, "proj", "/a", "/b").await.unwrap();
    assert_eq!(used().await, before);
    copy_all(&node, "proj", "/a", "/c").await.unwrap();
    assert_eq!(used().await, before + 5);
}

#[tokio::test]
async fn a_change_goes_each_way_once() {
    // TREE-18
    let deep = "/d".repeat(1000);
    let node = node(vec![Change::MakeFolder { at: path(&deep), mode: 0o755, parents: true }]).await;
    let below = |at: &str| Change::Put(Put { parents: true, ..Put::new(path(at), bytes("x")) });
    const { assert!(512 * 2 * 1000 > 2 * MAX_COMMIT_STEPS, "or this would show nothing") };
    let many = (0..512).map(|number| below(&format!("{deep}/{:03}/{number}", number / 2))).collect();
    node.change("main", many).await.unwrap();
    assert_eq!(node.names(&format!("proj{deep}")).await.unwrap().len(), 256);
    // By way of links nothing is known to be shared.
    node.main(symlink("/l", &deep[1..])).await.unwrap();
    let many: Vec<_> = (0..250).map(|number| mkdir(&format!("/l/x{number}"))).collect();
    node.change("main", many).await.unwrap();
    let apart = (0..250).flat_map(|number| [put(&format!("/l/y{number}"), "x"), put(&format!("/z{number}"), "x")]);
    assert_eq!(errno(node.change("main", apart.collect()).await), Errno::TooMuch);
    assert_eq!(errno(node.stat("proj/z0").await), Errno::NoEnt, "nothing of it is made");
}

#[tokio::test]
async fn what_a_change_remembers_of_its_way_is_forgotten_when_that_moves() {
    // TREE-18
    let node = node(vec![mkdir("/a"), mkdir("/a/b"), mkdir("/c"), put("/a/b/f", "1")]).await;
    node.change(
        "main",
        vec![
            put("/a/b/g", "1"),
            rename("/a/b", "/c/b", RenameHow::Replace),
            mkdir("/a/b"),
            put("/a/b/h", "2"),
            rename("/a", "/c", RenameHow::Exchange),
            put("/a/b/i", "3"),
            remove("/c/b", RemoveHow::Recursive),
            symlink("/c/b", "/a"),
            put("/c/b/j", "4"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(node.names("proj/a/b").await.unwrap(), ["f", "g", "i"]);
    assert_eq!(node.names("proj/a").await.unwrap(), ["b", "j"]);
    assert_eq!(node.names("proj/c").await.unwrap(), ["b"]);
}

#[tokio::test]
async fn names_that_are_gone_do_not_hide_that_a_folder_is_empty_or_what_is_in_it() {
    // TREE-07
    let node = node(tree(1, 900)).await;
    let all = (0..900).map(|file| remove(&format!("/d/0/{file:04}"), RemoveHow::File)).collect();
    node.change("main", all).await.unwrap();
    node.branch("dev", "proj", alknet_fs::rows::branch::Mode::Pinned).await.unwrap();
    for branch in ["main", "dev"] {
        node.change(branch, vec![put("/d/0/last", "1")]).await.unwrap();
        assert_eq!(errno(node.change(branch, vec![remove("/d/0", RemoveHow::Bare)]).await), Errno::NotEmpty);
        let view = node.view(&format!("proj:{branch}")).await.unwrap();
        let page = view.list(&path("/d/0"), Some(&name("0500")), 1, true).await.unwrap();
        assert_eq!((page.entries[0].name.to_string(), page.next), ("last".to_owned(), None));
        node.change(branch, vec![remove("/d/0/last", RemoveHow::File), remove("/d/0", RemoveHow::Bare)]).await.unwrap();
    }
}
