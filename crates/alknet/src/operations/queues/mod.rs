//! `queues/*`: jobs that are handed to whoever claims them, until somebody is done with each.

mod views;

pub use views::{
    ClaimJobs, ClaimedJob, ClaimedJobs, DeadLetter, DeadLetters, Enqueue, Enqueued, ExtendClaim, Extended, FailJob,
    JobClaim, ListDead, OfQueue, QueueView, RequeueDead, RetriedJob, RetryJob,
};

use std::time::Duration;

use alknet_call::{CallError, Nothing, Operation, OperationBuilder, OperationContext, RegisterError, RegistryBuilder};
use alknet_core::{AccessRule, ResourceDemand};
use alknet_store::{Claim, Job, NewJob, QueueError, QueueName, Retried, Store};
use tokio::time::{Instant, sleep_until};

use super::{Foundation, not_stored};

/// The error code of a claim that is over.
const CLAIM_LOST: &str = "CLAIM_LOST";
/// A claim that waits looks again at the latest after this time: delayed jobs fall due without a commit.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait of `queues/claim` and what the rest of the call may take.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(views::MAX_WAIT_S + 30);

/// Registers `queues/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    register_producing(registry, &foundation.store)?;
    register_claiming(registry, &foundation.store)?;
    register_settling(registry, &foundation.store)?;
    register_looking(registry, &foundation.store)
}

fn register_producing(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let store = store.clone();
    registry.register(
        Operation::mutation("queues/enqueue")
            .title("Hand a job in")
            .description("The job is on disk when its id comes back. Whoever claims it has it for a while; unless it ends it in time, it is claimed again.")
            .access(on_queue("queues:produce", "produce"))
            .handler(move |context, input: Enqueue| {
                let store = store.clone();
                async move {
                    let job = NewJob {
                        queue: queue_name(&input.queue)?,
                        payload: input.payload.to_string(),
                        delay: Duration::from_millis(input.delay_ms),
                        priority: input.priority,
                        max_attempts: input.max_attempts,
                        expires: input.expires_ms.map(Duration::from_millis),
                    };
                    Ok(Enqueued { id: store.queues().enqueue(&context.permit, job).await.map_err(refusal)? })
                }
            }),
    )?;
    Ok(())
}

fn register_claiming(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let store = store.clone();
    registry.register(
        Operation::mutation("queues/claim")
            .title("Claim jobs")
            .description("Jobs that are due, the highest priority first. With wait_s it waits for the first. Whoever is done with a job acknowledges it before its claim runs out.")
            .access(on_queue("queues:consume", "consume"))
            .timeout(CLAIM_TIMEOUT)
            .handler(move |context, input: ClaimJobs| {
                let store = store.clone();
                async move { claim(&store, &context, &input).await }
            }),
    )?;
    Ok(())
}

async fn claim(store: &Store, context: &OperationContext, input: &ClaimJobs) -> Result<ClaimedJobs, CallError> {
    let queue = queue_name(&input.queue)?;
    let worker = input
        .worker
        .parse()
        .map_err(|error: alknet_store::InvalidName| CallError::invalid_input("/worker", error.to_string()))?;
    let (queues, visibility) = (store.queues(), Duration::from_millis(input.visibility_ms));
    let end = Instant::now() + Duration::from_secs(input.wait_s);
    let mut commits = queues.watch();
    loop {
        commits.mark_unchanged();
        let count = usize::try_from(input.count).unwrap_or(usize::MAX);
        let jobs = queues.claim(&context.permit, &queue, &worker, count, visibility).await.map_err(refusal)?;
        let now = Instant::now();
        if !jobs.is_empty() || now >= end {
            return Ok(ClaimedJobs { jobs: jobs.into_iter().map(claimed).collect::<Result<_, _>>()? });
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| CallError::unavailable("the node is stopping"))?,
            () = sleep_until(end.min(now + LOOK_AGAIN)) => {}
        }
    }
}

fn register_settling(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let settling = |name, title| {
        Operation::mutation(name)
            .title(title)
            .access(on_queue("queues:consume", "consume"))
            .error(CLAIM_LOST, "The claim ran out and the job was claimed again, or it ended.")
    };
    let of = store.clone();
    registry.register(settling("queues/ack", "End a job that is done").handler(move |context, input: JobClaim| {
        let store = of.clone();
        async move {
            store.queues().ack(&context.permit, &held(&input)?).await.map_err(refusal)?;
            Ok(Nothing {})
        }
    }))?;
    let of = store.clone();
    registry.register(settling("queues/extend", "Hold on to a job").handler(move |context, input: ExtendClaim| {
        let store = of.clone();
        async move {
            let visibility = Duration::from_millis(input.visibility_ms);
            let until = store.queues().extend(&context.permit, &held(&input.claim)?, visibility).await;
            Ok(Extended { deadline_ms: until.map_err(refusal)? })
        }
    }))?;
    let of = store.clone();
    registry.register(settling("queues/retry", "Give a job back").handler(move |context, input: RetryJob| {
        let store = of.clone();
        async move {
            let (claim, delay) = (held(&input.claim)?, Duration::from_millis(input.delay_ms));
            let retried = store.queues().retry(&context.permit, &claim, delay, &input.error).await;
            Ok(match retried.map_err(refusal)? {
                Retried::Again { due_at_ms } => RetriedJob { due_at_ms: Some(due_at_ms), dead: false },
                Retried::Dead => RetriedJob { due_at_ms: None, dead: true },
            })
        }
    }))?;
    let of = store.clone();
    registry.register(settling("queues/fail", "Give a job up").handler(move |context, input: FailJob| {
        let store = of.clone();
        async move {
            store.queues().fail(&context.permit, &held(&input.claim)?, &input.error).await.map_err(refusal)?;
            Ok(Nothing {})
        }
    }))?;
    Ok(())
}

fn register_looking(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let reading = |name, title| -> OperationBuilder {
        Operation::query(name).title(title).access(on_queue("queues:read", "read"))
    };
    let of = store.clone();
    registry.register(reading("queues/show", "Count what is in a queue").handler(move |context, input: OfQueue| {
        let store = of.clone();
        async move {
            let queue = queue_name(&input.queue)?;
            let stats = store.queues().queue_stats(&context.permit, &queue).await.map_err(refusal)?;
            Ok(QueueView {
                waiting: stats.waiting,
                delayed: stats.delayed,
                claimed: stats.claimed,
                dead: stats.dead,
                next_due_at_ms: stats.next_due_at_ms,
            })
        }
    }))?;
    let of = store.clone();
    registry.register(reading("queues/dead", "List jobs that were given up").handler(
        move |context, input: ListDead| {
            let store = of.clone();
            async move {
                let (queue, limit) = (queue_name(&input.queue)?, usize::try_from(input.limit).unwrap_or(usize::MAX));
                let letters = store.queues().dead(&context.permit, &queue, input.after, limit).await;
                let letters = letters.map_err(refusal)?.into_iter().map(DeadLetter::try_from);
                Ok(DeadLetters { letters: letters.collect::<Result<_, _>>()? })
            }
        },
    ))?;
    let of = store.clone();
    registry.register(
        Operation::mutation("queues/requeue")
            .title("Make a job of a dead letter again")
            .access(on_queue("queues:consume", "consume"))
            .handler(move |context, input: RequeueDead| {
                let store = of.clone();
                async move {
                    let queue = queue_name(&input.queue)?;
                    let id = store.queues().requeue_dead(&context.permit, &queue, input.letter).await;
                    Ok(Enqueued { id: id.map_err(refusal)? })
                }
            }),
    )?;
    Ok(())
}

/// One scope, and a grant on the queue that the input names.
fn on_queue(scope: &str, action: &str) -> AccessRule {
    super::scoped(scope).on(ResourceDemand {
        kind: "queue".to_owned(),
        id_pointer: "/queue".to_owned(),
        action: action.to_owned(),
    })
}

fn queue_name(text: &str) -> Result<QueueName, CallError> {
    text.parse().map_err(|error: alknet_store::InvalidName| CallError::invalid_input("/queue", error.to_string()))
}

fn held(claim: &JobClaim) -> Result<Claim, CallError> {
    Ok(Claim { queue: queue_name(&claim.queue)?, job: claim.job, attempt: claim.attempt })
}

fn claimed(job: Job) -> Result<ClaimedJob, CallError> {
    Ok(ClaimedJob {
        job: job.claim.job,
        attempt: job.claim.attempt,
        payload: serde_json::from_str(&job.payload).map_err(CallError::internal)?,
        max_attempts: job.max_attempts,
        priority: job.priority,
        producer: job.producer,
        enqueued_at_ms: job.enqueued_at_ms,
        deadline_ms: job.deadline_ms,
        error: job.error,
    })
}

fn refusal(error: QueueError) -> CallError {
    match error {
        QueueError::Unknown(_) | QueueError::NoSuchDeadLetter(_) => CallError::not_found(error.to_string()),
        QueueError::BadPayload(_) => CallError::invalid_input("/payload", error.to_string()),
        QueueError::OutOfBounds { .. } => CallError::invalid_input("", error.to_string()),
        QueueError::TooMany { .. } => CallError::overloaded(error.to_string()),
        QueueError::ClaimLost { .. } => CallError::declared(CLAIM_LOST, error.to_string()),
        QueueError::Permit(error) => error.into(),
        QueueError::Store(error) => not_stored(&error),
    }
}
