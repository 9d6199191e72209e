//! `alknet fs hook`.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use alknet_fs::{
    HookName, Seq,
    operations::{CreateHook, HookState, HookTo, HookView, Hooks, ListHooks, Octets, OneHook, WebhookTo},
};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::Value;

use super::{Files, listing, prefix};
use crate::{
    cli::output,
    failure::{Failure, Kind},
    files::address::Spot,
};

/// Who is told of the commits of a branch: web servers and queues
///
/// A queue gets each commit exactly once, as a job. A web server gets each commit at least once, in order, by POST, and is
/// tried again for a day while it fails; then the hook is paused. What is sent is one JSON object a commit, as
/// `alknet fs watch --json` has it, with the members bucket, branch and hook.
///
/// With --secret, what is posted is signed as the Standard Webhooks specification says (HMAC-SHA256) with the secret of
/// that credential, of the kind api-key or bearer (`alknet credential add`). A hook reads on behalf of whoever made it: it
/// pauses when they may not read the branch any more.
///
/// Examples:
///   alknet fs hook add photos/in thumbs --suffix .jpg --queue thumbs
///   alknet credential add deploy --kind api-key < secret
///   alknet fs hook add web deploy --url https://ci.example/hook --secret deploy
///   alknet fs hook list web
///   alknet fs hook resume web deploy
///   alknet fs hook remove web deploy
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Hook {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Have somebody told
    Add(Add),
    /// List the hooks of a bucket, how far each came, and why it does not get on
    List {
        /// The bucket
        #[arg(value_name = "BUCKET")]
        bucket: OsString,
    },
    /// Try a hook again at once that is paused or waits; it goes on where it was
    Resume(One),
    /// Tell nobody any more
    Remove(One),
}

#[derive(Args)]
#[command(group(ArgGroup::new("whom").required(true)))]
struct Add {
    /// The branch; with the path of a folder, which may be still to come, only what is below it
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// What the hook is called, once in the bucket
    name: HookName,
    /// Post to this https URL
    #[arg(long, value_name = "URL", group = "whom")]
    url: Option<String>,
    /// Sign with the secret of this credential
    #[arg(long, value_name = "CREDENTIAL", requires = "url")]
    secret: Option<String>,
    /// Hand jobs in at this queue
    #[arg(long, value_name = "QUEUE", group = "whom")]
    queue: Option<String>,
    /// Only paths that end so
    #[arg(long, value_name = "TEXT")]
    suffix: Option<OsString>,
    /// Begin after this commit [default: with what comes from now on]
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
}

#[derive(Args)]
struct One {
    /// The bucket
    #[arg(value_name = "BUCKET")]
    bucket: OsString,
    /// The hook
    name: HookName,
}

impl Hook {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Add(add) => add.run(files).await,
            Action::List { bucket } => list(files, &files.spot_now(&bucket)?).await,
            Action::Resume(one) => one.run(files, "fs/hook.resume", "is tried again").await,
            Action::Remove(one) => one.run(files, "fs/hook.remove", "is removed").await,
        }
    }
}

impl Add {
    async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot_now(&self.address)?;
        let after =
            self.after.map(|after| Seq::new(after).ok_or_else(|| Failure::usage("so large is no commit's number")));
        let to = match (self.url, self.queue) {
            (Some(url), _) => HookTo::Webhook(WebhookTo { url, credential: self.secret }),
            (None, Some(queue)) => HookTo::Queue(queue),
            (None, None) => return Err(Failure::usage("say --url or --queue")),
        };
        let remote = files.reach(&spot).await?;
        let input = CreateHook {
            bucket: spot.branch.bucket.clone(),
            branch: Some(spot.branch.branch.clone()),
            name: self.name,
            prefix: prefix(&remote, &spot).await?,
            suffix: self.suffix.as_deref().map(|suffix| Octets::from(suffix.as_bytes())).unwrap_or_default(),
            to,
            after: after.transpose()?,
        };
        let made: HookView = remote.call("fs/hook.create", &input).await.map_err(way_out)?;
        remote.finish().await;
        if files.json() {
            return output::json(&made);
        }
        let place = format!("{}:{}", spot.branch.bucket, made.branch);
        output::line(format!("{} is told of {place} after commit {}", target(&made.to), made.told))
    }
}

fn way_out(failure: Failure) -> Failure {
    let text = failure.to_string();
    if text.contains("there is no credential") {
        return failure.hint("`alknet credential add NAME --kind api-key` adds one");
    }
    if text.contains("fs.private_hooks") {
        return failure.hint("the node's owner allows addresses of private networks there");
    }
    if failure.kind() == Kind::Denied {
        return failure.hint("it takes fs:admin on the bucket, and to be allowed what the hook does: to read the branch, to use the credential, to hand jobs in at the queue");
    }
    failure
}

impl One {
    async fn run(self, files: &Files<'_>, operation: &str, done: &str) -> Result<(), Failure> {
        let spot = files.spot_now(&self.bucket)?;
        let remote = files.reach(&spot).await?;
        let input = OneHook { bucket: spot.branch.bucket.clone(), name: self.name.clone() };
        let missing = |failure: Failure| match failure.kind() {
            Kind::NotFound => failure.hint(format_args!("`alknet fs hook list {}` lists the hooks", input.bucket)),
            _ => failure,
        };
        let _: Value = remote.call(operation, &input).await.map_err(missing)?;
        remote.finish().await;
        if files.json() { output::json(&input) } else { output::line(format!("{} {done}", self.name)) }
    }
}

async fn list(files: &Files<'_>, spot: &Spot) -> Result<(), Failure> {
    let remote = files.reach(spot).await?;
    let input = ListHooks { bucket: spot.branch.bucket.clone() };
    let Hooks { hooks } = remote.call("fs/hook.list", &input).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&hooks);
    }
    output::table(["HOOK", "BRANCH", "PATHS", "TOLD", "STATE", "TO"], &hooks.iter().map(row).collect::<Vec<_>>())?;
    for hook in hooks {
        if let Some(error) = &hook.error {
            let next = hook.next.map_or_else(String::new, |next| format!("; next attempt {}", listing::seconds(next)));
            output::note(format!("{}: {}{next}", hook.name, output::printable(error)));
        }
    }
    Ok(())
}

fn row(hook: &HookView) -> [String; 6] {
    let state = match hook.state {
        HookState::Ready => "ready",
        HookState::Failing => "failing",
        HookState::Paused => "paused",
    };
    let paths = format!("{}*{}", hook.prefix, hook.suffix);
    let told = format!("{} of {}", hook.told, hook.head);
    [hook.name.to_string(), hook.branch.to_string(), paths, told, state.to_owned(), target(&hook.to)]
}

fn target(to: &HookTo) -> String {
    match to {
        HookTo::Webhook(web) => output::printable(&web.url),
        HookTo::Queue(queue) => format!("the queue {}", output::printable(queue)),
    }
}
