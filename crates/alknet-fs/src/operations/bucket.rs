//! `fs/bucket.*`: buckets, what they may hold and how they behave.

use alknet_call::{CallError, Operation, RegisterError, RegistryBuilder};
use alknet_core::AccessRule;
use alknet_store::Durability;
use serde_json::json;

use super::{
    refusal::{declaring, refusal},
    service::{Service, committed_view, durability_view},
    views::{
        BucketView, Buckets, ConflictPolicy, CreateBucket, DurabilityName, ListBuckets, PolicyView, RemoveBucket,
        SetBucket,
    },
};
use crate::{
    access::{Access, Right},
    limits::LONG_TIMEOUT,
    tree::{Bucket, OnConflict, Policy, Retention, Terms},
};

/// The word for versions that are kept for ever.
const FOREVER: &str = "forever";

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/bucket.create"))
            .title("Make a bucket")
            .description("It begins with an empty branch `main`.")
            .access(Access::rule(Right::Admin))
            .example(json!({ "bucket": "photos" }), json!({ "seq": 1, "durability": "strict" }))
            .handler(move |context, input: CreateBucket| {
                let fs = fs.clone();
                async move {
                    let terms = new_terms(fs.policy(), &input)?;
                    let made = fs.tree().create_bucket(&context.permit, &input.bucket, terms).await;
                    made.map(committed_view).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        Operation::query("fs/bucket.list")
            .title("List buckets")
            .description("Those of which the caller may read something.")
            .access(reading())
            .example(json!({}), json!({ "buckets": [] }))
            .handler(move |context, input: ListBuckets| {
                let fs = fs.clone();
                async move {
                    let page = fs.tree().buckets(&context.permit, input.after.as_ref(), input.limit as usize).await;
                    let page = page.map_err(refusal)?;
                    Ok(Buckets { buckets: page.buckets.into_iter().map(bucket_view).collect(), next: page.next })
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/bucket.set"))
            .title("Set what a bucket may hold and how it behaves")
            .description(
                "What is absent stays as it is. A quota below what is used stops what would grow, and nothing else.",
            )
            .access(Access::rule(Right::Admin))
            .idempotent()
            .handler(move |context, input: SetBucket| {
                let fs = fs.clone();
                async move {
                    let retention = input.retention.as_deref().map(retention).transpose()?;
                    let name = input.bucket.clone();
                    let set = move |terms: &mut Terms| apply(&input, retention, terms);
                    fs.tree().set_bucket(&context.permit, &name, set).await.map(bucket_view).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/bucket.remove"))
            .title("Remove a bucket")
            .description("With `force` also one that holds something; its branches, snapshots and history go with it.")
            .access(Access::rule(Right::Admin))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: RemoveBucket| {
                let fs = fs.clone();
                async move {
                    let removed = fs.tree().remove_bucket(&context.permit, &input.bucket, input.force).await;
                    removed.map(|()| alknet_call::Nothing {}).map_err(refusal)
                }
            }),
    )?;
    Ok(())
}

/// The rule of lists that show each caller what he may read.
pub(super) fn reading() -> AccessRule {
    let scope = Right::Read.as_str().parse().expect("because the names of rights are scopes");
    AccessRule::scoped([scope])
}

fn new_terms(policy: &Policy, input: &CreateBucket) -> Result<Terms, CallError> {
    let mut policy = policy.clone();
    if let Some(durability) = input.durability {
        policy.durability = durability_of(durability);
    }
    if let Some(conflict) = input.conflict {
        policy.conflict = conflict_of(conflict);
    }
    if let Some(text) = &input.retention {
        policy.retention = retention(text)?;
    }
    if let Some(names) = input.names {
        policy.names = names.into();
    }
    policy.events = input.events.unwrap_or(policy.events);
    Ok(Terms { quota_bytes: bound(input.quota_bytes), quota_files: bound(input.quota_files), policy })
}

fn apply(input: &SetBucket, retention: Option<Option<Retention>>, terms: &mut Terms) {
    if let Some(bytes) = input.quota_bytes {
        terms.quota_bytes = bound(Some(bytes));
    }
    if let Some(files) = input.quota_files {
        terms.quota_files = bound(Some(files));
    }
    let policy = &mut terms.policy;
    if let Some(durability) = input.durability {
        policy.durability = durability_of(durability);
    }
    if let Some(conflict) = input.conflict {
        policy.conflict = conflict_of(conflict);
    }
    if let Some(retention) = retention {
        policy.retention = retention;
    }
    policy.events = input.events.unwrap_or(policy.events);
}

/// 0 is no bound.
fn bound(quota: Option<u64>) -> Option<u64> {
    quota.filter(|quota| *quota > 0)
}

fn retention(text: &str) -> Result<Option<Retention>, CallError> {
    if text == FOREVER {
        return Ok(None);
    }
    Retention::parse(text).map(Some).map_err(|error| CallError::invalid_input("/retention", error.to_string()))
}

const fn durability_of(name: DurabilityName) -> Durability {
    match name {
        DurabilityName::Strict => Durability::Strict,
        DurabilityName::Group => Durability::Group,
        DurabilityName::Lazy => Durability::Lazy,
    }
}

const fn conflict_of(policy: ConflictPolicy) -> OnConflict {
    match policy {
        ConflictPolicy::Lww => OnConflict::Lww,
        ConflictPolicy::Fail => OnConflict::Fail,
        ConflictPolicy::KeepBoth => OnConflict::KeepBoth,
    }
}

fn bucket_view(bucket: Bucket) -> BucketView {
    let Bucket { name, terms, used_bytes, used_files, head } = bucket;
    let Terms { quota_bytes, quota_files, policy } = terms;
    BucketView { bucket: name, head, used_bytes, used_files, quota_bytes, quota_files, policy: policy_view(&policy) }
}

fn policy_view(policy: &Policy) -> PolicyView {
    PolicyView {
        durability: durability_view(policy.durability),
        conflict: match policy.conflict {
            OnConflict::Lww => ConflictPolicy::Lww,
            OnConflict::Fail => ConflictPolicy::Fail,
            OnConflict::KeepBoth => ConflictPolicy::KeepBoth,
        },
        retention: policy.retention.map_or_else(|| FOREVER.to_owned(), |span| span.to_string()),
        names: policy.names.into(),
        events: policy.events,
    }
}
