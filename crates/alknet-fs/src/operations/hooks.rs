//! `fs/hook.*`: who is told of commits without asking.

use std::fmt;

use alknet_call::{CallError, ErrorCode, Nothing, Operation, OperationContext, RegisterError, RegistryBuilder};
use alknet_core::Effect;
use alknet_store::QueueName;
use serde_json::json;

use super::{
    names::may_read,
    refusal::{declaring, refusal},
    service::Service,
    text::{Octets, Timestamp},
    views::{CreateHook, HookState, HookTo, HookView, Hooks, ListHooks, OneHook, WebhookTo},
};
use crate::{
    access::{Access, Place, Right},
    events::PathFilter,
    hooks::{self, Courier, Hook, Wanted},
    limits::{MAX_HOOK_FILTER_BYTES, MAX_HOOK_URL_BYTES},
    name::BranchName,
    rows::hook::{NewHook, Target},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/hook.create"))
            .title("Have a web server or a queue told of commits")
            .description(
                "Of each commit that changed what is asked for, in order. It reads on behalf of whoever makes it, who must be allowed to \
                 read the branch, to hand jobs in at that queue (`queues:produce`), and to use that credential (`credentials:use`), now \
                 and at each delivery.",
            )
            .access(Access::rule(Right::Admin))
            .example(
                json!({ "bucket": "photos", "name": "thumbs", "suffix": ".jpg", "to": { "queue": "thumbs" } }),
                json!({
                    "name": "thumbs", "branch": "main", "prefix": "", "suffix": ".jpg", "to": { "queue": "thumbs" },
                    "maker": "ann", "told": 4, "head": 4, "state": "ready", "attempts": 0
                }),
            )
            .handler(move |context, input: CreateHook| {
                let fs = fs.clone();
                async move { create(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/hook.list"))
            .title("List the hooks of a bucket")
            .description("With how far each came, and why it does not get on.")
            .access(Access::rule(Right::Admin))
            .handler(move |context, input: ListHooks| {
                let fs = fs.clone();
                async move {
                    let found = fs.hooks().list(&context.permit, &input.bucket).await.map_err(refusal)?;
                    Ok(Hooks { hooks: found.into_iter().map(hook_view).collect() })
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/hook.remove"))
            .title("Remove a hook")
            .access(Access::rule(Right::Admin))
            .handler(move |context, input: OneHook| {
                let fs = fs.clone();
                async move {
                    let removed = fs.hooks().remove(&context.permit, &input.bucket, &input.name).await;
                    removed.map(|()| Nothing {}).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/hook.resume"))
            .title("Have a hook tried again at once")
            .description(
                "One that is paused, or waits after it failed. It goes on after the last commit that it was told of.",
            )
            .access(Access::rule(Right::Admin))
            .idempotent()
            .handler(move |context, input: OneHook| {
                let fs = fs.clone();
                async move {
                    let resumed = fs.hooks().resume(&context.permit, &input.bucket, &input.name).await;
                    resumed.map(|()| Nothing {}).map_err(refusal)
                }
            }),
    )?;
    Ok(())
}

async fn create(fs: &Service, context: &OperationContext, input: CreateHook) -> Result<HookView, CallError> {
    let CreateHook { bucket, name, branch, prefix, suffix, to, after } = input;
    let branch = branch.unwrap_or_else(BranchName::main);
    for (pointer, part) in [("/prefix", &prefix), ("/suffix", &suffix)] {
        if part.0.len() > MAX_HOOK_FILTER_BYTES {
            return Err(CallError::invalid_input(pointer, format!("{MAX_HOOK_FILTER_BYTES} bytes are the most")));
        }
    }
    let read = may_read(context, Place { bucket: &bucket, branch: Some(&branch) })?;
    let courier = fs.files().courier().ok_or_else(|| CallError::unavailable("this node tells no hooks"))?;
    let maker = read.identity().map(|identity| identity.id());
    if maker.and_then(|maker| courier.identity(maker)).is_none() {
        return Err(CallError::invalid_input("", "a hook is made by somebody whom this node knows by name"));
    }
    let target = target(&**courier, context, to).await?;
    let wanted = Wanted { name, filter: PathFilter { prefix: prefix.0, suffix: suffix.0 }, target, after };
    let made = fs.hooks().create((&context.permit, &read), (&bucket, &branch), wanted).await;
    made.map(hook_view).map_err(refusal)
}

/// Where it tells, if the caller may have it told there.
async fn target(courier: &dyn Courier, context: &OperationContext, to: HookTo) -> Result<Target, CallError> {
    let action = context.permit.action();
    match to {
        HookTo::Queue(queue) => {
            let name: QueueName = queue
                .parse()
                .map_err(|error: alknet_store::InvalidName| CallError::invalid_input("/to/queue", error.to_string()))?;
            let resource = hooks::queue_resource(name.as_str());
            let may = context.authorize(action, &hooks::queue_rule(), resource.as_ref(), Effect::Mutation);
            may.map_err(|_| forbidden(format_args!("hand jobs in at the queue {name} (queues:produce)")))?;
            Ok(Target::Queue(queue))
        }
        HookTo::Webhook(WebhookTo { url, credential }) => {
            if url.len() > MAX_HOOK_URL_BYTES {
                let words = format!("{MAX_HOOK_URL_BYTES} bytes are the most");
                return Err(CallError::invalid_input("/to/webhook/url", words));
            }
            if let Some(name) = &credential {
                let resource = hooks::credential_resource(name)
                    .ok_or_else(|| CallError::invalid_input("/to/webhook/credential", "no credential is called so"))?;
                let may = context.authorize(action, &hooks::credential_rule(), Some(&resource), Effect::Query);
                may.map_err(|_| forbidden(format_args!("use the credential {} (credentials:use)", resource.id())))?;
            }
            let checked = courier.check(&url, credential.as_deref()).await;
            checked.map_err(|error| CallError::invalid_input("/to/webhook", error.to_string()))?;
            Ok(Target::Webhook { url, credential })
        }
    }
}

/// Whoever may make hooks need not be allowed what this one would do.
fn forbidden(what: fmt::Arguments<'_>) -> CallError {
    CallError::new(ErrorCode::Forbidden, format!("you may not {what}"))
}

fn hook_view(hook: Hook) -> HookView {
    let Hook { branch, row, head } = hook;
    let state = match (row.attempts, row.is_paused()) {
        (_, true) => HookState::Paused,
        (0, false) => HookState::Ready,
        (_, false) => HookState::Failing,
    };
    let next = row.next_ms.map(|ms| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)));
    let NewHook { name, prefix, suffix, target, maker, after, .. } = row.hook;
    let to = match target {
        Target::Webhook { url, credential } => HookTo::Webhook(WebhookTo { url, credential }),
        Target::Queue(queue) => HookTo::Queue(queue),
    };
    let (prefix, suffix) = (Octets(prefix), Octets(suffix));
    let (attempts, error) = (row.attempts, row.error);
    HookView { name, branch, prefix, suffix, to, maker, told: after, head, state, attempts, next, error }
}
