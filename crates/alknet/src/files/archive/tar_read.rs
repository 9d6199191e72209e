//! Reads tar: ustar, PAX and GNU's long names, compressed with gzip or not.
//!
//! The blocks are read here, because `tar` parts PAX records at line feeds and so loses names and attributes that hold one.

use std::{
    collections::HashSet,
    io::{self, BufRead, BufReader, Read},
    sync::{Arc, atomic::AtomicU64},
};

use tar::{EntryType, Header};

use super::{
    ArchiveError, LeftOut, Source, Take,
    budget::{Budget, Counted, tell_bomb},
    gzip_read::{Gunzip, MAGIC},
    pax::{self, Records},
};
use crate::files::{
    entry::{Entry, What, Xattrs, foreign_path, xattrs_fit},
    limits::{MAX_LINK_BYTES, MAX_PAX_BYTES},
};

const BLOCK: u64 = 512;
/// Where a header has its type.
const TYPE_AT: usize = 156;
/// With what the keys of GNU's sparse files begin.
const SPARSE: &[u8] = b"GNU.sparse.";

/// A tar that is read from its beginning to its end.
pub struct TarSource {
    blocks: Box<dyn Read + Send>,
    pub(super) budget: Budget,
    globals: Globals,
    seen: HashSet<Vec<u8>>,
}

/// What is said of all entries.
#[derive(Default)]
struct Globals {
    records: Records,
    xattrs: Xattrs,
    /// Bytes of the attributes.
    xattrs_bytes: u64,
}

/// What stands before an entry and says more of it than its header can.
#[derive(Default)]
struct Before {
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl TarSource {
    /// Reads from this; finds out whether it is compressed.
    pub fn new(input: impl Read + Send + 'static) -> Result<Self, ArchiveError> {
        let (counted, folded) = Counted::new(input);
        let mut input = BufReader::with_capacity(128 * 1024, counted);
        let beginning = input.fill_buf().map_err(damaged)?;
        let blocks: Box<dyn Read + Send> = if beginning.starts_with(&MAGIC) {
            Box::new(BufReader::with_capacity(128 * 1024, Gunzip::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Self::of(blocks, folded))
    }

    fn of(blocks: Box<dyn Read + Send>, folded: Arc<AtomicU64>) -> Self {
        Self { blocks, budget: Budget::new(folded), globals: Globals::default(), seen: HashSet::new() }
    }

    /// The next header, or `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.blocks.read(&mut block[filled..]).map_err(damaged)? {
                0 if filled == 0 => return Err(wrong("it ends without its end mark, so it may be cut")),
                0 => return Err(wrong("it ends within a header")),
                read => filled += read,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            // Whoever writes it is heard to the end, and so is what the compression says of the whole.
            io::copy(&mut self.budget.reading(&mut self.blocks), &mut io::sink())
                .map_err(damaged)
                .map_err(tell_bomb)?;
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let sum = sum(&header.as_bytes()[..148]) + sum(&header.as_bytes()[156..]) + 8 * 32;
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(wrong("a header does not have its checksum")),
        }
    }

    /// The bytes of an extension header, and what fills its last block.
    fn extension(&mut self, header: &Header, most: u64) -> Result<Vec<u8>, ArchiveError> {
        let size = header.entry_size().map_err(damaged)?;
        if size > most {
            return Err(wrong("it says more of an entry than fits into memory"));
        }
        let mut bytes = Vec::new();
        let read = self.budget.reading((&mut self.blocks).take(size)).read_to_end(&mut bytes);
        read.map_err(damaged).map_err(tell_bomb)?;
        if bytes.len() as u64 != size {
            return Err(wrong("it ends within an extension header"));
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let skipped = io::copy(&mut self.budget.reading((&mut self.blocks).take(bytes)), &mut io::sink());
        match skipped.map_err(damaged).map_err(tell_bomb)? {
            skipped if skipped == bytes => Ok(()),
            _ => Err(wrong("it ends within an entry")),
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        before: Before,
        left_out: &mut LeftOut,
        take: Take<'_>,
    ) -> Result<(), ArchiveError> {
        let own = before.records.unwrap_or_default();
        let said = |key: &[u8]| own.get(key).or_else(|| self.globals.records.get(key));
        let name = said(b"path").cloned().or(before.long_name);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = said(b"linkpath").cloned().or(before.long_link);
        let link = link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let size = match said(b"size") {
            // As ustar has it, they have no content; some writers say the size of a linked file with the link.
            _ if !has_content(header, &name) => Some(0),
            Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            None => header.entry_size().ok(),
        };
        let size: u64 = size.ok_or_else(|| wrong("an entry has no size"))?;
        let is_sparse = [&own, &self.globals.records].into_iter().any(is_sparse);
        let exact = said(b"mtime").and_then(|text| pax::read_time(text));
        let what = match what_of(header, &name, link, size, is_sparse) {
            Ok(what) => what,
            Err(why) => {
                left_out.add(&name, why);
                return self.skip(size.saturating_add(padding(size)));
            }
        };
        let Some(path) = foreign_path(&name) else {
            left_out.add(&name, "its name leads out of the archive, or is none");
            return self.skip(size.saturating_add(padding(size)));
        };
        if !self.seen.insert(blake3::hash(&path.to_bytes()).as_bytes()[..16].to_vec()) && what != What::Folder {
            left_out.add(&name, "it comes again: the last one counts");
        }
        self.budget.made(self.globals.xattrs_bytes)?;
        let mut xattrs = self.globals.xattrs.clone();
        xattrs.extend(pax::read_xattrs(&own));
        if !xattrs_fit(&xattrs) {
            left_out.add(&name, "its extended attributes are too large");
            xattrs.clear();
        }
        let seconds = seconds(header);
        let mtime_ns = exact.unwrap_or_else(|| seconds.saturating_mul(1_000_000_000));
        let mode = (header.mode().unwrap_or(0o644) & 0o7777) as u16;
        let content = if matches!(what, What::File { .. }) { size } else { 0 };
        let entry = Entry { path, what, mode, mtime_ns, xattrs };
        let mut limited = (&mut self.blocks).take(content);
        take(entry, &mut self.budget.reading(&mut limited)).map_err(tell_bomb)?;
        let unread = limited.limit();
        self.skip(unread.saturating_add(size - content).saturating_add(padding(size)))
    }
}

impl Source for TarSource {
    fn each(&mut self, left_out: &mut LeftOut, take: Take<'_>) -> Result<(), ArchiveError> {
        let mut before = Before::default();
        while let Some(header) = self.header()? {
            self.budget.entry()?;
            let bound = MAX_LINK_BYTES as u64 * 256;
            match header.entry_type() {
                EntryType::XHeader => {
                    let block = self.extension(&header, MAX_PAX_BYTES)?;
                    let bytes = add(&block, before.records.get_or_insert_default())?;
                    self.budget.made(bytes)?;
                }
                EntryType::XGlobalHeader => {
                    let block = self.extension(&header, MAX_PAX_BYTES)?;
                    let bytes = add(&block, &mut self.globals.records)?;
                    // As much is gone through again.
                    self.budget.made(bytes)?;
                    self.globals.xattrs = pax::read_xattrs(&self.globals.records);
                    let sizes = self.globals.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64);
                    self.globals.xattrs_bytes = sizes.sum();
                }
                EntryType::GNULongName => before.long_name = Some(until_nul(self.extension(&header, bound)?)),
                EntryType::GNULongLink => before.long_link = Some(until_nul(self.extension(&header, bound)?)),
                _ => self.entry(&header, std::mem::take(&mut before), left_out, &mut *take)?,
            }
        }
        Ok(())
    }
}

/// Adds the records of a block, as long as all of them together are no more than one block may have. Gives how many bytes they are.
fn add(block: &[u8], records: &mut Records) -> Result<u64, ArchiveError> {
    pax::read(block, records).ok_or_else(|| wrong("a PAX record is none"))?;
    let bytes = records.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    if bytes > MAX_PAX_BYTES { Err(wrong("it says more of an entry than fits into memory")) } else { Ok(bytes) }
}

fn is_sparse(records: &Records) -> bool {
    let first = records.range(SPARSE.to_vec()..).next();
    first.is_some_and(|(key, _)| key.starts_with(SPARSE))
}

/// Whether bytes follow a header.
fn has_content(header: &Header, name: &[u8]) -> bool {
    match header.entry_type() {
        EntryType::Link
        | EntryType::Symlink
        | EntryType::Directory
        | EntryType::Char
        | EntryType::Block
        | EntryType::Fifo => false,
        // Before POSIX, a folder was a file whose name ends in a slash.
        EntryType::Regular => header.as_bytes()[TYPE_AT] != 0 || !name.ends_with(b"/"),
        _ => true,
    }
}

fn what_of(header: &Header, name: &[u8], link: Vec<u8>, size: u64, is_sparse: bool) -> Result<What, &'static str> {
    if is_sparse {
        return Err("it is a sparse file as only GNU tar writes it: pack it without --sparse");
    }
    match header.entry_type() {
        EntryType::Directory => Ok(What::Folder),
        // Before POSIX, a folder was a file whose name ends in a slash.
        EntryType::Regular if name.ends_with(b"/") => Ok(What::Folder),
        EntryType::Regular | EntryType::Continuous => Ok(What::File { size }),
        EntryType::Symlink if link.is_empty() || link.len() > MAX_LINK_BYTES || link.contains(&0) => {
            Err("it is a link to nothing that can be named")
        }
        EntryType::Symlink => Ok(What::Symlink { target: link }),
        EntryType::Link => match foreign_path(&link) {
            Some(to) => Ok(What::HardLink { to, size: 0 }),
            None => Err("it is a hard link to something outside"),
        },
        EntryType::Char | EntryType::Block => Err("it is a device"),
        EntryType::Fifo => Err("it is a pipe"),
        EntryType::GNUSparse => Err("it is a sparse file as only GNU tar writes it: pack it without --sparse"),
        _ => Err("it is of a kind that only one tar knows"),
    }
}

/// The time of a header: octal, or in base 256 with a sign, as GNU tar has it.
fn seconds(header: &Header) -> i64 {
    match header.as_bytes()[136..148] {
        [0x80 | 0xff, .., a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default(),
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

const fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn wrong(what: &str) -> ArchiveError {
    ArchiveError::Damaged { format: "tar", what: what.to_owned() }
}

fn damaged(error: io::Error) -> ArchiveError {
    ArchiveError::Disk { path: "the tar archive".into(), source: error }
}
