//! `fs/merge`, `fs/conflicts`, `fs/conflict.settle` and `fs/restore`: two branches become one, and what was is again.

use alknet_call::{CallError, Operation, OperationContext, RegisterError, RegistryBuilder};
use serde_json::json;

use super::{
    entries::view,
    fitting::fit,
    history::side_view,
    names::source,
    refusal::{declaring, refusal},
    service::{Service, committed_view, path_at},
    text::{BranchRef, Octets},
    views::{
        Committed, ConflictAbout, ConflictSide, ConflictView, Conflicts, KeepSide, ListConflicts, MergeInput,
        MergeOutput, MergeStrategy, RestoreInput, SettleConflict, Source,
    },
};
use crate::{
    access::{Access, Right},
    history::{
        How, Keep,
        conflicts::{About, Conflict, Draft, Subject},
        merge::Strategy,
    },
    ids::Seq,
    limits::{LONG_TIMEOUT, MAX_LISTED, MAX_TOLD_CONFLICT_BYTES},
    name::BranchName,
    tree::View,
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/merge"))
            .title("Bring the changes of one branch into another")
            .description(
                "All of them as one commit, with the right to read both. Where both changed the same thing, `strategy` says what stays.",
            )
            .access(Access::rule(Right::Write))
            .timeout(LONG_TIMEOUT)
            .example(
                json!({ "bucket": "photos/main", "from": "try", "dry_run": true }),
                json!({ "merged": 3, "conflicts": [], "conflict_count": 0 }),
            )
            .handler(move |context, input: MergeInput| {
                let fs = fs.clone();
                async move { merge(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/conflicts"))
            .title("List what is still to be settled")
            .description("Conflicts that merges into a branch left there. Both versions are kept until somebody says which one stays.")
            .access(Access::rule(Right::Read))
            .handler(move |context, input: ListConflicts| {
                let fs = fs.clone();
                async move { conflicts(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/conflict.settle"))
            .title("Say what stays")
            .access(Access::rule(Right::Write))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: SettleConflict| {
                let fs = fs.clone();
                async move {
                    let at = (&input.bucket.bucket, &input.bucket.branch);
                    let settled = fs.history().settle(&context.permit, at, input.number, keep_of(input.keep)).await;
                    settled.map(committed_view).map_err(refusal)
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/restore"))
            .title("Make an entry again as it was")
            .description(
                "With all that is below it, and with the right to read the branch. No content is read or written; what is there now \
                 stays in the history.",
            )
            .access(Access::rule(Right::Write))
            .timeout(LONG_TIMEOUT)
            .example(
                json!({ "bucket": "photos/main", "path": "/2026", "when": "now-1d" }),
                json!({ "seq": 9, "durability": "strict" }),
            )
            .handler(move |context, input: RestoreInput| {
                let fs = fs.clone();
                async move { restore(&fs, &context, input).await }
            }),
    )?;
    Ok(())
}

/// A branch as it is, or was, which its reader must be allowed to see.
async fn seen(
    fs: &Service,
    context: &OperationContext,
    at: &BranchRef,
    branch: &BranchName,
    when: Option<String>,
) -> Result<View, CallError> {
    let bucket = Some(BranchRef { bucket: at.bucket.clone(), branch: branch.clone() });
    source(fs, context, at, &Source { bucket, path: Octets::default(), when }).await
}

async fn merge(fs: &Service, context: &OperationContext, input: MergeInput) -> Result<MergeOutput, CallError> {
    let MergeInput { bucket: at, from, strategy, dry_run } = input;
    if from == at.branch {
        return Err(CallError::invalid_input("/from", "a branch is merged with another one"));
    }
    // The answer says what is there where the two do not agree.
    let into = seen(fs, context, &at, &at.branch, None).await?;
    let from = seen(fs, context, &at, &from, None).await?;
    let how = How { strategy: strategy_of(strategy), dry_run, durability: None };
    let merged = fs.history().merge(&context.permit, &into, &from, how).await.map_err(refusal)?;
    let (seq, ours) = match &merged.committed {
        Some(committed) => (Some(committed.seq), committed.seq.before()),
        None => (None, into.bound()),
    };
    let sides = Sides { ours: (&at.branch, ours), theirs: (from.branch(), from.bound()) };
    let mut bytes = 0;
    let told = merged.conflicts.iter().take(MAX_LISTED as usize).take_while(|(_, draft)| {
        bytes += size(draft);
        bytes <= MAX_TOLD_CONFLICT_BYTES
    });
    Ok(MergeOutput {
        conflicts: told.map(|(number, draft)| conflict_view(*number, seq, draft, &sides)).collect(),
        conflict_count: merged.conflicts.len() as u64,
        merged: merged.entries as u64,
        committed: merged.committed.map(committed_view),
    })
}

async fn conflicts(fs: &Service, context: &OperationContext, input: ListConflicts) -> Result<Conflicts, CallError> {
    let view = view(fs, context, &input.bucket, None).await?;
    let (after, count) = (input.after.unwrap_or(0), input.limit as usize);
    let found = fs.history().conflicts(&view, after, count).await.map_err(refusal)?;
    let kept = |conflict: &Conflict| {
        let Conflict { id, seq, from, is_there, is_seen, draft } = conflict;
        let theirs = draft.theirs.as_ref().and_then(|subject| subject.label.parse().ok());
        let theirs = theirs.unwrap_or_else(|| view.branch().clone());
        // Of a branch that follows, the merge itself counts as merged.
        let at = from.map_or(seq.before(), |(_, at)| at.min(seq.before()));
        let sides = Sides { ours: (view.branch(), seq.before()), theirs: (&theirs, at) };
        let mut told = conflict_view(Some(*id), Some(*seq), draft, &sides);
        // Who reads the branch that was merged into need not be allowed to read what was merged.
        if told.theirs.is_some() && !is_seen {
            (told.theirs, told.theirs_hidden) = (None, true);
        }
        if let Some(side) = &mut told.theirs {
            side.gone = !is_there;
        }
        told
    };
    let mut conflicts: Vec<_> = found.iter().map(kept).collect();
    let is_more = fit(&mut conflicts) || conflicts.len() == count;
    let next = conflicts.last().filter(|_| is_more).and_then(|conflict| conflict.number);
    Ok(Conflicts { conflicts, next })
}

async fn restore(fs: &Service, context: &OperationContext, input: RestoreInput) -> Result<Committed, CallError> {
    let RestoreInput { bucket: at, path, when } = input;
    let path = path_at("/path", &path)?;
    let then = seen(fs, context, &at, &at.branch, Some(when)).await?;
    let restored = fs.history().restore(&context.permit, (&at.bucket, &at.branch), &path, &then).await;
    restored.map(committed_view).map_err(refusal)
}

/// The version of each side that a merge began with.
struct Sides<'a> {
    ours: (&'a BranchName, Seq),
    theirs: (&'a BranchName, Seq),
}

fn conflict_view(number: Option<u64>, seq: Option<Seq>, draft: &Draft, sides: &Sides<'_>) -> ConflictView {
    let side = |subject: &Option<Subject>, (branch, at): (&BranchName, Seq)| {
        subject.as_ref().map(|subject| ConflictSide {
            branch: branch.clone(),
            gone: false,
            at,
            path: (&subject.path).into(),
            side: side_view(subject.state.clone()),
        })
    };
    ConflictView {
        number,
        path: (&draft.path).into(),
        about: about_view(draft.about),
        seq,
        ours: side(&draft.ours, sides.ours),
        theirs: side(&draft.theirs, sides.theirs),
        theirs_hidden: false,
    }
}

/// About how many bytes it is in an answer.
fn size(draft: &Draft) -> usize {
    let of = |subject: &Subject| {
        subject.path.to_bytes().len() + subject.state.target.as_ref().map_or(0, |target| target.len()) + 256
    };
    let sides = [&draft.ours, &draft.theirs].into_iter().flatten();
    draft.path.to_bytes().len() + sides.map(of).sum::<usize>()
}

const fn about_view(about: About) -> ConflictAbout {
    match about {
        About::Content => ConflictAbout::Content,
        About::Attributes => ConflictAbout::Attributes,
        About::Place => ConflictAbout::Place,
        About::Removed => ConflictAbout::Removed,
        About::Name => ConflictAbout::Name,
    }
}

const fn strategy_of(strategy: MergeStrategy) -> Strategy {
    match strategy {
        MergeStrategy::Conflict => Strategy::Conflict,
        MergeStrategy::Ours => Strategy::Ours,
        MergeStrategy::Theirs => Strategy::Theirs,
        MergeStrategy::Both => Strategy::Both,
    }
}

const fn keep_of(keep: KeepSide) -> Keep {
    match keep {
        KeepSide::Ours => Keep::Ours,
        KeepSide::Theirs => Keep::Theirs,
        KeepSide::Both => Keep::Both,
    }
}
