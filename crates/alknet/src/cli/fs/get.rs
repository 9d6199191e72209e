//! `alknet fs get`.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use alknet_fs::operations::EntryKind;
use clap::Args;

use super::{Files, cat, transfer, turns::Turns};
use crate::{
    failure::Failure,
    files::{
        address::Argument,
        archive::LeftOut,
        get::{self, Getting},
        progress::Progress,
    },
};

/// Get files and folders of a branch to this machine
///
/// What is here already with the same content is not fetched again, and the same command goes on where it was cut. A
/// place that ends in /, or is a folder when a file is got, gets things under their own names. - is standard output.
/// With --json, one object a file and one at the end.
///
/// Examples:
///   alknet fs get photos/2026/a.jpg ./
///   alknet fs get -rp photos@v1 ./photos-v1
///   alknet fs get notes/today.txt -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Get {
    /// What to get, and where it goes
    #[arg(value_names = ["ADDR", "LOCAL"], num_args = 2.., required = true)]
    places: Vec<OsString>,
    /// Folders too, with all that is in them
    #[arg(short)]
    recursive: bool,
    /// Keep times, all bits of modes, hard links and extended attributes
    #[arg(short)]
    preserve: bool,
    #[command(flatten)]
    pace: transfer::Pace,
}

impl Get {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let Some((local, addresses)) = self.places.split_last() else { return Ok(()) };
        if Argument::of(local) == Argument::Standard {
            return cat::all_to_stdout(files, addresses, None).await;
        }
        let progress = self.pace.progress(files);
        let (mut left_out, mut turns) = (LeftOut::default(), Turns::of(addresses.len()));
        for address in addresses {
            let got = Box::pin(self.one(files, &progress, address, local, addresses.len() > 1));
            left_out.extend(turns.took(got.await)?.unwrap_or_default());
        }
        let done = progress.done.clone();
        drop(progress);
        let summary = transfer::summary(files, &done, None, &left_out);
        turns.end()?;
        summary
    }

    async fn one(
        &self,
        files: &Files<'_>,
        progress: &Progress,
        address: &OsString,
        local: &OsString,
        several: bool,
    ) -> Result<LeftOut, Failure> {
        let from = files.spot(address)?;
        let remote = files.reach(&from).await?;
        let found = remote.stat(&from, true).await?;
        let is_file = found.kind != EntryKind::Folder;
        if !is_file && !self.recursive {
            return Err(Failure::usage(format_args!("{from} is a folder")).hint("get it with -r"));
        }
        let place = PathBuf::from(local);
        let into = several || local.as_bytes().ends_with(b"/") || (is_file && place.is_dir());
        let name = transfer::name_of_spot(&from);
        let place = if into { place.join(name) } else { place };
        let how = Getting {
            remote: &remote,
            tell: transfer::tell(files, &from),
            from,
            keep: transfer::keep(self.preserve),
            jobs: self.pace.jobs(),
            done: progress.done.clone(),
        };
        let left_out = if is_file {
            progress.done.expect(1, found.attributes.size);
            get::file(how, &found, Path::new(&place)).await
        } else {
            let counting = transfer::count(&remote, how.from.clone(), progress);
            Box::pin(transfer::beside(get::tree(how, &found, &place), counting)).await
        };
        remote.finish().await;
        left_out.map_err(transfer::again)
    }
}
