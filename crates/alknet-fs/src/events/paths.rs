//! From inodes to paths, with what was found remembered.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::{chain::Chain, ids::Ino, limits::MAX_PATH_NAMES};

/// The folders of one version of a branch, by path.
pub(super) struct Paths<'a> {
    sql: &'a Connection,
    chain: &'a Chain,
    known: HashMap<Ino, Option<Vec<u8>>>,
}

impl<'a> Paths<'a> {
    pub fn new(sql: &'a Connection, chain: &'a Chain) -> Self {
        Self { sql, chain, known: HashMap::from([(Ino::ROOT, Some(Vec::new()))]) }
    }

    /// The path of a name in a folder, if the folder is seen.
    pub fn of(&mut self, dir: Ino, name: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
        let Some(folder) = self.folder(dir)? else { return Ok(None) };
        let name = self.chain.written(self.sql, dir, name)?;
        Ok(Some([&folder, b"/".as_slice(), &name].concat()))
    }

    /// The path of a folder, without a `/` at its end.
    fn folder(&mut self, dir: Ino) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut way: Vec<(Ino, Box<[u8]>)> = Vec::new();
        let mut at = dir;
        let mut path = loop {
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            let place = self.chain.places(self.sql, at)?.pop();
            match place {
                Some((above, name)) if way.len() < MAX_PATH_NAMES => {
                    way.push((at, self.chain.written(self.sql, above, &name)?.into()));
                    at = above;
                }
                _ => break None,
            }
        };
        for (ino, name) in way.into_iter().rev() {
            path = path.map(|path| [&path, b"/".as_slice(), &name].concat());
            self.known.insert(ino, path.clone());
        }
        Ok(path)
    }
}
