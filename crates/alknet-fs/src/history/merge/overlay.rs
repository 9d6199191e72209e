//! The tree that a merge would make of a branch: the branch, and above it the names that the merge gives and takes.

use std::collections::{BTreeMap, HashMap};

use crate::{
    beside::beside,
    error::FsError,
    folding,
    history::side::{Place, Side, entry_name},
    ids::Ino,
    limits::{MAX_FOLDER_STEPS, MAX_MERGE_CHANGES, MAX_MERGE_NAMES_TRIED, PAGE_ROWS_AT_ONCE},
    path::{EntryName, FsPath},
    rows::{Kind, dent},
};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history) struct Entry {
    pub ino: Ino,
    pub kind: Kind,
}

/// A name that comes to stand for something else, or for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::history) struct Renaming {
    pub place: Place,
    pub before: Option<Entry>,
    pub now: Option<Entry>,
}

/// The names of a folder that are other than on the branch; `None`: taken away.
type Names = BTreeMap<Box<[u8]>, Option<Entry>>;

pub(in crate::history) struct Overlay<'a> {
    pub side: Side<'a>,
    names: BTreeMap<Ino, Names>,
    /// Where folders are that were given a name or lost theirs.
    folders: HashMap<Ino, Option<Place>>,
    /// The last place that each entry was given.
    given: HashMap<Ino, Place>,
    /// How often a name was given or taken.
    len: usize,
    /// The last count in a name that something was put beside under, of all names that may be cut to the same.
    counts: HashMap<Place, usize>,
    /// Names that were tried for what is put beside something.
    tried: usize,
}

impl<'a> Overlay<'a> {
    pub fn new(side: Side<'a>) -> Self {
        let (names, folders, given, counts) = (BTreeMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self { side, names, folders, given, len: 0, counts, tried: 0 }
    }

    /// How often a name was given or taken.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// What a name stands for now.
    pub fn entry(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Entry>> {
        match self.names.get(&dir).and_then(|names| names.get(name)) {
            Some(known) => Ok(*known),
            None => self.before(dir, name),
        }
    }

    /// What a name stands for on the branch as it is, whether or not the folder is reached: it may be, after the merge.
    fn before(&self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Entry>> {
        let dent = self.side.chain.dent(self.side.sql, dir, name)?;
        Ok(dent.map(|dent| Entry { ino: dent.ino, kind: dent.kind }))
    }

    /// Lets a free name stand for something.
    pub fn give(&mut self, dir: Ino, name: &[u8], entry: Entry) {
        self.len += 1;
        if entry.kind == Kind::Folder {
            self.folders.insert(entry.ino, Some((dir, name.into())));
        }
        self.given.insert(entry.ino, (dir, name.into()));
        self.names.entry(dir).or_default().insert(name.into(), Some(entry));
    }

    /// A place of an entry as it is now.
    pub fn place_of(&mut self, ino: Ino) -> rusqlite::Result<Option<Place>> {
        Ok(self.places(ino)?.into_iter().next())
    }

    /// The places of an entry as they are now; of those that it was given, the last.
    pub fn places(&mut self, ino: Ino) -> rusqlite::Result<Vec<Place>> {
        let mut places = self.side.places(ino)?;
        places.extend(self.given.get(&ino).filter(|given| !places.contains(given)).cloned());
        let mut now = Vec::with_capacity(places.len());
        for (dir, name) in places {
            if self.entry(dir, &name)?.is_some_and(|entry| entry.ino == ino) {
                now.push((dir, name));
            }
        }
        Ok(now)
    }

    /// Takes a name away. Answers what it stood for.
    pub fn take(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Entry>> {
        let found = self.entry(dir, name)?;
        if let Some(entry) = found {
            self.len += 1;
            if entry.kind == Kind::Folder {
                self.folders.insert(entry.ino, None);
            }
            self.names.entry(dir).or_default().insert(name.into(), None);
        }
        Ok(found)
    }

    /// Takes away what is left of something that is not reached: its names, and those of what is in it. Through a branch that follows,
    /// there can be such.
    pub fn clear(&mut self, entry: Entry) -> rusqlite::Result<()> {
        for (dir, name) in self.side.chain.places(self.side.sql, entry.ino)? {
            self.take(dir, &name)?;
        }
        if entry.kind == Kind::Folder {
            for (name, _) in self.children(entry.ino, MAX_MERGE_CHANGES)? {
                self.take(entry.ino, &name)?;
            }
        }
        Ok(())
    }

    /// Where a folder is now.
    pub fn parent(&mut self, folder: Ino) -> rusqlite::Result<Option<Place>> {
        match self.folders.get(&folder) {
            Some(place) => Ok(place.clone()),
            None => Ok(self.side.chain.places(self.side.sql, folder)?.into_iter().next()),
        }
    }

    /// The folders from `dir` up to `folder`, which is not among them; `None` where it is not above it.
    pub fn way_up(&mut self, dir: Ino, folder: Ino) -> rusqlite::Result<Option<Vec<Ino>>> {
        let (mut at, mut way) = (dir, Vec::new());
        while at != folder {
            if at == Ino::ROOT || way.len() > MAX_FOLDER_STEPS {
                return Ok(None);
            }
            way.push(at);
            match self.parent(at)? {
                Some((parent, _)) => at = parent,
                None => return Ok(None),
            }
        }
        Ok(Some(way))
    }

    /// What is in a folder now, at most `count` of it.
    pub fn children(&mut self, dir: Ino, count: usize) -> rusqlite::Result<Vec<(Box<[u8]>, Entry)>> {
        let names = self.names.get(&dir);
        let given = names.into_iter().flatten().filter_map(|(name, entry)| Some((name.clone(), (*entry)?)));
        let mut all: Vec<_> = given.take(count).collect();
        let mut after: Box<[u8]> = Box::default();
        while all.len() < count {
            let page = self.side.chain.page(self.side.sql, dir, &after, PAGE_ROWS_AT_ONCE)?;
            let Some(last) = page.last() else { break };
            after = last.name.clone();
            let known = self.names.get(&dir);
            let untouched = page.into_iter().filter(|dent| known.is_none_or(|names| !names.contains_key(&dent.name)));
            all.extend(untouched.map(|dent| (dent.name, Entry { ino: dent.ino, kind: dent.kind })));
        }
        all.truncate(count);
        Ok(all)
    }

    /// A name as whoever gave it has written it.
    fn written(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<EntryName> {
        let entry = if self.side.chain.names() == folding::Names::Fold { self.entry(dir, name)? } else { None };
        let shown = entry.map(|entry| dent::shown(self.side.sql, entry.ino, name)).transpose()?.flatten();
        entry_name(shown.as_deref().unwrap_or(name))
    }

    /// The path of a name in a folder as it is now.
    pub fn path(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<FsPath> {
        let (mut at, mut names) = (dir, vec![self.written(dir, name)?]);
        while at != Ino::ROOT && names.len() <= MAX_FOLDER_STEPS {
            let Some((parent, name)) = self.parent(at)? else { break };
            names.push(self.written(parent, &name)?);
            at = parent;
        }
        Ok(names.into_iter().rev().fold(FsPath::ROOT, |path, name| path.below(name)))
    }

    /// A free name like this one, in which a branch is named.
    ///
    /// # Errors
    /// Fails with [`Errno::TooBig`](crate::Errno::TooBig) when [`MAX_MERGE_NAMES_TRIED`] were tried.
    pub fn beside(&mut self, dir: Ino, name: &[u8], label: &str) -> Result<Box<[u8]>, FsError> {
        let mut count = 1;
        while self.tried < MAX_MERGE_NAMES_TRIED {
            self.tried += 1;
            let other = labelled(name, label, count);
            if self.entry(dir, &other)?.is_none() {
                return Ok(other);
            }
            // Long names differ in what is cut off, if at all: the next one goes on where this one stops.
            let alike = (dir, labelled(name, label, usize::MAX));
            let last = self.counts.entry(alike).or_insert(1);
            *last += 1;
            count = *last;
        }
        Err(super::too_big(label))
    }

    /// Every name that is other than on the branch, with what it stood for and stands for.
    pub fn changes(&mut self) -> rusqlite::Result<Vec<Renaming>> {
        let all: Vec<_> = self
            .names
            .iter()
            .flat_map(|(dir, names)| names.iter().map(|(name, now)| ((*dir, name.clone()), *now)))
            .collect();
        let mut changes = Vec::with_capacity(all.len());
        for ((dir, name), now) in all {
            let before = self.before(dir, &name)?;
            if before != now {
                changes.push(Renaming { place: (dir, name), before, now });
            }
        }
        Ok(changes)
    }
}

/// `report.txt` as `report~dev.txt`, then `report~dev~2.txt`, shortened where it would be too long.
fn labelled(name: &[u8], label: &str, count: usize) -> Box<[u8]> {
    let mark = if count == 1 { format!("~{label}") } else { format!("~{label}~{count}") };
    beside(name, &mark)
}

#[cfg(test)]
mod tests {
    use super::labelled;

    #[test]
    fn a_name_beside_another_says_where_it_comes_from() {
        // HIST-24
        let name = |name: &str, count| String::from_utf8(labelled(name.as_bytes(), "dev", count).into()).unwrap();
        assert_eq!(name("report.txt", 1), "report~dev.txt");
        assert_eq!(name("report.txt", 2), "report~dev~2.txt");
        assert_eq!(name(".profile", 1), ".profile~dev");
        assert_eq!(name("Makefile", 1), "Makefile~dev");
        let long = name(&format!("{}.txt", "x".repeat(251)), 10);
        assert!(long.len() == 255 && long.ends_with("x~dev~10.txt"), "{long}");
        let longest = labelled(&[b'.'; 255], &"b".repeat(63), usize::MAX);
        assert_eq!(longest.len(), 255);
        let text = labelled("é".repeat(127).as_bytes(), "dev", 1);
        assert_eq!(String::from_utf8(text.into()).unwrap(), format!("{}~dev", "é".repeat(125)), "no half characters");
    }
}
