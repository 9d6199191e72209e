//! What somebody does on a branch, and is shown of it, who may not read the one that it came from, through the operations.

use std::{collections::BTreeSet, path::Path};

use alknet_call::{CallError, ErrorCode};
use alknet_core::Identity;
use serde_json::{Value, json};

use crate::operations::{World, identity};

/// May do everything on some branches, and nothing on `main`.
fn bob() -> Identity {
    let rights = ["fs:read", "fs:write", "fs:branch"];
    let branches = ["bucket:proj/pub", "bucket:proj/dev", "bucket:proj/rel"];
    let grants: Vec<_> = branches.iter().flat_map(|branch| rights.map(|right| (*branch, right))).collect();
    identity("bob", &rights, &grants)
}

impl World {
    /// `main` with `/f` and the folder `/d`; `pub` follows it, and since then it has another `/f`, `/new` and `/d/later`.
    async fn published() -> Self {
        let world = Self::new().await;
        world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
        world.owner("fs/mkdir", json!({ "bucket": "proj/main", "path": "/d" })).await;
        world.put("main", "/f", "1").await;
        world.owner("fs/branch.create", json!({ "bucket": "proj/pub", "mode": "follow" })).await;
        world.put("pub", "/own", "pub's").await;
        for (path, text) in [("/f", "secret"), ("/new", "unseen"), ("/d/later", "unseen")] {
            world.put("main", path, text).await;
        }
        world
    }
    async fn bob(&self, operation: &str, input: Value) -> Result<Value, CallError> {
        self.call(Some(&bob()), operation, input).await
    }
    async fn refused(&self, operation: &str, input: Value) {
        let refused = self.bob(operation, input.clone()).await;
        assert_eq!(refused.map_err(|error| error.code), Err(ErrorCode::Forbidden), "{operation} {input}");
    }
    async fn head(&self) -> u64 {
        self.owner("fs/log", json!({ "bucket": "proj/main" })).await["commits"][0]["seq"].as_u64().unwrap()
    }
    /// What the owner sees in a folder of a branch.
    async fn names(&self, branch: &str, path: &str) -> Vec<String> {
        let input = json!({ "bucket": format!("proj/{branch}"), "path": path });
        let listed = self.owner("fs/list", input).await;
        listed["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn write(branch: &str, path: &str) -> Value {
    let entry = json!({ "path": path, "entry": { "content": "" }, "expect": "absent" });
    json!({ "bucket": format!("proj/{branch}"), "entries": [entry] })
}

#[tokio::test]
async fn a_pinned_branch_made_of_a_follower_shows_as_its_oldest_version_what_it_was_made_of() {
    // FS-88
    let world = World::published().await;
    let secret = world.head().await;
    world.owner("fs/remove", json!({ "bucket": "proj/main", "path": "/new" })).await;
    let at = world.head().await;
    world.owner("fs/branch.create", json!({ "bucket": "proj/rel", "from": "pub" })).await;
    let look =
        |branch: &str, when: u64| json!({ "bucket": format!("proj/{branch}"), "path": "/f", "when": when.to_string() });
    assert_eq!(
        world.bob("fs/stat", look("rel", at)).await.unwrap()["attributes"]["size"],
        6,
        "who made it showed that"
    );
    let mut new = look("rel", secret);
    new["path"] = json!("/new");
    assert_eq!(world.owner("fs/stat", new.clone()).await["attributes"]["size"], 6);
    assert_eq!(world.bob("fs/stat", new).await.unwrap_err().code, ErrorCode::NotFound);
    let log = world.bob("fs/log", json!({ "bucket": "proj/rel" })).await.unwrap();
    assert_eq!(log["commits"], json!([]), "nothing of how it came to be");
}

#[tokio::test]
async fn whole_trees_are_changed_by_those_who_see_all_of_them() {
    // FS-89
    let world = World::published().await;
    world.owner("fs/branch.create", json!({ "bucket": "proj/dev" })).await;
    world.put("dev", "/f", "theirs").await;
    world.put("pub", "/f", "ours").await;
    let shown = world.names("pub", "/").await;
    for (into, from, dry_run) in [("dev", "pub", false), ("pub", "dev", false), ("pub", "dev", true)] {
        world.refused("fs/merge", json!({ "bucket": format!("proj/{into}"), "from": from, "dry_run": dry_run })).await;
    }
    world.refused("fs/restore", json!({ "bucket": "proj/pub", "path": "/", "when": "5" })).await;
    assert_eq!(world.names("pub", "/").await, shown);
    let merged = world.owner("fs/merge", json!({ "bucket": "proj/pub", "from": "dev" })).await;
    assert_eq!(merged["conflict_count"], 1, "{merged}");
    world.refused("fs/conflicts", json!({ "bucket": "proj/pub" })).await;
    let number = &merged["conflicts"][0]["number"];
    for keep in ["ours", "theirs", "both"] {
        world.refused("fs/conflict.settle", json!({ "bucket": "proj/pub", "number": number, "keep": keep })).await;
    }
}

#[tokio::test]
async fn nobody_gives_or_takes_a_name_that_stands_for_something_that_he_does_not_see() {
    // FS-89, SESS-24, TREE-01, TREE-05
    let world = World::published().await;
    let (root, folder) = (world.names("pub", "/").await, world.names("pub", "/d").await);
    world.refused("fs/write.many", write("pub", "/new")).await;
    for recursive in [false, true] {
        world.refused("fs/remove", json!({ "bucket": "proj/pub", "path": "/d", "recursive": recursive })).await;
    }
    world.refused("fs/move", json!({ "bucket": "proj/pub", "from": "/own", "to": "/new" })).await;
    world.owner("fs/remove", json!({ "bucket": "proj/main", "path": "/f" })).await;
    world.refused("fs/remove", json!({ "bucket": "proj/pub", "path": "/f" })).await;
    let seen: Vec<_> = root.into_iter().filter(|name| name != "f").collect();
    assert_eq!((world.names("pub", "/").await, world.names("pub", "/d").await), (seen, folder));
    // What all see alike is his to change.
    world.bob("fs/write.many", write("pub", "/free")).await.unwrap();
    world.bob("fs/move", json!({ "bucket": "proj/pub", "from": "/d", "to": "/e" })).await.unwrap();
    world.bob("fs/mkdir", json!({ "bucket": "proj/pub", "path": "/h" })).await.unwrap();
    for path in ["/own", "/h"] {
        world.bob("fs/remove", json!({ "bucket": "proj/pub", "path": path })).await.unwrap();
    }
    assert_eq!(world.names("pub", "/").await, ["e", "free", "new"]);
    assert_eq!(world.names("pub", "/e").await, ["later"], "what he does not see moves with its folder");
}

#[tokio::test]
async fn who_may_not_read_the_other_side_of_a_conflict_keeps_what_is_here() {
    // FS-31, HIST-29
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    for path in ["/f", "/g"] {
        world.put("main", path, "base").await;
    }
    for branch in ["dev", "priv"] {
        world.owner("fs/branch.create", json!({ "bucket": format!("proj/{branch}") })).await;
        world.put(branch, "/f", branch).await;
        world.put(branch, "/g", branch).await;
    }
    let merged = world.owner("fs/merge", json!({ "bucket": "proj/dev", "from": "priv" })).await;
    let number = |index: usize| merged["conflicts"][index]["number"].clone();
    let settle = |number: Value, keep: &str| json!({ "bucket": "proj/dev", "number": number, "keep": keep });
    let hidden = async || {
        let listed = world.bob("fs/conflicts", json!({ "bucket": "proj/dev" })).await.unwrap();
        (listed["conflicts"][0]["theirs"].clone(), listed["conflicts"][0]["theirs_hidden"].clone())
    };
    let is_hidden = (Value::Null, json!(true));
    for keep in ["theirs", "both"] {
        world.refused("fs/conflict.settle", settle(number(0), keep)).await;
    }
    assert_eq!(hidden().await, is_hidden);
    // Another branch of the name is another branch.
    world.owner("fs/branch.remove", json!({ "bucket": "proj/priv" })).await;
    world.owner("fs/branch.create", json!({ "bucket": "proj/priv" })).await;
    let rights = [("bucket:proj/dev", "fs:read"), ("bucket:proj/dev", "fs:write"), ("bucket:proj/priv", "fs:read")];
    let ann = identity("ann", &["fs:read", "fs:write"], &rights);
    let told = world.call(Some(&ann), "fs/conflicts", json!({ "bucket": "proj/dev" })).await.unwrap();
    let told = &told["conflicts"][0];
    assert_eq!((told["theirs"].clone(), told["theirs_hidden"].clone()), is_hidden, "{told}");
    let kept = world.call(Some(&ann), "fs/conflict.settle", settle(number(0), "theirs")).await;
    assert_eq!(kept.unwrap_err().code, ErrorCode::Forbidden);
    world.bob("fs/conflict.settle", settle(number(0), "ours")).await.unwrap();
    world.owner("fs/conflict.settle", settle(number(1), "theirs")).await;
}

#[tokio::test]
async fn a_snapshot_is_of_a_version_that_is_seen() {
    // FS-88
    let world = World::published().await;
    let take = |name: &str, when: u64| json!({ "bucket": "proj/pub", "name": name, "when": when.to_string() });
    let refused = world.bob("fs/snapshot.create", take("before", 2)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let head = world.head().await;
    world.bob("fs/snapshot.create", take("seen", head)).await.unwrap();
    world.owner("fs/snapshot.create", take("before", 2)).await;
}

/// Where chains are made that show everything, and why that is right there.
const WHOLE_CHAINS: [(&str, &str); 11] = [
    ("sight.rs", "shows of them what may be seen"),
    ("history/changing.rs", "what two branches have in common, where nothing is hidden from whoever merges them"),
    ("history/flatten.rs", "rows are copied for all"),
    ("history/merge/base.rs", "as in changing.rs"),
    ("history/retention.rs", "what anybody sees is kept"),
    ("history/settle.rs", "the side that whoever settles may see, where nothing is hidden from him"),
    ("session/opened.rs", "whether a file has a name for anybody"),
    ("tree/buckets.rs", "whether nothing is in a bucket for anybody"),
    ("tree/branches.rs", "how many levels there are"),
    ("tree/fsck.rs", "everything is checked"),
    ("tree/txn.rs", "what others see that an author does not"),
];

#[test]
fn chains_that_show_everything_are_made_where_it_is_known_why() {
    // FS-88
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut open) = (BTreeSet::new(), vec![src.clone()]);
    while let Some(at) = open.pop() {
        if at.is_dir() {
            open.extend(std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()));
        } else if ["Chain::of(", "Chain::standing_for("]
            .iter()
            .any(|call| std::fs::read_to_string(&at).unwrap().contains(call))
        {
            found.insert(at.strip_prefix(&src).unwrap().to_str().unwrap().to_owned());
        }
    }
    let known: BTreeSet<_> = WHOLE_CHAINS.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, known);
}
