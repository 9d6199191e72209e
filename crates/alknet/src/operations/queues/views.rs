//! What `queues/*` takes and gives.

use alknet_call::CallError;
use alknet_store::DeadJob;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest wait of `queues/claim`, in seconds.
pub const MAX_WAIT_S: u64 = 60;

/// Input of `queues/enqueue`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// The queue; its first job makes it.
    pub queue: String,
    /// What is to be done.
    pub payload: Value,
    /// How long nobody gets it, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Higher ones are claimed first, 0 to 9.
    #[serde(default)]
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// How often it is claimed before it is given up.
    #[serde(default = "attempts")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_attempts: u32,
    /// A job that nobody has claimed after this time is given up, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// Output of `queues/enqueue` and `queues/requeue`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Enqueued {
    /// The job's id.
    pub id: u64,
}

/// Input of `queues/claim`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimJobs {
    /// The queue.
    pub queue: String,
    /// What the claiming program calls itself.
    pub worker: String,
    /// At most so many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub count: u32,
    /// How long the jobs are its own, in milliseconds.
    #[serde(default = "visibility")]
    #[schemars(range(min = 1))]
    pub visibility_ms: u64,
    /// How long to wait while there is none, in seconds.
    #[serde(default)]
    #[schemars(range(max = MAX_WAIT_S))]
    pub wait_s: u64,
}

/// Output of `queues/claim`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedJobs {
    /// The jobs.
    pub jobs: Vec<ClaimedJob>,
}

/// A job that was claimed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedJob {
    /// Its id.
    pub job: u64,
    /// Which of its claims this is, from 1.
    pub attempt: u32,
    /// What is to be done.
    pub payload: Value,
    /// How often it is claimed at most.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: u8,
    /// Who handed it in.
    pub producer: String,
    /// When that was, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// When the claim runs out, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// What the last attempt said before it gave the job back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which claim on which job: input of `queues/ack`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobClaim {
    /// The queue.
    pub queue: String,
    /// The job's id.
    pub job: u64,
    /// Which of its claims.
    pub attempt: u32,
}

/// Input of `queues/extend`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExtendClaim {
    /// The claim.
    #[serde(flatten)]
    pub claim: JobClaim,
    /// How long the job is its own from now, in milliseconds.
    #[schemars(range(min = 1))]
    pub visibility_ms: u64,
}

/// Output of `queues/extend`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Extended {
    /// When the claim runs out, in milliseconds since 1970.
    pub deadline_ms: u64,
}

/// Input of `queues/retry`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RetryJob {
    /// The claim.
    #[serde(flatten)]
    pub claim: JobClaim,
    /// How long nobody gets it, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// What went wrong, for the next attempt and for the dead letter.
    #[serde(default)]
    pub error: String,
}

/// Output of `queues/retry`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RetriedJob {
    /// When it may be claimed again, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<u64>,
    /// Whether that was its last attempt: it is a dead letter.
    pub dead: bool,
}

/// Input of `queues/fail`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailJob {
    /// The claim.
    #[serde(flatten)]
    pub claim: JobClaim,
    /// What went wrong.
    #[serde(default)]
    pub error: String,
}

/// Input of `queues/show`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfQueue {
    /// The queue.
    pub queue: String,
}

/// What is in a queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// Jobs that may be claimed now.
    pub waiting: u64,
    /// Jobs that may be claimed later.
    pub delayed: u64,
    /// Jobs that somebody has claimed.
    pub claimed: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// When the next job falls due, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due_at_ms: Option<u64>,
}

/// Input of `queues/dead`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDead {
    /// The queue.
    pub queue: String,
    /// Only dead letters after this id.
    #[serde(default)]
    pub after: u64,
    /// At most so many.
    #[serde(default = "page")]
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: u32,
}

/// Output of `queues/dead`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetters {
    /// The dead letters, in the order in which they died.
    pub letters: Vec<DeadLetter>,
}

/// A job that was given up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The dead letter's id.
    pub id: u64,
    /// The id of the job that it was.
    pub job: u64,
    /// What was to be done.
    pub payload: Value,
    /// How often it was claimed.
    pub attempts: u32,
    /// Who handed it in.
    pub producer: String,
    /// When it was given up, in milliseconds since 1970.
    pub died_at_ms: u64,
    /// Why.
    pub error: String,
}

impl TryFrom<DeadJob> for DeadLetter {
    type Error = CallError;
    fn try_from(job: DeadJob) -> Result<Self, CallError> {
        Ok(Self {
            id: job.id,
            job: job.job,
            payload: serde_json::from_str(&job.payload).map_err(CallError::internal)?,
            attempts: job.attempts,
            producer: job.producer,
            died_at_ms: job.died_at_ms,
            error: job.error,
        })
    }
}

/// Input of `queues/requeue`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequeueDead {
    /// The queue.
    pub queue: String,
    /// The dead letter's id.
    pub letter: u64,
}

const fn one() -> u32 {
    1
}

const fn page() -> u32 {
    100
}

const fn attempts() -> u32 {
    10
}

const fn visibility() -> u64 {
    60_000
}
