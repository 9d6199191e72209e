//! `alknet fs diff`.

use std::ffi::OsString;

use alknet_fs::operations::{DiffEntry, DiffInput, DiffKind, DiffOutput, Source};
use clap::Args;

use super::{Files, listing, same_node};
use crate::{
    cli::output,
    failure::{Failure, Kind},
    files::{
        address::Spot,
        remote::{LONG_TIMEOUT, Remote},
    },
};

/// Say in what two versions differ
///
/// From the old to the new; without the new, the branch as it is now. + is new, - is gone, > was renamed, * has other
/// content, % other attributes. With --json, one object a line.
///
/// Examples:
///   alknet fs diff web web:trial
///   alknet fs diff web@yesterday
///   alknet fs diff --stat web@v1/img web@v2/img
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Diff {
    /// The old version
    #[arg(value_name = "OLD")]
    old: OsString,
    /// The new version [default: the branch of the old one, now]
    #[arg(value_name = "NEW")]
    new: Option<OsString>,
    /// Only how many of each sort
    #[arg(long)]
    stat: bool,
}

impl Diff {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let old = files.spot(&self.old)?;
        let new = match &self.new {
            Some(new) => files.spot(new)?,
            None => Spot { when: None, ..old.clone() },
        };
        same_node(&old, &new)?;
        let remote = files.reach(&new).await?;
        let outcome = self.print(files, &remote, &old, &new).await;
        remote.finish().await;
        outcome
    }

    async fn print(&self, files: &Files<'_>, remote: &Remote<'_>, old: &Spot, new: &Spot) -> Result<(), Failure> {
        let source = Source { bucket: Some(old.branch.clone()), path: old.octets(), when: old.when.clone() };
        let mut input = DiffInput {
            bucket: new.branch.clone(),
            when: new.when.clone(),
            from: source,
            path: new.octets(),
            after: None,
            limit: alknet_fs::limits::MAX_LISTED,
        };
        let mut stat = Stat::default();
        loop {
            let page = remote.call_within("fs/diff", &input, LONG_TIMEOUT).await;
            let page: DiffOutput = page.map_err(|failure| match failure.kind() {
                Kind::Usage if old.path != new.path => {
                    Failure::usage(format_args!("{old} and {new} are different paths"))
                        .hint("a path is compared with itself in another version")
                }
                _ => failure,
            })?;
            for change in &page.changes {
                stat.add(change);
                match (self.stat, files.json()) {
                    (true, _) => {}
                    (false, true) => listing::json_flow(change)?,
                    (false, false) => output::flow(line(change))?,
                }
            }
            // The pages after the first are of the same two versions.
            (input.when, input.from.when) = (Some(page.new_seq.to_string()), Some(page.old_seq.to_string()));
            match page.next {
                Some(next) => input.after = Some(next),
                None => break,
            }
        }
        match (self.stat, files.json()) {
            (false, _) => Ok(()),
            (true, true) => output::json(&stat),
            (true, false) => output::flow(stat.to_string()),
        }
    }
}

/// A change as a line.
pub(super) fn line(change: &DiffEntry) -> String {
    let mark = mark(&change.changes);
    let size = |side: Option<&alknet_fs::operations::DiffSide>| side.map_or(0, |side| side.size);
    let sizes = match (&change.old, &change.new) {
        (Some(_), Some(_)) if change.changes.contains(&DiffKind::Content) => {
            let (old, new) = (size(change.old.as_ref()), size(change.new.as_ref()));
            format!("  ({} -> {})", output::bytes(old), output::bytes(new))
        }
        _ => String::new(),
    };
    let from = change.from.as_ref().map_or_else(String::new, |from| format!("{from} -> "));
    format!("{mark} {from}{}{sizes}", change.path)
}

/// The mark of the most that changed.
pub(super) fn mark(changes: &[DiffKind]) -> char {
    let order = [
        (DiffKind::Added, '+'),
        (DiffKind::Removed, '-'),
        (DiffKind::Renamed, '>'),
        (DiffKind::Content, '*'),
        (DiffKind::Attributes, '%'),
    ];
    order.into_iter().find(|(kind, _)| changes.contains(kind)).map_or('?', |(_, mark)| mark)
}

#[derive(Default, serde::Serialize)]
struct Stat {
    added: u64,
    removed: u64,
    renamed: u64,
    content: u64,
    attributes: u64,
}

impl Stat {
    fn add(&mut self, change: &DiffEntry) {
        for kind in &change.changes {
            *match kind {
                DiffKind::Added => &mut self.added,
                DiffKind::Removed => &mut self.removed,
                DiffKind::Renamed => &mut self.renamed,
                DiffKind::Content => &mut self.content,
                DiffKind::Attributes => &mut self.attributes,
            } += 1;
        }
    }
}

impl std::fmt::Display for Stat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { added, removed, renamed, content, attributes } = self;
        write!(
            f,
            "{added} added, {removed} removed, {renamed} renamed, {content} with other content, {attributes} with other attributes"
        )
    }
}
