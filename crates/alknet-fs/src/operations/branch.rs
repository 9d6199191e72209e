//! `fs/branch.*`, `fs/snapshot.*` and `fs/usage`.

use alknet_call::{CallError, Nothing, Operation, OperationContext, RegisterError, RegistryBuilder};
use serde_json::json;

use super::{
    bucket::reading,
    names::source,
    refusal::{declaring, refusal},
    service::Service,
    text::{BranchRef, Timestamp},
    views::{
        BranchMode, BranchUsage, BranchView, Branches, CreateBranch, CreateSnapshot, FlattenedBranch, ListBranches,
        ListSnapshots, OneBranch, RemoveSnapshot, SnapshotView, Snapshots, Source, UsageInput, UsageView,
    },
};
use crate::{
    access::{Access, Right},
    limits::{FLATTEN_TIMEOUT, LONG_TIMEOUT},
    name::BranchName,
    rows::branch::Mode,
    tree::{Branch, Snapshot, Usage},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/branch.create"))
            .title("Make a branch")
            .description("It begins as another branch was at a version; that costs nothing, however large the tree.")
            .access(Access::rule(Right::Branch))
            .example(
                json!({ "bucket": "photos/try" }),
                json!({ "branch": "try", "parent": "main", "fork": 4, "mode": "pinned", "made": 4 }),
            )
            .handler(move |context, input: CreateBranch| {
                let fs = fs.clone();
                async move { create(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/branch.list"))
            .title("List the branches of a bucket")
            .description("Those that the caller may read.")
            .access(reading())
            .handler(move |context, input: ListBranches| {
                let fs = fs.clone();
                async move {
                    let found = fs.tree().branches(&context.permit, &input.bucket).await.map_err(refusal)?;
                    Ok(Branches { branches: found.into_iter().map(branch_view).collect() })
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/branch.remove"))
            .title("Remove a branch")
            .description("Branches that were made from it keep what they see of it. The last branch of a bucket stays.")
            .access(Access::rule(Right::Branch))
            .handler(move |context, input: OneBranch| {
                let fs = fs.clone();
                async move {
                    let BranchRef { bucket, branch } = input.bucket;
                    let removed = fs.tree().remove_branch(&context.permit, &bucket, &branch).await;
                    removed.map(|()| Nothing {}).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/branch.flatten"))
            .title("Let a branch read its own rows alone")
            .description(
                "What it shows through those that it was made from is copied into it, rows only and charged like a copy: a long chain of \
                 branches costs nothing any more, and removed ones below it give their room back. No version of it changes. It happens by \
                 itself to branches that read through many others.",
            )
            .access(Access::rule(Right::Branch))
            .timeout(FLATTEN_TIMEOUT)
            .example(json!({ "bucket": "photos/try" }), json!({ "levels": 1, "rows": 1200 }))
            .handler(move |context, input: OneBranch| {
                let fs = fs.clone();
                async move {
                    let at = (&input.bucket.bucket, &input.bucket.branch);
                    let flattened = fs.history().flatten(&context.permit, at).await.map_err(refusal)?;
                    Ok(FlattenedBranch { levels: flattened.levels, rows: flattened.rows })
                }
            }),
    )?;
    snapshots(registry, service)?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/usage"))
            .title("Say what a bucket holds")
            .description("It goes through every version that is kept.")
            .access(Access::rule(Right::Read))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: UsageInput| {
                let fs = fs.clone();
                async move { fs.tree().usage(&context.permit, &input.bucket).await.map(usage_view).map_err(refusal) }
            }),
    )?;
    Ok(())
}

fn snapshots(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/snapshot.create"))
            .title("Name a version of a branch")
            .description("What the snapshot holds is kept for as long as the snapshot is there.")
            .access(Access::rule(Right::Branch))
            .handler(move |context, input: CreateSnapshot| {
                let fs = fs.clone();
                async move {
                    let when = fs.when(input.when.as_deref())?;
                    let at = (&input.bucket.bucket, &input.bucket.branch);
                    let taken = fs.tree().create_snapshot(&context.permit, at, &input.name, &when).await;
                    taken.map(snapshot_view).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/snapshot.list"))
            .title("List the snapshots of a bucket")
            .description("Those of branches that the caller may read.")
            .access(reading())
            .handler(move |context, input: ListSnapshots| {
                let fs = fs.clone();
                async move {
                    let found = fs.tree().snapshots(&context.permit, &input.bucket).await.map_err(refusal)?;
                    Ok(Snapshots { snapshots: found.into_iter().map(snapshot_view).collect() })
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/snapshot.remove"))
            .title("Let go of a snapshot")
            .access(Access::rule(Right::Branch))
            .handler(move |context, input: RemoveSnapshot| {
                let fs = fs.clone();
                async move {
                    let at = (&input.bucket.bucket, &input.bucket.branch);
                    let removed = fs.tree().remove_snapshot(&context.permit, at, &input.name).await;
                    removed.map(|()| Nothing {}).map_err(refusal)
                }
            }),
    )?;
    Ok(())
}

async fn create(fs: &Service, context: &OperationContext, input: CreateBranch) -> Result<BranchView, CallError> {
    let CreateBranch { bucket: at, from, when, mode } = input;
    let mode = match mode {
        BranchMode::Follow if when.is_some() => {
            return Err(CallError::invalid_input("/when", "a branch that follows another begins now"));
        }
        BranchMode::Follow => Mode::Follow,
        BranchMode::Pinned => Mode::Pinned,
    };
    let parent = BranchRef { bucket: at.bucket.clone(), branch: from.unwrap_or_else(BranchName::main) };
    let from = Source { bucket: Some(parent), path: super::Octets::default(), when };
    let view = source(fs, context, &at, &from).await?;
    let made = fs.tree().create_branch(&context.permit, &at.branch, &view, mode).await;
    made.map(branch_view).map_err(refusal)
}

fn branch_view(branch: Branch) -> BranchView {
    let Branch { name, origin, made } = branch;
    let mode = origin.as_ref().map(|origin| match origin.mode {
        Mode::Pinned => BranchMode::Pinned,
        Mode::Follow => BranchMode::Follow,
    });
    let fork = origin.as_ref().map(|origin| origin.at);
    BranchView { branch: name, parent: origin.and_then(|origin| origin.parent), fork, mode, made }
}

fn snapshot_view(snapshot: Snapshot) -> SnapshotView {
    let Snapshot { name, branch, seq, time_ns } = snapshot;
    SnapshotView { name, branch, seq, time: Timestamp(time_ns) }
}

fn usage_view(usage: Usage) -> UsageView {
    let bucket = usage.bucket;
    let branches: Vec<_> = usage
        .branches
        .into_iter()
        .map(|of| BranchUsage { branch: of.name, bytes: of.bytes, versions: of.versions })
        .collect();
    UsageView {
        used_bytes: bucket.used_bytes,
        used_files: bucket.used_files,
        quota_bytes: bucket.terms.quota_bytes,
        quota_files: bucket.terms.quota_files,
        versions: branches.iter().map(|branch| branch.versions).sum(),
        branches,
    }
}
