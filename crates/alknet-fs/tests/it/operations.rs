//! Every operation on files through the registry: for whom the gate opens, what is written down, and what is published.

use std::sync::{Arc, Mutex};

use alknet_call::{ByteTickets, CallError, CallRequest, Registry};
use alknet_core::{
    AuditEvent, AuditLog, AuditOutcome, Authorizer, Caller, Denial, Identity, PeerAddr, ResourceGrants, ScopeSet,
    Sessions,
};
use alknet_fs::{
    FileSystem, FileSystemConfig, Policy,
    events::Publishing,
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

struct World {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    registry: Arc<Registry>,
    kept: Arc<Kept>,
}

impl World {
    async fn new() -> Self {
        let (folder, path, store) = fixture::store();
        let kept = Arc::new(Kept::default());
        let authorizer = Authorizer::new(kept.clone());
        let publishing = Arc::new(Publishing::declare(&store).await.unwrap());
        let config = FileSystemConfig::new(folder.path().to_owned());
        let files = FileSystem::open(&store, authorizer.clone(), Some(publishing), config).await.unwrap();
        let service = Service::new(files, ByteTickets::default(), Policy::default(), std::time::Duration::ZERO);
        let mut builder = Registry::builder(authorizer, Sessions::default());
        register(&mut builder, &service).unwrap();
        Self { _folder: folder, path, registry: builder.build().unwrap(), kept }
    }
    async fn call(&self, who: Option<&Identity>, operation: &str, input: Value) -> Result<Value, CallError> {
        let identity = who.cloned().map(Arc::new);
        let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
        match self.registry.start(caller, CallRequest::new(operation, input)).await? {
            alknet_call::Answer::Output(output) => Ok(output),
            alknet_call::Answer::Items(_) => Ok(Value::Null),
        }
    }
    async fn owner(&self, operation: &str, input: Value) -> Value {
        self.call(Some(&Identity::owner("me")), operation, input).await.unwrap()
    }
}

fn identity(name: &str, scopes: &[&str], grants: &[(&str, &str)]) -> Identity {
    let mut resources = ResourceGrants::default();
    for (resource, action) in grants {
        resources.grant(resource.parse().unwrap(), *action);
    }
    Identity::new(name, scopes.iter().map(|scope| scope.parse().unwrap()).collect::<ScopeSet>(), resources)
}

/// Each operation with an input, and the right that it takes; `scope` where no place is asked about.
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
        ("fs/remove", json!({ "bucket": main, "path": "/h" }), "fs:write", false),
        ("fs/usage", json!({ "bucket": "proj" }), "bucket", false),
        ("fs/branch.create", json!({ "bucket": "proj/main" }), "fs:branch", false),
        ("fs/branch.remove", json!({ "bucket": "proj/main" }), "fs:branch", false),
        ("fs/snapshot.create", json!({ "bucket": main, "name": "v1" }), "fs:branch", false),
        ("fs/snapshot.remove", json!({ "bucket": main, "name": "v1" }), "fs:branch", false),
        ("fs/bucket.create", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/bucket.set", json!({ "bucket": "proj" }), "fs:admin", false),
        ("fs/bucket.remove", json!({ "bucket": "proj" }), "fs:admin", false),
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
    let callers = [
        (Some(identity("reader", &all[..1], &grants[..1])), vec!["fs:read", "bucket"]),
        (Some(identity("writer", &all[..2], &grants[..2])), vec!["fs:read", "fs:write", "bucket"]),
        (Some(identity("maintainer", &all, &grants)), vec!["fs:read", "fs:write", "fs:branch", "fs:admin", "bucket"]),
        (Some(Identity::owner("me")), vec!["fs:read", "fs:write", "fs:branch", "fs:admin", "bucket"]),
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
