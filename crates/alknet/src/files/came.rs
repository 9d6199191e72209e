//! What of an archive came already: an entry that cannot lie beside what came before it is left out, so that the rest comes.

use std::collections::HashMap;

use alknet_fs::FsPath;

use super::entry::{Entry, What};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Link,
}

/// The paths that came, as the beginnings of their hashes.
#[derive(Default)]
pub struct Came(HashMap<[u8; 16], Kind>);

impl Came {
    /// Notes an entry, or says why it has no place.
    pub fn note(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let kind = self.kind(entry)?;
        let path = entry.path.to_bytes();
        let above: Vec<_> = (1..path.len()).filter(|at| path[*at] == b'/').map(|at| key(&path[..at])).collect();
        if above.iter().any(|key| self.0.get(key).is_some_and(|kind| *kind != Kind::Folder)) {
            return Err("it lies below what came before and is no folder");
        }
        match (self.0.get(&key(&path)), kind) {
            (Some(Kind::Folder), Kind::File | Kind::Link) => return Err("a folder of its name came before"),
            (Some(Kind::File | Kind::Link), Kind::Folder) => return Err("a file or link of its name came before"),
            _ => {}
        }
        self.0.extend(above.into_iter().map(|key| (key, Kind::Folder)));
        self.0.insert(key(&path), kind);
        Ok(())
    }

    fn kind(&self, entry: &Entry) -> Result<Kind, &'static str> {
        match &entry.what {
            What::Folder => Ok(Kind::Folder),
            _ if entry.path == FsPath::ROOT => Err("it has no name"),
            What::File { .. } => Ok(Kind::File),
            What::Symlink { .. } => Ok(Kind::Link),
            What::HardLink { to, .. } if *to == entry.path => Err("it is another name of itself"),
            What::HardLink { to, .. } => match self.0.get(&key(&to.to_bytes())) {
                Some(kind @ (Kind::File | Kind::Link)) => Ok(*kind),
                _ => Err("it is another name of what did not come"),
            },
        }
    }
}

fn key(path: &[u8]) -> [u8; 16] {
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
        let mut came = Came::default();
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
            assert_eq!(came.note(&entry(path, what.clone())).is_ok(), good, "{path} {what:?}");
        }
    }
}
