//! Writes tar: ustar headers, and PAX records wherever they cannot say it.

use std::io::{self, Read, Write};

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::{ArchiveError, LeftOut, Sink, copy_exactly, pax};
use crate::files::entry::{Entry, What, relative};

/// The largest number that eleven octal digits hold.
const MAX_OCTAL: u64 = 0o77_777_777_777;

/// A tar that is written.
pub struct TarSink {
    out: Out,
}

enum Out {
    Plain(Box<dyn Write + Send>),
    Gzip(GzEncoder<Box<dyn Write + Send>>),
}

impl TarSink {
    /// Writes to this.
    pub fn new(out: impl Write + Send + 'static, compressed: bool) -> Self {
        let out: Box<dyn Write + Send> = Box::new(out);
        let out = if compressed { Out::Gzip(GzEncoder::new(out, Compression::default())) } else { Out::Plain(out) };
        Self { out }
    }

    fn write(&mut self) -> &mut dyn Write {
        match &mut self.out {
            Out::Plain(out) => out,
            Out::Gzip(out) => out,
        }
    }

    fn block(&mut self, mut header: Header, bytes: &[u8]) -> io::Result<()> {
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.write().write_all(header.as_bytes())?;
        self.write().write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = [0; 512];
        self.write().write_all(&zeros[..((512 - size % 512) % 512) as usize])
    }
}

impl Sink for TarSink {
    fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let size = if let What::File { size } = entry.what { size } else { 0 };
        let (header, records) = headers(entry, size);
        if !records.is_empty() {
            let mut extension = Header::new_ustar();
            extension.set_entry_type(EntryType::XHeader);
            extension.set_mode(0o644);
            extension.set_mtime(0);
            // Some readers show it; none needs it.
            let _ = extension.set_path("PaxHeaders/entry");
            self.block(extension, &records).map_err(failed)?;
        }
        self.write().write_all(header.as_bytes()).map_err(failed)?;
        if size > 0 {
            copy_exactly(&entry.path, size, content, self.write())?;
        }
        self.pad(size).map_err(failed)
    }

    fn finish(mut self: Box<Self>) -> Result<LeftOut, ArchiveError> {
        self.write().write_all(&[0; 1024]).map_err(failed)?;
        let mut out = match self.out {
            Out::Plain(out) => out,
            Out::Gzip(out) => out.finish().map_err(failed)?,
        };
        out.flush().map_err(failed)?;
        Ok(LeftOut::default())
    }
}

/// The header of an entry, and the records that it needs.
fn headers(entry: &Entry, size: u64) -> (Header, Vec<u8>) {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    let mut name = relative(&entry.path);
    let (kind, link) = match &entry.what {
        What::Folder => {
            // The root has a name, too.
            if name.is_empty() {
                name = b".".to_vec();
            }
            name.push(b'/');
            (EntryType::Directory, Vec::new())
        }
        What::File { .. } => (EntryType::Regular, Vec::new()),
        What::Symlink { target } => (EntryType::Symlink, target.clone()),
        What::HardLink { to, .. } => (EntryType::Link, relative(to)),
    };
    header.set_entry_type(kind);
    header.set_mode(entry.mode.into());
    header.set_uid(0);
    header.set_gid(0);
    if fill(&mut header.as_old_mut().name, &name) {
        pax::write(&mut records, b"path", &name);
    }
    if fill(&mut header.as_old_mut().linkname, &link) {
        pax::write(&mut records, b"linkpath", &link);
    }
    let seconds = entry.mtime_ns.div_euclid(1_000_000_000);
    let in_header = u64::try_from(seconds).unwrap_or_default().min(MAX_OCTAL);
    header.set_mtime(in_header);
    if i128::from(in_header) * 1_000_000_000 != i128::from(entry.mtime_ns) {
        pax::write(&mut records, b"mtime", pax::write_time(entry.mtime_ns).as_bytes());
    }
    header.set_size(size.min(MAX_OCTAL));
    if size > MAX_OCTAL {
        pax::write(&mut records, b"size", size.to_string().as_bytes());
    }
    pax::write_xattrs(&mut records, &entry.xattrs);
    header.set_cksum();
    (header, records)
}

/// Fills a field with the beginning of a name; says whether a record must say the rest.
fn fill(field: &mut [u8; 100], name: &[u8]) -> bool {
    let fits = name.len() <= field.len();
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
    !fits || !name.is_ascii()
}

fn failed(error: io::Error) -> ArchiveError {
    ArchiveError::Disk { path: "the tar archive".into(), source: error }
}
