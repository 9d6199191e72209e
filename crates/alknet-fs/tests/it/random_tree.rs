//! Trees that change at random, and all that a branch shows as one map.

use std::collections::BTreeMap;

use alknet_fs::{
    BranchId, Chain, FsPath, Ino,
    rows::{
        Kind, blob,
        branch::Mode,
        dent::Dent,
        inode::{self, Changed, Inode},
    },
};
use proptest::{collection::vec, prelude::*};

use crate::{
    fixture::{inline, on},
    tree_writer::Tree,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What is at a path, without numbers of this database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub kind: Kind2,
    pub bytes: Vec<u8>,
    pub mode: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind2 {
    File,
    Folder,
}

pub type Map = BTreeMap<FsPath, Entry>;

/// One random thing to do: on which branch, what, and with which entries, each counted modulo what there is.
pub type Step = (usize, u8, usize, usize, usize, usize);

pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec((0..4usize, 0..12u8, 0..8usize, 0..NAMES.len(), 0..8usize, 0..NAMES.len()), 1..most)
}

/// Every folder with its path, the root first.
pub fn folders(tree: &Tree, chain: &Chain) -> Vec<(Ino, FsPath)> {
    let mut all = vec![(Ino::ROOT, FsPath::ROOT)];
    let mut at = 0;
    while at < all.len() {
        let (dir, path) = all[at].clone();
        for dent in chain.page(&tree.sql, dir, b"", 1000).unwrap() {
            if dent.kind == Kind::Folder {
                all.push((dent.ino, path.join(name(&dent)).unwrap()));
            }
        }
        at += 1;
        assert!(all.len() < 10_000, "folders without end");
    }
    all
}

fn name(dent: &Dent) -> alknet_fs::EntryName {
    alknet_fs::EntryName::parse(&dent.name).unwrap()
}

/// All that a branch shows, and the numbers of it.
pub fn numbered(tree: &Tree, chain: &Chain) -> BTreeMap<FsPath, (Ino, Entry)> {
    let mut map = BTreeMap::new();
    for (dir, path) in folders(tree, chain) {
        for dent in chain.page(&tree.sql, dir, b"", 1000).unwrap() {
            let inode = chain.inode(&tree.sql, dent.ino).unwrap().expect("because what has a name is something");
            assert_eq!(inode.kind, dent.kind);
            map.insert(path.join(name(&dent)).unwrap(), (dent.ino, entry(tree, &inode)));
        }
    }
    map
}

pub fn map(tree: &Tree, chain: &Chain) -> Map {
    numbered(tree, chain).into_iter().map(|(path, (_, entry))| (path, entry)).collect()
}

pub fn entry(tree: &Tree, inode: &Inode) -> Entry {
    let bytes = inode.blob.map(|blob| blob::bytes(&tree.sql, blob).unwrap().unwrap());
    let kind = if inode.kind == Kind::Folder { Kind2::Folder } else { Kind2::File };
    Entry { kind, bytes: bytes.unwrap_or_default(), mode: inode.mode }
}

impl Tree {
    /// A new version of an inode.
    pub fn edit(&self, branch: BranchId, ino: Ino, bytes: Option<&[u8]>, mode: Option<u16>) {
        let before = self.chain(branch).inode(&self.sql, ino).unwrap().unwrap();
        let seq = self.begin(branch);
        let mut after = Inode { seq, ..before };
        after.changed = Changed { content: bytes.is_some(), attributes: mode.is_some() };
        if let Some(bytes) = bytes {
            after.blob = (!bytes.is_empty()).then(|| inline(&self.sql, bytes));
            after.size = bytes.len() as u64;
        }
        after.mode = mode.unwrap_or(after.mode);
        inode::write(&self.sql, on(self.bucket, branch), &after).unwrap();
    }
    pub fn put(&self, branch: BranchId, dir: Ino, name: &str, bytes: &[u8]) -> Ino {
        let ino = self.make(branch, dir, name, Kind::File);
        self.edit(branch, ino, Some(bytes), None);
        ino
    }
    /// Takes a name away, and all that is below it.
    pub fn remove_all(&self, branch: BranchId, dir: Ino, name: &str) {
        let found = self.find(branch, dir, name).unwrap();
        if found.kind == Kind::Folder {
            for below in self.names(branch, found.ino) {
                self.remove_all(branch, found.ino, &below);
            }
        }
        self.remove(branch, dir, name);
    }
    /// Does something that a user could, if it can be done.
    pub fn random(&self, branch: BranchId, (_, what, dir, name, to, new): Step) {
        let chain = self.chain(branch);
        let folders = folders(self, &chain);
        let (dir, from_path) = folders[dir % folders.len()].clone();
        let (to, to_path) = folders[to % folders.len()].clone();
        let (name, new) = (NAMES[name], NAMES[new]);
        let found = self.find(branch, dir, name);
        match (what, found) {
            (0 | 1, None) => {
                self.put(branch, dir, name, new.as_bytes());
            }
            (2 | 3, None) => {
                self.make(branch, dir, name, Kind::Folder);
            }
            (4 | 5, Some(found)) if found.kind == Kind::File => {
                self.edit(branch, found.ino, Some(format!("{new}{to:?}").as_bytes()), None);
            }
            (6, Some(found)) => {
                self.edit(branch, found.ino, None, Some([0o600, 0o640, 0o700, 0o755][to.get() as usize % 4]))
            }
            (7, Some(_)) => self.remove_all(branch, dir, name),
            (8, Some(found)) if found.kind == Kind::File && self.find(branch, to, new).is_none() => {
                self.link(branch, &found, to, new);
            }
            (_, Some(found)) => {
                let source = from_path.join(alknet_fs::EntryName::parse(name.as_bytes()).unwrap()).unwrap();
                let into_itself = to_path.names().starts_with(source.names());
                let target = self.find(branch, to, new);
                let free = match &target {
                    None => true,
                    Some(target) => target.kind == Kind::File && found.kind == Kind::File && target.ino != found.ino,
                };
                if free && !(found.kind == Kind::Folder && into_itself) {
                    self.rename(branch, (dir, name), (to, new));
                }
            }
            _ => {}
        }
    }
    pub fn random_fork(&self, name: &str, parent: BranchId, follows: bool) -> BranchId {
        self.fork(name, parent, self.head(), if follows { Mode::Follow } else { Mode::Pinned })
    }
}
