//! `alknet fs watch`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    process::{Command, Stdio},
};

use alknet_call::{CallError, Item, SubscribeOptions};
use alknet_fs::{
    Seq,
    operations::{Octets, WatchInput, WatchedChange, WatchedCommit},
};
use clap::Args;
use futures_util::StreamExt;
use tokio::task::spawn_blocking;

use super::{Files, diff, listing, prefix};
use crate::{
    cli::output,
    failure::{Failure, Kind},
    files::remote,
};

/// Follow the changes of a branch as they happen
///
/// One line a change, as `alknet fs diff` has them; with --json, one object a commit. With --exec a shell command is run
/// for each change, one after the other: ALKNET_PATH, ALKNET_FROM (of what was renamed), ALKNET_CHANGE and ALKNET_SEQ say
/// what happened. Of a commit with very many changes the first are told, and then `more`, which has no path.
///
/// Examples:
///   alknet fs watch web
///   alknet fs watch web/img --suffix .jpg --after 17
///   alknet fs watch web --exec 'echo "$ALKNET_CHANGE $ALKNET_PATH"'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Watch {
    /// The branch; with the path of a folder, which may be still to come, only what is below it
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// Only paths that end so
    #[arg(long, value_name = "TEXT")]
    suffix: Option<OsString>,
    /// Begin after this commit [default: with what comes from now on]
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Run this for each change
    #[arg(long, value_name = "COMMAND")]
    exec: Option<OsString>,
}

impl Watch {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot(&self.address)?;
        if let Some(when) = &spot.when {
            return Err(Failure::usage(format_args!(
                "{spot} is of the past (@{when}), where nothing happens any more"
            ))
            .hint("leave out what stands after @; --after N tells what came after the commit N, and goes on"));
        }
        let after =
            self.after.map(|after| Seq::new(after).ok_or_else(|| Failure::usage("so large is no commit's number")));
        let suffix = self.suffix.as_deref().map(|suffix| Octets::from(suffix.as_bytes())).unwrap_or_default();
        let remote = files.reach(&spot).await?;
        let prefix = prefix(&remote, &spot).await?;
        let input = WatchInput { bucket: spot.branch.clone(), prefix, suffix, after: after.transpose()? };
        let mut commits = remote.client().subscribe("fs/watch", &input, SubscribeOptions::default()).await?;
        let mut last = None;
        loop {
            tokio::select! {
                item = commits.next() => {
                    let Some(item) = item else { return Err(ended(last)) };
                    let commit = read(item)?;
                    self.tell(files, &commit).await?;
                    last = Some(commit.seq);
                }
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    async fn tell(&self, files: &Files<'_>, commit: &WatchedCommit) -> Result<(), Failure> {
        if files.json() {
            listing::json_flow(commit)?;
        }
        for change in &commit.changes {
            if !files.json() {
                let from = change.from.as_ref().map_or_else(String::new, |from| format!("{from} -> "));
                output::flow(format!("{:>6}  {} {from}{}", commit.seq, diff::mark(&change.changes), change.path))?;
            }
            if let Some(command) = &self.exec {
                run(command, commit, Some(change)).await?;
            }
        }
        if commit.more {
            if !files.json() {
                output::note(format!("{:>6}  and more, as `alknet fs diff` says", commit.seq));
            }
            if let Some(command) = &self.exec {
                run(command, commit, None).await?;
            }
        }
        Ok(())
    }
}

/// The node ends a watch only when it stops itself.
fn ended(last: Option<Seq>) -> Failure {
    let failure = Failure::new(Kind::Unavailable, "the node stopped, or has ended the watch");
    match last {
        Some(last) => failure.hint(format_args!("with --after {last} it goes on where it was")),
        None => failure,
    }
}

fn read(item: Result<Item, CallError>) -> Result<WatchedCommit, Failure> {
    let item = item.map_err(|error| remote::explain("fs/watch", &error))?;
    Ok(serde_json::from_value(item.output)?)
}

/// Runs the command for a change; that it fails is its own affair.
async fn run(command: &OsStr, commit: &WatchedCommit, change: Option<&WatchedChange>) -> Result<(), Failure> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null());
    shell.env("ALKNET_SEQ", commit.seq.to_string()).env_remove("ALKNET_PATH").env_remove("ALKNET_FROM");
    match change {
        None => {
            shell.env("ALKNET_CHANGE", "more");
        }
        Some(change) => {
            let kinds = serde_json::to_value(&change.changes)?;
            let names: Vec<_> = kinds.as_array().into_iter().flatten().filter_map(|kind| kind.as_str()).collect();
            shell.env("ALKNET_PATH", OsStr::from_bytes(&change.path.0)).env("ALKNET_CHANGE", names.join(" "));
            if let Some(from) = &change.from {
                shell.env("ALKNET_FROM", OsStr::from_bytes(&from.0));
            }
        }
    }
    let status = spawn_blocking(move || shell.status()).await??;
    if status.signal() == Some(rustix::process::Signal::INT.as_raw()) {
        // The person meant both.
        return Err(Failure::status(0));
    }
    if !status.success() {
        let of = change.map_or_else(|| "more".to_owned(), |change| change.path.to_string());
        output::note(format!("the command for {of} ended with {status}"));
    }
    Ok(())
}
