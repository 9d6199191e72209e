//! A million entries in one folder: minutes, so only when asked for (`cargo test -p alknet-fs --test it -- --ignored tree_large`).

use std::time::{Duration, Instant};

use alknet_fs::{Change, RemoveHow, Right, limits::MAX_COMMIT_ROWS, rows::branch::Mode};

use crate::node::{Node, mkdir, name, path, put, remove};

const ENTRIES: usize = 1_000_000;

#[tokio::test]
#[ignore = "takes minutes"]
async fn a_folder_of_a_million_entries_is_read_and_changed_as_any() {
    // TREE-07, TREE-17, TREE-40
    let mut node = Node::with_bucket().await;
    node.main(mkdir("/d")).await.unwrap();
    let commit = MAX_COMMIT_ROWS / 2;
    for begin in (0..ENTRIES).step_by(commit) {
        let files = (begin..begin + commit).map(|number| put(&format!("/d/{number:07}"), "x"));
        node.change("main", files.collect::<Vec<Change>>()).await.unwrap();
    }
    let begun = Instant::now();
    node.restart();
    println!("opened in {:?}", begun.elapsed());
    let begun = Instant::now();
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    println!("branched in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1));
    let view = node.view("proj:dev").await.unwrap();
    let (mut begun, mut count, mut after) = (Instant::now(), 0, None);
    loop {
        let page = view.list(&path("/d"), after.as_ref(), 1000, true).await.unwrap();
        count += page.entries.len();
        if count == 1000 {
            println!("a thousand listed in {:?}", begun.elapsed());
            begun = Instant::now();
        }
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    println!("all of them in {:?}", begun.elapsed());
    assert_eq!(count, ENTRIES);
    let stats = view.here(|here| {
        let begun = Instant::now();
        for number in (0..ENTRIES).step_by(1000) {
            here.stat(&path(&format!("/d/{number:07}")), true)?;
        }
        Ok(begun.elapsed() / 1000)
    });
    println!("one found in {:?}", stats.unwrap());
    let begun = Instant::now();
    node.change("dev", vec![put("/d/0500000x", "1"), remove("/d/0500000", RemoveHow::File)]).await.unwrap();
    println!("changed in {:?}", begun.elapsed());
    let view = node.view("proj:dev").await.unwrap();
    let page = view.list(&path("/d"), Some(&name("0499999")), 2, true).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>(), ["0500000x", "0500001"]);
    let usage = node.tree.usage(&node.permit(Right::Read, None), &crate::node::proj()).await.unwrap();
    assert_eq!((usage.bucket.used_files, usage.branches[0].versions), (ENTRIES as u64 + 2, 1));
    let permit = node.permit(Right::Write, Some("main"));
    let (place, begun) = ((crate::node::proj(), crate::node::main_branch()), Instant::now());
    let removing = node.tree.remove_all(&permit, (&place.0, &place.1), path("/d"));
    let others = async {
        let mut longest = Duration::ZERO;
        for count in 0.. {
            let begun = Instant::now();
            node.main(put(&format!("/other{}", count % 10), &count.to_string())).await.unwrap();
            longest = longest.max(begun.elapsed());
            if node.stat("proj/d").await.is_err() {
                break;
            }
        }
        longest
    };
    let (removed, longest) = futures_util::join!(removing, others);
    println!("removed in {:?}, in {} commits; others waited {longest:?}", begun.elapsed(), removed.unwrap().commits);
    assert!(node.view("proj").await.unwrap().list(&path("/d"), None, 1, true).await.is_err());
}
