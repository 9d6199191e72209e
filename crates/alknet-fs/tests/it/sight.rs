//! What is seen through a branch by who may not read the one that it came from: in logs, watches and write sessions
//! (docs/adr/0021-show-of-unreadable-parents-what-a-branch-began-as.md).

use std::{sync::Arc, time::Duration};

use alknet_call::{Answer, ByteTickets, CallRequest, ItemStream, Registry};
use alknet_core::{AuditEvent, AuditLog, Authorizer, Caller, Identity, PeerAddr, ResourceGrants, ScopeSet, Sessions};
use alknet_fs::{
    Change, Create, Errno, FsError, OpenWrite, Policy, RemoveHow, RenameHow, Right, Start, WriteSession,
    operations::{Service, register},
    rows::branch::Mode,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::world::{World, address, errno, path};

/// Nobody reads what was decided.
struct Unread;
impl AuditLog for Unread {
    fn record(&self, _event: AuditEvent) {}
}

/// Somebody who may read and write these branches and no others.
fn only(branches: &[&str]) -> Identity {
    let mut grants = ResourceGrants::default();
    for branch in branches {
        for action in ["fs:read", "fs:write"] {
            grants.grant(format!("bucket:proj/{branch}").parse().unwrap(), action);
        }
    }
    let scopes: ScopeSet = ["fs:read", "fs:write"].iter().map(|scope| scope.parse().unwrap()).collect();
    Identity::new("bob", scopes, grants)
}

struct Doors {
    world: World,
    registry: Arc<Registry>,
}

impl Doors {
    /// `main` had `/gone`, which was removed, and then `live` and `public` were made from it, of which `live` follows it. Later `main`
    /// got `/later`, and renamed `/a`, which has other content now; and on `live` that was renamed again.
    async fn new() -> Self {
        let world = World::new().await;
        world.put("proj/gone", "was removed").await.unwrap();
        world.put("proj/a", "as it began").await.unwrap();
        world.change(Change::Remove { at: path("/gone"), how: RemoveHow::File }).await;
        for (name, mode) in [("live", Mode::Follow), ("public", Mode::Pinned)] {
            world.branch_as(name, mode).await;
        }
        world.put("proj/later", "came later").await.unwrap();
        world.put("proj/a", "changed later, and longer").await.unwrap();
        rename(&world, "main", "/a", "/hidden").await;
        rename(&world, "live", "/hidden", "/b").await;
        for branch in ["live", "public"] {
            world.put(&format!("proj:{branch}/own"), "own").await.unwrap();
        }
        let service = Service::new(world.fs.clone(), ByteTickets::default(), Policy::default(), Duration::ZERO);
        let mut builder = Registry::builder(Authorizer::new(Arc::new(Unread)), Sessions::default());
        register(&mut builder, &service).unwrap();
        Self { world, registry: builder.build().unwrap() }
    }

    async fn start(&self, who: &Identity, operation: &str, input: Value) -> Answer {
        let addr = PeerAddr::LocalOwner { pid: 1 };
        let caller = Caller { identity: Some(Arc::new(who.clone())), credential: None, addr };
        self.registry.start(caller, CallRequest::new(operation, input)).await.unwrap()
    }

    /// What an operation answers, as text.
    async fn said(&self, who: &Identity, operation: &str, input: Value) -> String {
        match self.start(who, operation, input).await {
            Answer::Output(output) => output.to_string(),
            Answer::Items(_) => panic!("{operation} gives items"),
        }
    }

    /// What a watch from the first commit on tells until it comes to `/own`, as text.
    async fn watched(&self, who: &Identity, branch: &str) -> String {
        let input = json!({ "bucket": format!("proj/{branch}"), "after": 0 });
        let Answer::Items(items) = self.start(who, "fs/watch", input).await else { panic!("it gives no items") };
        timeout(Duration::from_secs(20), until_own(items)).await.expect("it is told")
    }

    async fn session(&self, who: &Identity, at: &str, how: OpenWrite) -> Result<WriteSession, FsError> {
        let at = address(at);
        let permit = self.world.permit_of(who, Right::Write, "proj", Some(at.branch_or_main().as_str()));
        self.world.fs.create(&permit, &at, how).await
    }
}

async fn until_own(mut items: ItemStream) -> String {
    let mut told = String::new();
    loop {
        let item = items.next().await.unwrap().unwrap().output.to_string();
        told.push_str(&item);
        if item.contains("/own") {
            return told;
        }
    }
}

async fn rename(world: &World, branch: &str, from: &str, to: &str) {
    let permit = world.permit(Right::Write, "proj", Some(branch));
    let change = Change::Rename { from: path(from), to: path(to), how: RenameHow::Replace };
    let at = ("proj".parse().unwrap(), branch.parse().unwrap());
    world.fs.tree().change(&permit, (&at.0, &at.1), vec![change], None).await.unwrap();
}

/// Whether each of these words is in a text.
fn has(text: &str, words: [&str; 4]) -> [bool; 4] {
    words.map(|word| text.contains(word))
}

#[tokio::test]
async fn a_log_tells_nothing_of_a_parent_that_may_not_be_read() {
    // FS-88
    let doors = Doors::new().await;
    let (narrow, wide) = (only(&["live", "public"]), only(&["live", "public", "main"]));
    for branch in ["live", "public"] {
        let log = json!({ "bucket": format!("proj/{branch}") });
        let count = |text: String| serde_json::from_str::<Value>(&text).unwrap()["commits"].as_array().unwrap().len();
        let own = if branch == "live" { 2 } else { 1 };
        assert_eq!(count(doors.said(&narrow, "fs/log", log.clone()).await), own, "{branch}");
        assert!(count(doors.said(&wide, "fs/log", log).await) > own, "{branch}");
    }
    let entry = json!({ "bucket": "proj/live", "path": "/b" });
    let words = ["/hidden", "\"size\":25", "\"from\"", "/b"];
    let told = doors.said(&wide, "fs/log", entry.clone()).await;
    assert_eq!(has(&told, words), [true; 4], "{told}");
    let told = doors.said(&narrow, "fs/log", entry).await;
    assert_eq!(has(&told, words)[..2], [false; 2], "{told}");
    assert!(told.contains("/b"), "{told}");
}

#[tokio::test]
async fn a_watch_tells_nothing_of_a_parent_that_may_not_be_read() {
    // FS-88
    let doors = Doors::new().await;
    let (narrow, wide) = (only(&["live", "public"]), only(&["live", "public", "main"]));
    let words = ["/gone", "/later", "/hidden", "/own"];
    for (branch, seen) in [("live", [true; 4]), ("public", [true, false, false, true])] {
        let told = doors.watched(&wide, branch).await;
        assert_eq!(has(&told, words), seen, "{told}");
        let told = doors.watched(&narrow, branch).await;
        assert_eq!(has(&told, words), [false, false, false, true], "{told}");
        assert_eq!(told.contains("/b"), branch == "live", "{told}");
    }
}

#[tokio::test]
async fn a_write_session_goes_on_from_what_its_writer_sees() {
    // FS-88, FS-89
    let doors = Doors::new().await;
    doors.world.put("proj/both", "at the fork").await.unwrap();
    doors.world.branch_as("second", Mode::Follow).await;
    doors.world.put("proj/both", "seen by few").await.unwrap();
    doors.world.put("proj/new", "seen by few").await.unwrap();
    let existing = || OpenWrite { start: Start::Existing, create: Create::Never, ..OpenWrite::default() };
    let (narrow, wide) = (only(&["second"]), only(&["second", "main"]));
    for (who, begins) in [(&narrow, "at the fork"), (&wide, "seen by few")] {
        let session = doors.session(who, "proj:second/both", existing()).await.unwrap();
        assert_eq!(session.read_at(0, 100).await.unwrap(), begins);
        session.abort().await.unwrap();
    }
    assert!(doors.session(&wide, "proj:second/new", existing()).await.is_ok());
    assert_eq!(errno(doors.session(&narrow, "proj:second/new", existing()).await.map(|_| ())), Errno::NoEnt);
    let exclusive = OpenWrite { create: Create::Exclusive, ..OpenWrite::default() };
    let session = doors.session(&narrow, "proj:second/new", exclusive).await.unwrap();
    session.append("his own".into()).await.unwrap();
    assert_eq!(errno(session.commit().await.map(|_| ())), Errno::Perm, "others see something of that name");
    let session = doors.session(&narrow, "proj:second/both", existing()).await.unwrap();
    session.append(", and on".into()).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(
        doors.world.get("proj:second/both").await.unwrap(),
        "at the fork, and on",
        "nothing of the parent is in it"
    );
    for at in ["proj:second/new", "proj/new"] {
        assert_eq!(doors.world.get(at).await.unwrap(), "seen by few");
    }
}
