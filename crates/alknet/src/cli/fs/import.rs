//! `alknet fs import`.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use alknet_fs::Escaped;
use clap::Args;

use super::{Files, transfer};
use crate::{
    failure::{Failure, Kind},
    files::{
        address::Argument,
        archive::{Format, GitSource, Keep, TarSource, ZipSource, unpacks},
        entry::shown,
        put,
        send::Sending,
    },
};

/// Import a folder, a tar, a zip or a Git repository, with times, modes, links and attributes
///
/// What is in it comes to lie in the address. What cannot be taken, as devices, is left out and counted.
/// What an archive has in files of more than 256 KiB is sent whole each time, whether it is there or not.
/// - is a tar on standard input; the node waits 60 s for the next bytes of a large file.
///
/// Examples:
///   alknet fs import ./photos photos/
///   alknet fs import ./backup.tar.gz old/2025
///   alknet fs import --ref v1.2 ./repo.git sources/v1.2
///   curl -s https://example.org/a.tgz | alknet fs import - web/a
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Import {
    /// What is imported
    #[arg(value_name = "SRC")]
    source: OsString,
    /// The folder that gets what is in it
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// What the source is [default: as it looks]
    #[arg(long = "as", value_name = "FORMAT")]
    format: Option<Format>,
    /// Of a Git repository: which commit, branch or tag [default: HEAD]
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Of a Git repository: take what `export --metadata` wrote down
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    pace: transfer::Pace,
}

impl Import {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let to = files.spot_now(&self.address)?;
        let standard = Argument::of(&self.source) == Argument::Standard;
        let place = PathBuf::from(&self.source);
        let format = self.format.or_else(|| if standard { Some(Format::Tar) } else { Format::of(&place) });
        if !standard && !place.exists() {
            return Err(Failure::new(Kind::NotFound, format_args!("there is no {}", shown(&place))));
        }
        if matches!(format, None | Some(Format::Tar))
            && !standard
            && let Some(program) = packed(&place)
        {
            let (place, to) = (shown(&place), Escaped(self.address.as_bytes()));
            return Err(Failure::usage(format_args!("{place} is compressed in a way that is not unpacked here"))
                .hint(format_args!("`{program} {place} | alknet fs import - {to}`")));
        }
        let format = format.ok_or_else(|| {
            Failure::usage(format_args!("what {} is cannot be seen", shown(&place))).hint("say it with --as")
        })?;
        if standard && format != Format::Tar {
            return Err(Failure::usage("only a tar can be read from standard input"));
        }
        if format != Format::Git && (self.reference.is_some() || self.metadata) {
            return Err(Failure::usage("--ref and --metadata are for Git repositories"));
        }
        let remote = files.reach(&to).await?;
        let progress = self.pace.progress(files);
        let how = Sending {
            remote: &remote,
            tell: transfer::tell(files, &to),
            to,
            keep: Keep::Everything,
            jobs: self.pace.jobs(),
            only_new: false,
            resume: true,
            done: progress.done.clone(),
        };
        let (reference, metadata) = (self.reference, self.metadata);
        let put = match format {
            Format::Dir => {
                if progress.is_drawn() {
                    let (all_files, all_bytes) = put::count(&place).await;
                    progress.done.expect(all_files, all_bytes);
                }
                put::tree(how, &place).await
            }
            Format::Tar if standard => put::archive(how, || TarSource::new(io::stdin())).await,
            Format::Tar => {
                let file = File::open(&place).map_err(|error| Failure::from(error).while_doing(shown(&place)))?;
                put::archive(how, || TarSource::new(file)).await
            }
            Format::Zip => put::archive(how, move || ZipSource::open(&place)).await,
            Format::Git => put::archive(how, move || GitSource::open(&place, reference.as_deref(), metadata)).await,
        };
        let put = put.map_err(|failure| if format == Format::Dir { transfer::again(failure) } else { failure })?;
        let done = progress.done.clone();
        drop(progress);
        remote.finish().await;
        transfer::summary(files, &done, put.newest.as_ref(), &put.left_out)
    }
}

/// The program that unpacks a file, where that is not done here.
fn packed(place: &Path) -> Option<&'static str> {
    let mut begin = [0; 6];
    let is_file = place.is_file();
    let read = is_file.then(|| File::open(place).and_then(|mut file| file.read(&mut begin)).ok())??;
    unpacks(&begin[..read])
}
