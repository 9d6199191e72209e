//! Hooks: what they are told, in which order, how often, and on whose behalf.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{BoxFuture, Identity, Maintenance, ResourceGrants, ScopeSet};
use alknet_fs::{
    Change, Policy, RemoveHow, RenameHow, Right, Seq, Terms,
    events::PathFilter,
    failpoints,
    history::History,
    hooks::{Courier, Hook, Hooks, Letter, PostError, Wanted},
    rows::{branch::Mode, hook::Target},
};
use serde_json::Value;

use crate::world::{Folder, World, path};

pub type Answer = Box<dyn Fn(&Letter) -> BoxFuture<'static, Result<(), PostError>> + Send + Sync>;

/// A courier that remembers what it was handed, and answers as it is told to.
#[derive(Default)]
pub struct Fake {
    people: Mutex<BTreeMap<String, Arc<Identity>>>,
    letters: Mutex<Vec<Letter>>,
    answer: Mutex<Option<Arc<Answer>>>,
}

impl Courier for Fake {
    fn identity(&self, name: &str) -> Option<Arc<Identity>> {
        self.people.lock().unwrap().get(name).cloned()
    }
    fn check<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Result<(), PostError>> {
        Box::pin(async { Ok(()) })
    }
    fn post<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), PostError>> {
        self.letters.lock().unwrap().push(letter.clone());
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move {
            match answer {
                Some(answer) => answer(letter).await,
                None => Ok(()),
            }
        })
    }
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let fake = Arc::new(Self::default());
        fake.may("ann", Some(Identity::owner("ann")));
        fake
    }
    pub fn may(&self, name: &str, identity: Option<Identity>) {
        let mut people = self.people.lock().unwrap();
        match identity {
            Some(identity) => people.insert(name.into(), Arc::new(identity)),
            None => people.remove(name),
        };
    }
    pub fn answers(&self, answer: impl Fn(&Letter) -> Result<(), PostError> + Send + Sync + 'static) {
        self.replies(Box::new(move |letter| {
            let outcome = answer(letter);
            Box::pin(async move { outcome })
        }));
    }
    pub fn replies(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(Arc::new(answer));
    }
    /// The letters to a URL: their ids, and what they say.
    pub fn to(&self, url: &str) -> Vec<(String, Value)> {
        let letters = self.letters.lock().unwrap();
        let of = letters.iter().filter(|letter| letter.url == url);
        of.map(|letter| (letter.id.clone(), serde_json::from_slice(&letter.body).unwrap())).collect()
    }
    pub fn seqs(&self, url: &str) -> Vec<u64> {
        self.to(url).iter().map(|(_, said)| said["seq"].as_u64().unwrap()).collect()
    }
}

pub const URL: &str = "https://there.example/hook";

pub fn web(url: &str) -> Target {
    Target::Webhook { url: url.into(), credential: None }
}

pub fn wanted(name: &str, target: Target) -> Wanted {
    Wanted { name: name.parse().unwrap(), filter: PathFilter::default(), target, after: None }
}

pub async fn hook(world: &World, branch: &str, wanted: Wanted) -> Hook {
    let (bucket, of) = ("proj".parse().unwrap(), branch.parse().unwrap());
    let permits = (world.permit(Right::Admin, "proj", None), world.permit(Right::Read, "proj", Some(branch)));
    Hooks::new(world.fs.tree().clone()).create((&permits.0, &permits.1), (&bucket, &of), wanted).await.unwrap()
}

async fn hooks(world: &World) -> Vec<Hook> {
    let permit = world.permit(Right::Admin, "proj", None);
    Hooks::new(world.fs.tree().clone()).list(&permit, &"proj".parse().unwrap()).await.unwrap()
}

async fn resume(world: &World, name: &str) {
    let permit = world.permit(Right::Admin, "proj", None);
    let hooks = Hooks::new(world.fs.tree().clone());
    hooks.resume(&permit, &"proj".parse().unwrap(), &name.parse().unwrap()).await.unwrap();
}

fn sql(folder: &Folder) -> rusqlite::Connection {
    let sql = rusqlite::Connection::open(folder.path().join("alknet.db")).unwrap();
    sql.busy_timeout(Duration::from_secs(5)).unwrap();
    sql
}

/// The jobs of a queue: who handed them in, and what they say.
pub fn jobs(folder: &Folder, queue: &str) -> Vec<(String, Value)> {
    let sql = sql(folder);
    let text = "SELECT producer, payload FROM jobs WHERE queue = (SELECT id FROM queues WHERE name = ?1) ORDER BY id";
    let mut jobs = sql.prepare(text).unwrap();
    let jobs = jobs.query_map([queue], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    jobs.map(|job| job.map(|(who, text)| (who, serde_json::from_str(&text).unwrap())).unwrap()).collect()
}

pub fn numbers(said: &[(String, Value)]) -> Vec<u64> {
    said.iter().map(|(_, said)| said["seq"].as_u64().unwrap()).collect()
}

/// Waits until a hook is as it should be.
pub async fn until(world: &World, what: &str, holds: impl Fn(&Hook) -> bool) -> Hook {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let found = hooks(world).await.pop().unwrap();
        if holds(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never came to pass that {what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_told_of_each_commit_that_concerns_it_in_order() {
    // FS-70, FS-71
    let (world, fake) = (World::new().await, Fake::new());
    world.put("proj/before", "x").await.unwrap();
    let filter = PathFilter { prefix: b"/in/".to_vec(), suffix: b".jpg".to_vec() };
    hook(&world, "main", Wanted { filter, ..wanted("jpgs", web(URL)) }).await;
    let all = wanted("all", web("https://all.example/"));
    let hook_of_all = hook(&world, "main", Wanted { after: Some(Seq::new(1).unwrap()), ..all }).await;
    world.fs.keep_hooks(fake.clone());
    world.change(Change::MakeFolder { at: path("/in"), mode: 0o755, parents: false }).await;
    for name in ["a.jpg", "b.txt", "c.jpg"] {
        world.put(&format!("proj/in/{name}"), name).await.unwrap();
    }
    world.until("all were told", |_| fake.to("https://all.example/").len() == 5).await;
    world.until("those were told", |_| fake.to(URL).len() == 2).await;
    assert_eq!(fake.seqs("https://all.example/"), [2, 3, 4, 5, 6], "after the commit that it was to begin after");
    let told = fake.to(URL);
    assert_eq!(fake.seqs(URL), [4, 6]);
    let said = &told[0].1;
    assert_eq!((&said["bucket"], &said["branch"], &said["hook"]), (&"proj".into(), &"main".into(), &"jpgs".into()));
    assert_eq!((&said["actor"], &said["more"]), (&"ann".into(), &false.into()));
    let change = serde_json::json!([{ "path": "/in/a.jpg", "changes": ["added"], "kind": "file" }]);
    assert_eq!(said["changes"], change);
    let ids: Vec<_> = fake.to("https://all.example/").into_iter().map(|(id, _)| id).collect();
    assert!(ids.iter().zip(2..).all(|(id, seq)| id.ends_with(&format!("-{seq}"))), "{ids:?}");
    assert!(!told.iter().any(|(id, _)| ids.contains(id)), "no two hooks say anything under the same id");
    assert_eq!(hook_of_all.row.hook.after.get(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_gets_each_commit_once_whatever_is_restarted() {
    // FS-72
    let (world, fake) = (World::new().await, Fake::new());
    world.branch("try").await;
    hook(&world, "main", wanted("jobs", Target::Queue("changes".into()))).await;
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    world.put("proj:try/b", "of another branch").await.unwrap();
    world.until("there is a job", |world| jobs(&world.folder, "changes").len() == 1).await;
    let world = world.restart().await;
    world.put("proj/a", "2").await.unwrap();
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "3").await.unwrap();
    world.until("there are three", |world| jobs(&world.folder, "changes").len() >= 3).await;
    let world = world.restart().await;
    world.fs.keep_hooks(fake);
    let found = until(&world, "it was told of everything", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!(found.head.get(), 5);
    let jobs = jobs(&world.folder, "changes");
    assert_eq!(numbers(&jobs), [2, 4, 5]);
    assert!(jobs.iter().all(|(producer, _)| producer == "ann"), "its maker hands them in");
    world.end().await;
}

/// Copies a folder as it lies there.
fn copied(folder: &Folder) -> Folder {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), &to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(folder.path(), to.path());
    Folder::new(to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_after_posting_posts_the_same_again_and_enqueues_nothing_twice() {
    // FS-71, FS-72
    let (world, fake) = (World::new().await, Fake::new());
    hook(&world, "main", wanted("web", web(URL))).await;
    hook(&world, "main", wanted("jobs", Target::Queue("changes".into()))).await;
    let left = Arc::new(Mutex::new(Vec::new()));
    let armed = failpoints::arm({
        let (folder, left, fake) = (world.folder.clone(), left.clone(), fake.clone());
        move |step| {
            if step == "hook.posted" {
                // What a process that is killed here leaves behind: the answer was had, and that it was is not yet written down.
                left.lock().unwrap().push((copied(&folder), fake.to(URL)));
            }
        }
    });
    world.fs.keep_hooks(fake.clone());
    for text in ["1", "2", "3"] {
        world.put("proj/a", text).await.unwrap();
    }
    world.until("it died three times", |_| left.lock().unwrap().len() == 3).await;
    drop(armed);
    world.end().await;
    let left = std::mem::take(&mut *left.lock().unwrap());
    for (folder, posted) in left {
        let (world, after) = (World::open(folder).await, Fake::new());
        world.fs.keep_hooks(after.clone());
        let head = until(&world, "it caught up", |hook| hook.row.hook.after == hook.head).await.head.get();
        world.until("the queue has all", |world| jobs(&world.folder, "changes").len() as u64 >= head - 1).await;
        let again = after.to(URL);
        assert_eq!(again[0], *posted.last().unwrap(), "the last that was posted comes again, the same");
        let all: Vec<_> = posted[..posted.len() - 1].iter().chain(&again).cloned().collect();
        assert_eq!(numbers(&all), (2..=head).collect::<Vec<_>>(), "nothing is left out");
        assert_eq!(numbers(&jobs(&world.folder, "changes")), (2..=head).collect::<Vec<_>>(), "each exactly once");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_told_again_before_anything_else() {
    // FS-71, FS-74
    let (world, fake) = (World::new().await, Fake::new());
    fake.answers(|_| Err(PostError::Later("the server answers with HTTP 500".into())));
    hook(&world, "main", wanted("web", web(URL))).await;
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    let failing = until(&world, "it fails", |hook| hook.row.attempts == 1).await;
    assert!(failing.row.next_ms.is_some() && !failing.row.is_paused());
    assert_eq!(failing.row.error.as_deref(), Some("the server answers with HTTP 500"));
    assert_eq!(failing.row.hook.after.get(), 1);
    world.put("proj/b", "2").await.unwrap();
    fake.answers(|_| Ok(()));
    world.until("both were told", |_| fake.to(URL).len() == 3).await;
    assert_eq!(fake.seqs(URL), [2, 2, 3], "it rested although there was more to tell");
    assert_eq!(fake.to(URL)[0], fake.to(URL)[1]);
    let well = until(&world, "it is well again", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!((well.row.attempts, well.row.error), (0, None));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_will_never_be_taken_pauses_the_hook_until_it_is_resumed() {
    // FS-74
    let (world, fake) = (World::new().await, Fake::new());
    fake.answers(|_| Err(PostError::Never("the server answers with HTTP 410".into())));
    hook(&world, "main", wanted("web", web(URL))).await;
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    until(&world, "it is paused", |hook| hook.row.is_paused()).await;
    fake.answers(|_| Ok(()));
    world.put("proj/a", "2").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.seqs(URL), [2], "nothing is tried meanwhile");
    resume(&world, "web").await;
    world.until("both were told", |_| fake.to(URL).len() == 3).await;
    assert_eq!(fake.seqs(URL), [2, 2, 3]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fails_often_enough_is_paused() {
    // FS-74
    let (world, fake) = (World::new().await, Fake::new());
    fake.answers(|_| Err(PostError::Later("away".into())));
    hook(&world, "main", wanted("web", web(URL))).await;
    sql(&world.folder).execute("UPDATE fs_hook SET attempts = 35, next_ms = 0", []).unwrap();
    world.fs.keep_hooks(fake);
    world.put("proj/a", "1").await.unwrap();
    let paused = until(&world, "it is paused", |hook| hook.row.is_paused()).await;
    assert_eq!((paused.row.attempts, paused.row.error.as_deref()), (36, Some("away")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_long_and_is_back_is_not_paused_at_the_next_failure() {
    // FS-74
    let now_ms = 1_800_000_000_000;
    let clock = Arc::new(AtomicU64::new(now_ms * 1_000_000));
    let (world, fake) = (World::by_clock(Folder::new(tempfile::tempdir().unwrap()), clock).await, Fake::new());
    world.bucket("proj", Terms::default()).await;
    fake.answers(|letter| if letter.id.ends_with("-2") { Ok(()) } else { Err(PostError::Later("busy".into())) });
    hook(&world, "main", wanted("web", web(URL))).await;
    sql(&world.folder).execute("UPDATE fs_hook SET attempts = 35, next_ms = 0", []).unwrap();
    for text in ["1", "2"] {
        world.put("proj/a", text).await.unwrap();
    }
    world.fs.keep_hooks(fake);
    let failed = until(&world, "the second letter fails", |hook| hook.row.error.is_some()).await;
    assert_eq!(failed.row.hook.after.get(), 2, "the first one was taken");
    assert_eq!((failed.row.attempts, failed.row.next_ms), (1, Some(now_ms + 1_000)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_holds_up_nobody_else() {
    // FS-73
    let (world, fake) = (World::new().await, Fake::new());
    fake.replies(Box::new(|letter| {
        let hangs = letter.url == URL;
        Box::pin(async move { if hangs { std::future::pending().await } else { Ok(()) } })
    }));
    hook(&world, "main", wanted("hangs", web(URL))).await;
    hook(&world, "main", wanted("other", web("https://other.example/"))).await;
    hook(&world, "main", wanted("queue", Target::Queue("changes".into()))).await;
    world.fs.keep_hooks(fake.clone());
    for text in ["1", "2", "3"] {
        world.put("proj/a", text).await.unwrap();
    }
    world.until("the other was told", |_| fake.to("https://other.example/").len() == 3).await;
    world.until("the queue was told", |world| jobs(&world.folder, "changes").len() == 3).await;
    assert_eq!(fake.seqs(URL), [2], "one thing at a time");
    // It ends although somebody still does not answer.
    world.end().await;
}

/// Ann, who may read and hand jobs in, where these grants say.
fn reader(grants: &[(&str, &str)]) -> Identity {
    let mut resources = ResourceGrants::default();
    for (resource, action) in grants {
        resources.grant(resource.parse().unwrap(), *action);
    }
    let scopes: ScopeSet = ["fs:read", "queues:produce"].iter().map(|scope| scope.parse().unwrap()).collect();
    Identity::new("ann", scopes, resources)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_makers_rights_are_asked_at_each_delivery() {
    // FS-76
    let (world, fake) = (World::new().await, Fake::new());
    hook(&world, "main", wanted("web", web(URL))).await;
    fake.may("ann", Some(reader(&[("bucket:proj", "fs:read")])));
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    world.until("the reader was told", |_| fake.seqs(URL) == [2]).await;
    for (rights, words) in [
        (Some(reader(&[("bucket:other", "fs:read")])), "ann, who made it, may not read the branch any more"),
        (None, "nobody is called `ann` any more, who made it"),
    ] {
        let told = fake.seqs(URL);
        fake.may("ann", rights);
        world.put("proj/a", words).await.unwrap();
        let paused = until(&world, "it is paused", |hook| hook.row.is_paused()).await;
        assert_eq!(paused.row.error.as_deref(), Some(words));
        assert_eq!(fake.seqs(URL), told, "nothing left the node");
        fake.may("ann", Some(reader(&[("bucket:proj/main", "fs:read")])));
        resume(&world, "web").await;
        world.until("it goes on", |_| fake.seqs(URL).len() == told.len() + 1).await;
    }
    hook(&world, "main", wanted("z-jobs", Target::Queue("changes".into()))).await;
    world.put("proj/a", "5").await.unwrap();
    let paused = until(&world, "it is paused", |hook| hook.row.is_paused()).await;
    assert_eq!(paused.row.error.as_deref(), Some("ann, who made it, may not hand jobs in there any more"));
    fake.may("ann", Some(reader(&[("bucket:proj", "fs:read"), ("queue:changes", "produce")])));
    resume(&world, "z-jobs").await;
    world.until("there is a job", |world| jobs(&world.folder, "changes").len() == 1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_is_removed_takes_its_hooks_along() {
    // FS-77
    let (world, fake) = (World::new().await, Fake::new());
    world.fs.keep_hooks(fake.clone());
    world.branch("try").await;
    hook(&world, "try", wanted("of-try", web(URL))).await;
    hook(&world, "main", wanted("of-main", web("https://main.example/"))).await;
    let permit = world.permit(Right::Branch, "proj", Some("try"));
    world.fs.tree().remove_branch(&permit, &"proj".parse().unwrap(), &"try".parse().unwrap()).await.unwrap();
    let names: Vec<_> = hooks(&world).await.iter().map(|hook| hook.row.hook.name.to_string()).collect();
    assert_eq!(names, ["of-main"]);
    world.put("proj/a", "1").await.unwrap();
    world.until("the other was told", |_| fake.to("https://main.example/").len() == 1).await;
    let admin = world.permit(Right::Admin, "proj", None);
    world.fs.tree().remove_bucket(&admin, &"proj".parse().unwrap(), true).await.unwrap();
    let count: i64 = sql(&world.folder).query_row("SELECT count(*) FROM fs_hook", [], |row| row.get(0)).unwrap();
    assert_eq!((count, fake.to(URL).len()), (0, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_nothing_concerns_moves_on_without_a_word() {
    // FS-70
    let (world, fake) = (World::new().await, Fake::new());
    let filter = PathFilter { prefix: b"/never".to_vec(), suffix: Vec::new() };
    hook(&world, "main", Wanted { filter, ..wanted("web", web(URL)) }).await;
    for _ in 0..35 {
        world.change(Change::MakeFolder { at: path("/d"), mode: 0o755, parents: false }).await;
        world.change(Change::Remove { at: path("/d"), how: RemoveHow::EmptyFolder }).await;
    }
    world.fs.keep_hooks(fake.clone());
    let moved = until(&world, "it moved", |hook| hook.row.hook.after.get() >= 65).await;
    assert_eq!((moved.head.get(), fake.to(URL).len()), (71, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hook_has_still_to_be_told_of_is_not_forgotten() {
    // FS-70, FS-74
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000_000));
    let world = World::by_clock(Folder::new(tempfile::tempdir().unwrap()), clock.clone()).await;
    let terms = Terms { policy: Policy::parse(r#"{"retention":"1s"}"#).unwrap(), ..Terms::default() };
    world.bucket("proj", terms).await;
    let fake = Fake::new();
    fake.answers(|_| Err(PostError::Later("away".into())));
    hook(&world, "main", wanted("web", web(URL))).await;
    world.fs.keep_hooks(fake.clone());
    let tick = || clock.fetch_add(3_600_000_000_000, Ordering::Relaxed);
    let forget = async || {
        let (task, bucket) = (Maintenance::of("test"), "proj".parse().unwrap());
        History::new(world.fs.tree().clone()).forget(&task, &bucket).await.unwrap();
        // The background forgets, too: what counts is what is left.
        sql(&world.folder).query_row("SELECT count(*) FROM fs_dent", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let names = |index: usize| fake.to(URL)[index].1["changes"][0]["path"].as_str().unwrap().to_owned();
    for name in ["a", "b", "c"] {
        world.put(&format!("proj/{name}"), name).await.unwrap();
        world.change(Change::Remove { at: path(&format!("/{name}")), how: RemoveHow::File }).await;
        tick();
    }
    until(&world, "it fails", |hook| hook.row.attempts > 0).await;
    assert_eq!(forget().await, 6, "all of it is still to be told");
    fake.letters.lock().unwrap().clear();
    fake.answers(|_| Ok(()));
    resume(&world, "web").await;
    world.until("it was told of all", |_| fake.to(URL).len() == 6).await;
    assert_eq!(fake.seqs(URL), [2, 3, 4, 5, 6, 7]);
    assert_eq!((0..6).map(names).collect::<Vec<_>>(), ["/a", "/a", "/b", "/b", "/c", "/c"]);
    until(&world, "it stands at the newest commit", |hook| hook.row.hook.after == hook.head).await;
    tick();
    assert!(forget().await < 6, "then it goes");
    // One that is paused keeps nothing, and goes on with what there is.
    fake.answers(|_| Err(PostError::Never("gone".into())));
    for name in ["d", "e", "f"] {
        world.put(&format!("proj/{name}"), name).await.unwrap();
        world.change(Change::Remove { at: path(&format!("/{name}")), how: RemoveHow::File }).await;
        tick();
    }
    until(&world, "it is paused", |hook| hook.row.is_paused()).await;
    world.put("proj/g", "g").await.unwrap();
    assert!(forget().await < 6, "it keeps nothing");
    fake.letters.lock().unwrap().clear();
    fake.answers(|_| Ok(()));
    resume(&world, "web").await;
    until(&world, "it stands at the newest commit", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!(names(fake.to(URL).len() - 1), "/g");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_is_made_while_a_bucket_forgets_misses_nothing() {
    // FS-70, FS-79
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000_000));
    let world = World::by_clock(Folder::new(tempfile::tempdir().unwrap()), clock.clone()).await;
    world.bucket("proj", Terms::default()).await;
    for name in ["a", "b", "c"] {
        world.put(&format!("proj/{name}"), name).await.unwrap();
        world.change(Change::Remove { at: path(&format!("/{name}")), how: RemoveHow::File }).await;
        clock.fetch_add(3_600_000_000_000, Ordering::Relaxed);
    }
    let armed = failpoints::arm({
        let folder = world.folder.clone();
        move |step| {
            if step == "forget.looked" {
                // What `fs/hook.create` writes, for one that begins with what is all still there.
                let text = "INSERT INTO fs_hook (bucket, branch, name, prefix, suffix, kind, target, maker, after_seq)
                    SELECT bucket, id, 'web', x'', x'', 'webhook', ?1, 'ann', 1 FROM fs_branch WHERE true
                    ON CONFLICT DO NOTHING";
                sql(&folder).execute(text, [URL]).unwrap();
            }
        }
    });
    // By the background, or by this: whichever is the first looks before there is a hook.
    let (permit, bucket) = (world.permit(Right::Admin, "proj", None), "proj".parse().unwrap());
    let policy = Policy::parse(r#"{"retention":"1s"}"#).unwrap();
    world.fs.tree().set_bucket(&permit, &bucket, |terms| terms.policy = policy).await.unwrap();
    let task = Maintenance::of("test");
    History::new(world.fs.tree().clone()).forget(&task, &bucket).await.unwrap();
    drop(armed);
    let fake = Fake::new();
    world.fs.keep_hooks(fake.clone());
    until(&world, "it was told of all", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!(fake.seqs(URL), [2, 3, 4, 5, 6, 7]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_tells_nothing_of_a_parent_that_its_maker_may_not_read() {
    // FS-88
    let (world, fake) = (World::new().await, Fake::new());
    let begin = world.put("proj/a", "1").await.unwrap().seq;
    world.branch_as("live", Mode::Follow).await;
    world.put("proj/later", "2").await.unwrap();
    let rename = |from, to| Change::Rename { from: path(from), to: path(to), how: RenameHow::Replace };
    world.change(rename("/a", "/hidden")).await;
    let permit = world.permit(Right::Write, "proj", Some("live"));
    let at = ("proj".parse().unwrap(), "live".parse().unwrap());
    world.fs.tree().change(&permit, (&at.0, &at.1), vec![rename("/hidden", "/b")], None).await.unwrap();
    let from_the_beginning = Wanted { after: Some(Seq::ZERO), ..wanted("live", web(URL)) };
    hook(&world, "live", from_the_beginning).await;
    fake.may("ann", Some(reader(&[("bucket:proj/live", "fs:read")])));
    world.fs.keep_hooks(fake.clone());
    let own = world.put("proj:live/own", "3").await.unwrap().seq;
    world.until("it is told", |_| fake.seqs(URL).last() == Some(&own.get())).await;
    let told = serde_json::to_string(&fake.to(URL)).unwrap();
    assert!(told.contains("/b") && told.contains("/own"), "{told}");
    assert!(!told.contains("/later") && !told.contains("/hidden") && !told.contains("\"/a\""), "{told}");
    assert_eq!(
        fake.seqs(URL),
        [own.get() - 1, own.get()],
        "nothing up to the fork at {begin}, nor later of the parent"
    );
    fake.may("ann", Some(reader(&[("bucket:proj", "fs:read")])));
    world.put("proj/seen", "4").await.unwrap();
    world.until("the parent is told of", |_| fake.seqs(URL).last() == Some(&(own.get() + 1))).await;
    world.end().await;
}
