//! `fs/watch`: changes of a branch as they happen, from any commit that is still kept.

use std::sync::Arc;

use alknet_call::{CallError, Item, Operation, OperationContext, RegisterError, RegistryBuilder};
use futures_util::stream::{Stream, try_unfold};
use serde_json::json;

use super::{
    entries::view,
    refusal::{declaring, not_stored},
    service::{Service, kind_view},
    text::{Octets, Timestamp},
    views::{DiffKind, WatchInput, WatchedChange, WatchedCommit},
};
use crate::{
    access::{Access, Right},
    events::{Heard, PathFilter, ToldChange, WatchError, Watcher, Way},
    ids::Seq,
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::subscription("fs/watch"))
            .title("Watch a branch change")
            .description(
                "Gives each commit that changed what is watched, in order. It goes on after any commit that is still kept: the \
                 items are numbered by commit.",
            )
            .access(Access::rule(Right::Read))
            .resumable()
            .items(move |context, input: WatchInput| {
                let fs = fs.clone();
                async move { watch(fs, context, input).await }
            }),
    )?;
    Ok(())
}

async fn watch(
    fs: Service,
    context: Arc<OperationContext>,
    input: WatchInput,
) -> Result<impl Stream<Item = Result<Item<WatchedCommit>, CallError>> + Send + 'static, CallError> {
    let view = view(&fs, &context, &input.bucket, None).await?;
    let (branch, sight) = (view.branch_id(), view.sight().clone());
    drop(view);
    let after = match context.after_seq {
        Some(number) => {
            Some(Seq::new(number).ok_or_else(|| CallError::invalid_input("/after", "there is no such commit"))?)
        }
        None => input.after,
    };
    let filter = PathFilter { prefix: input.prefix.0, suffix: input.suffix.0 };
    let watcher = Watcher::new(fs.tables().clone(), branch, filter, after).await.map_err(unheard)?.within(sight);
    Ok(try_unfold(watcher, |mut watcher| async move {
        let heard = watcher.next().await.map_err(unheard)?;
        Ok(heard.map(|heard| (Item::numbered(heard.commit.seq.get(), commit_view(heard)), watcher)))
    }))
}

pub(crate) fn commit_view(heard: Heard) -> WatchedCommit {
    let Heard { commit, told } = heard;
    WatchedCommit {
        seq: commit.seq,
        time: Timestamp(commit.time_ns),
        actor: commit.actor,
        op: commit.op,
        changes: told.changes.into_iter().map(change_view).collect(),
        more: told.more,
    }
}

pub(super) fn change_view(change: ToldChange) -> WatchedChange {
    let changes = change.ways.into_iter().map(|way| match way {
        Way::Added => DiffKind::Added,
        Way::Removed => DiffKind::Removed,
        Way::Renamed => DiffKind::Renamed,
        Way::Content => DiffKind::Content,
        Way::Attributes => DiffKind::Attributes,
    });
    WatchedChange {
        path: Octets(change.path),
        changes: changes.collect(),
        kind: kind_view(change.kind),
        from: change.from.map(Octets),
    }
}

fn unheard(error: WatchError) -> CallError {
    let words = error.to_string();
    match error {
        WatchError::Trimmed { oldest } => {
            CallError::declared("TRIMMED", words).with_details(json!({ "oldest": oldest }))
        }
        WatchError::Ahead { .. } => CallError::invalid_input("/after", words),
        WatchError::Removed | WatchError::Another { .. } => CallError::declared("STALE", words),
        WatchError::Store(error) => not_stored(&error),
    }
}
