//! Merging, settling and restoring as doors do them: with permits, in the node's database.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use alknet_fs::{
    Change, Errno, FsError, RenameHow, Retention, Right, Xattrs,
    failpoints::arm,
    history::{History, How, Keep, Merged, conflicts::About, merge::Strategy},
    limits::MERGE_PLANS_BESIDE_WRITERS,
    rows::{Kind, branch::Mode},
};

use crate::node::{Node, errno, mkdir, path, proj, put, remove};
use alknet_fs::RemoveHow::Recursive;

struct Two {
    node: Node,
    history: History,
}

impl Two {
    /// /d/f=1 on main and, made from it, on dev.
    async fn new() -> Self {
        let node = Node::with_bucket().await;
        node.change("main", vec![mkdir("/d"), put("/d/f", "1")]).await.unwrap();
        let (view, permit) = (node.view("proj").await.unwrap(), node.permit(Right::Branch, Some("dev")));
        node.tree.create_branch(&permit, &"dev".parse().unwrap(), &view, Mode::Pinned).await.unwrap();
        let history = History::new(node.tree.clone());
        Self { node, history }
    }
    async fn merge(&self, into: &str, from: &str, how: How) -> Result<Merged, FsError> {
        let view = self.node.view(&format!("proj:{from}")).await.unwrap();
        let (permit, into) =
            (self.node.permit(Right::Write, Some(into)), self.node.view(&format!("proj:{into}")).await.unwrap());
        self.history.merge(&permit, &into, &view, how).await
    }
    async fn settle(&self, number: u64, keep: Keep) -> Result<(), FsError> {
        let permit = self.node.permit(Right::Write, Some("main"));
        self.history.settle(&permit, (&proj(), &"main".parse().unwrap()), number, keep).await.map(|_| ())
    }
    async fn restore(&self, at: &str, when: u64) -> Result<u64, FsError> {
        let view = self.node.view(&format!("proj@{when}")).await.unwrap();
        let permit = self.node.permit(Right::Write, Some("main"));
        let restored = self.history.restore(&permit, (&proj(), &"main".parse().unwrap()), &path(at), &view).await;
        restored.map(|committed| committed.seq.get())
    }
    async fn size(&self, at: &str) -> u64 {
        self.node.stat(at).await.unwrap().size
    }
    /// All that main shows, each file with its content.
    async fn shown(&self) -> Vec<String> {
        let (view, mut lines) = (self.node.view("proj").await.unwrap(), Vec::new());
        let mut open = vec![path("/")];
        while let Some(dir) = open.pop() {
            for entry in view.list(&dir, None, 1000, true).await.unwrap().entries {
                let at = dir.join(entry.name.clone()).unwrap();
                match entry.attributes.unwrap().size {
                    _ if entry.kind == Kind::Folder => {
                        lines.push(format!("{at}/"));
                        open.push(at);
                    }
                    size => lines.push(format!("{at}={size}")),
                }
            }
        }
        lines.sort();
        lines
    }
    /// Merges dev into main, forgets all that may be forgotten, and settles the conflicts in their order.
    async fn merge_and_settle(&self, keep: Keep) -> Vec<About> {
        self.merge("main", "dev", How::default()).await.unwrap();
        self.node.remove_branch("dev").await.unwrap();
        let span = Retention::new(std::time::Duration::from_secs(10));
        let permit = self.node.permit(Right::Admin, None);
        self.node.tree.set_bucket(&permit, &proj(), move |terms| terms.policy.retention = Some(span)).await.unwrap();
        for _ in 0..60 {
            self.node.tick();
        }
        let task = alknet_core::Maintenance::of("test");
        self.history.forget(&task, &proj()).await.unwrap();
        while self.node.tree.reap(&task).await.unwrap() {}
        let open = self.open().await;
        for (number, _) in &open {
            self.settle(*number, keep).await.unwrap();
        }
        assert_eq!(self.open().await, [], "all are settled");
        while self.node.tree.reap(&task).await.unwrap() {}
        assert!(self.node.rows_left().contains(&("fs_branch", 1)), "then nobody needs what was merged");
        open.into_iter().map(|(_, about)| about).collect()
    }
    async fn open(&self) -> Vec<(u64, About)> {
        let view = self.node.view("proj").await.unwrap();
        let open = self.history.conflicts(&view, 0, 100).await.unwrap();
        open.into_iter().map(|one| (one.id, one.draft.about)).collect()
    }
}

#[tokio::test]
async fn a_merge_is_one_commit_and_a_dry_run_none() {
    // HIST-15, HIST-17
    let two = Two::new().await;
    let nothing = two.merge("main", "dev", How::default()).await.unwrap();
    assert_eq!((nothing.committed, nothing.entries), (None, 0), "a merge of nothing is nothing");
    two.node.change("dev", vec![put("/d/f", "22"), put("/new", "")]).await.unwrap();
    let dry = two.merge("main", "dev", How { dry_run: true, ..How::default() }).await.unwrap();
    assert_eq!((dry.committed, dry.entries, two.size("proj/d/f").await), (None, 2, 1));
    let merged = two.merge("main", "dev", How::default()).await.unwrap();
    let head = two.node.view("proj").await.unwrap().bound();
    assert_eq!((merged.committed.unwrap().seq, merged.entries), (head, 2));
    assert_eq!(
        (two.size("proj/d/f").await, two.node.names("proj").await.unwrap()),
        (2, vec!["d".into(), "new".into()])
    );
    assert_eq!(two.merge("main", "dev", How::default()).await.unwrap().committed, None, "twice is once");
    let narrow = two.node.permit(Right::Read, Some("main"));
    let view = two.node.view("proj:dev").await.unwrap();
    let main = two.node.view("proj").await.unwrap();
    let denied = two.history.merge(&narrow, &main, &view, How::default()).await;
    assert!(matches!(denied, Err(FsError::Denied(_))));
}

#[tokio::test]
async fn a_conflict_is_settled_by_what_stays() {
    // HIST-21, HIST-26
    for (keep, size, names) in
        [(Keep::Ours, 2, vec!["f"]), (Keep::Theirs, 3, vec!["f"]), (Keep::Both, 2, vec!["f", "f~dev"])]
    {
        let two = Two::new().await;
        two.node.main(put("/d/f", "22")).await.unwrap();
        two.node.change("dev", vec![put("/d/f", "333")]).await.unwrap();
        let merged = two.merge("main", "dev", How::default()).await.unwrap();
        let number = merged.conflicts[0].0.unwrap();
        assert_eq!((two.open().await, two.size("proj/d/f").await), (vec![(number, About::Content)], 2));
        let permit = two.node.permit(Right::Branch, Some("dev"));
        two.node.tree.remove_branch(&permit, &proj(), &"dev".parse().unwrap()).await.unwrap();
        two.settle(number, keep).await.unwrap();
        assert_eq!(
            (two.size("proj/d/f").await, two.node.names("proj/d").await.unwrap()),
            (size, names.iter().map(ToString::to_string).collect())
        );
        if keep == Keep::Both {
            assert_eq!(two.size("proj/d/f~dev").await, 3);
        }
        assert_eq!((two.open().await, errno(two.settle(number, keep).await)), (vec![], Errno::NoEnt), "once");
    }
}

#[tokio::test]
async fn removals_and_names_are_settled_too() {
    // HIST-26
    let two = Two::new().await;
    two.node.change("main", vec![put("/d/f", "22"), mkdir("/x")]).await.unwrap();
    two.node.change("dev", vec![remove("/d", Recursive), put("/x", "4444")]).await.unwrap();
    two.merge("main", "dev", How::default()).await.unwrap();
    assert_eq!(two.node.names("proj").await.unwrap(), ["d", "x", "x~dev"]);
    for (number, _) in two.open().await {
        two.settle(number, Keep::Theirs).await.unwrap();
    }
    assert_eq!((two.node.names("proj").await.unwrap(), two.size("proj/x").await), (vec!["x".into()], 4));
}

fn rename(from: &str, to: &str) -> Change {
    Change::Rename { from: path(from), to: path(to), how: RenameHow::NoReplace }
}
fn link(from: &str, to: &str) -> Change {
    Change::HardLink { from: path(from), to: path(to) }
}
fn set(at: &str, mode: Option<u16>, xattr: Option<&str>) -> Change {
    let xattrs = xattr.map(|value| Xattrs::new([(b"user.x".to_vec(), value.as_bytes().to_vec())]).unwrap());
    Change::SetAttributes { at: path(at), mode, mtime_ns: None, xattrs, follow: false }
}

/// What a test does on main, what on dev, and what main shows then for each side that stays.
type Story = (Vec<Change>, Vec<Change>, [(Keep, &'static [&'static str]); 3]);

async fn told(before: impl Fn() -> Vec<Change>, story: impl Fn() -> Story, about: &[About]) {
    for index in 0..3 {
        let node = Node::with_bucket().await;
        node.change("main", before()).await.unwrap();
        node.branch("dev", "proj", Mode::Pinned).await.unwrap();
        let (ours, theirs, outcomes) = story();
        node.change("main", ours).await.unwrap();
        node.change("dev", theirs).await.unwrap();
        let two = Two { history: History::new(node.tree.clone()), node };
        let (keep, shown) = outcomes[index];
        assert_eq!(two.merge_and_settle(keep).await, about, "{keep:?}");
        assert_eq!(two.shown().await, shown, "{keep:?}");
    }
}

#[tokio::test]
async fn to_settle_a_name_takes_nothing_that_the_other_side_had_elsewhere() {
    // HIST-26, HIST-27
    let before = || vec![mkdir("/p"), put("/p/full", "1"), put("/q", "22")];
    // Theirs moved a folder of ours onto the name of something new.
    let story = || -> Story {
        (
            vec![put("/x", "333"), put("/p/late", "4444")],
            vec![rename("/p", "/x")],
            [
                (Keep::Ours, &["/p/", "/p/full=1", "/p/late=4", "/q=2", "/x=3"]),
                (Keep::Theirs, &["/q=2", "/x/", "/x/full=1", "/x/late=4"]),
                (Keep::Both, &["/q=2", "/x=3", "/x~dev/", "/x~dev/full=1", "/x~dev/late=4"]),
            ],
        )
    };
    told(before, story, &[About::Name]).await;
    // Ours moved something that theirs still has there.
    let story = || -> Story {
        (
            vec![rename("/q", "/x")],
            vec![put("/x", "4444")],
            [
                (Keep::Ours, &["/p/", "/p/full=1", "/x=2"]),
                (Keep::Theirs, &["/p/", "/p/full=1", "/q=2", "/x=4"]),
                (Keep::Both, &["/p/", "/p/full=1", "/x=2", "/x~dev=4"]),
            ],
        )
    };
    told(before, story, &[About::Name]).await;
    // What was moved into a folder that goes.
    let story = || -> Story {
        (
            vec![put("/x", "333")],
            vec![mkdir("/x"), rename("/q", "/x/q"), put("/x/new", "55555")],
            [
                (Keep::Ours, &["/p/", "/p/full=1", "/q=2", "/x=3"]),
                (Keep::Theirs, &["/p/", "/p/full=1", "/x/", "/x/new=5", "/x/q=2"]),
                (Keep::Both, &["/p/", "/p/full=1", "/x=3", "/x~dev/", "/x~dev/new=5", "/x~dev/q=2"]),
            ],
        )
    };
    told(before, story, &[About::Name]).await;
}

#[tokio::test]
async fn to_settle_a_name_leaves_the_other_names_of_a_file() {
    // HIST-26, HIST-27
    let before = || vec![mkdir("/a"), mkdir("/b"), put("/a/x", "1"), link("/a/x", "/a/a")];
    let story = || -> Story {
        (
            vec![link("/a/x", "/b/x")],
            vec![put("/b/x", "4444"), link("/b/x", "/b/y")],
            [
                (Keep::Ours, &["/a/", "/a/a=1", "/a/x=1", "/b/", "/b/x=1", "/b/y=4"]),
                (Keep::Theirs, &["/a/", "/a/a=1", "/a/x=1", "/b/", "/b/x=4", "/b/y=4"]),
                (Keep::Both, &["/a/", "/a/a=1", "/a/x=1", "/b/", "/b/x=1", "/b/x~dev=4", "/b/y=4"]),
            ],
        )
    };
    told(before, story, &[About::Name]).await;
    // Of a file with two names, the one that both moved.
    let story = || -> Story {
        (
            vec![rename("/a/x", "/b/ours")],
            vec![rename("/a/x", "/b/theirs")],
            [
                (Keep::Ours, &["/a/", "/a/a=1", "/b/", "/b/ours=1"]),
                (Keep::Theirs, &["/a/", "/a/a=1", "/b/", "/b/theirs=1"]),
                (Keep::Both, &["/a/", "/a/a=1", "/b/", "/b/ours=1", "/b/theirs=1"]),
            ],
        )
    };
    told(before, story, &[About::Place]).await;
}

#[tokio::test]
async fn to_settle_a_removal_takes_nothing_that_the_other_side_had_elsewhere() {
    // HIST-26, HIST-27
    let before = || vec![mkdir("/d"), put("/d/f", "1"), put("/q", "22"), put("/r", "333")];
    let story = || -> Story {
        (
            vec![rename("/q", "/d/q"), put("/d/new", "4444")],
            vec![remove("/d", Recursive)],
            [
                (Keep::Ours, &["/d/", "/d/new=4", "/d/q=2", "/r=3"]),
                (Keep::Theirs, &["/q=2", "/r=3"]),
                (Keep::Both, &["/d/", "/d/new=4", "/d/q=2", "/r=3"]),
            ],
        )
    };
    told(before, story, &[About::Removed]).await;
    let story = || -> Story {
        (
            vec![remove("/d", Recursive)],
            vec![rename("/q", "/d/q"), put("/d/new", "4444")],
            [
                (Keep::Ours, &["/q=2", "/r=3"]),
                (Keep::Theirs, &["/d/", "/d/new=4", "/d/q=2", "/r=3"]),
                (Keep::Both, &["/d/", "/d/new=4", "/d/q=2", "/r=3"]),
            ],
        )
    };
    told(before, story, &[About::Removed]).await;
}

#[tokio::test]
async fn of_attributes_only_those_that_both_changed_are_argued_about() {
    // HIST-10, HIST-26
    for (keep, strategy, xattr) in [
        (Some(Keep::Ours), Strategy::Conflict, "ours"),
        (Some(Keep::Theirs), Strategy::Conflict, "theirs"),
        (None, Strategy::Theirs, "theirs"),
        (None, Strategy::Ours, "ours"),
    ] {
        let two = Two::new().await;
        two.node.main(set("/d/f", Some(0o600), Some("ours"))).await.unwrap();
        two.node.change("dev", vec![set("/d/f", None, Some("theirs"))]).await.unwrap();
        let merged = two.merge("main", "dev", How { strategy, ..How::default() }).await.unwrap();
        if let Some(keep) = keep {
            assert_eq!(two.open().await[0].1, About::Attributes);
            two.settle(merged.conflicts[0].0.unwrap(), keep).await.unwrap();
        }
        let found = two.node.stat("proj/d/f").await.unwrap();
        assert_eq!((found.mode, found.xattrs.get(b"user.x")), (0o600, Some(xattr.as_bytes())), "{strategy:?} {keep:?}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_settled_so_says_why() {
    // HIST-26
    let two = Two::new().await;
    two.node.main(rename("/d", "/ours")).await.unwrap();
    two.node.change("dev", vec![rename("/d", "/theirs")]).await.unwrap();
    let number = two.merge("main", "dev", How::default()).await.unwrap().conflicts[0].0.unwrap();
    assert_eq!(errno(two.settle(number, Keep::Both).await), Errno::IsDir, "a folder has one place");
    two.node.main(put("/theirs", "4444")).await.unwrap();
    assert_eq!(errno(two.settle(number, Keep::Theirs).await), Errno::Exist);
    two.node.main(remove("/theirs", alknet_fs::RemoveHow::File)).await.unwrap();
    two.settle(number, Keep::Theirs).await.unwrap();
    assert_eq!(two.shown().await, ["/theirs/", "/theirs/f=1"]);
}

#[tokio::test]
async fn what_was_there_comes_back_without_its_content_being_moved() {
    // HIST-30
    let two = Two::new().await;
    let then = two.node.view("proj").await.unwrap().bound().get();
    two.node.change("main", vec![put("/d/f", "22"), put("/d/late", ""), put("/g", "")]).await.unwrap();
    two.node.main(remove("/d", Recursive)).await.unwrap();
    two.restore("/d/f", then).await.unwrap();
    assert_eq!((two.size("proj/d/f").await, two.node.names("proj").await.unwrap()), (1, vec!["d".into(), "g".into()]));
    let head = two.node.view("proj").await.unwrap().bound().get();
    assert_eq!(two.restore("/d/f", then).await.unwrap(), head, "a second time there is nothing to do");
    two.restore("/", then).await.unwrap();
    assert_eq!(two.node.names("proj").await.unwrap(), ["d"]);
    two.restore("/", head).await.unwrap();
    assert_eq!(two.node.names("proj").await.unwrap(), ["d", "g"], "undone, and undone again");
    assert_eq!(errno(two.restore("/never", then).await), Errno::NoEnt);
    // HIST-32
    for at in ["/", "/d"] {
        assert_eq!(errno(two.restore(at, 0).await), Errno::NoBucketThen, "{at}");
    }
    assert_eq!(two.node.names("proj").await.unwrap(), ["d", "g"], "nothing went");
}

#[tokio::test]
async fn what_is_restored_comes_to_its_path_whatever_happened_to_the_folders_above_it() {
    // HIST-30, HIST-31
    let two = Two::new().await;
    let link = Change::Symlink { at: path("/d/l"), target: b"f".to_vec(), mtime_ns: None };
    let made = vec![link, set("/d/f", Some(0o600), Some("then")), mkdir("/d/in"), put("/d/in/g", "22")];
    two.node.change("main", made).await.unwrap();
    let then = two.node.view("proj").await.unwrap().bound().get();
    let at_then = |at: &'static str| two.node.stat(at);
    let (file, folder) = (at_then("proj/d/f").await.unwrap(), at_then("proj/d/in").await.unwrap());
    two.node.tick();
    let moved = vec![rename("/d", "/e"), put("/e/f", "4444"), set("/e/f", Some(0o640), Some("now"))];
    two.node.change("main", moved).await.unwrap();
    two.node.tick();
    two.restore("/d/f", then).await.unwrap();
    let back = two.node.stat("proj/d/f").await.unwrap();
    assert_eq!(
        (back.size, back.mode, back.mtime_ns, &back.xattrs, back.hash),
        (file.size, file.mode, file.mtime_ns, &file.xattrs, file.hash)
    );
    assert_eq!(two.shown().await, ["/d/", "/d/f=1", "/e/", "/e/f=4", "/e/in/", "/e/in/g=2", "/e/l=1"], "nothing else");
    let head = two.node.view("proj").await.unwrap().bound().get();
    assert_eq!(two.restore("/d/f", then).await.unwrap(), head, "a second time there is nothing to do");
    two.node.tick();
    two.restore("/d", then).await.unwrap();
    let all = ["/d/", "/d/f=1", "/d/in/", "/d/in/g=2", "/d/l=1", "/e/", "/e/f=4", "/e/in/", "/e/in/g=2", "/e/l=1"];
    assert_eq!(two.shown().await, all);
    assert_eq!(two.node.stat("proj/d/in").await.unwrap().mtime_ns, folder.mtime_ns, "folders have their times too");
    two.node.main(remove("/d", Recursive)).await.unwrap();
    two.node.main(put("/d", "a file")).await.unwrap();
    assert_eq!(errno(two.restore("/d/f", then).await), Errno::NotDir);
    two.restore("/d", then).await.unwrap();
    assert_eq!(two.shown().await, all, "but the file itself makes room");
    let dev = two.node.view("proj:dev").await.unwrap();
    let permit = two.node.permit(Right::Write, Some("main"));
    let refused = two.history.restore(&permit, (&proj(), &"main".parse().unwrap()), &path("/d"), &dev).await;
    assert_eq!(errno(refused), Errno::Inval, "of another branch");
}

#[tokio::test]
async fn a_merge_gives_folders_the_later_time() {
    // HIST-10
    let two = Two::new().await;
    two.node.change("dev", vec![set("/d", Some(0o700), None), mkdir("/n")]).await.unwrap();
    two.node.tick();
    two.node.change("dev", vec![put("/n/x", "1")]).await.unwrap();
    let brought = two.node.stat("proj:dev/n").await.unwrap().mtime_ns;
    two.node.tick();
    two.node.main(put("/d/late", "1")).await.unwrap();
    let later = two.node.stat("proj/d").await.unwrap().mtime_ns;
    two.node.tick();
    two.merge("main", "dev", How::default()).await.unwrap();
    let folder = two.node.stat("proj/d").await.unwrap();
    assert_eq!((folder.mode, folder.mtime_ns), (0o700, later));
    assert_eq!(two.node.stat("proj/n").await.unwrap().mtime_ns, brought);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_holds_for_what_the_branch_is_when_it_is_written() {
    // HIST-17, HIST-18
    for times in [1, 2, 1000] {
        let two = std::sync::Arc::new(Two::new().await);
        two.node.change("dev", vec![put("/d/f", "333"), put("/new", "1")]).await.unwrap();
        let (other, runtime, count) = (two.clone(), tokio::runtime::Handle::current(), AtomicUsize::new(0));
        let armed = arm(move |step| {
            let done = count.load(Relaxed);
            if step == "merge.planned" && done < times {
                count.store(done + 1, Relaxed);
                let (other, runtime) = (other.clone(), runtime.clone());
                // Somebody writes what the plan is about, each time that it has been made.
                let write = move || runtime.block_on(other.node.main(put("/d/f", &"x".repeat(done + 4))));
                std::thread::spawn(write).join().unwrap().unwrap();
            }
        });
        let merged = two.merge("main", "dev", How::default()).await.unwrap();
        drop(armed);
        assert_eq!(merged.conflicts.len(), 1, "{times}");
        assert_eq!(two.size("proj/d/f").await as usize, times.min(MERGE_PLANS_BESIDE_WRITERS) + 3, "{times}");
        assert_eq!(two.open().await.len(), 1);
        assert_eq!(two.size("proj/new").await, 1);
    }
}

#[tokio::test]
async fn a_bucket_forgets_what_is_older_than_its_retention() {
    // HIST-43, HIST-44
    let two = Two::new().await;
    let permit = two.node.permit(Right::Admin, None);
    let span = Retention::new(std::time::Duration::from_secs(10));
    for size in 2..5_usize {
        two.node.tick();
        two.node.main(put("/d/f", &"x".repeat(size))).await.unwrap();
    }
    let at = two.node.view("proj").await.unwrap().bound().get();
    let held = two.node.view(&format!("proj@{}", at - 1)).await.unwrap();
    let task = alknet_core::Maintenance::of("fs-forget");
    assert_eq!(two.history.forget(&task, &proj()).await.unwrap(), 0, "without a retention all is kept");
    two.node.tree.set_bucket(&permit, &proj(), move |terms| terms.policy.retention = Some(span)).await.unwrap();
    for _ in 0..60 {
        two.node.tick();
    }
    two.node.main(put("/late", "")).await.unwrap();
    assert!(two.history.forget(&task, &proj()).await.unwrap() > 0);
    assert_eq!(held.stat(&path("/d/f"), false).await.unwrap().size, 3, "what somebody looks at is there");
    assert_eq!(errno(two.node.view(&format!("proj@{}", at - 2)).await.map(|_| ())), Errno::NoEnt);
    assert_eq!((two.size("proj/d/f").await, two.size("proj:dev/d/f").await), (4, 1));
}
