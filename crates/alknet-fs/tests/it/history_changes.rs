//! Merging, settling and restoring as doors do them: with permits, in the node's database.

use alknet_fs::{
    Errno, FsError, Retention, Right,
    history::{History, How, Keep, Merged, conflicts::About},
    rows::branch::Mode,
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
        let permit = self.node.permit(Right::Write, Some(into));
        self.history.merge(&permit, (&proj(), &into.parse().unwrap()), &view, how).await
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
    let denied = two.history.merge(&narrow, (&proj(), &"main".parse().unwrap()), &view, How::default()).await;
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
