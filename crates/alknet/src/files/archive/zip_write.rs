//! Writes zip: the usual fields for other tools, and our extra field for what they cannot say.

use std::io::{Read, Write};

use zip::{
    CompressionMethod, DateTime, System, ZipWriter,
    result::ZipError,
    write::{FullFileOptions, StreamWriter},
};

use super::{
    ArchiveError, LeftOut, Sink, copy_exactly,
    zip_extra::{Extra, ID, Kind, TIMESTAMP},
};
use crate::files::entry::{Entry, What, relative};

/// Files from here on get fields of 64 bits; packed they may be a little larger than unpacked.
const LARGE_BYTES: u64 = 0xf000_0000;

/// A zip that is written, also where nothing can be written twice.
pub struct ZipSink {
    zip: ZipWriter<StreamWriter<Box<dyn Write + Send>>>,
}

impl ZipSink {
    /// Writes to this.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { zip: ZipWriter::new_stream(Box::new(out)) }
    }
}

impl Sink for ZipSink {
    fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let cannot = |why| ArchiveError::CannotHold { format: "zip", path: entry.path.to_string(), why };
        let (kind, file_type, link) = match &entry.what {
            // Only a folder with a name of text is written as one: the others are known by the `/` at their end.
            What::Folder if entry.path.names().iter().any(|name| str::from_utf8(name.as_bytes()).is_err()) => {
                (Kind::Folder, 0, Vec::new())
            }
            What::Folder => (Kind::Folder, 0o040_000, Vec::new()),
            What::File { .. } => (Kind::File, 0o100_000, Vec::new()),
            What::Symlink { .. } => (Kind::Symlink, 0o120_000, Vec::new()),
            What::HardLink { to, .. } => (Kind::HardLink, 0o100_000, relative(to)),
        };
        let (mode, mtime_ns, xattrs) = (entry.mode, entry.mtime_ns, entry.xattrs.clone());
        let extra = Extra { mode, mtime_ns, kind, link, xattrs }.write();
        let extra = extra.ok_or_else(|| cannot("its extended attributes or its link are too large; tar holds them"))?;
        let mut name = relative(&entry.path);
        if kind == Kind::Folder {
            if name.is_empty() {
                name.push(b'.');
            }
            name.push(b'/');
        }
        if name.len() > 4096 {
            return Err(cannot("its path is too long; tar holds it"));
        }
        let seconds = mtime_ns.div_euclid(1_000_000_000);
        let packed = matches!(entry.what, What::File { .. } | What::HardLink { .. });
        let size = if let What::File { size } | What::HardLink { size, .. } = entry.what { size } else { 0 };
        let mut options = FullFileOptions::default()
            .system(System::Unix)
            .external_attributes((file_type | u32::from(mode)) << 16 | u32::from(kind == Kind::Folder) << 4)
            .compression_method(if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored })
            .large_file(size >= LARGE_BYTES)
            .last_modified_time(dos_time(seconds));
        if let Ok(seconds) = i32::try_from(seconds) {
            let field = [[1].as_slice(), &seconds.to_le_bytes()].concat();
            options.add_extra_field(TIMESTAMP, field, false).map_err(failed)?;
        }
        options.add_extra_field(ID, extra, true).map_err(failed)?;
        if let (Kind::Folder, Ok(name)) = (kind, str::from_utf8(&name)) {
            return self.zip.add_directory(name, options).map_err(failed);
        }
        self.zip.start_file_with_options(options.name(&name)).map_err(failed)?;
        match &entry.what {
            // Other tools make a file of its own of a hard link.
            What::File { size } | What::HardLink { size, .. } => {
                copy_exactly(&entry.path, *size, content, &mut self.zip)
            }
            What::Symlink { target } => self.zip.write_all(target).map_err(|error| failed(error.into())),
            What::Folder => Ok(()),
        }
    }

    fn wants_content_of_links(&self) -> bool {
        true
    }

    fn finish(self: Box<Self>) -> Result<LeftOut, ArchiveError> {
        let mut out = self.zip.finish().map_err(failed)?.into_inner();
        out.flush().map_err(|error| failed(error.into()))?;
        Ok(LeftOut::default())
    }
}

/// The nearest time that a zip can say without an extra field: 1980 to 2107.
fn dos_time(seconds: i64) -> DateTime {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil date, as Howard Hinnant computes it.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let year = u16::try_from(year).unwrap_or_default();
    let time = DateTime::from_date_and_time(
        year,
        month as u8,
        day as u8,
        (rest / 3600) as u8,
        (rest / 60 % 60) as u8,
        (rest % 60) as u8,
    );
    time.unwrap_or_default()
}

fn failed(error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(source) => ArchiveError::Disk { path: "the zip archive".into(), source },
        other => ArchiveError::Damaged { format: "zip", what: other.to_string() },
    }
}
