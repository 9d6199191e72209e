//! `alknet fs tree`.

use std::ffi::OsString;

use alknet_fs::operations::{EntryKind, EntryView, Octets};
use clap::Args;

use super::{Files, listing};
use crate::{
    cli::output,
    failure::Failure,
    files::{
        address::Spot,
        remote::{Remote, path_of},
        send::below,
    },
};

/// Draw what is in a folder and below it
///
/// Examples:
///   alknet fs tree photos
///   alknet fs tree -L 2 photos:trial/2026
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Tree {
    /// The folder
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// At most so many levels deep [default: all]
    #[arg(short = 'L', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    levels: Option<u16>,
}

impl Tree {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot(&self.address)?;
        let remote = files.reach(&spot).await?;
        let outcome = self.print(files, &remote, &spot).await;
        remote.finish().await;
        outcome
    }

    async fn print(&self, files: &Files<'_>, remote: &Remote<'_>, spot: &Spot) -> Result<(), Failure> {
        if !files.json() {
            output::flow(spot.to_string())?;
        }
        let mut drawing = Drawing { json: files.json(), ..Drawing::default() };
        match self.levels {
            Some(levels) => shallow(remote, spot, levels.into(), &mut drawing).await?,
            None => {
                let mut pages = remote.pages(spot, true);
                while let Some(page) = pages.next().await? {
                    page.into_iter().try_for_each(|entry| drawing.add(entry))?;
                }
            }
        }
        drawing.finish()
    }
}

/// What was found so far.
#[derive(Default)]
struct Drawing {
    json: bool,
    folders: u64,
    others: u64,
    /// Which is the last of its folder is known only at the end.
    shown: Vec<EntryView>,
}

impl Drawing {
    fn add(&mut self, entry: EntryView) -> Result<(), Failure> {
        *(if entry.kind == EntryKind::Folder { &mut self.folders } else { &mut self.others }) += 1;
        if self.json {
            return listing::json_flow(&entry);
        }
        self.shown.push(entry);
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        lines(&self.shown).into_iter().try_for_each(output::flow)?;
        output::flow(format!("folders: {}, others: {}", self.folders, self.others))
    }
}

/// Adds what lies so many levels deep at most, without looking further down.
async fn shallow(remote: &Remote<'_>, spot: &Spot, levels: usize, drawing: &mut Drawing) -> Result<(), Failure> {
    let mut spot = spot.clone();
    let mut todo = in_folder(remote, &mut spot, None).await?;
    todo.reverse();
    while let Some(entry) = todo.pop() {
        if entry.kind == EntryKind::Folder && depth(&entry) < levels {
            let below = in_folder(remote, &mut spot, Some(&entry)).await?;
            todo.extend(below.into_iter().rev());
        }
        drawing.add(entry)?;
    }
    Ok(())
}

/// What is in a folder, each with its path from where was begun. The first says which version all are of.
async fn in_folder(
    remote: &Remote<'_>,
    spot: &mut Spot,
    folder: Option<&EntryView>,
) -> Result<Vec<EntryView>, Failure> {
    let (at, prefix) = match folder {
        None => (spot.clone(), Vec::new()),
        Some(folder) => (spot.at(below(&spot.path, &path_of(folder)?)?), [folder.name.0.as_slice(), b"/"].concat()),
    };
    let mut found = Vec::new();
    let mut pages = remote.pages(&at, false);
    while let Some(page) = pages.next().await? {
        let named = |entry: EntryView| EntryView { name: Octets([&prefix, entry.name.0.as_slice()].concat()), ..entry };
        found.extend(page.into_iter().map(named));
    }
    if let (None, Some(seq)) = (&spot.when, pages.seq) {
        spot.when = Some(seq.to_string());
    }
    Ok(found)
}

fn depth(entry: &EntryView) -> usize {
    entry.name.0.split(|byte| *byte == b'/').count()
}

/// The lines, with the branches before each name.
fn lines(entries: &[EntryView]) -> Vec<String> {
    // From the end: at each depth, whether something follows in the same folder.
    let mut follows: Vec<bool> = Vec::new();
    let mut drawn: Vec<_> = entries
        .iter()
        .rev()
        .map(|entry| {
            let depth = depth(entry);
            follows.resize(depth, false);
            let stems = follows[..depth - 1].iter().map(|follows| if *follows { "│   " } else { "    " });
            let branch = if follows[depth - 1] { "├── " } else { "└── " };
            let arrow = entry.attributes.as_ref().and_then(|attributes| attributes.target.as_ref());
            let arrow = arrow.map_or_else(String::new, |target| format!(" -> {target}"));
            let line =
                format!("{}{branch}{}{arrow}", stems.collect::<String>(), listing::shown(listing::last(&entry.name)));
            follows[depth - 1] = true;
            line
        })
        .collect();
    drawn.reverse();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_end_where_their_folder_ends() {
        let entry = |name: &str| EntryView { name: Octets::from(name), kind: EntryKind::File, attributes: None };
        let drawn = lines(&["a", "a/b", "a/b/c", "a/d", "e", "e/f"].map(entry));
        let wanted = ["├── a", "│   ├── b", "│   │   └── c", "│   └── d", "└── e", "    └── f"];
        assert_eq!(drawn, wanted);
    }
}
