//! What the verbs that move much have in common for the person at the terminal.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, pin::pin, sync::Arc};

use alknet_fs::{
    EntryName, FsPath,
    operations::{Committed, EntryKind, Octets, StatView},
};
use clap::Args;
use serde_json::json;

use super::{Files, listing};
use crate::{
    cli::{output, printable},
    failure::{Failure, Kind},
    files::{
        address::Spot,
        archive::{Keep, LeftOut},
        entry::shown,
        progress::{Done, Progress},
        remote::Remote,
        send::{Tell, below},
    },
};

/// How much at a time, and what is shown.
#[derive(Args)]
pub(super) struct Pace {
    /// Large files at the same time
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Draw no progress
    #[arg(long)]
    no_progress: bool,
}

impl Pace {
    pub(super) fn jobs(&self) -> usize {
        self.jobs.into()
    }
    pub(super) fn progress(&self, files: &Files<'_>) -> Progress {
        Progress::start(!self.no_progress && !files.json())
    }
}

/// Tells of each file at and below an address: with --json an object a line, otherwise nothing.
pub(super) fn tell(files: &Files<'_>, spot: &Spot) -> Tell {
    if !files.json() {
        return Box::new(|_, _, _| Ok(()));
    }
    let spot = spot.clone();
    Box::new(move |path, outcome, size| {
        let address = Octets::from(spot.at(below(&spot.path, path)?).to_bytes().as_slice());
        let path = Octets::from(path);
        listing::json_line(&json!({ "address": address, "path": path, "outcome": outcome.name(), "size": size }))
    })
}

/// What `-p` keeps.
pub(super) const fn keep(preserve: bool) -> Keep {
    if preserve { Keep::Everything } else { Keep::Permissions }
}

/// Counts what is at and below an address, so that the line can say how much is left; nothing where no line is drawn.
pub(super) async fn count(remote: &Remote<'_>, spot: Spot, progress: &Progress) {
    if !progress.is_drawn() {
        return;
    }
    let (mut files, mut bytes) = (0, 0);
    let mut pages = remote.pages(&spot, true);
    // What hinders it hinders the transfer too, which says so.
    while let Ok(Some(page)) = pages.next().await {
        for entry in page.iter().filter(|entry| entry.kind == EntryKind::File) {
            files += 1;
            bytes += entry.attributes.as_ref().map_or(0, |attributes| attributes.size);
        }
    }
    progress.done.expect(files, bytes);
}

/// Does something, and something else beside it that may as well not come to its end.
pub(super) async fn beside<T>(main: impl Future<Output = T>, aside: impl Future<Output = ()>) -> T {
    let (mut main, aside) = (pin!(main), pin!(aside));
    tokio::select! {
        done = &mut main => done,
        () = aside => main.await,
    }
}

/// Says what was left out, beside the data.
pub(super) fn note_left_out(left_out: &LeftOut) {
    if left_out.count == 0 {
        return;
    }
    output::note(format!("left out: {}", left_out.count));
    let shown = || left_out.failures.iter().chain(&left_out.shown);
    for (path, why) in shown() {
        output::note(format!("  {path}: {why}"));
    }
    if left_out.count > shown().count() as u64 {
        output::note("  …");
    }
}

/// Says what it came to, and what was left out.
pub(super) fn summary(
    files: &Files<'_>,
    done: &Arc<Done>,
    newest: Option<&Committed>,
    left_out: &LeftOut,
) -> Result<(), Failure> {
    let figures = done.figures();
    note_left_out(left_out);
    if files.json() {
        let shown = left_out.failures.iter().chain(&left_out.shown);
        let shown: Vec<_> = shown.map(|(path, why)| json!({ "path": path, "why": why })).collect();
        listing::json_line(&json!({
            "files": figures.files, "bytes": figures.bytes, "moved_bytes": figures.moved, "kept": figures.kept, "committed": newest,
            "left_out": { "count": left_out.count, "failed": left_out.failed, "shown": shown },
        }))?;
    } else {
        let files = if figures.files == 1 { "1 file".to_owned() } else { format!("{} files", figures.files) };
        let at = newest.map_or_else(String::new, |newest| format!(", commit {}", newest.seq));
        let kept = if figures.kept == 0 { String::new() } else { format!(", {} left as it is", figures.kept) };
        let (bytes, moved) = (output::bytes(figures.bytes), output::bytes(figures.moved));
        output::line(format!("{files}, {bytes}; {moved} moved{kept}{at}"))?;
    }
    match left_out.failed {
        0 => Ok(()),
        failed => Err(Failure::failed(format_args!("{failed} could not be read; everything else is there"))),
    }
}

/// Says of a transfer that was cut how it goes on.
pub(super) fn again(failure: Failure) -> Failure {
    match failure.kind() {
        Kind::Unavailable => failure.hint("give the same command again: what is there is not moved again"),
        _ => failure,
    }
}

/// Where something of this name goes: into the address if that ends in `/`, or is one of several; else it is the address.
pub(super) fn into_or_as(to: &Spot, name: &OsStr, into: bool) -> Result<Spot, Failure> {
    if !(into || to.into) {
        return Ok(to.clone());
    }
    let name = EntryName::parse(name.as_bytes()).map_err(Failure::usage)?;
    to.join(name)
}

/// The name under which a place of this machine is put.
pub(super) fn name_of(place: &Path) -> Result<std::ffi::OsString, Failure> {
    let known = place.canonicalize().ok().and_then(|place| place.file_name().map(OsStr::to_owned));
    let name = place.file_name().map(OsStr::to_owned).or(known);
    name.ok_or_else(|| Failure::usage(format_args!("{} has no name to put it under", shown(place))))
}

/// The name under which an entry is got: its last one, or that of the bucket.
pub(super) fn name_of_spot(spot: &Spot) -> std::ffi::OsString {
    match spot.path.split_last() {
        Some((_, name)) => OsStr::from_bytes(name.as_bytes()).to_owned(),
        None => spot.branch.bucket.as_str().into(),
    }
}

/// Refuses to go on with what is no folder.
pub(super) fn must_be_folder(spot: &Spot, found: &StatView) -> Result<(), Failure> {
    if found.kind == EntryKind::Folder {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{} is no folder", printable(&spot.to_string()))))
}

/// The path of a folder's own entry.
pub(super) const TOP: FsPath = FsPath::ROOT;
