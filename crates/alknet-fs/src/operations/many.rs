//! `fs/write.many` and `fs/have`: many small files in one call, and which content is there already.

use std::collections::BTreeSet;

use alknet_call::{CallError, Operation, OperationContext, RegisterError, RegistryBuilder};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::{
    BranchRef, Octets,
    entries::commit,
    refusal::{declaring, refusal},
    service::{FOLDER_MODE, Service, expected, path_at, xattrs},
    views::{Expect, Have, HaveOutput, NewEntry, WriteMany, WriteOne},
};
use crate::{
    access::{Access, Pass, Place, Right},
    error::FsError,
    folding::Names,
    hash::ContentHash,
    limits::{LEAST_ASKED_BYTES, LONG_TIMEOUT, MAX_OF_ONE_SIZE, MAX_WRITTEN_INPUT_BYTES},
    path::FsPath,
    rows::{blob, branch, bucket},
    tree::{Body, Change, InPlace, Put, RemoveHow, Xattrs},
    visibility::visible_among,
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/write.many"))
            .title("Write small files, links and folders")
            .description("One commit, all of it or nothing, in the order that is given. Of an error, `details.index` says where.")
            .access(Access::rule(Right::Write))
            .max_input_bytes(MAX_WRITTEN_INPUT_BYTES)
            .timeout(LONG_TIMEOUT)
            .example(
                json!({ "bucket": "photos/main", "entries": [{ "path": "/note.txt", "entry": { "content": "aGkK" } }] }),
                json!({ "seq": 3, "durability": "strict" }),
            )
            .handler(move |context, input: WriteMany| {
                let fs = fs.clone();
                async move {
                    let at = input.bucket.clone();
                    let changes = changes(&fs, input).await?;
                    commit(&fs, &context, &at, changes).await
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/have"))
            .title("Say which content is there already")
            .description(
                "A hash that is nowhere in the bucket where the caller may read is answered like one that nobody has.",
            )
            .access(Access::rule(Right::Read))
            .handler(move |context, input: Have| {
                let fs = fs.clone();
                async move { have(&fs, &context, input).await }
            }),
    )?;
    Ok(())
}

/// The changes, in their order. Content that is too long for the database is put on the disk before.
async fn changes(fs: &Service, input: WriteMany) -> Result<Vec<Change>, CallError> {
    let beneath = input.beneath.as_ref().map(|path| path_at("/beneath", path)).transpose()?;
    let mut changes = Vec::with_capacity(input.entries.len());
    for (index, one) in input.entries.into_iter().enumerate() {
        if let Some(beneath) = &beneath {
            changes.extend(confined(beneath, &one).map_err(|error| located(error, index))?);
        }
        let more = changes_of(fs, one, input.parents).await;
        changes.extend(more.map_err(|error| located(error, index))?);
    }
    Ok(changes)
}

async fn changes_of(fs: &Service, one: WriteOne, parents: bool) -> Result<Vec<Change>, CallError> {
    let WriteOne { path, entry, mode, mtime, xattrs: given, expect } = one;
    let (at, xattrs, mtime_ns) = (path_at("/path", &path)?, xattrs(given)?, mtime.map(|time| time.0));
    let body = match entry {
        NewEntry::Content(bytes) => {
            let stored = fs.content().store(bytes.0.into()).await;
            Body::Placed(stored.map_err(|error| refusal(error.about(at.to_string())))?)
        }
        NewEntry::Hash(hash) => Body::Known(hash),
        NewEntry::Folder {} => {
            let make = Change::MakeFolder { at: at.clone(), mode: mode.unwrap_or(FOLDER_MODE), parents: true };
            return Ok([make].into_iter().chain(set(at, mode, mtime_ns, xattrs)).collect());
        }
        NewEntry::Symlink(target) => {
            let link = Change::Symlink { at: at.clone(), target: target.0, mtime_ns };
            return named(&at, parents, expect, [Some(link), set(at.clone(), None, None, xattrs)]);
        }
        NewEntry::Link(from) => {
            let link = Change::HardLink { from: path_at("/entry/link", &from)?, to: at.clone() };
            return named(&at, parents, expect, [Some(link), None]);
        }
    };
    Ok(vec![Change::Put(Put { mode, mtime_ns, xattrs, parents, expect: expected(expect), ..Put::new(at, body) })])
}

/// What must be so of an entry that is to stay below a folder, before it is written.
fn confined(beneath: &FsPath, one: &WriteOne) -> Result<Vec<Change>, CallError> {
    let confine = |pointer: &'static str, path: &Octets, link: InPlace| {
        let at = path_at(pointer, path)?;
        if !at.names().starts_with(beneath.names()) {
            return Err(CallError::invalid_input(pointer, "it is not below the folder that `beneath` names"));
        }
        Ok(Change::Confine { beneath: beneath.clone(), at, link })
    };
    let link = match (&one.entry, &one.expect) {
        (NewEntry::Folder {}, _) | (_, Some(Expect::Version(_) | Expect::Hash(_))) => InPlace::Refused,
        (_, Some(Expect::Absent)) => InPlace::Stays,
        (_, None) => InPlace::Goes,
    };
    let first = match &one.entry {
        NewEntry::Link(from) => Some(confine("/entry/link", from, InPlace::Stays)?),
        _ => None,
    };
    Ok([confine("/path", &one.path, link)?].into_iter().chain(first).collect())
}

/// Attributes, if there are any to set.
fn set(at: FsPath, mode: Option<u16>, mtime_ns: Option<i64>, xattrs: Option<Xattrs>) -> Option<Change> {
    let any = mode.is_some() || mtime_ns.is_some() || xattrs.is_some();
    any.then_some(Change::SetAttributes { at, mode, mtime_ns, xattrs, follow: false })
}

/// A link of either sort: the folders above it, and what it takes the place of, come first.
fn named(
    at: &FsPath,
    parents: bool,
    expect: Option<Expect>,
    link: [Option<Change>; 2],
) -> Result<Vec<Change>, CallError> {
    let above = at.split_last().filter(|_| parents).map(|(folder, _)| folder);
    let above = above.map(|at| Change::MakeFolder { at, mode: FOLDER_MODE, parents: true });
    let room = match expect {
        None => Some(Change::Remove { at: at.clone(), how: RemoveHow::FileIfAny }),
        Some(Expect::Absent) => None,
        Some(_) => {
            return Err(CallError::invalid_input("/expect", "a link takes the place of anything, or of nothing"));
        }
    };
    Ok(above.into_iter().chain(room).chain(link.into_iter().flatten()).collect())
}

/// Says which of the entries an error is about.
fn located(error: CallError, index: usize) -> CallError {
    let mut details = match &error.details {
        Some(Value::Object(details)) => details.clone(),
        _ => Map::new(),
    };
    if let Some(Value::String(pointer)) = details.get_mut("pointer") {
        pointer.insert_str(0, &format!("/entries/{index}"));
    }
    details.insert("index".to_owned(), index.into());
    error.with_details(details.into())
}

async fn have(fs: &Service, context: &OperationContext, input: Have) -> Result<HaveOutput, CallError> {
    let pass = Pass::of(&context.permit, Right::Read, input.bucket.place())?;
    let (identity, hashes, sizes) = (context.caller.identity.clone(), input.hashes, input.sizes);
    let BranchRef { bucket: name, branch: on } = input.bucket;
    let look = move |sql: &Connection| -> Result<_, FsError> {
        let Some(bucket) = bucket::find(sql, &name)? else { return Ok(HaveOutput::default()) };
        let names = branch::find(sql, bucket.id, &on)?.map_or(Names::Bytes, |row| row.names);
        let mut steps = 0;
        let mut is_there = |hash: &ContentHash| {
            let sees = |place: Place<'_>| Access::sees(identity.as_deref(), place);
            visible_among(sql, hash, bucket.id, sees, &mut steps).map(|found| found.is_some())
        };
        let mut have = Vec::new();
        for hash in hashes.into_iter().collect::<BTreeSet<_>>() {
            if is_there(&hash)? {
                have.push(hash);
            }
        }
        let mut found = Vec::new();
        for size in sizes.into_iter().filter(|size| *size >= LEAST_ASKED_BYTES) {
            let mut of_size = blob::of_size(sql, size, MAX_OF_ONE_SIZE)?.into_iter();
            if of_size.try_fold(false, |found, hash| Ok::<_, FsError>(found || is_there(&hash)?))? {
                found.push(size);
            }
        }
        pass.rights().check()?;
        Ok(HaveOutput { have, sizes: found, names: names.into() })
    };
    fs.tables().read(look).await.map_err(refusal)
}
