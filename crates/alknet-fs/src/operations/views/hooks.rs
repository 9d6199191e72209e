//! Hooks, and what they say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::watching::WatchedCommit;
use crate::{
    ids::Seq,
    name::{BranchName, BucketName, HookName},
    operations::text::{Octets, Timestamp},
};

/// Where a hook tells of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HookTo {
    /// By POST to a web server: each commit at least once, in order.
    Webhook(WebhookTo),
    /// As jobs of this queue: each commit exactly once.
    Queue(String),
}

/// A web server that is told of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTo {
    /// An `https` URL. Its host must have a public address, or one that the node's configuration allows.
    pub url: String,
    /// The credential whose secret signs what is sent (HMAC-SHA256); absent: nothing is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Input of `fs/hook.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHook {
    /// The bucket.
    pub bucket: BucketName,
    /// What it is called, once in the bucket.
    pub name: HookName,
    /// The branch that it is told of; absent: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// Only paths that begin so, with the `/` at their start; empty: all.
    #[serde(default)]
    pub prefix: Octets,
    /// Only paths that end so; empty: all.
    #[serde(default)]
    pub suffix: Octets,
    /// Where it tells.
    pub to: HookTo,
    /// Begin after this commit; absent: with what comes from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
}

/// Input of `fs/hook.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListHooks {
    /// The bucket.
    pub bucket: BucketName,
}

/// Names a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneHook {
    /// The bucket.
    pub bucket: BucketName,
    /// Its name.
    pub name: HookName,
}

/// Output of `fs/hook.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// All hooks of the bucket, by name.
    pub hooks: Vec<HookView>,
}

/// How a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// It was told of everything, or soon is.
    Ready,
    /// The newest attempt failed; it is made again.
    Failing,
    /// It is tried no more until it is resumed.
    Paused,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookView {
    /// Its name.
    pub name: HookName,
    /// The branch that it is told of.
    pub branch: BranchName,
    /// How paths begin that it is told of; empty: any.
    #[serde(default)]
    pub prefix: Octets,
    /// How they end; empty: any.
    #[serde(default)]
    pub suffix: Octets,
    /// Where it tells.
    pub to: HookTo,
    /// Who made it: on their behalf it reads.
    pub maker: String,
    /// It was told of everything up to this commit at least.
    pub told: Seq,
    /// The bucket's newest commit.
    pub head: Seq,
    /// How it does.
    pub state: HookState,
    /// Attempts that failed since the last one that did not.
    #[serde(default)]
    pub attempts: u32,
    /// When the next attempt is made, of one that is failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Why the newest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a hook says: the body of a webhook's request, the payload of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookedCommit {
    /// The bucket.
    pub bucket: BucketName,
    /// The branch that the hook is told of.
    pub branch: BranchName,
    /// The hook.
    pub hook: HookName,
    /// The commit, as `fs/watch` gives it.
    #[serde(flatten)]
    pub commit: WatchedCommit,
}
