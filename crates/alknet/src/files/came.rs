//! What of an archive came already: an entry that cannot lie beside what came before it is left out, so that the rest comes.

use std::collections::HashMap;

use alknet_fs::{FsPath, Names};

use super::entry::{Entry, What};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Link,
}

/// Paths as the beginnings of their hashes.
type Key = [u8; 16];

/// The paths that came, by what the bucket compares them by, each with what it was last and how it was written then.
pub struct Came {
    names: Names,
    paths: HashMap<Key, (Kind, Key)>,
}

impl Came {
    /// Nothing came yet, of what goes to a bucket that compares names so.
    pub fn new(names: Names) -> Self {
        Self { names, paths: HashMap::new() }
    }

    /// Notes an entry, or says why it has no place. Answers whether it takes the place of one that was written otherwise.
    pub fn note(&mut self, entry: &Entry) -> Result<bool, &'static str> {
        let kind = self.kind(entry)?;
        let path = self.names.path_key(&entry.path);
        let ends: Vec<_> = (0..path.len()).filter(|at| path[*at] == 0).map(|at| key(&path[..at])).collect();
        let (own, above) = ends.split_last().map_or_else(|| (key(b""), [].as_slice()), |(own, above)| (*own, above));
        if above.iter().any(|key| self.kind_of(key).is_some_and(|kind| kind != Kind::Folder)) {
            return Err("it lies below what came before and is no folder");
        }
        match (self.kind_of(&own), kind) {
            (Some(Kind::Folder), Kind::File | Kind::Link) => return Err("a folder of its name came before"),
            (Some(Kind::File | Kind::Link), Kind::Folder) => return Err("a file or link of its name came before"),
            _ => {}
        }
        for above in above {
            self.paths.entry(*above).or_insert((Kind::Folder, *above));
        }
        let written = key(&entry.path.to_bytes());
        let before = self.paths.insert(own, (kind, written));
        Ok(kind != Kind::Folder && before.is_some_and(|(_, before)| before != written))
    }

    fn kind_of(&self, key: &Key) -> Option<Kind> {
        self.paths.get(key).map(|(kind, _)| *kind)
    }

    fn kind(&self, entry: &Entry) -> Result<Kind, &'static str> {
        let compared = |path| self.names.path_key(path);
        match &entry.what {
            What::Folder => Ok(Kind::Folder),
            _ if entry.path == FsPath::ROOT => Err("it has no name"),
            What::File { .. } => Ok(Kind::File),
            What::Symlink { .. } => Ok(Kind::Link),
            What::HardLink { to, .. } if compared(to) == compared(&entry.path) => Err("it is another name of itself"),
            What::HardLink { to, .. } => match self.kind_of(&key(compared(to).strip_suffix(b"\0").unwrap_or_default()))
            {
                Some(kind @ (Kind::File | Kind::Link)) => Ok(kind),
                _ => Err("it is another name of what did not come"),
            },
        }
    }
}

fn key(path: &[u8]) -> Key {
    let hash = *blake3::hash(path).as_bytes();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::entry::Xattrs;

    fn entry(path: &str, what: What) -> Entry {
        let path = FsPath::parse(path.as_bytes()).unwrap();
        Entry { path, what, mode: 0o644, mtime_ns: 0, xattrs: Xattrs::new() }
    }
    fn link(to: &str) -> What {
        What::HardLink { to: FsPath::parse(to.as_bytes()).unwrap(), size: 0 }
    }

    #[test]
    fn what_cannot_lie_beside_what_came_is_left_out() {
        // ARCH-12, ARCH-13, ARCH-16
        let (file, soft) = (What::File { size: 1 }, What::Symlink { target: b"..".to_vec() });
        let mut came = Came::new(Names::Bytes);
        for (path, what, good) in [
            ("/", What::Folder, true),
            ("/", file.clone(), false),
            ("/a", soft.clone(), true),
            ("/a/b", file.clone(), false),
            ("/a/b/c", What::Folder, false),
            ("/a", What::Folder, false),
            ("/a", file.clone(), true),
            ("/a/b", file.clone(), false),
            ("/n", link("/a"), true),
            ("/n/x", file.clone(), false),
            ("/m", link("/none"), false),
            ("/m", link("/m"), false),
            ("/m", link("/d"), false),
            ("/d/e/f", file.clone(), true),
            ("/d/e", file, false),
            ("/d", soft, false),
            ("/d", What::Folder, true),
            ("/m", link("/d"), false),
            ("/m", link("/d/e/f"), true),
        ] {
            let noted = came.note(&entry(path, what.clone()));
            assert_eq!(noted.is_ok(), good, "{path} {what:?}");
            assert_ne!(noted, Ok(true), "{path}: whoever reads the archive says so");
        }
    }

    #[test]
    fn what_a_bucket_takes_for_one_comes_once_and_that_is_said() {
        // ARCH-17
        let file = What::File { size: 1 };
        let mut came = Came::new(Names::Fold);
        for (path, what, noted) in [
            ("/e/a", What::Folder, Ok(false)),
            ("/E", What::Folder, Ok(false)),
            ("/e/A", file.clone(), Err("a folder of its name came before")),
            ("/readme", file.clone(), Ok(false)),
            ("/README", file.clone(), Ok(true)),
            ("/README", file.clone(), Ok(false)),
            ("/E/a/Readme", file.clone(), Ok(false)),
            ("/e/A/readme", link("/Readme"), Ok(true)),
            ("/ReadMe/x", file.clone(), Err("it lies below what came before and is no folder")),
            ("/readmE", link("/README"), Err("it is another name of itself")),
            ("/Readme", What::Folder, Err("a file or link of its name came before")),
        ] {
            assert_eq!(came.note(&entry(path, what.clone())), noted, "{path} {what:?}");
        }
        let mut came = Came::new(Names::Bytes);
        for path in ["/readme", "/README"] {
            assert_eq!(came.note(&entry(path, file.clone())), Ok(false), "{path}");
        }
    }
}
