//! `alknet fs put`.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    pin::pin,
};

use alknet_fs::{FsPath, operations::EntryKind};
use bytes::BytesMut;
use clap::Args;
use tokio::{
    io::{AsyncReadExt, stdin},
    sync::mpsc,
};

use super::{Files, transfer, turns::Turns};
use crate::{
    failure::{Failure, Kind},
    files::{
        address::{Argument, Spot, now_ns},
        archive::{Keep, LeftOut},
        entry::{Entry, What, Xattrs, shown},
        limits::{PIECE_BYTES, WAITING_PIECES},
        progress::Progress,
        put,
        remote::Remote,
        send::{Content, Outcome, Sender, Sending, Sent},
    },
};

/// Put files and folders of this machine on a branch
///
/// Content that is there already is not sent again, so the same command goes on where it was cut, and sends only what
/// changed. An address that ends in / gets things under their own names; otherwise it is the name. - is standard
/// input, whose next bytes the node waits 60 s for.
/// With --json, one object a file and one at the end. A large file goes to the node of this machine without being hashed
/// first where nothing in the bucket is as long; such an upload begins anew when it is cut.
///
/// Examples:
///   alknet fs put ./a.jpg photos/2026/
///   alknet fs put -r ./site web:trial
///   alknet fs put -rp ./2025 ./2026 photos/
///   date | alknet fs put - notes/now.txt
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Put {
    /// The files, and where they go
    #[arg(value_names = ["LOCAL", "ADDR"], num_args = 2.., required = true)]
    places: Vec<OsString>,
    /// Folders too, with all that is in them
    #[arg(short)]
    recursive: bool,
    /// Keep times, all bits of modes, and extended attributes
    #[arg(short)]
    preserve: bool,
    /// Leave what is there already
    #[arg(short = 'n', long)]
    no_replace: bool,
    /// Keep nothing of an upload that is cut
    #[arg(long)]
    no_resume: bool,
    #[command(flatten)]
    pace: transfer::Pace,
}

impl Put {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let Some((address, locals)) = self.places.split_last() else { return Ok(()) };
        let to = files.spot_now(address)?;
        let remote = files.reach(&to).await?;
        let progress = self.pace.progress(files);
        let (mut left_out, mut newest, mut turns) = (LeftOut::default(), None, Turns::of(locals.len()));
        for local in locals {
            let put = self.one(files, &remote, &progress, local, &to, locals.len() > 1).await;
            // What came from a pipe is gone.
            let is_kept = !matches!(Argument::of(local), Argument::Standard);
            let put = put.map_err(|failure| if is_kept { transfer::again(failure) } else { failure });
            if let Some(put) = turns.took(put)? {
                newest = put.newest.or(newest);
                left_out.extend(put.left_out);
            }
        }
        let done = progress.done.clone();
        drop(progress);
        remote.finish().await;
        let summary = transfer::summary(files, &done, newest.as_ref(), &left_out);
        turns.end()?;
        summary
    }

    async fn one(
        &self,
        files: &Files<'_>,
        remote: &Remote<'_>,
        progress: &Progress,
        local: &OsString,
        to: &Spot,
        several: bool,
    ) -> Result<Sent, Failure> {
        if Argument::of(local) == Argument::Standard {
            return self.standard(self.sending(files, remote, progress, to.clone())).await;
        }
        let place = PathBuf::from(local);
        let missing = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
            Failure::caused_by(kind, &error).while_doing(shown(&place))
        };
        let is_folder = std::fs::metadata(&place).map_err(missing)?.is_dir();
        if !is_folder {
            let to = self.place_of_file(remote, &place, to, several).await?;
            progress.done.expect(1, std::fs::metadata(&place)?.len());
            return put::file(self.sending(files, remote, progress, to), &place).await;
        }
        if !self.recursive {
            return Err(Failure::usage(format_args!("{} is a folder", shown(&place))).hint("put it with -r"));
        }
        let to = transfer::into_or_as(to, &transfer::name_of(&place)?, several)?;
        if progress.is_drawn() {
            let (all_files, all_bytes) = put::count(&place).await;
            progress.done.expect(all_files, all_bytes);
        }
        put::tree(self.sending(files, remote, progress, to), &place).await
    }

    /// A file goes also into a folder that is named without a `/` at its end.
    async fn place_of_file(
        &self,
        remote: &Remote<'_>,
        place: &Path,
        to: &Spot,
        several: bool,
    ) -> Result<Spot, Failure> {
        let name = transfer::name_of(place)?;
        let is_folder = to.path == FsPath::ROOT
            || (!several
                && !to.into
                && remote.look(to, true).await?.is_some_and(|found| found.kind == EntryKind::Folder));
        transfer::into_or_as(to, &name, several || is_folder)
    }

    fn sending<'r, 'a>(
        &self,
        files: &Files<'_>,
        remote: &'r Remote<'a>,
        progress: &Progress,
        to: Spot,
    ) -> Sending<'r, 'a> {
        Sending {
            remote,
            tell: transfer::tell(files, &to),
            to,
            keep: transfer::keep(self.preserve),
            jobs: self.pace.jobs(),
            only_new: self.no_replace,
            resume: !self.no_resume,
            done: progress.done.clone(),
        }
    }

    /// Puts what standard input gives.
    async fn standard(&self, mut how: Sending<'_, '_>) -> Result<Sent, Failure> {
        if how.to.path == FsPath::ROOT || how.to.into {
            return Err(Failure::usage("standard input has no name: write the name of the file"));
        }
        // It has neither a mode nor a time of its own.
        how.keep = Keep::Permissions;
        let what = What::File { size: 0 };
        let entry = Entry { path: transfer::TOP, what, mode: 0o644, mtime_ns: now_ns(), xattrs: Xattrs::new() };
        if how.only_new && how.remote.look(&how.to, false).await?.is_some() {
            let mut sender = Sender::new(how);
            sender.is_there(&entry, Outcome::Kept)?;
            return sender.finish().await;
        }
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let reading = async move {
            let mut input = stdin();
            loop {
                let mut piece = BytesMut::with_capacity(PIECE_BYTES);
                match input.read_buf(&mut piece).await {
                    Ok(0) => return,
                    Ok(_) if pieces.send(Ok(piece.freeze())).await.is_err() => return,
                    Ok(_) => {}
                    Err(error) => {
                        let _ = pieces.send(Err(error)).await;
                        return;
                    }
                }
            }
        };
        let mut sender = Sender::new(how);
        // When the node refuses, nothing more is waited for.
        {
            let (mut taken, reading) = (pin!(sender.take(entry, Content::Pieces(waiting))), pin!(reading));
            tokio::select! {
                biased;
                taken = &mut taken => taken?,
                () = reading => taken.await?,
            }
        }
        sender.finish().await
    }
}
