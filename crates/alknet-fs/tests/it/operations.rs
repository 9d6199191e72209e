//! Every operation on files through the registry: for whom the gate opens, what is written down, and what is published.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alknet_call::{ByteTickets, CallError, CallRequest, Registry};
use alknet_core::{
    AuditEvent, AuditLog, AuditOutcome, Authorizer, Caller, Denial, Identity, PeerAddr, ResourceGrants, ScopeSet,
    Sessions,
};
use alknet_fs::{
    ContentHash, FileSystem, FileSystemConfig, Policy,
    events::Publishing,
    limits::LONG_TIMEOUT,
    operations::{Service, register},
};
use serde_json::{Value, json};

use crate::fixture;

#[derive(Default)]
struct Kept(Mutex<Vec<AuditEvent>>);
impl AuditLog for Kept {
    fn record(&self, event: AuditEvent) {
        self.0.lock().unwrap().push(event);
    }
}

pub struct World {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    registry: Arc<Registry>,
    kept: Arc<Kept>,
}

impl World {
    pub async fn new() -> Self {
        let (folder, path, store) = fixture::store();
        let kept = Arc::new(Kept::default());
        let authorizer = Authorizer::new(kept.clone());
        let publishing = Arc::new(Publishing::declare(&store).await.unwrap());
        let config = FileSystemConfig::new(folder.path().to_owned());
        let files = FileSystem::open(&store, authorizer.clone(), Some(publishing), config).await.unwrap();
        let service = Service::new(files, ByteTickets::default(), Policy::default(), Duration::ZERO);
        let mut builder = Registry::builder(authorizer, Sessions::default());
        register(&mut builder, &service).unwrap();
        Self { _folder: folder, path, registry: builder.build().unwrap(), kept }
    }
    pub async fn call(&self, who: Option<&Identity>, operation: &str, input: Value) -> Result<Value, CallError> {
        let identity = who.cloned().map(Arc::new);
        let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        match self.registry.start(caller, CallRequest::new(operation, input)).await? {
            alknet_call::Answer::Output(output) => Ok(output),
            alknet_call::Answer::Items(_) => Ok(Value::Null),
        }
    }
    pub async fn owner(&self, operation: &str, input: Value) -> Value {
        self.call(Some(&Identity::owner("me")), operation, input).await.unwrap()
    }
}

pub fn identity(name: &str, scopes: &[&str], grants: &[(&str, &str)]) -> Identity {
    let mut resources = ResourceGrants::default();
    for (resource, action) in grants {
        resources.grant(resource.parse().unwrap(), *action);
    }
    Identity::new(name, scopes.iter().map(|scope| scope.parse().unwrap()).collect::<ScopeSet>(), resources)
}

/// Each operation with an input, and the right that it takes; `both`: to write there and to read another branch too; `scope` where no place is asked about.
fn table() -> Vec<(&'static str, Value, &'static str, bool)> {
    let main = "proj/main";
    vec![
        ("fs/bucket.list", json!({}), "fs:read", true),
        ("fs/list", json!({ "bucket": main }), "fs:read", false),
        ("fs/stat", json!({ "bucket": main }), "fs:read", false),
        ("fs/read", json!({ "bucket": main, "path": "/f" }), "fs:read", false),
        ("fs/read.inline", json!({ "bucket": main, "path": "/f" }), "fs:read", false),
        ("fs/have", json!({ "bucket": main, "hashes": [] }), "fs:read", false),
        ("fs/branch.list", json!({ "bucket": "proj" }), "fs:read", true),
        ("fs/snapshot.list", json!({ "bucket": "proj" }), "fs:read", true),
        ("fs/diff", json!({ "bucket": main, "from": {} }), "fs:read", false),
        ("fs/log", json!({ "bucket": main }), "fs:read", false),
        ("fs/watch", json!({ "bucket": main }), "fs:read", false),
        ("fs/write", json!({ "bucket": main, "path": "/w" }), "fs:write", false),
        (
            "fs/write.many",
            json!({ "bucket": main, "entries": [{ "path": "/g", "entry": { "content": "" } }] }),
            "fs:write",
            false,
        ),
        ("fs/mkdir", json!({ "bucket": main, "path": "/d", "parents": true }), "fs:write", false),
        ("fs/move", json!({ "bucket": main, "from": "/g", "to": "/h" }), "fs:write", false),
        ("fs/copy", json!({ "bucket": main, "from": { "path": "/f" }, "to": "/f" }), "fs:write", false),
        ("fs/link", json!({ "bucket": main, "path": "/f", "to": { "symbolic": "x" } }), "fs:write", false),
        ("fs/set", json!({ "bucket": main, "path": "/f", "mode": 384 }), "fs:write", false),
        ("fs/merge", json!({ "bucket": main, "from": "try", "dry_run": true }), "both", false),
        ("fs/conflicts", json!({ "bucket": main }), "fs:read", false),
        ("fs/conflict.settle", json!({ "bucket": main, "number": 1, "keep": "ours" }), "fs:write", false),
        ("fs/restore", json!({ "bucket": main, "path": "/f", "when": "2" }), "fs:write", false),
        ("fs/remove", json!({ "bucket": main, "path": "/h" }), "fs:write", false),
        ("fs/usage", json!({ "bucket": "proj" }), "bucket", false),
        ("fs/branch.create", json!({ "bucket": "proj/main" }), "fs:branch", false),
        ("fs/branch.flatten", json!({ "bucket": "proj/main" }), "fs:branch", false),
        ("fs/branch.remove", json!({ "bucket": "proj/main" }), "fs:branch", false),
        ("fs/snapshot.create", json!({ "bucket": main, "name": "v1" }), "fs:branch", false),
        ("fs/snapshot.remove", json!({ "bucket": main, "name": "v1" }), "fs:branch", false),
        ("fs/bucket.create", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/bucket.set", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/bucket.remove", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/hook.create", json!({ "bucket": "proj", "name": "h", "to": { "queue": "q" } }), "fs:admin", false),
        ("fs/hook.list", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/hook.resume", json!({ "bucket": "proj", "name": "h" }), "fs:admin", false),
        ("fs/hook.remove", json!({ "bucket": "proj", "name": "h" }), "fs:admin", false),
        ("fs/gc", json!({}), "fs:admin", true),
        ("fs/fsck", json!({}), "fs:admin", true),
    ]
}

fn is_refusal(error: &CallError) -> bool {
    [Denial::Unauthenticated, Denial::NotFound, Denial::Forbidden]
        .iter()
        .any(|denial| error.message == denial.to_string())
}

#[tokio::test]
async fn each_operation_is_for_whom_it_is_for_and_each_change_is_written_down() {
    // FS-31
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    let hello = json!({ "bucket": "proj/main", "entries": [{ "path": "/f", "entry": { "content": "aGk=" } }] });
    world.owner("fs/write.many", hello).await;
    let all = ["fs:read", "fs:write", "fs:branch", "fs:admin"];
    let grants: Vec<_> = all.iter().map(|right| ("bucket:*", *right)).collect();
    let every = ["fs:read", "fs:write", "fs:branch", "fs:admin", "bucket", "both"];
    let callers = [
        (Some(identity("reader", &all[..1], &grants[..1])), vec!["fs:read", "bucket"]),
        (Some(identity("writer", &all[..2], &grants[..2])), vec!["fs:read", "fs:write", "bucket", "both"]),
        (Some(identity("maintainer", &all, &grants)), every.to_vec()),
        (Some(Identity::owner("me")), every.to_vec()),
        (
            Some(identity("narrow", &all[..2], &[("bucket:proj/main", "fs:read"), ("bucket:proj/main", "fs:write")])),
            vec!["fs:read", "fs:write"],
        ),
        (Some(identity("elsewhere", &all[..2], &[("bucket:other", "fs:read")])), vec!["scope"]),
        (None, vec![]),
    ];
    let named: Vec<_> = table().iter().map(|(name, ..)| (*name).to_owned()).collect();
    for spec in world.registry.specs().filter(|spec| spec.name.starts_with("fs/")) {
        assert!(named.contains(&spec.name), "{} is in no row of the table", spec.name);
    }
    for (who, may) in &callers {
        let name = who.as_ref().map_or("nobody", Identity::id);
        for (operation, input, right, scope_only) in table() {
            let outcome = world.call(who.as_ref(), operation, input).await;
            let allowed = !outcome.as_ref().is_err_and(is_refusal);
            let lists = name == "elsewhere" && scope_only && right == "fs:read";
            assert_eq!(allowed, may.contains(&right) || lists, "{name} {operation}: {outcome:?}");
        }
    }
    let events = world.kept.0.lock().unwrap();
    for action in ["fs/write.many", "fs/mkdir", "fs/bucket.set", "fs/snapshot.create"] {
        let told = |outcome| events.iter().any(|event| event.action == action && event.outcome == outcome);
        assert!(told(AuditOutcome::Allowed) && told(AuditOutcome::Denied), "{action}");
    }
}

#[tokio::test]
async fn a_commit_is_an_event_unless_its_bucket_says_no() {
    // FS-65
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "loud" })).await;
    world.owner("fs/bucket.create", json!({ "bucket": "quiet", "events": false })).await;
    for bucket in ["loud/main", "quiet/main"] {
        world.owner("fs/mkdir", json!({ "bucket": bucket, "path": "/d" })).await;
    }
    let sql = rusqlite::Connection::open(&world.path).unwrap();
    let mut payloads = sql.prepare("SELECT payload FROM events ORDER BY id").unwrap();
    let payloads: Vec<String> = payloads.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(payloads.len(), 1, "{payloads:?}");
    let event: Value = serde_json::from_str(&payloads[0]).unwrap();
    assert_eq!((&event["bucket"], &event["seq"], &event["op"]), (&json!("loud"), &json!(2), &json!("fs/mkdir")));
    assert_eq!(event["changes"], json!([{ "path": "/d", "changes": ["added"] }]));
}

impl World {
    pub async fn put(&self, branch: &str, path: &str, text: &str) -> u64 {
        let content = data_encoding::BASE64.encode(text.as_bytes());
        let entries = json!([{ "path": path, "entry": { "content": content } }]);
        let input = json!({ "bucket": format!("proj/{branch}"), "entries": entries });
        self.owner("fs/write.many", input).await["seq"].as_u64().unwrap()
    }
    async fn text(&self, branch: &Value, path: &Value, when: Option<u64>) -> String {
        let mut input = json!({ "bucket": format!("proj/{}", branch.as_str().unwrap()), "path": path });
        if let Some(when) = when {
            input["when"] = json!(when.to_string());
        }
        let read = self.owner("fs/read.inline", input).await;
        String::from_utf8(data_encoding::BASE64.decode(read["content"].as_str().unwrap().as_bytes()).unwrap()).unwrap()
    }
    async fn main(&self, path: &str) -> String {
        self.text(&json!("main"), &json!(path), None).await
    }
    /// A bucket whose branches `main` and `try` both changed `/f`, and where `try` has `/new`.
    async fn at_odds() -> Self {
        let world = Self::new().await;
        world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
        world.put("main", "/f", "base").await;
        world.owner("fs/branch.create", json!({ "bucket": "proj/try" })).await;
        world.put("try", "/f", "theirs").await;
        world.put("try", "/new", "new").await;
        world.put("main", "/f", "ours").await;
        world
    }
}

#[tokio::test]
async fn a_merge_is_tried_made_and_its_conflicts_are_settled() {
    // HIST-17, HIST-20, HIST-26
    let world = World::at_odds().await;
    let merge = json!({ "bucket": "proj/main", "from": "try" });
    let mut dry = merge.clone();
    dry["dry_run"] = json!(true);
    let (before, tried) =
        (world.owner("fs/log", json!({ "bucket": "proj/main" })).await, world.owner("fs/merge", dry).await);
    assert_eq!((&tried["merged"], &tried["conflict_count"], &tried["committed"]), (&json!(1), &json!(1), &Value::Null));
    assert_eq!((&tried["conflicts"][0]["about"], &tried["conflicts"][0]["number"]), (&json!("content"), &Value::Null));
    assert_eq!(world.owner("fs/log", json!({ "bucket": "proj/main" })).await, before, "nothing was done");

    let merged = world.owner("fs/merge", merge.clone()).await;
    assert_eq!((world.main("/f").await, world.main("/new").await), ("ours".into(), "new".into()));
    let conflict = &merged["conflicts"][0];
    for (side, wanted) in [("ours", "ours"), ("theirs", "theirs")] {
        for told in [&tried["conflicts"][0][side], &conflict[side]] {
            let text = world.text(&told["branch"], &told["path"], told["at"].as_u64()).await;
            assert_eq!(text, wanted, "{told}");
        }
    }
    let open = || world.owner("fs/conflicts", json!({ "bucket": "proj/main" }));
    assert_eq!((&open().await["conflicts"][0], &conflict["seq"]), (conflict, &merged["committed"]["seq"]));
    let after = json!({ "bucket": "proj/main", "after": conflict["number"] });
    assert_eq!(world.owner("fs/conflicts", after).await["conflicts"], json!([]));
    let again = world.owner("fs/merge", merge).await;
    assert_eq!(again, json!({ "merged": 0, "conflicts": [], "conflict_count": 0 }), "there is nothing more to merge");

    // HIST-29
    let narrow = identity("ann", &["fs:read"], &[("bucket:proj/main", "fs:read")]);
    let listed = json!({ "bucket": "proj/main" });
    let told = world.call(Some(&narrow), "fs/conflicts", listed.clone()).await.unwrap()["conflicts"][0].clone();
    assert_eq!(
        (&told["theirs"], &told["theirs_hidden"], &told["ours"]),
        (&Value::Null, &json!(true), &conflict["ours"])
    );
    world.owner("fs/branch.remove", json!({ "bucket": "proj/try" })).await;
    let gone = world.owner("fs/conflicts", listed.clone()).await["conflicts"][0]["theirs"].clone();
    assert_eq!(
        (&gone["gone"], &gone["side"]),
        (&json!(true), &conflict["theirs"]["side"]),
        "it can be settled so still"
    );
    world.owner("fs/branch.create", json!({ "bucket": "proj/try" })).await;
    assert_eq!(world.owner("fs/conflicts", listed).await["conflicts"][0]["theirs"], gone, "another one of that name");

    let settle = json!({ "bucket": "proj/main", "number": conflict["number"], "keep": "theirs" });
    world.owner("fs/conflict.settle", settle.clone()).await;
    assert_eq!((world.main("/f").await.as_str(), &open().await["conflicts"]), ("theirs", &json!([])));
    let error = world.call(Some(&Identity::owner("me")), "fs/conflict.settle", settle).await.unwrap_err();
    assert_eq!(error.code, CallError::not_found("").code);
    let itself = json!({ "bucket": "proj/main", "from": "main" });
    let error = world.call(Some(&Identity::owner("me")), "fs/merge", itself).await.unwrap_err();
    assert_eq!(error.code, CallError::invalid_input("", "").code);
}

#[tokio::test]
async fn each_strategy_of_a_merge_leaves_what_it_says() {
    // HIST-20
    for (strategy, wanted, beside) in [("ours", "ours", false), ("theirs", "theirs", false), ("both", "ours", true)] {
        let world = World::at_odds().await;
        let merge = json!({ "bucket": "proj/main", "from": "try", "strategy": strategy });
        let merged = world.owner("fs/merge", merge).await;
        assert_eq!((world.main("/f").await.as_str(), &merged["conflicts"][0]["number"]), (wanted, &Value::Null));
        assert_eq!(world.owner("fs/conflicts", json!({ "bucket": "proj/main" })).await["conflicts"], json!([]));
        let listed = world.owner("fs/list", json!({ "bucket": "proj/main" })).await;
        assert_eq!(listed["entries"].as_array().unwrap().len(), if beside { 3 } else { 2 }, "{strategy}: {listed}");
    }
}

#[tokio::test]
async fn what_was_is_again() {
    // HIST-30
    let world = World::at_odds().await;
    let seq = world.put("main", "/f", "later").await;
    world.owner("fs/remove", json!({ "bucket": "proj/main", "path": "/f" })).await;
    world.owner("fs/restore", json!({ "bucket": "proj/main", "path": "/f", "when": (seq - 1).to_string() })).await;
    assert_eq!(world.main("/f").await, "ours");
    let never = json!({ "bucket": "proj/main", "path": "/new", "when": seq.to_string() });
    let error = world.call(Some(&Identity::owner("me")), "fs/restore", never).await.unwrap_err();
    assert_eq!(error.code, CallError::not_found("").code);
}

#[tokio::test]
async fn who_may_write_a_branch_but_not_read_it_or_the_other_learns_nothing_by_merging_or_restoring() {
    // FS-31
    let world = World::at_odds().await;
    let (write, main, other) = (("bucket:proj/main", "fs:write"), "bucket:proj/main", "bucket:proj/try");
    let merge = json!({ "bucket": "proj/main", "from": "try", "dry_run": true });
    let restore = json!({ "bucket": "proj/main", "path": "/f", "when": "2" });
    for (grants, merges, restores) in [
        (vec![write], false, false),
        (vec![write, (main, "fs:read")], false, true),
        (vec![write, (other, "fs:read")], false, false),
        (vec![write, (main, "fs:read"), (other, "fs:read")], true, true),
        (vec![(main, "fs:read"), (other, "fs:read")], false, false),
    ] {
        let who = identity("ann", &["fs:read", "fs:write"], &grants);
        for (operation, input, may) in [("fs/merge", &merge, merges), ("fs/restore", &restore, restores)] {
            let outcome = world.call(Some(&who), operation, input.clone()).await;
            assert_eq!(!outcome.as_ref().is_err_and(is_refusal), may, "{operation} {grants:?}: {outcome:?}");
        }
    }
    let refused = |event: &AuditEvent| event.action == "fs/merge" && event.outcome == AuditOutcome::Denied;
    let of_other = |event: &AuditEvent| event.resource.as_deref() == Some("bucket:proj/try");
    assert!(world.kept.0.lock().unwrap().iter().any(|event| refused(event) && of_other(event)));
}

#[tokio::test]
async fn of_a_length_it_is_said_whether_the_caller_sees_content_of_it() {
    // FS-05
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    world.put("main", "/f", "x").await;
    world.owner("fs/branch.create", json!({ "bucket": "proj/try" })).await;
    world.put("try", "/g", "y").await;
    let sql = rusqlite::Connection::open(&world.path).unwrap();
    for (text, size) in [("x", 20_000_000), ("y", 30_000_000)] {
        let hash = ContentHash::of(text.as_bytes());
        sql.execute("UPDATE fs_blob SET size = ?1 WHERE hash = ?2", (size, hash.as_bytes())).unwrap();
    }
    let plan: String = sql
        .query_row(
            "EXPLAIN QUERY PLAN SELECT hash FROM fs_blob WHERE size = ?1 AND size >= 16777216 AND state = 0 LIMIT 3",
            [1],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("fs_blob_large"), "{plan}");
    let asked = json!({ "bucket": "proj/main", "hashes": [], "sizes": [1, 20_000_000, 25_000_000, 30_000_000] });
    assert_eq!(world.owner("fs/have", asked.clone()).await["sizes"], json!([20_000_000, 30_000_000]));
    let narrow = identity("narrow", &["fs:read"], &[("bucket:proj/main", "fs:read")]);
    let seen = world.call(Some(&narrow), "fs/have", asked).await.unwrap();
    assert_eq!(seen["sizes"], json!([20_000_000]), "another branch's is as nobody's");
}

#[tokio::test]
async fn what_is_written_beneath_a_folder_stays_below_it() {
    // FS-32
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    world.put("main", "/victim", "kept").await;
    world.owner("fs/mkdir", json!({ "bucket": "proj/main", "path": "/in" })).await;
    let many = async |beneath: &str, entries: Value| {
        let input = json!({ "bucket": "proj/main", "parents": true, "beneath": beneath, "entries": entries });
        world.call(Some(&Identity::owner("me")), "fs/write.many", input).await
    };
    let file = |path: &str| json!({ "path": path, "entry": { "content": "eA==" } });
    let link = |path: &str, to: &str| json!({ "path": path, "entry": { "symlink": to } });

    // A link that came just before, in the same call.
    for entry in
        [file("/in/up/victim"), json!({ "path": "/in/up/d", "entry": { "folder": {} } }), link("/in/up/l", "x")]
    {
        let error = many("/in", json!([link("/in/up", ".."), entry])).await.unwrap_err();
        assert_eq!(error.code.as_str(), "NOT_A_FOLDER", "{error:?}");
    }
    many("/in", json!([link("/in/up", "..")])).await.unwrap();
    let through = json!([{ "path": "/in/n", "entry": { "link": "/in/up/victim" } }]);
    assert_eq!(many("/in", through).await.unwrap_err().code.as_str(), "NOT_A_FOLDER", "nor is anything outside named");
    let as_folder = json!([{ "path": "/in/up", "entry": { "folder": {} } }]);
    assert_eq!(many("/in", as_folder).await.unwrap_err().code.as_str(), "NOT_A_FOLDER");
    assert_eq!(many("/in", json!([file("/other")])).await.unwrap_err().code, CallError::invalid_input("", "").code);

    // In the place of a file, a link goes; who wants nothing to be there is told of it.
    let victim = json!([link("/in/f", "../victim"), file("/in/f")]);
    many("/in", victim).await.unwrap();
    let mut only_new = file("/in/up");
    only_new["expect"] = json!("absent");
    assert_eq!(many("/in", json!([only_new])).await.unwrap_err().code.as_str(), "EXISTS");
    assert_eq!((world.main("/in/f").await, world.main("/victim").await), ("x".into(), "kept".into()));

    // The folder itself may be a link: whoever named it meant what it leads to. So may a file that is named by itself.
    many("/", json!([link("/current", "in")])).await.unwrap();
    many("/current", json!([file("/current/g")])).await.unwrap();
    assert_eq!(world.main("/in/g").await, "x");
    many("/", json!([link("/named", "victim")])).await.unwrap();
    many("/named", json!([file("/named")])).await.unwrap();
    assert_eq!(world.main("/victim").await, "x");
}

#[tokio::test]
async fn long_names_come_in_more_pages_and_not_in_an_error() {
    // FS-35, FS-62
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj", "durability": "lazy" })).await;
    world.owner("fs/branch.create", json!({ "bucket": "proj/old" })).await;
    let target = "\u{1}".repeat(4095);
    let count = 300;
    for begin in (0..count).step_by(100) {
        let link = |number: usize| json!({ "path": format!("/{number:03}"), "entry": { "symlink": target } });
        let entries: Vec<_> = (begin..begin + 100).map(link).collect();
        world.owner("fs/write.many", json!({ "bucket": "proj/main", "entries": entries })).await;
    }
    let pages = async |operation: &str, input: Value, member: &str, key: &str| {
        let (mut input, mut all, mut pages) = (input, Vec::new(), 0);
        loop {
            let page = world.owner(operation, input.clone()).await;
            assert!(serde_json::to_vec(&page).unwrap().len() < 3 << 20);
            all.extend(page[member].as_array().unwrap().iter().map(|item| item[key].clone()));
            pages += 1;
            let Some(next) = page.get("next") else { return (all, pages) };
            input["after"] = next.clone();
        }
    };
    for recursive in [false, true] {
        let input = json!({ "bucket": "proj/main", "recursive": recursive });
        let (all, pages) = pages("fs/list", input, "entries", "name").await;
        let wanted: Vec<_> = (0..count).map(|number| json!(format!("{number:03}"))).collect();
        assert_eq!((all, pages > 2), (wanted, true));
    }
    let small = json!({ "bucket": "proj/old", "entries": [
        { "path": "/a/f", "entry": { "content": "" } }, { "path": "/b", "entry": { "symlink": "a" } }, { "path": "/c", "entry": { "folder": {} } }
    ], "parents": true });
    world.owner("fs/write.many", small).await;
    let input = json!({ "bucket": "proj/old", "recursive": true, "limit": 1 });
    let (all, _) = pages("fs/list", input, "entries", "name").await;
    assert_eq!(all, ["a", "a/f", "b", "c"], "a page that begins after a link does not go on behind it");
    world.owner("fs/remove", json!({ "bucket": "proj/old", "path": "/a", "recursive": true })).await;
    for path in ["/b", "/c"] {
        world.owner("fs/remove", json!({ "bucket": "proj/old", "path": path })).await;
    }
    let input = json!({ "bucket": "proj/main", "from": { "bucket": "proj/old" } });
    let (all, pages) = pages("fs/diff", input, "changes", "path").await;
    assert_eq!((all.len(), pages > 2), (count, true));
    assert_eq!(all.last(), Some(&json!("/299")));
}

#[tokio::test]
async fn what_is_too_much_has_a_code_of_its_own_and_what_is_large_has_time() {
    // FS-33, FS-34
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    let deep = "/d".repeat(1000);
    world.owner("fs/mkdir", json!({ "bucket": "proj/main", "path": deep, "parents": true })).await;
    world.owner("fs/link", json!({ "bucket": "proj/main", "path": "/l", "to": { "symbolic": &deep[1..] } })).await;
    let entry = |path: String| json!({ "path": path, "entry": { "folder": {} } });
    let entries = (0..120).flat_map(|number| [entry(format!("/l/{number}")), entry(format!("/{number}"))]);
    let input = json!({ "bucket": "proj/main", "entries": entries.collect::<Vec<_>>() });
    let error = world.call(Some(&Identity::owner("me")), "fs/write.many", input).await.unwrap_err();
    assert_eq!(error.code.as_str(), "TOO_MUCH", "{error:?}");
    let long = "bucket.remove conflict.settle copy diff gc log merge remove restore usage write.many";
    for (name, limit) in long.split(' ').map(|name| (name, LONG_TIMEOUT)).chain([("stat", Duration::from_secs(60))]) {
        let spec = world.registry.specs().find(|spec| spec.name == format!("fs/{name}")).unwrap();
        assert_eq!(spec.timeout, Some(limit), "{name}");
    }
}

#[tokio::test]
async fn what_a_writer_expects_tells_nothing_to_whoever_may_not_read() {
    // TREE-05, FS-05
    let world = World::new().await;
    world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
    let put = |path: &str, expect: Value| json!({ "bucket": "proj/main", "entries": [{ "path": path, "entry": { "content": "aGk=" }, "expect": expect }] });
    world
        .owner(
            "fs/write.many",
            json!({ "bucket": "proj/main", "entries": [{ "path": "/f", "entry": { "content": "aGk=" } }] }),
        )
        .await;
    let (right, wrong) = (ContentHash::of(b"hi").to_string(), ContentHash::of(b"ho").to_string());
    let blind = identity("blind", &["fs:write"], &[("bucket:proj", "fs:write")]);
    let both = identity("both", &["fs:read", "fs:write"], &[("bucket:proj", "fs:write"), ("bucket:proj", "fs:read")]);
    for (who, hash, is_met) in
        [(&blind, &wrong, false), (&blind, &right, false), (&both, &wrong, false), (&both, &right, true)]
    {
        let outcome = world.call(Some(who), "fs/write.many", put("/f", json!({ "hash": hash }))).await;
        assert_eq!(outcome.err().map(|error| error.code.as_str().to_owned()), (!is_met).then(|| "CONFLICT".to_owned()));
    }
}

#[tokio::test]
async fn whoever_looks_after_one_bucket_does_not_look_after_all_content() {
    // FS-31
    let world = World::new().await;
    let one = identity("one", &["fs:admin"], &[("bucket:photos", "fs:admin")]);
    let all = identity("all", &["fs:admin"], &[("bucket:*", "fs:admin")]);
    for (operation, input) in [("fs/gc", json!({})), ("fs/fsck", json!({})), ("fs/fsck", json!({ "repair": true }))] {
        assert!(is_refusal(&world.call(Some(&one), operation, input.clone()).await.unwrap_err()), "{operation}");
        world.call(Some(&all), operation, input).await.unwrap();
    }
}
