//! `alknet fs tree`.

use std::ffi::OsString;

use alknet_fs::operations::{EntryKind, EntryView};
use clap::Args;

use super::{Files, listing};
use crate::{
    cli::output,
    failure::Failure,
    files::{address::Spot, remote::Remote},
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
    /// At most so many levels deep
    #[arg(short = 'L', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    levels: u16,
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
            output::line(spot.to_string())?;
        }
        let (mut folders, mut others) = (0_u64, 0_u64);
        let mut shown = Vec::new();
        let mut pages = remote.pages(spot, true);
        while let Some(page) = pages.next().await? {
            for entry in page.into_iter().filter(|entry| depth(entry) <= usize::from(self.levels)) {
                if entry.kind == EntryKind::Folder {
                    folders += 1
                } else {
                    others += 1
                }
                if files.json() {
                    listing::json_line(&entry)?;
                    continue;
                }
                // Which is the last of its folder is known only at the end.
                shown.push(entry);
            }
        }
        if files.json() {
            return Ok(());
        }
        lines(&shown).into_iter().try_for_each(output::line)?;
        output::line(format!("folders: {folders}, others: {others}"))
    }
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
    use alknet_fs::operations::Octets;

    use super::*;

    #[test]
    fn branches_end_where_their_folder_ends() {
        let entry = |name: &str| EntryView { name: Octets::from(name), kind: EntryKind::File, attributes: None };
        let drawn = lines(&["a", "a/b", "a/b/c", "a/d", "e", "e/f"].map(entry));
        let wanted = ["├── a", "│   ├── b", "│   │   └── c", "│   └── d", "└── e", "    └── f"];
        assert_eq!(drawn, wanted);
    }
}
