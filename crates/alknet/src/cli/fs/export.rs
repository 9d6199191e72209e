//! `alknet fs export`.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufWriter, Stdout, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alknet_fs::Escaped;
use clap::Args;

use super::{Files, transfer};
use crate::{
    cli::output,
    failure::Failure,
    files::{
        address::Argument,
        archive::{Format, GitSink, Keep, TarSink, ZipSink, foreign},
        entry::shown,
        get::{self, Getting},
        send::Tell,
    },
};

/// Export a folder as a folder, a tar, a zip or a commit of a Git repository, with times, modes, links and attributes
///
/// The name of the destination says which, or --as. - is a tar on standard output. Git keeps neither times nor modes nor
/// attributes nor empty folders: with --metadata they go into a file beside the others, which `import --metadata` reads.
///
/// Examples:
///   alknet fs export photos ./photos
///   alknet fs export photos@v1 ./photos-v1.tar.gz
///   alknet fs export --metadata sources ./sources.git
///   alknet fs export photos - | tar -tv
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Export {
    /// The folder
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// Where it goes
    #[arg(value_name = "DST")]
    destination: OsString,
    /// What to make of it [default: as the name says, else a folder]
    #[arg(long = "as", value_name = "FORMAT")]
    format: Option<Format>,
    /// Of a Git repository: the branch that gets the commit
    #[arg(long = "ref", value_name = "BRANCH", default_value = "main")]
    reference: String,
    /// Of a Git repository: write down beside the files what Git does not keep
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    pace: transfer::Pace,
}

impl Export {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let from = files.spot(&self.address)?;
        let standard = Argument::of(&self.destination) == Argument::Standard;
        let place = PathBuf::from(&self.destination);
        let format = match (self.format, Format::of(&place)) {
            (Some(format), _) => format,
            _ if standard => Format::Tar,
            (None, Some(format)) => format,
            (None, None) => named_as_folder(&place, &self.address)?,
        };
        if standard && !matches!(format, Format::Tar | Format::Zip) {
            return Err(Failure::usage("only a tar or a zip can be written to standard output"));
        }
        let remote = files.reach(&from).await?;
        let found = remote.stat(&from, true).await?;
        transfer::must_be_folder(&from, &found)?;
        let progress = self.pace.progress(files);
        let address = from.to_string();
        // The archive may go to standard output itself.
        let tell: Tell = if standard { Box::new(|_, _, _| Ok(())) } else { transfer::tell(files, &from) };
        let counting = transfer::count(&remote, from.clone(), &progress);
        let how = Getting {
            remote: &remote,
            tell,
            from,
            keep: Keep::Everything,
            jobs: self.pace.jobs(),
            done: progress.done.clone(),
        };
        // An archive has its name only once it is whole.
        let part = part_of(&place)?;
        let failed =
            |error: io::Error| Failure::from(error).while_doing(format_args!("cannot write {}", shown(&place)));
        let (reference, metadata, asked) = (self.reference, self.metadata, self.format);
        let nobody_reads = Arc::<AtomicBool>::default();
        let to_stdout = StandardOutput { stdout: io::stdout(), nobody_reads: nobody_reads.clone() };
        let exporting = async {
            match format {
                Format::Dir => get::tree(how, &found, &place).await,
                Format::Git => {
                    let (place, reference, metadata) = (place.clone(), reference, metadata);
                    let message = format!("alknet fs export {address}\n\nversion {}", found.seq);
                    get::archive(how, &found, move || GitSink::open(&place, &reference, &message, metadata)).await
                }
                Format::Tar if standard => get::archive(how, &found, move || Ok(TarSink::new(to_stdout, false))).await,
                Format::Zip if standard => get::archive(how, &found, move || Ok(ZipSink::new(to_stdout))).await,
                Format::Tar | Format::Zip => {
                    let file = File::create_new(&part).map_err(failed)?;
                    let compressed = place.to_string_lossy().to_ascii_lowercase().ends_with("gz");
                    let out = BufWriter::with_capacity(128 * 1024, file.try_clone()?);
                    let made = match format {
                        Format::Tar => get::archive(how, &found, move || Ok(TarSink::new(out, compressed))).await,
                        _ => get::archive(how, &found, move || Ok(ZipSink::new(out))).await,
                    };
                    let left_out = made.inspect_err(|_| drop(fs::remove_file(&part)))?;
                    let named = file.sync_all().and_then(|()| fs::rename(&part, &place));
                    named.map_err(failed).inspect_err(|_| drop(fs::remove_file(&part)))?;
                    Ok(left_out)
                }
            }
        };
        let exported = Box::pin(transfer::beside(exporting, counting)).await;
        let left_out = exported.map_err(|failure| match nobody_reads.load(Ordering::Relaxed) {
            true => Failure::status(0),
            false => failure,
        })?;
        let done = progress.done.clone();
        drop(progress);
        remote.finish().await;
        if format == Format::Git && asked.is_none() && place.join(".git").exists() {
            output::note(format!("{} is a Git repository and got a commit; --as dir writes files", shown(&place)));
        }
        if format == Format::Git && !metadata {
            output::note("Git keeps no times and no modes but whether a file can be run; --metadata keeps them beside");
        }
        if standard {
            transfer::note_left_out(&left_out);
            return Ok(());
        }
        transfer::summary(files, &done, None, &left_out)
    }
}

/// Standard output. That the reader of a pipe has seen enough is noted; what is written after that goes nowhere.
struct StandardOutput {
    stdout: Stdout,
    nobody_reads: Arc<AtomicBool>,
}

impl StandardOutput {
    fn noted<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.nobody_reads.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.nobody_reads.load(Ordering::Relaxed) {
            return Ok(bytes.len());
        }
        let outcome = self.stdout.write(bytes);
        self.noted(outcome)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.nobody_reads.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = self.stdout.flush();
        self.noted(outcome)
    }
}

/// A folder, unless the name promises something that is not made here.
fn named_as_folder(place: &Path, address: &OsStr) -> Result<Format, Failure> {
    let (place, address) = (shown(place), Escaped(address.as_bytes()));
    let failure = |what| Failure::usage(format_args!("{place}: {what}"));
    let path = PathBuf::from(&place);
    match foreign(&path) {
        None => Ok(Format::Dir),
        Some(true) => Err(failure("a tar is compressed with gzip here, or not at all")
            .hint(format_args!("compress it yourself: `alknet fs export {address} - | {} > {place}`", packer(&path)))),
        Some(false) => Err(failure("such an archive is not made here")
            .hint("a tar, a zip or a Git repository is; --as dir makes a folder of that name")),
    }
}

/// The program that packs what has such a name.
fn packer(place: &Path) -> &'static str {
    match place.extension().map(OsStr::as_bytes) {
        Some(b"zst" | b"tzst") => "zstd",
        Some(b"xz" | b"txz") => "xz",
        Some(b"bz2" | b"tbz" | b"tbz2" | b"tb2") => "bzip2",
        _ => "PROGRAM",
    }
}

/// What an archive is called until it is whole: a name that nobody else uses.
fn part_of(place: &Path) -> Result<PathBuf, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(Failure::failed)?;
    Ok(place.with_file_name(format!(".alknet-{}.part", data_encoding::HEXLOWER.encode(&random))))
}
