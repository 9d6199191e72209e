//! `fs/move`, `fs/copy`, `fs/link` and `fs/set`: names and attributes.

use alknet_call::{CallError, Operation, OperationContext, RegisterError, RegistryBuilder};
use alknet_core::{Effect, Permit};
use serde_json::json;

use super::{
    entries::commit,
    refusal::{declaring, refusal},
    service::{Service, path_at, steps_view, xattrs},
    text::BranchRef,
    views::{CopyEntry, LinkEntry, LinkTo, MoveEntry, MoveHow, SetAttributes, Source},
};
use crate::{
    access::{Access, Place, Right},
    limits::LONG_TIMEOUT,
    tree::{Change, RenameHow, View},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/move"))
            .title("Move or rename an entry")
            .description("With all that is below it, whatever there is; on one branch.")
            .access(Access::rule(Right::Write))
            .example(
                json!({ "bucket": "photos/main", "from": "/a.jpg", "to": "/2026/a.jpg" }),
                json!({ "seq": 4, "durability": "strict" }),
            )
            .handler(move |context, input: MoveEntry| {
                let fs = fs.clone();
                async move {
                    let (from, to) = (path_at("/from", &input.from)?, path_at("/to", &input.to)?);
                    let how = match input.how {
                        MoveHow::Replace => RenameHow::Replace,
                        MoveHow::NoReplace => RenameHow::NoReplace,
                        MoveHow::Exchange => RenameHow::Exchange,
                    };
                    commit(&fs, &context, &input.bucket, vec![Change::Rename { from, to, how }]).await
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/copy"))
            .title("Copy an entry")
            .description(
                "With all that is below it, from any branch and version that the caller may read. Content is shared, not read. More \
                 than 1,000 entries come in several commits, so that the copy grows; what an error leaves of it stays.",
            )
            .access(Access::rule(Right::Write))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: CopyEntry| {
                let fs = fs.clone();
                async move {
                    let from = source(&fs, &context, &input.bucket, &input.from).await?;
                    let (path, to) = (path_at("/from/path", &input.from.path)?, path_at("/to", &input.to)?);
                    let at = (&input.bucket.bucket, &input.bucket.branch);
                    let copied = fs.tree().copy_all(&context.permit, at, (from, path), to).await;
                    copied.map(steps_view).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/link"))
            .title("Make a link")
            .description(
                "Symbolic, which is a text that is followed; or hard, which is one more name of the same file.",
            )
            .access(Access::rule(Right::Write))
            .handler(move |context, input: LinkEntry| {
                let fs = fs.clone();
                async move {
                    let at = path_at("/path", &input.path)?;
                    let change = match input.to {
                        LinkTo::Symbolic(target) => Change::Symlink { at, target: target.0, mtime_ns: None },
                        LinkTo::Hard(from) => Change::HardLink { from: path_at("/to/hard", &from)?, to: at },
                    };
                    commit(&fs, &context, &input.bucket, vec![change]).await
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/set"))
            .title("Set the attributes of an entry")
            .description("What is absent stays as it is. Attributes are removed before others are set.")
            .access(Access::rule(Right::Write))
            .idempotent()
            .handler(move |context, input: SetAttributes| {
                let fs = fs.clone();
                async move {
                    let (at, xattrs) = (path_at("/path", &input.path)?, xattrs(input.xattrs)?);
                    let (mode, mtime_ns) = (input.mode, input.mtime.map(|time| time.0));
                    let set = input.set_xattrs.into_iter().map(|xattr| (xattr.name.0, xattr.value.0)).collect();
                    let remove = input.remove_xattrs.into_iter().map(|name| name.0).collect();
                    let some = Change::SetXattrs { at: at.clone(), set, remove };
                    let change = Change::SetAttributes { at, mode, mtime_ns, xattrs, follow: false };
                    commit(&fs, &context, &input.bucket, vec![change, some]).await
                }
            }),
    )?;
    Ok(())
}

/// The right to read a second place that a call is about.
pub(super) fn may_read(context: &OperationContext, place: Place<'_>) -> Result<Permit, CallError> {
    let (rule, resource) = (Access::rule(Right::Read), place.resource());
    Ok(context.authorize(context.permit.action(), &rule, Some(&resource), Effect::Query)?)
}

/// What a second place shows, in a call about the branch `own`.
pub(super) async fn source(
    fs: &Service,
    context: &OperationContext,
    own: &BranchRef,
    source: &Source,
) -> Result<View, CallError> {
    let at = source.branch(own);
    let permit = may_read(context, at.place())?;
    let when = fs.when(source.when.as_deref())?;
    fs.tree().view_of(&permit, &at.bucket, &at.branch, &when).await.map_err(refusal)
}
