//! A tree in memory as POSIX describes one: names in folders, files known by numbers. Nothing in it is made like the tree that it judges.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use alknet_fs::{ContentHash, Errno, RemoveHow, RenameHow, rows::Kind};

type Id = usize;
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
}

#[derive(Debug, Clone)]
pub struct Model(BTreeMap<Id, Node>);

/// What can be asked of a tree.
#[derive(Debug, Clone)]
pub enum Op {
    Folder { at: String, mode: u16, parents: bool },
    Put { at: String, content: String, mode: Option<u16>, mtime: Option<i64>, exclusive: bool },
    Symlink { at: String, target: String },
    HardLink { from: String, to: String },
    Rename { from: String, to: String, how: RenameHow },
    Remove { at: String, how: RemoveHow },
    Set { at: String, mode: Option<u16>, mtime: Option<i64>, follow: bool },
    Copy { source: Rc<Model>, branch: usize, from: String, to: String },
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

impl Model {
    pub fn new(mtime: i64) -> Self {
        Self(BTreeMap::from([(ROOT, Node { body: Body::Folder(BTreeMap::new()), mode: 0o755, mtime })]))
    }

    /// Does it, or says why not. Answers whether there is anything to keep.
    pub fn apply(&mut self, op: &Op, now: i64) -> Result<bool, Errno> {
        match op {
            Op::Folder { at, mode, parents: false } => self.folder(at, *mode, now).map(|()| true),
            Op::Folder { at, mode, parents: true } => self.folders(at, *mode, now),
            Op::Put { at, content, mode, mtime, exclusive } => {
                let spot = self.find(at, !exclusive)?;
                let mtime = mtime.unwrap_or(now);
                match spot.id {
                    Some(_) if *exclusive => return Err(Errno::Exist),
                    Some(id) => {
                        let node = self.node(id);
                        let Body::File(text) = &mut node.body else { return Err(Errno::IsDir) };
                        text.clone_from(content);
                        (node.mode, node.mtime) = (mode.unwrap_or(node.mode), mtime);
                    }
                    None => self.make(&spot, Body::File(content.clone()), (mode.unwrap_or(0o644), mtime), now)?,
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
            Op::Set { at, mode, mtime, follow } => {
                let id = self.find(at, *follow)?.id.ok_or(Errno::NoEnt)?;
                let node = self.node(id);
                if matches!(node.body, Body::Link(_)) && mode.is_some() {
                    return Err(Errno::Inval);
                }
                (node.mode, node.mtime) = (mode.unwrap_or(node.mode), mtime.unwrap_or(node.mtime));
                Ok(mode.is_some() || mtime.is_some())
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
                        old.clone_from(text);
                        node.mtime = *mtime;
                    }
                }
                Ok(true)
            }
        }
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
            match self.find(&part, true)?.id {
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
        self.0.insert(id, Node { body, mode, mtime });
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

    /// Everything that can be reached, by its path.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        let mut paths: Vec<(String, Id)> = vec![("/".to_owned(), ROOT)];
        let mut next = 0;
        while let Some((path, id)) = paths.get(next).cloned() {
            next += 1;
            if let Body::Folder(entries) = &self.0[&id].body {
                let below = |name: &String| format!("{}/{name}", path.trim_end_matches('/'));
                paths.extend(entries.iter().map(|(name, id)| (below(name), *id)));
            }
        }
        paths.iter().map(|(path, id)| (path.clone(), self.entry(*id, &paths))).collect()
    }

    fn entry(&self, id: Id, paths: &[(String, Id)]) -> Seen {
        let Node { body, mode, mtime } = &self.0[&id];
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
            same_as: (*same.first().unwrap()).clone(),
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}
