//! `alknet fs`: one file per verb, whose doc comment is its help.

mod branch;
mod bucket;
mod cat;
pub mod complete;
mod conflicts;
mod cp;
mod diff;
mod du;
mod export;
mod find;
mod fsck;
mod gc;
mod get;
mod hook;
mod import;
mod listing;
mod ln;
mod log;
mod ls;
mod merge;
mod mkdir;
mod mv;
mod put;
mod restore;
mod rm;
mod set;
mod snapshot;
mod stat;
mod switch;
mod transfer;
mod tree;
mod turns;
mod usage;
mod watch;

use std::ffi::OsStr;

use alknet_fs::operations::{EntryKind, Octets};
use clap::{Args, Subcommand};

use super::{Place, xdg};
use crate::{
    failure::Failure,
    files::{
        address::{Spot, Switched},
        remote::Remote,
    },
};

/// Files on branches: every version of everything, in buckets
///
/// An address is [NODE//]BUCKET[:BRANCH][@WHEN]/PATH. WHEN is a commit's number, a time such as 2026-01-31T12:00:00Z,
/// now-2d or yesterday, or a snapshot's name. Without :BRANCH the one is meant that `alknet fs switch` chose, else main.
/// A file of this machine begins with / or ./ or ../; - is standard input or output.
///
/// Examples:
///   alknet fs bucket create photos
///   alknet fs put -r ./2026 photos/
///   alknet fs ls -l photos/2026
///   alknet fs branch create photos:trial
///   alknet fs diff photos photos:trial
///   alknet fs merge photos:trial photos
///   alknet fs get photos@yesterday/2026/a.jpg ./a.jpg
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Fs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Ls(ls::Ls),
    Tree(tree::Tree),
    Cat(cat::Cat),
    Put(put::Put),
    Get(get::Get),
    Rm(rm::Rm),
    Mv(mv::Mv),
    Cp(cp::Cp),
    Mkdir(mkdir::Mkdir),
    Ln(ln::Ln),
    Stat(stat::Stat),
    Set(set::Set),
    Du(du::Du),
    Find(find::Find),
    Branch(branch::Branch),
    Switch(switch::Switch),
    Snapshot(snapshot::Snapshot),
    Diff(diff::Diff),
    Merge(merge::Merge),
    Conflicts(conflicts::Conflicts),
    Log(log::Log),
    Restore(restore::Restore),
    Watch(watch::Watch),
    Hook(hook::Hook),
    Import(import::Import),
    Export(export::Export),
    Bucket(bucket::Bucket),
    Usage(usage::Usage),
    Gc(gc::Gc),
    Fsck(fsck::Fsck),
    Complete(complete::Complete),
}

impl Fs {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let files = Files::new(place)?;
        match self.verb {
            Verb::Ls(verb) => verb.run(&files).await,
            Verb::Tree(verb) => verb.run(&files).await,
            Verb::Cat(verb) => verb.run(&files).await,
            Verb::Put(verb) => Box::pin(verb.run(&files)).await,
            Verb::Get(verb) => Box::pin(verb.run(&files)).await,
            Verb::Rm(verb) => verb.run(&files).await,
            Verb::Mv(verb) => verb.run(&files).await,
            Verb::Cp(verb) => verb.run(&files).await,
            Verb::Mkdir(verb) => verb.run(&files).await,
            Verb::Ln(verb) => verb.run(&files).await,
            Verb::Stat(verb) => verb.run(&files).await,
            Verb::Set(verb) => verb.run(&files).await,
            Verb::Du(verb) => verb.run(&files).await,
            Verb::Find(verb) => verb.run(&files).await,
            Verb::Branch(verb) => verb.run(&files).await,
            Verb::Switch(verb) => verb.run(&files).await,
            Verb::Snapshot(verb) => verb.run(&files).await,
            Verb::Diff(verb) => verb.run(&files).await,
            Verb::Merge(verb) => verb.run(&files).await,
            Verb::Conflicts(verb) => verb.run(&files).await,
            Verb::Log(verb) => verb.run(&files).await,
            Verb::Restore(verb) => verb.run(&files).await,
            Verb::Watch(verb) => verb.run(&files).await,
            Verb::Hook(verb) => verb.run(&files).await,
            Verb::Import(verb) => Box::pin(verb.run(&files)).await,
            Verb::Export(verb) => Box::pin(verb.run(&files)).await,
            Verb::Bucket(verb) => verb.run(&files).await,
            Verb::Usage(verb) => verb.run(&files).await,
            Verb::Gc(verb) => verb.run(&files).await,
            Verb::Fsck(verb) => verb.run(&files).await,
            Verb::Complete(verb) => verb.run(&files).await,
        }
    }
}

/// What every verb works with.
struct Files<'a> {
    place: &'a Place,
    switched: Switched,
}

impl<'a> Files<'a> {
    fn new(place: &'a Place) -> Result<Self, Failure> {
        let file = xdg("XDG_CONFIG_HOME", ".config")?.join("alknet/fs-branches.json");
        Ok(Self { place, switched: Switched::load(file, place.data.root())? })
    }

    /// Whether to print JSON.
    const fn json(&self) -> bool {
        self.place.json
    }

    /// Reads an address.
    fn spot(&self, text: &OsStr) -> Result<Spot, Failure> {
        Spot::read(text, &self.switched)
    }

    /// Reads the address of what is to be changed.
    fn spot_now(&self, text: &OsStr) -> Result<Spot, Failure> {
        Spot::read_now(text, &self.switched)
    }

    /// Reaches the node of an address.
    async fn reach(&self, spot: &Spot) -> Result<Remote<'a>, Failure> {
        Remote::reach(self.place, spot.node.as_deref()).await
    }
}

/// What is meant by an address with a path: a folder with what is below it, not with what only begins like it. What is not there yet
/// may become a folder.
async fn prefix(remote: &Remote<'_>, spot: &Spot) -> Result<Octets, Failure> {
    if spot.path.names().is_empty() {
        return Ok(Octets::default());
    }
    let mut prefix = spot.octets();
    let found = remote.look(spot, true).await?;
    if found.is_none_or(|found| found.kind == EntryKind::Folder) {
        prefix.0.push(b'/');
    }
    Ok(prefix)
}

/// Refuses two addresses that are not at the same node.
fn same_node(one: &Spot, other: &Spot) -> Result<(), Failure> {
    if one.node == other.node {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{one} and {other} are at different nodes"))
        .hint("get it here with `alknet fs get`, then `alknet fs put` it there"))
}

/// Refuses two addresses that are not on the same branch.
fn same_branch(one: &Spot, other: &Spot) -> Result<(), Failure> {
    same_node(one, other)?;
    if one.branch == other.branch {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{one} and {other} are on different branches"))
        .hint("copy it with `alknet fs cp`, then remove the first with `alknet fs rm`"))
}
