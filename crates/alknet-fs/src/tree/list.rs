//! Pages of a folder.

use super::{
    here::Here,
    stat::{self, Attributes},
    stop::Stop,
};
use crate::{
    error::Errno,
    ids::Ino,
    limits::MAX_PAGE_ENTRIES,
    path::EntryName,
    rows::{Kind, dent::Dent, inode::Hashed},
};

/// Entries of a folder, by the bytes of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Listed>,
    /// After which name the next page begins; `None`: there is no more.
    pub next: Option<EntryName>,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: EntryName,
    /// What it is called by its number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// The rest, if it was asked for; without what lists do not tell.
    pub attributes: Option<Attributes>,
}

/// At most `count` entries after a name.
pub(crate) fn page(
    here: &Here<'_>,
    dir: Ino,
    after: Option<&EntryName>,
    count: usize,
    attributes: bool,
) -> Result<Page, Stop> {
    let count = count.clamp(1, MAX_PAGE_ENTRIES);
    let after = after.map_or(b"".as_slice(), EntryName::as_bytes);
    // One more than asked for tells whether there is more.
    let mut dents = here.chain.page(here.sql, dir, after, count + 1)?;
    let more = dents.len() > count;
    dents.truncate(count);
    let mut hashed = attributes.then(|| Hashed::new(here.sql)).transpose()?;
    let entries = dents.iter().map(|dent| listed(here, dent, hashed.as_mut())).collect::<Result<Vec<_>, _>>()?;
    let next = entries.last().filter(|_| more).map(|entry| entry.name.clone());
    Ok(Page { entries, next })
}

fn listed(here: &Here<'_>, dent: &Dent, hashed: Option<&mut Hashed<'_>>) -> Result<Listed, Stop> {
    let name = EntryName::parse(dent.written()).map_err(|_| Errno::Io)?;
    let attributes = hashed.map(|hashed| stat::brief(here, hashed, dent)).transpose()?;
    Ok(Listed { name, ino: dent.ino, kind: dent.kind, attributes })
}
