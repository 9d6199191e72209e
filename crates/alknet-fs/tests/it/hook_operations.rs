//! `fs/hook.*` as they are called: who may make which hook, what is refused, and what is listed.

use std::{sync::Arc, time::Duration};

use alknet_call::{ByteTickets, CallError, CallRequest, ErrorCode, Registry};
use alknet_core::{
    AuditEvent, AuditLog, Authorizer, BoxFuture, Caller, Identity, PeerAddr, ResourceGrants, ScopeSet, Sessions,
};
use alknet_fs::{
    FileSystem, FileSystemConfig, Policy,
    hooks::{Courier, Letter, PostError},
    operations::{Service, register},
};
use serde_json::{Value, json};

use crate::fixture;

struct Unread;
impl AuditLog for Unread {
    fn record(&self, _: AuditEvent) {}
}

/// Knows everybody but strangers, and no server that is called `inside`.
struct Fake;
impl Courier for Fake {
    fn identity(&self, name: &str) -> Option<Arc<Identity>> {
        (name != "stranger").then(|| Arc::new(Identity::owner(name)))
    }
    fn check<'a>(&'a self, url: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Result<(), PostError>> {
        let refused = Err(PostError::Later("inside has no public address".into()));
        Box::pin(async move { if url.contains("inside") { refused } else { Ok(()) } })
    }
    fn post<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<(), PostError>> {
        Box::pin(async { Ok(()) })
    }
}

struct World {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    files: FileSystem,
    registry: Arc<Registry>,
}

impl World {
    /// With a bucket `proj` that has a branch `dev`.
    async fn new() -> Self {
        let (folder, path, store) = fixture::store();
        let authorizer = Authorizer::new(Arc::new(Unread));
        let config = FileSystemConfig::new(folder.path().to_owned());
        let files = FileSystem::open(&store, authorizer.clone(), None, config).await.unwrap();
        files.keep_hooks(Arc::new(Fake));
        let service = Service::new(files.clone(), ByteTickets::default(), Policy::default(), Duration::ZERO);
        let mut builder = Registry::builder(authorizer, Sessions::default());
        register(&mut builder, &service).unwrap();
        let world = Self { _folder: folder, path, files, registry: builder.build().unwrap() };
        world.owner("fs/bucket.create", json!({ "bucket": "proj" })).await;
        world.owner("fs/branch.create", json!({ "bucket": "proj/dev" })).await;
        world
    }
    async fn call(&self, who: Identity, operation: &str, input: Value) -> Result<Value, CallError> {
        let addr = PeerAddr::LocalOwner { pid: 1 };
        let caller = Caller { identity: Some(Arc::new(who)), credential: None, addr };
        match self.registry.start(caller, CallRequest::new(operation, input)).await? {
            alknet_call::Answer::Output(output) => Ok(output),
            alknet_call::Answer::Items(_) => Ok(Value::Null),
        }
    }
    async fn owner(&self, operation: &str, input: Value) -> Value {
        self.call(Identity::owner("me"), operation, input).await.unwrap()
    }
    async fn refused(&self, input: Value) -> CallError {
        self.call(Identity::owner("me"), "fs/hook.create", input).await.unwrap_err()
    }
}

fn identity(scopes: &[&str], grants: &[(&str, &str)]) -> Identity {
    let mut resources = ResourceGrants::default();
    for (resource, action) in grants {
        resources.grant(resource.parse().unwrap(), *action);
    }
    Identity::new("ann", scopes.iter().map(|scope| scope.parse().unwrap()).collect::<ScopeSet>(), resources)
}

#[tokio::test]
async fn a_hook_is_made_listed_resumed_and_removed() {
    // FS-79
    let world = World::new().await;
    let web = json!({ "webhook": { "url": "https://there.example/", "credential": "deploy" } });
    let input = json!({ "bucket": "proj", "name": "web", "branch": "dev", "prefix": "/a", "to": web });
    let made = world.owner("fs/hook.create", input).await;
    let wanted = json!({
        "name": "web", "branch": "dev", "prefix": "/a", "suffix": "", "to": web, "maker": "me", "told": 1, "head": 1,
        "state": "ready", "attempts": 0,
    });
    assert_eq!(made, wanted);
    let jobs = json!({ "bucket": "proj", "name": "jobs", "after": 0, "to": { "queue": "changes" } });
    world.owner("fs/hook.create", jobs).await;
    let sql = rusqlite::Connection::open(&world.path).unwrap();
    sql.execute("UPDATE fs_hook SET attempts = 2, next_ms = 5000, error = 'away' WHERE name = 'web'", []).unwrap();
    let listed = world.owner("fs/hook.list", json!({ "bucket": "proj" })).await;
    let names: Vec<_> = listed["hooks"].as_array().unwrap().iter().map(|hook| hook["name"].clone()).collect();
    assert_eq!(names, ["jobs", "web"]);
    let failing = &listed["hooks"][1];
    assert_eq!((&failing["state"], &failing["error"]), (&json!("failing"), &json!("away")));
    assert_eq!(failing["next"], json!("1970-01-01T00:00:05Z"));
    sql.execute("UPDATE fs_hook SET next_ms = NULL WHERE name = 'web'", []).unwrap();
    let listed = world.owner("fs/hook.list", json!({ "bucket": "proj" })).await;
    assert_eq!(listed["hooks"][1]["state"], json!("paused"));
    world.owner("fs/hook.resume", json!({ "bucket": "proj", "name": "web" })).await;
    let listed = world.owner("fs/hook.list", json!({ "bucket": "proj" })).await;
    assert_eq!(listed["hooks"][1], wanted);
    world.owner("fs/hook.remove", json!({ "bucket": "proj", "name": "web" })).await;
    for operation in ["fs/hook.remove", "fs/hook.resume"] {
        let again = world.call(Identity::owner("me"), operation, json!({ "bucket": "proj", "name": "web" })).await;
        assert_eq!(again.unwrap_err().code, ErrorCode::NotFound, "{operation}");
    }
    world.files.close().await;
}

#[tokio::test]
async fn what_can_be_no_hook_is_refused() {
    // FS-79
    let world = World::new().await;
    let queue = |name: &str| json!({ "queue": name });
    let hook = |name: &str, to: Value| json!({ "bucket": "proj", "name": name, "to": to });
    world.owner("fs/hook.create", hook("taken", queue("q"))).await;
    assert_eq!(world.refused(hook("taken", queue("q"))).await.code.as_str(), "EXISTS");
    for (member, value) in [("bucket", json!("other")), ("branch", json!("none"))] {
        let mut input = hook("h", queue("q"));
        input[member] = value;
        assert_eq!(world.refused(input).await.code, ErrorCode::NotFound, "{member}");
    }
    let mut ahead = hook("h", queue("q"));
    ahead["after"] = json!(2);
    assert_eq!(world.refused(ahead).await.code, ErrorCode::InvalidInput);
    for (member, value) in [
        ("name", json!("Not a name")),
        ("to", queue("no queue's name")),
        ("to", json!({})),
        ("to", json!({ "queue": "q", "webhook": { "url": "https://a.example/" } })),
        ("to", json!({ "webhook": { "url": "https://inside.example/" } })),
        ("to", json!({ "webhook": { "url": format!("https://a.example/{}", "x".repeat(2048)) } })),
        ("to", json!({ "webhook": { "url": "https://a.example/", "credential": "" } })),
        ("prefix", json!("x".repeat(4097))),
        ("suffix", json!("x".repeat(4097))),
    ] {
        let mut input = hook("h", queue("q"));
        input[member] = value.clone();
        assert_eq!(world.refused(input).await.code, ErrorCode::InvalidInput, "{member} {value}");
    }
    for number in 1..32 {
        world.owner("fs/hook.create", hook(&format!("h{number}"), queue("q"))).await;
    }
    assert_eq!(world.refused(hook("h32", queue("q"))).await.code.as_str(), "TOO_MANY");
    let sql = rusqlite::Connection::open(&world.path).unwrap();
    sql.execute("UPDATE fs_hook SET bucket = 77", []).unwrap();
    world.owner("fs/hook.create", hook("h", queue("q"))).await;
    sql.execute("DELETE FROM fs_hook WHERE bucket <> 77", []).unwrap();
    sql.execute("DELETE FROM fs_commit WHERE seq = 1", []).unwrap();
    let mut trimmed = hook("h", queue("q"));
    trimmed["after"] = json!(0);
    assert_eq!(world.refused(trimmed).await.code, ErrorCode::InvalidInput, "commit 1 is no longer kept");
    world.files.close().await;
}

#[tokio::test]
async fn whoever_makes_a_hook_may_do_what_it_does() {
    // FS-76
    let world = World::new().await;
    let (scopes, admin) = (["fs:*", "queues:produce", "credentials:use"], ("bucket:proj", "fs:admin"));
    let (read, produce, sign) =
        (("bucket:proj/dev", "fs:read"), ("queue:jobs", "produce"), ("credential:deploy", "use"));
    let web = |credential: Option<&str>| {
        let mut to = json!({ "url": "https://there.example/" });
        if let Some(name) = credential {
            to["credential"] = json!(name);
        }
        json!({ "webhook": to })
    };
    let mut number = 0;
    for (scopes, grants, to, may) in [
        (&scopes[..], vec![admin, read, produce], json!({ "queue": "jobs" }), true),
        (&scopes[..1], vec![admin, read, produce], json!({ "queue": "jobs" }), false),
        (&scopes[..], vec![admin, read, produce], json!({ "queue": "others" }), false),
        (&scopes[..], vec![admin, produce], json!({ "queue": "jobs" }), false),
        (&scopes[..], vec![read, produce], json!({ "queue": "jobs" }), false),
        (&scopes[..1], vec![admin, read], web(None), true),
        (&scopes[..1], vec![admin], web(None), false),
        (&scopes[..], vec![admin, read, sign], web(Some("deploy")), true),
        (&scopes[..2], vec![admin, read, sign], web(Some("deploy")), false),
        (&scopes[..], vec![admin, read, sign], web(Some("payroll")), false),
    ] {
        number += 1;
        let input = json!({ "bucket": "proj", "name": format!("h{number}"), "branch": "dev", "to": to });
        let outcome = world.call(identity(scopes, &grants), "fs/hook.create", input).await;
        assert_eq!(outcome.is_ok(), may, "{grants:?} {to}: {outcome:?}");
        assert_eq!(outcome.is_err_and(|error| error.code == ErrorCode::Forbidden), !may, "{grants:?} {to}");
    }
    let input = json!({ "bucket": "proj", "name": "h", "to": { "queue": "q" } });
    let nameless = world.call(Identity::owner("stranger"), "fs/hook.create", input).await.unwrap_err();
    assert_eq!(nameless.code, ErrorCode::InvalidInput, "nobody could ask for their rights later");
    world.files.close().await;
}
