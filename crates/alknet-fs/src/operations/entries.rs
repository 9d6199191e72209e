//! `fs/list`, `fs/stat`, and what is done to entries by name.

use alknet_call::{CallError, Operation, OperationContext, RegisterError, RegistryBuilder};
use serde_json::json;

use super::{
    fitting::fit,
    refusal::{declaring, refusal},
    service::{FOLDER_MODE, Service, attributes_view, committed_view, kind_view, path_at, steps_view, xattr_views},
    text::{BranchRef, Octets},
    views::{Committed, Entries, EntryView, ListFolder, MakeFolder, RemoveEntry, StatEntry, StatView},
    walk::{Walked, walk},
};
use crate::{
    access::{Access, Right},
    error::FsError,
    limits::LONG_TIMEOUT,
    path::{EntryName, FsPath},
    tree::{Change, Here, Listed, RemoveHow, Steps, View},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    looking(registry, service)?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/mkdir"))
            .title("Make a folder")
            .description("With `parents` also those above it, and then it may be there already.")
            .access(Access::rule(Right::Write))
            .example(
                json!({ "bucket": "photos/main", "path": "/2026/trip", "parents": true }),
                json!({ "seq": 2, "durability": "strict" }),
            )
            .handler(move |context, input: MakeFolder| {
                let fs = fs.clone();
                async move {
                    let (at, mode) = (path_at("/path", &input.path)?, input.mode.unwrap_or(FOLDER_MODE));
                    let change = Change::MakeFolder { at, mode, parents: input.parents };
                    commit(&fs, &context, &input.bucket, vec![change]).await
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/remove"))
            .title("Remove an entry")
            .description(
                "A folder only if nothing is in it, unless `recursive` is said. Older versions still have it. More than 1,000 entries \
                 go in several commits; one that is cut in the middle goes on when it is asked for again.",
            )
            .access(Access::rule(Right::Write))
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: RemoveEntry| {
                let fs = fs.clone();
                async move {
                    let at = path_at("/path", &input.path)?;
                    remove(&fs, &context, &input.bucket, (at, input.recursive)).await.map(steps_view).map_err(refusal)
                }
            }),
    )?;
    Ok(())
}

/// The operations that only look.
fn looking(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/list"))
            .title("List a folder")
            .description(
                "In the order of the names' bytes. Give the `seq` of the first page as `when` to stay in one version.",
            )
            .access(Access::rule(Right::Read))
            .example(
                json!({ "bucket": "photos/main", "path": "/2026", "attributes": false }),
                json!({ "entries": [{ "name": "trip", "kind": "folder" }], "seq": 2 }),
            )
            .handler(move |context, input: ListFolder| {
                let fs = fs.clone();
                async move { list(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/stat"))
            .title("Say what is known about an entry")
            .access(Access::rule(Right::Read))
            .handler(move |context, input: StatEntry| {
                let fs = fs.clone();
                async move {
                    let view = view(&fs, &context, &input.bucket, input.when.as_deref()).await?;
                    let path = path_at("/path", &input.path)?;
                    let found = view.stat(&path, input.follow).await.map_err(refusal)?;
                    let (kind, attributes) = (kind_view(found.kind), attributes_view(&found));
                    Ok(StatView { kind, attributes, xattrs: xattr_views(&found.xattrs), seq: view.bound() })
                }
            }),
    )?;
    Ok(())
}

/// The version of a branch that a call is about.
pub(super) async fn view(
    fs: &Service,
    context: &OperationContext,
    at: &BranchRef,
    when: Option<&str>,
) -> Result<View, CallError> {
    let when = fs.when(when)?;
    fs.tree().view_of(&context.permit, &at.bucket, &at.branch, &when).await.map_err(refusal)
}

async fn remove(
    fs: &Service,
    context: &OperationContext,
    at: &BranchRef,
    (path, recursive): (FsPath, bool),
) -> Result<Steps, FsError> {
    let place = (&at.bucket, &at.branch);
    if recursive {
        return fs.tree().remove_all(&context.permit, place, path).await;
    }
    let change = Change::Remove { at: path, how: RemoveHow::Bare };
    let last = fs.tree().change(&context.permit, place, vec![change], None).await?;
    Ok(Steps { last, commits: 1 })
}

/// Makes changes as one commit.
pub(super) async fn commit(
    fs: &Service,
    context: &OperationContext,
    at: &BranchRef,
    changes: Vec<Change>,
) -> Result<Committed, CallError> {
    let made = fs.tree().change(&context.permit, (&at.bucket, &at.branch), changes, None).await;
    made.map(committed_view).map_err(refusal)
}

async fn list(fs: &Service, context: &OperationContext, input: ListFolder) -> Result<Entries, CallError> {
    let view = view(fs, context, &input.bucket, input.when.as_deref()).await?;
    let (path, count) = (path_at("/path", &input.path)?, input.limit as usize);
    let after = input.after.as_ref().map(|after| path_at("/after", after)).transpose()?;
    let attributes = input.attributes;
    let (mut entries, mut next) = if input.recursive {
        let after = after.unwrap_or_default();
        view.look(move |here| recursive(here, &path, &after, count, attributes)).await.map_err(refusal)?
    } else {
        let after = after.map(|after| single("/after", &after)).transpose()?;
        let page = view.list(&path, after.as_ref(), count, attributes).await.map_err(refusal)?;
        let entries: Vec<_> =
            page.entries.iter().map(|entry| entry_view(entry.name.as_bytes().into(), entry)).collect();
        (entries, page.next.map(|name| name.as_bytes().into()))
    };
    if fit(&mut entries) {
        next = entries.last().map(|entry| entry.name.clone());
    }
    Ok(Entries { entries, seq: view.bound(), next })
}

fn recursive(
    here: &Here<'_>,
    path: &FsPath,
    after: &FsPath,
    count: usize,
    attributes: bool,
) -> Result<(Vec<EntryView>, Option<Octets>), FsError> {
    // One more than asked for tells whether there is more.
    let mut found = walk(here, path, after.names(), count + 1, attributes)?;
    let more = found.len() > count;
    found.truncate(count);
    let entries: Vec<_> = found.iter().map(|Walked { below, entry }| entry_view(relative(below), entry)).collect();
    let next = entries.last().filter(|_| more).map(|entry| entry.name.clone());
    Ok((entries, next))
}

/// The names with `/` between them.
fn relative(names: &[EntryName]) -> Octets {
    let names: Vec<_> = names.iter().map(EntryName::as_bytes).collect();
    Octets(names.join(&b'/'))
}

fn single(pointer: &'static str, path: &FsPath) -> Result<EntryName, CallError> {
    match path.names() {
        [name] => Ok(name.clone()),
        _ => Err(CallError::invalid_input(pointer, "a list that is not recursive goes on after one name")),
    }
}

fn entry_view(name: Octets, entry: &Listed) -> EntryView {
    EntryView { name, kind: kind_view(entry.kind), attributes: entry.attributes.as_ref().map(attributes_view) }
}
