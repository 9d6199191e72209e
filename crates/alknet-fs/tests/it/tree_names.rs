//! Buckets that take names for one which are spelled differently: how a name is kept, shown, renamed, copied and merged.

use alknet_core::Maintenance;
use alknet_fs::{
    Change, Errno, Expect, FsError, Names, Policy, RemoveHow, RenameHow, Right, Seq, Terms,
    events::{PathFilter, Reach, ToldChange, tell},
    history::{
        History, How,
        diff::{self, Wanted},
    },
    limits::MAX_ENTRY_NAME_BYTES,
    rows::{branch::Mode, commit},
};
use alknet_store::Durability;

use crate::{
    node::{Node, errno, main_branch, mkdir, name, path, proj, put, put_if, remove},
    tree_posix::{hard_link, rename, symlink},
};

const TASK: Maintenance = Maintenance::of("test");

async fn node(names: Names, changes: Vec<Change>) -> Node {
    let node = Node::new();
    node.create_bucket(Terms { policy: Policy { names, ..Policy::default() }, ..Terms::default() }).await.unwrap();
    node.change("main", changes).await.unwrap();
    node
}

#[tokio::test]
async fn characters_are_composed_and_cases_are_kept() {
    // TREE-70, TREE-71
    let (apart, composed) = ("e\u{301}", "é");
    let nfc = node(Names::Nfc, vec![mkdir(&format!("/{apart}")), put(&format!("/{composed}/f"), "1")]).await;
    assert_eq!(nfc.names("proj/").await.unwrap(), [composed]);
    assert_eq!(
        errno(nfc.main(mkdir("/É")).await.map(drop).and(nfc.main(mkdir(&format!("/{apart}"))).await)),
        Errno::Exist
    );
    let fold = node(Names::Fold, vec![mkdir("/Docs"), put("/DOCS/ReadMe.md", "1"), put("/docs/README.md", "22")]).await;
    assert_eq!(fold.names("proj/dOCS").await.unwrap(), ["ReadMe.md"], "the first spelling stays");
    let found = fold.stat("proj/docs/readme.MD").await.unwrap();
    assert_eq!((found.size, found.nlink), (2, Some(1)));
    assert_eq!(errno(fold.main(put_if("/docs/README.md", "3", Expect::Absent)).await), Errno::Exist);
    assert_eq!(errno(fold.main(symlink("/DOCS", "x")).await), Errno::Exist);
    fold.main(remove("/docs/readme.md", RemoveHow::File)).await.unwrap();
    fold.main(put("/docs/readme.md", "4")).await.unwrap();
    assert_eq!(fold.names("proj/docs").await.unwrap(), ["readme.md"], "a new entry is spelled anew");
    let bytes = node(Names::Bytes, vec![put("/a", "1"), put("/A", "2")]).await;
    assert_eq!(bytes.names("proj/").await.unwrap(), ["A", "a"]);
}

#[tokio::test]
async fn a_folder_is_read_by_what_its_names_are_compared_by() {
    // TREE-71, TREE-07
    let node = node(Names::Fold, ["/b", "/C", "/A", "/ß", "/É"].map(|at| put(at, "x")).into()).await;
    assert_eq!(node.names("proj/").await.unwrap(), ["A", "b", "C", "ß", "É"]);
    let view = node.view("proj").await.unwrap();
    for after in ["B", "b"] {
        let page = view.list(&path("/"), Some(&name(after)), 1, true).await.unwrap();
        assert_eq!((page.entries[0].name.to_string(), page.next), ("C".to_owned(), Some(name("C"))));
    }
}

#[tokio::test]
async fn a_rename_can_change_the_spelling_alone() {
    // TREE-72
    let node = node(Names::Fold, vec![mkdir("/a"), put("/a/readme", "1"), put("/other", "2")]).await;
    let before = node.stat("proj/a/readme").await.unwrap();
    for (to, how) in [("/a/README", RenameHow::Replace), ("/A/ReadMe", RenameHow::NoReplace)] {
        node.main(rename("/a/readme", to, how)).await.unwrap();
        assert_eq!(node.names("proj/a").await.unwrap(), [&to[3..]]);
        assert_eq!(node.stat("proj/a/readme").await.unwrap().ino, before.ino);
    }
    let seq = node.main(rename("/a/readme", "/A/readme", RenameHow::Replace)).await.unwrap().seq;
    assert_eq!(node.main(rename("/a/readme", "/a/readme", RenameHow::Replace)).await.unwrap().seq, seq);
    assert_eq!(errno(node.main(rename("/other", "/A/README", RenameHow::NoReplace)).await), Errno::Exist);
    node.main(rename("/other", "/A/README", RenameHow::Replace)).await.unwrap();
    assert_eq!(node.names("proj/a").await.unwrap(), ["README"]);
    assert_eq!(errno(node.main(rename("/a", "/A/x", RenameHow::Replace)).await), Errno::Inval);
}

#[tokio::test]
async fn spellings_survive_copies_branches_and_restarts() {
    // TREE-71, TREE-26, TREE-40
    let mut node = node(Names::Fold, vec![mkdir("/D"), put("/D/One", "1"), hard_link("/d/one", "/D/TWO")]).await;
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    node.restart();
    let from = node.view("proj:dev").await.unwrap();
    let copy = |from: &str, to: &str, view: &alknet_fs::View| Change::Clone {
        from: view.clone(),
        path: path(from),
        to: path(to),
    };
    node.change("dev", vec![copy("/d", "/E", &from)]).await.unwrap();
    assert_eq!(node.names("proj:dev/").await.unwrap(), ["D", "E"]);
    assert_eq!(node.names("proj:dev/e").await.unwrap(), ["One", "TWO"]);
    node.change("dev", vec![rename("/e", "/d/e", RenameHow::Replace)]).await.unwrap();
    assert_eq!(node.names("proj:dev/D").await.unwrap(), ["e", "One", "TWO"]);
}

#[tokio::test]
async fn who_watches_hears_of_a_path_in_any_spelling() {
    // FS-61, TREE-74
    let changes = || vec![mkdir("/Docs"), put("/Docs/Übersicht.JPG", "1")];
    let heard = async |names, prefix: &str, suffix: &str| {
        let node = node(names, changes()).await;
        let (view, filter) =
            (node.view("proj").await.unwrap(), PathFilter { prefix: prefix.into(), suffix: suffix.into() });
        node.main(put("/docs/über.jpg", "1")).await.ok();
        let told = node.tree.tables().read_here(|sql| -> Result<_, FsError> {
            let mut told = Vec::new();
            for commit in commit::after(sql, view.bucket_id(), Seq::ZERO, 9)? {
                let reach = Reach { rows: 9, changes: 9 };
                told.extend(tell(sql, (view.branch_id(), view.sight()), &commit, &filter, reach)?.changes);
            }
            Ok(told)
        });
        let path = |change: ToldChange| String::from_utf8(change.path).unwrap();
        told.unwrap().into_iter().map(path).collect::<Vec<_>>()
    };
    let all = ["/Docs", "/Docs/Übersicht.JPG", "/Docs/über.jpg"];
    assert_eq!(heard(Names::Fold, "/DOCS", "").await, all);
    assert_eq!(heard(Names::Fold, "/docs/u\u{308}BER", ".Jpg").await, all[1..]);
    assert_eq!(heard(Names::Nfc, "/Docs/U\u{308}", ".JPG").await, all[1..2]);
    assert_eq!(heard(Names::Nfc, "/docs", "").await, [""; 0]);
    assert_eq!(heard(Names::Bytes, "/Docs/U\u{308}", "").await, [""; 0]);
    let node = node(Names::Fold, changes()).await;
    node.main(rename("/docs", "/Old", RenameHow::Replace)).await.unwrap();
    let view = node.view("proj").await.unwrap();
    let told = node.tree.tables().read_here(|sql| -> Result<_, FsError> {
        let (commit, filter) = (
            commit::newest(sql, view.bucket_id())?.unwrap(),
            PathFilter { prefix: b"/DOCS/a".to_vec(), suffix: Vec::new() },
        );
        Ok(tell(sql, (view.branch_id(), view.sight()), &commit, &filter, Reach { rows: 9, changes: 9 })?)
    });
    assert_eq!(told.unwrap().changes.len(), 1, "a folder speaks for what is below it");
}

#[tokio::test]
async fn a_name_is_as_long_as_it_is_kept() {
    // TREE-70
    let half = "é".repeat(MAX_ENTRY_NAME_BYTES / 2);
    let node = node(Names::Nfc, vec![put(&format!("/{half}"), "1")]).await;
    // U+0958 is kept as the two characters that it stands for: twice as many bytes.
    let grows = "\u{958}".repeat(MAX_ENTRY_NAME_BYTES / 3);
    assert_eq!(errno(node.main(put(&format!("/{grows}"), "1")).await), Errno::NameTooLong);
}

#[tokio::test]
async fn by_what_names_are_compared_stays_and_what_a_newer_version_has_set_is_left_alone() {
    // TREE-73, TREE-61
    let node = node(Names::Fold, vec![put("/A", "1")]).await;
    let admin = node.permit(Right::Admin, None);
    let bucket = proj();
    let set = node.tree.set_bucket(&admin, &bucket, |terms| {
        terms.policy = Policy::default();
        terms.quota_files = Some(9);
    });
    let set = set.await.unwrap();
    assert_eq!((set.terms.policy.names, set.terms.quota_files), (Names::Fold, Some(9)));
    let newer = r#"{"names":"fold","sealed":true}"#;
    let write = move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<(), FsError> {
        sql.execute("UPDATE fs_bucket SET policy = ?1", [newer])?;
        Ok(())
    };
    node.tree.tables().change(&alknet_store::Rights::maintenance(&TASK), Durability::Strict, write).await.unwrap();
    assert_eq!(node.stat("proj/a").await.unwrap().size, 1, "it is read as before");
    for refused in [
        node.main(put("/b", "1")).await.map(drop),
        node.tree.set_bucket(&admin, &proj(), |terms| terms.quota_files = None).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("a newer version"), "{error}");
    }
    let policy = node.tree.tables().read_here(|sql| -> Result<String, FsError> {
        Ok(sql.query_row("SELECT policy FROM fs_bucket", [], |row| row.get(0))?)
    });
    assert_eq!(policy.unwrap(), newer);
}

#[tokio::test]
async fn spellings_come_along_in_merges_and_are_shown_in_histories() {
    // TREE-71, TREE-72
    let node = node(Names::Fold, vec![mkdir("/Docs"), put("/Docs/ReadMe", "1"), put("/Docs/Old", "1")]).await;
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    let on_dev = vec![
        put("/docs/readme", "22"),
        put("/DOCS/New File", "1"),
        rename("/docs/old", "/docs/Older", RenameHow::Replace),
        mkdir("/Made"),
        put("/made/Inner", "1"),
    ];
    node.change("dev", on_dev).await.unwrap();
    node.change("dev", vec![rename("/docs", "/DOCS", RenameHow::Replace)]).await.unwrap();
    assert_eq!(node.names("proj:dev/").await.unwrap(), ["DOCS", "Made"]);
    let history = History::new(node.tree.clone());
    let (main, dev) = (node.view("proj").await.unwrap(), node.view("proj:dev").await.unwrap());
    let within = dev.chain().clone();
    let changes = node.tree.tables().read_here(|sql| -> Result<_, FsError> {
        let within = within.spelled(sql, &path("/docs"))?.unwrap();
        assert_eq!(within, path("/DOCS"));
        let wanted = Wanted { within: &within, after: None, limit: 100 };
        Ok(diff::between(sql, main.chain(), dev.chain(), wanted)?)
    });
    let changes: Vec<_> = changes.unwrap().all.iter().map(|one| one.path.to_string()).collect();
    assert_eq!(changes, ["/DOCS/New File", "/DOCS/Older", "/DOCS/ReadMe"]);
    let permit = node.permit(Right::Write, Some("main"));
    let merged = history.merge(&permit, &main, &dev, How::default()).await.unwrap();
    assert_eq!(merged.conflicts.len(), 0);
    assert_eq!(node.names("proj/").await.unwrap(), ["Docs", "Made"], "a spelling is no change to be merged");
    assert_eq!(node.names("proj/docs").await.unwrap(), ["New File", "Older", "ReadMe"]);
    assert_eq!(node.names("proj/MADE").await.unwrap(), ["Inner"]);
    node.main(remove("/docs/README", RemoveHow::File)).await.unwrap();
    let before = node.view("proj@3").await.unwrap();
    let place = (proj(), main_branch());
    history.restore(&permit, (&place.0, &place.1), &path("/DOCS/readme"), &before).await.unwrap();
    assert_eq!(node.names("proj/docs").await.unwrap(), ["New File", "Older", "ReadMe"]);
}

#[tokio::test]
async fn a_merge_spells_the_names_of_what_was_written_anew() {
    // TREE-71
    let node = node(Names::Fold, vec![put("/Note", "1")]).await;
    node.branch("dev", "proj", Mode::Pinned).await.unwrap();
    let anew = vec![put("/ReadMe", "2"), remove("/note", RemoveHow::File), hard_link("/ReadMe", "/Note")];
    node.change("dev", anew).await.unwrap();
    let (main, dev) = (node.view("proj").await.unwrap(), node.view("proj:dev").await.unwrap());
    let permit = node.permit(Right::Write, Some("main"));
    History::new(node.tree.clone()).merge(&permit, &main, &dev, How::default()).await.unwrap();
    assert_eq!(node.names("proj/").await.unwrap(), ["Note", "ReadMe"]);
}
