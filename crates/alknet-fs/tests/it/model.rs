//! A tree in memory as POSIX describes one: names in folders, files known by numbers. Nothing in it is made like the tree that it judges.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use alknet_fs::{ContentHash, Errno, RemoveHow, RenameHow, rows::Kind};

/// An entry, whatever it is called.
pub type Id = usize;
const ROOT: Id = 0;

#[derive(Debug, Clone)]
enum Body {
    Folder(BTreeMap<String, Id>),
    File(String),
    Link(String),
}

#[derive(Debug, Clone)]
struct Node {
    body: Body,
    mode: u16,
    mtime: i64,
    xattrs: Xattrs,
}

/// Extended attributes, by their keys.
pub type Xattrs = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub struct Model(BTreeMap<Id, Node>);

/// What can be asked of a tree.
#[derive(Debug, Clone)]
pub enum Op {
    Folder { at: String, mode: u16, parents: bool },
    Put { at: String, content: String, set: Set, exclusive: bool },
    Symlink { at: String, target: String },
    HardLink { from: String, to: String },
    Rename { from: String, to: String, how: RenameHow },
    Remove { at: String, how: RemoveHow },
    Set { at: String, set: Set, follow: bool },
    SetXattrs { at: String, set: Vec<(String, String)>, remove: Vec<String> },
    Copy { source: Rc<Model>, branch: usize, from: String, to: String },
}

/// Attributes that are set; the others stay.
#[derive(Debug, Clone, Default)]
pub struct Set {
    pub mode: Option<u16>,
    pub mtime: Option<i64>,
    pub xattrs: Option<Xattrs>,
}

/// What a writer of a file began from.
#[derive(Debug, Clone)]
pub struct Began {
    /// The folder and the name in it.
    pub dir: Id,
    pub name: String,
    pub at: String,
    pub file: Option<(Id, String)>,
    /// Whether it writes to that file, whatever it is called, rather than to the name.
    pub follows: bool,
    pub exclusive: bool,
}

/// What somebody sees of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    pub mode: u16,
    pub mtime: i64,
    pub size: u64,
    pub hash: Option<ContentHash>,
    pub target: Option<String>,
    pub nlink: u32,
    pub xattrs: Xattrs,
    /// The first path of the same file.
    pub same_as: String,
}

/// Where a path leads.
struct Spot {
    above: Vec<Id>,
    name: String,
    id: Option<Id>,
}

impl Spot {
    fn dir(&self) -> Result<Id, Errno> {
        self.above.last().copied().ok_or(Errno::Inval)
    }
}

impl Node {
    const fn new(body: Body, mode: u16, mtime: i64) -> Self {
        Self { body, mode, mtime, xattrs: Xattrs::new() }
    }
    fn set(&mut self, set: &Set, mtime: i64) {
        (self.mode, self.mtime) = (set.mode.unwrap_or(self.mode), set.mtime.unwrap_or(mtime));
        if let Some(xattrs) = &set.xattrs {
            self.xattrs.clone_from(xattrs);
        }
    }
}

impl Model {
    pub fn new(mtime: i64) -> Self {
        Self(BTreeMap::from([(ROOT, Node::new(Body::Folder(BTreeMap::new()), 0o755, mtime))]))
    }

    /// Does it, or says why not. Answers whether there is anything to keep.
    pub fn apply(&mut self, op: &Op, now: i64) -> Result<bool, Errno> {
        match op {
            Op::Folder { at, mode, parents: false } => self.folder(at, *mode, now).map(|()| true),
            Op::Folder { at, mode, parents: true } => self.folders(at, *mode, now),
            Op::Put { at, content, set, exclusive } => {
                let spot = self.find(at, !exclusive)?;
                match spot.id {
                    Some(_) if *exclusive => return Err(Errno::Exist),
                    Some(id) => self.rewrite(id, content, set, now)?,
                    None => self.create(spot.dir()?, &spot.name, content, set, now),
                }
                Ok(true)
            }
            Op::Symlink { at, target } => {
                let spot = self.vacant(at)?;
                self.make(&spot, Body::Link(target.clone()), (0o777, now), now).map(|()| true)
            }
            Op::HardLink { from, to } => {
                let id = self.find(from, false)?.id.ok_or(Errno::NoEnt)?;
                if matches!(self.0[&id].body, Body::Folder(_)) {
                    return Err(Errno::Perm);
                }
                let spot = self.vacant(to)?;
                self.name(spot.dir()?, &spot.name, Some(id), now);
                Ok(true)
            }
            Op::Rename { from, to, how } => self.rename(from, to, *how, now),
            Op::Remove { at, how } => self.remove(at, *how, now).map(|()| true),
            Op::Set { at, set, follow } => {
                let id = self.find(at, *follow)?.id.ok_or(Errno::NoEnt)?;
                let node = self.node(id);
                if matches!(node.body, Body::Link(_)) && set.mode.is_some() {
                    return Err(Errno::Inval);
                }
                node.set(set, node.mtime);
                Ok(set.mode.is_some() || set.mtime.is_some() || set.xattrs.is_some())
            }
            Op::SetXattrs { at, set, remove } => {
                if set.is_empty() && remove.is_empty() {
                    return Ok(false);
                }
                let id = self.find(at, false)?.id.ok_or(Errno::NoEnt)?;
                let before = self.node(id).xattrs.clone();
                let xattrs = &mut self.node(id).xattrs;
                xattrs.retain(|key, _| !remove.contains(key));
                xattrs.extend(set.iter().cloned());
                Ok(*xattrs != before)
            }
            Op::Copy { source, from, to, .. } => {
                let theirs = source.find(from, false)?.id.ok_or(Errno::NoEnt)?;
                let spot = self.find(to, false)?;
                match spot.id {
                    None => {
                        let (dir, mut known) = (spot.dir()?, BTreeMap::new());
                        let id = self.copy(source, theirs, &mut known);
                        self.name(dir, &spot.name, Some(id), now);
                    }
                    Some(id) => {
                        let Node { body: Body::File(text), mtime, .. } = &source.0[&theirs] else {
                            return Err(Errno::Exist);
                        };
                        let node = self.node(id);
                        let Body::File(old) = &mut node.body else { return Err(Errno::Exist) };
                        if (&*old, node.mtime) == (text, *mtime) {
                            return Ok(false);
                        }
                        old.clone_from(text);
                        node.mtime = *mtime;
                    }
                }
                Ok(true)
            }
        }
    }

    /// Begins to write a file: what is found for it.
    pub fn begin(&self, at: &str, (follows, create, exclusive): (bool, bool, bool)) -> Result<Began, Errno> {
        let spot = self.find(at, !exclusive)?;
        let dir = spot.dir().map_err(|_| Errno::IsDir)?;
        let file = match spot.id.map(|id| (id, &self.0[&id].body)) {
            None if !create => return Err(Errno::NoEnt),
            None => None,
            Some(_) if exclusive => return Err(Errno::Exist),
            Some((id, Body::File(text))) => Some((id, text.clone())),
            Some(_) => return Err(Errno::IsDir),
        };
        let follows = follows && file.is_some();
        Ok(Began { dir, name: spot.name, at: at.to_owned(), file, follows, exclusive })
    }

    /// Ends it: where the content goes. Answers whether there is anything to keep; `None`: it is somebody else's turn.
    pub fn end(
        &mut self,
        began: &Began,
        content: &str,
        set: &Set,
        (fails, now): (bool, i64),
    ) -> Result<bool, Option<Errno>> {
        if let (true, Some((id, before))) = (began.follows, &began.file) {
            if !self.is_there(*id) {
                return Ok(false);
            }
            if fails && !self.holds(*id, before) {
                return Err(None);
            }
            return self.rewrite(*id, content, set, now).map(|()| true).map_err(Some);
        }
        let (dir, name, found) = if self.is_there(began.dir) {
            let Body::Folder(entries) = &self.0[&began.dir].body else { panic!("a name in no folder") };
            (began.dir, began.name.clone(), entries.get(&began.name).copied())
        } else {
            let is_lost = |errno| fails && began.file.is_some() && errno == Errno::NoEnt;
            let spot = self.find(&began.at, true).map_err(|errno| (!is_lost(errno)).then_some(errno))?;
            (spot.dir().map_err(Some)?, spot.name, spot.id)
        };
        let Some(found) = found else {
            if fails && began.file.is_some() {
                return Err(None);
            }
            self.create(dir, &name, content, set, now);
            return Ok(true);
        };
        let is_same = began.file.as_ref().is_some_and(|(id, before)| *id == found && self.holds(found, before));
        match &self.0[&found].body {
            _ if began.exclusive => Err(Some(Errno::Exist)),
            Body::Folder(_) => Err(Some(Errno::IsDir)),
            Body::Link(_) => Err(None),
            Body::File(_) if fails && !is_same => Err(None),
            Body::File(_) => self.rewrite(found, content, set, now).map(|()| true).map_err(Some),
        }
    }

    fn holds(&self, id: Id, content: &str) -> bool {
        matches!(&self.0[&id].body, Body::File(text) if text == content)
    }
    /// Whether an entry has a name, and its folder, up to the root.
    fn is_there(&self, id: Id) -> bool {
        self.reached().iter().any(|(_, there)| *there == id)
    }

    fn rewrite(&mut self, id: Id, content: &str, set: &Set, now: i64) -> Result<(), Errno> {
        let node = self.node(id);
        let Body::File(text) = &mut node.body else { return Err(Errno::IsDir) };
        content.clone_into(text);
        node.set(set, now);
        Ok(())
    }
    fn create(&mut self, dir: Id, name: &str, content: &str, set: &Set, now: i64) {
        let id = self.fresh();
        let mut node = Node::new(Body::File(content.to_owned()), 0o644, now);
        node.set(set, now);
        self.0.insert(id, node);
        self.name(dir, name, Some(id), now);
    }

    fn folder(&mut self, at: &str, mode: u16, now: i64) -> Result<(), Errno> {
        let spot = self.vacant(at)?;
        self.make(&spot, Body::Folder(BTreeMap::new()), (mode, now), now)
    }

    fn folders(&mut self, at: &str, mode: u16, now: i64) -> Result<bool, Errno> {
        let names: Vec<&str> = names(at).collect();
        let mut is_made = false;
        for count in 1..=names.len() {
            let (part, is_last) = (names[..count].join("/"), count == names.len());
            // A link that leads nowhere is something, and no folder.
            let found =
                self.find(&part, true).map_err(|errno| if errno == Errno::NoEnt { Errno::Exist } else { errno })?;
            match found.id {
                Some(id) if matches!(self.0[&id].body, Body::Folder(_)) => {}
                Some(_) => return Err(if is_last { Errno::Exist } else { Errno::NotDir }),
                None => {
                    self.folder(&part, if is_last { mode } else { 0o755 }, now)?;
                    is_made = true;
                }
            }
        }
        Ok(is_made)
    }

    fn rename(&mut self, from: &str, to: &str, how: RenameHow, now: i64) -> Result<bool, Errno> {
        let (old, new) = (self.find(from, false)?, self.find(to, false)?);
        let moved = old.id.ok_or(Errno::NoEnt)?;
        let (from_dir, to_dir) = (old.dir()?, new.dir()?);
        if new.above.contains(&moved) {
            return Err(Errno::Inval);
        }
        let there = match (new.id, how) {
            (None, RenameHow::Exchange) => return Err(Errno::NoEnt),
            (Some(_), RenameHow::NoReplace) => return Err(Errno::Exist),
            (Some(there), _) if there == moved => return Ok(false),
            (there, _) => there,
        };
        if how == RenameHow::Exchange {
            if there.is_some_and(|there| old.above.contains(&there)) {
                return Err(Errno::Inval);
            }
            self.name(from_dir, &old.name, there, now);
        } else {
            match there.map(|there| (&self.0[&moved].body, &self.0[&there].body)) {
                Some((Body::Folder(_), Body::Folder(inside))) if !inside.is_empty() => return Err(Errno::NotEmpty),
                Some((Body::Folder(_), Body::Folder(_))) | None => {}
                Some((Body::Folder(_), _)) => return Err(Errno::NotDir),
                Some((_, Body::Folder(_))) => return Err(Errno::IsDir),
                Some(_) => {}
            }
            self.name(from_dir, &old.name, None, now);
        }
        self.name(to_dir, &new.name, Some(moved), now);
        Ok(true)
    }

    fn remove(&mut self, at: &str, how: RemoveHow, now: i64) -> Result<(), Errno> {
        let spot = self.find(at, false)?;
        let id = spot.id.ok_or(Errno::NoEnt)?;
        let dir = spot.dir()?;
        match (&self.0[&id].body, how) {
            (Body::Folder(_), RemoveHow::File) => return Err(Errno::IsDir),
            (Body::Folder(inside), RemoveHow::EmptyFolder | RemoveHow::Bare) if !inside.is_empty() => {
                return Err(Errno::NotEmpty);
            }
            (Body::File(_) | Body::Link(_), RemoveHow::EmptyFolder) => return Err(Errno::NotDir),
            _ => {}
        }
        self.name(dir, &spot.name, None, now);
        Ok(())
    }

    fn copy(&mut self, source: &Self, theirs: Id, known: &mut BTreeMap<Id, Id>) -> Id {
        if let Some(id) = known.get(&theirs) {
            return *id;
        }
        let id = self.fresh();
        let mut node = source.0[&theirs].clone();
        self.0.insert(id, node.clone());
        known.insert(theirs, id);
        if let Body::Folder(entries) = &mut node.body {
            for entry in entries.values_mut() {
                *entry = self.copy(source, *entry, known);
            }
        }
        self.0.insert(id, node);
        id
    }

    fn make(&mut self, spot: &Spot, body: Body, (mode, mtime): (u16, i64), now: i64) -> Result<(), Errno> {
        let (dir, id) = (spot.dir()?, self.fresh());
        self.0.insert(id, Node::new(body, mode, mtime));
        self.name(dir, &spot.name, Some(id), now);
        Ok(())
    }

    fn name(&mut self, dir: Id, name: &str, stands_for: Option<Id>, now: i64) {
        let node = self.node(dir);
        node.mtime = now;
        let Body::Folder(entries) = &mut node.body else { panic!("a name in no folder") };
        match stands_for {
            Some(id) => entries.insert(name.to_owned(), id),
            None => entries.remove(name),
        };
    }

    fn fresh(&self) -> Id {
        self.0.keys().next_back().map_or(ROOT, |last| last + 1)
    }
    fn node(&mut self, id: Id) -> &mut Node {
        self.0.get_mut(&id).unwrap()
    }

    fn vacant(&self, at: &str) -> Result<Spot, Errno> {
        let spot = self.find(at, false)?;
        if spot.id.is_some() { Err(Errno::Exist) } else { Ok(spot) }
    }

    fn find(&self, at: &str, follow: bool) -> Result<Spot, Errno> {
        self.go(vec![(ROOT, String::new())], names(at).map(str::to_owned).collect(), follow, 0)
    }

    fn go(&self, mut way: Vec<(Id, String)>, left: Vec<String>, follow: bool, hops: usize) -> Result<Spot, Errno> {
        let Some((name, rest)) = left.split_first() else {
            let (id, name) = way.pop().unwrap();
            return Ok(Spot { above: way.into_iter().map(|(id, _)| id).collect(), name, id: Some(id) });
        };
        let rest = rest.to_vec();
        if name == "." || name == ".." {
            if name == ".." && way.len() > 1 {
                way.pop();
            }
            return self.go(way, rest, follow, hops);
        }
        let Body::Folder(entries) = &self.0[&way.last().unwrap().0].body else { panic!("a way through no folder") };
        let id = entries.get(name).copied();
        let found = |way: Vec<(Id, String)>| {
            Ok(Spot { above: way.into_iter().map(|(id, _)| id).collect(), name: name.clone(), id })
        };
        match id.map(|id| &self.0[&id].body) {
            None if rest.is_empty() => found(way),
            None => Err(Errno::NoEnt),
            Some(Body::Folder(_)) => {
                way.push((id.unwrap(), name.clone()));
                self.go(way, rest, follow, hops)
            }
            Some(Body::Link(target)) if follow || !rest.is_empty() => {
                if hops == 40 {
                    return Err(Errno::Loop);
                }
                if target.starts_with('/') {
                    way.truncate(1);
                }
                let mut on: Vec<String> = names(target).map(str::to_owned).collect();
                if target.ends_with('/') {
                    on.push(".".to_owned());
                }
                on.extend(rest);
                self.go(way, on, follow, hops + 1)
            }
            Some(_) if rest.is_empty() => found(way),
            Some(_) => Err(Errno::NotDir),
        }
    }

    /// A model of what is seen, whose files hold what `content` says.
    pub fn of_seen(seen: &BTreeMap<String, Seen>, content: impl Fn(ContentHash) -> String) -> Self {
        let (mut model, mut ids) = (Self(BTreeMap::new()), BTreeMap::new());
        for (path, entry) in seen {
            // The first of its names comes first, and each folder before what is in it.
            let id = *ids.entry(&entry.same_as).or_insert(if path == "/" { ROOT } else { model.0.len() });
            let body = match entry.kind {
                Kind::Folder => Body::Folder(BTreeMap::new()),
                Kind::File => Body::File(content(entry.hash.unwrap())),
                Kind::Symlink => Body::Link(entry.target.clone().unwrap()),
            };
            let Seen { mode, mtime, xattrs, .. } = entry.clone();
            model.0.entry(id).or_insert(Node { body, mode, mtime, xattrs });
            if let Some((above, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) {
                let above = ids[&seen[if above.is_empty() { "/" } else { above }].same_as];
                let Body::Folder(entries) = &mut model.node(above).body else { panic!("{path} is in no folder") };
                entries.insert(name.to_owned(), id);
            }
        }
        model
    }

    /// Everything that can be reached, by its path.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        let paths = self.reached();
        paths.iter().map(|(path, id)| (path.clone(), self.entry(*id, &paths))).collect()
    }

    /// The paths of all folders, the root first, and those of all else.
    pub fn folders_and_files(&self) -> [Vec<String>; 2] {
        let is_folder = |(_, id): &(String, Id)| matches!(self.0[id].body, Body::Folder(_));
        let (folders, files): (Vec<_>, Vec<_>) = self.reached().into_iter().partition(is_folder);
        [folders, files].map(|found| found.into_iter().map(|(path, _)| path).collect())
    }

    fn reached(&self) -> Vec<(String, Id)> {
        let mut paths: Vec<(String, Id)> = vec![("/".to_owned(), ROOT)];
        let mut next = 0;
        while let Some((path, id)) = paths.get(next).cloned() {
            next += 1;
            if let Body::Folder(entries) = &self.0[&id].body {
                let below = |name: &String| format!("{}/{name}", path.trim_end_matches('/'));
                paths.extend(entries.iter().map(|(name, id)| (below(name), *id)));
            }
        }
        paths
    }

    fn entry(&self, id: Id, paths: &[(String, Id)]) -> Seen {
        let Node { body, mode, mtime, xattrs } = &self.0[&id];
        let same: BTreeSet<&String> = paths.iter().filter(|(_, other)| *other == id).map(|(path, _)| path).collect();
        let (kind, text) = match body {
            Body::Folder(_) => (Kind::Folder, None),
            Body::File(text) => (Kind::File, Some(text)),
            Body::Link(target) => (Kind::Symlink, Some(target)),
        };
        Seen {
            kind,
            mode: *mode,
            mtime: *mtime,
            size: text.map_or(0, |text| text.len() as u64),
            hash: text.filter(|_| kind == Kind::File).map(|text| ContentHash::of(text.as_bytes())),
            target: text.filter(|_| kind == Kind::Symlink).cloned(),
            nlink: same.len() as u32,
            xattrs: xattrs.clone(),
            same_as: (*same.first().unwrap()).clone(),
        }
    }
}

pub fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}
