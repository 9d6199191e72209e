//! `fs/diff` and `fs/log`: what changed, and when.

use alknet_call::{CallError, Operation, OperationContext, RegisterError, RegistryBuilder};
use alknet_store::Second;
use serde_json::json;

use super::{
    entries::view,
    fitting::fit,
    names::source,
    refusal::{declaring, refusal},
    service::{Service, kind_view, path_at},
    text::{Octets, Timestamp},
    views::{DiffEntry, DiffInput, DiffKind, DiffOutput, DiffSide, LogEntry, LogInput, LogOutput, VersionView},
};
use crate::{
    access::{Access, Right},
    error::{Errno, FsError},
    history::{
        State,
        diff::{self, Change, Difference, Wanted},
        log,
    },
    ids::Seq,
    limits::LONG_TIMEOUT,
    rows::commit::CommitRow,
    sight::Sight,
    tree::{Here, View},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/diff"))
            .title("Say what leads from one tree to another")
            .description(
                "Two branches of a bucket, or two versions of one. What is below a folder that was renamed is no difference of its \
                 own.",
            )
            .access(Access::rule(Right::Read))
            .timeout(LONG_TIMEOUT)
            .example(
                json!({ "bucket": "photos/main", "from": { "when": "2" } }),
                json!({ "changes": [], "old_seq": 2, "new_seq": 2 }),
            )
            .handler(move |context, input: DiffInput| {
                let fs = fs.clone();
                async move { difference(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/log"))
            .title("Say what led to a version")
            .description("The commits that a branch shows, or the versions of one entry whatever it was called; the newest first.")
            .access(Access::rule(Right::Read))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: LogInput| {
                let fs = fs.clone();
                async move { log_of(&fs, &context, input).await }
            }),
    )?;
    Ok(())
}

async fn difference(fs: &Service, context: &OperationContext, input: DiffInput) -> Result<DiffOutput, CallError> {
    let new = view(fs, context, &input.bucket, input.when.as_deref()).await?;
    let old = source(fs, context, &input.bucket, &input.from).await?;
    if old.bucket_id() != new.bucket_id() {
        return Err(CallError::invalid_input("/from/bucket", "the two must be branches of one bucket"));
    }
    let within = path_at("/path", &input.path)?;
    let names = new.chain().names();
    if !input.from.path.0.is_empty()
        && names.path_key(&path_at("/from/path", &input.from.path)?) != names.path_key(&within)
    {
        return Err(CallError::invalid_input(
            "/from/path",
            "a path is compared with itself in another version, and this is another",
        ));
    }
    let after = input.after.as_ref().map(|after| path_at("/after", after)).transpose()?;
    let (old_seq, new_seq, limit) = (old.bound(), new.bound(), input.limit as usize);
    let find = move |here: &Here<'_>, second: Option<Second>| {
        let spelled = match here.chain.spelled(here.sql, &within)? {
            Some(spelled) => Some(spelled),
            None => old.chain().spelled(here.sql, &within)?,
        };
        let wanted = Wanted { within: spelled.as_ref().unwrap_or(&within), after: after.as_ref(), limit };
        Ok(diff::between_by_two(here.sql, second, (old.chain(), here.chain), wanted)?)
    };
    let found = new.look_by_two(find).await.map_err(refusal)?;
    let mut changes: Vec<_> = found.all.into_iter().map(entry_view).collect();
    let next = if fit(&mut changes) {
        changes.last().map(|change| change.path.clone())
    } else {
        found.next.as_ref().map(Octets::from)
    };
    Ok(DiffOutput { changes, old_seq, new_seq, next })
}

async fn log_of(fs: &Service, context: &OperationContext, input: LogInput) -> Result<LogOutput, CallError> {
    let view = view(fs, context, &input.bucket, None).await?;
    let (before, limit) = (input.before.unwrap_or(Seq::MAX), input.limit as usize);
    match input.path {
        None => commits(&view, before, limit).await,
        Some(path) => versions(&view, path_at("/path", &path)?, before, limit).await,
    }
}

async fn commits(view: &View, before: Seq, limit: usize) -> Result<LogOutput, CallError> {
    let of = view.bucket_id();
    let find = move |here: &Here<'_>| Ok(log::commits(here.sql, of, here.chain, before, limit)?);
    let found = view.look(find).await.map_err(refusal)?;
    let shown = found.all.into_iter().filter(|row| view.sight().shows(row.branch, row.seq));
    let next = found.next.filter(|next| *next > view.sight().oldest());
    Ok(LogOutput { commits: shown.map(|row| commit_view(row, None)).collect(), next })
}

async fn versions(view: &View, path: crate::path::FsPath, before: Seq, limit: usize) -> Result<LogOutput, CallError> {
    let of = (view.bucket_id(), view.branch_id());
    let sight = view.sight().clone();
    let find = move |here: &Here<'_>| {
        let found = log::versions(here.sql, of, (here.chain, &sight), &path, (before, limit))?;
        let none = || FsError::At { errno: Errno::NoEnt, what: "cannot find in the log", path: path.to_string() };
        found.ok_or_else(none)
    };
    let found = view.look(find).await.map_err(refusal)?;
    let entry = |version: log::Version| {
        let log::Version { commit, seq, path, from, changes, state } = version;
        let told = VersionView {
            changes: changes.into_iter().map(kind_of).collect(),
            path: path.as_ref().map(Octets::from),
            from: from.as_ref().map(Octets::from),
            state: state.map(side_view),
        };
        match commit {
            Some(row) => commit_view(row, Some(told)),
            None => LogEntry { seq, time: None, actor: None, op: None, version: Some(told) },
        }
    };
    let is_shown = |version: &log::Version| match &version.commit {
        Some(row) => view.sight().shows(row.branch, row.seq),
        None => *view.sight() == Sight::default(),
    };
    let next = found.next.filter(|next| *next > view.sight().oldest());
    let mut commits: Vec<_> = found.all.into_iter().filter(is_shown).map(entry).collect();
    let next = if fit(&mut commits) { commits.last().map(|commit| commit.seq) } else { next };
    Ok(LogOutput { commits, next })
}

fn commit_view(row: CommitRow, version: Option<VersionView>) -> LogEntry {
    let CommitRow { seq, time_ns, actor, op, .. } = row;
    LogEntry { seq, time: Some(Timestamp(time_ns)), actor: Some(actor), op: Some(op), version }
}

pub(super) fn entry_view(difference: Difference) -> DiffEntry {
    let Difference { path, changes, from, old, new } = difference;
    DiffEntry {
        path: (&path).into(),
        changes: changes.into_iter().map(kind_of).collect(),
        from: from.as_ref().map(Octets::from),
        old: old.map(side_view),
        new: new.map(side_view),
    }
}

const fn kind_of(change: Change) -> DiffKind {
    match change {
        Change::Removed => DiffKind::Removed,
        Change::Added => DiffKind::Added,
        Change::Renamed => DiffKind::Renamed,
        Change::Content => DiffKind::Content,
        Change::Attributes => DiffKind::Attributes,
    }
}

pub(super) fn side_view(state: State) -> DiffSide {
    let State { kind, size, mode, mtime_ns, hash, target, .. } = state;
    DiffSide {
        kind: kind_view(kind),
        size,
        mode,
        mtime: Timestamp(mtime_ns),
        hash,
        target: target.as_deref().map(Into::into),
    }
}
