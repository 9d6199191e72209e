//! A folder with all that is below it, page by page, each folder before what is in it.

use std::collections::VecDeque;

use crate::{
    error::{Errno, FsError},
    path::{EntryName, FsPath},
    rows::Kind,
    tree::{Here, Listed},
};

/// Entries that a step takes from one folder.
const STEP: usize = 128;

/// An entry below a folder.
pub(super) struct Walked {
    /// The names that lead to it from there.
    pub below: Vec<EntryName>,
    /// The entry.
    pub entry: Listed,
}

/// A folder that is being listed.
struct Open {
    path: FsPath,
    after: Option<EntryName>,
    listed: VecDeque<Listed>,
    done: bool,
}

impl Open {
    fn new(path: FsPath, after: Option<EntryName>) -> Self {
        Self { path, after, listed: VecDeque::new(), done: false }
    }
}

/// At most `count` entries below a folder, after the one that these names lead to; whether there is more is for the next call.
pub(super) fn walk(
    here: &Here<'_>,
    root: &FsPath,
    after: &[EntryName],
    count: usize,
    attributes: bool,
) -> Result<Vec<Walked>, FsError> {
    let (mut open, mut found) = (resumed(here, root, after)?, Vec::new());
    while found.len() < count
        && let Some(at) = open.last_mut()
    {
        let Some(entry) = at.listed.pop_front() else {
            if at.done || !fill(here, at, count - found.len(), attributes, found.is_empty() && !after.is_empty())? {
                open.pop();
            }
            continue;
        };
        at.after = Some(entry.name.clone());
        let path = joined(&at.path, &entry.name)?;
        let below = path.names()[root.names().len()..].to_vec();
        if entry.kind == Kind::Folder {
            open.push(Open::new(path, None));
        }
        found.push(Walked { below, entry });
    }
    Ok(found)
}

/// The folders on the way to an entry, each after the name that leads on, and the entry itself if it is a folder; links are none.
fn resumed(here: &Here<'_>, root: &FsPath, after: &[EntryName]) -> Result<Vec<Open>, FsError> {
    let (mut open, mut at) = (Vec::new(), root.clone());
    for name in after {
        open.push(Open::new(at.clone(), Some(name.clone())));
        at = joined(&at, name)?;
        match here.stat(&at, false) {
            Ok(found) if found.kind == Kind::Folder => {}
            // What is no folder, or not there any more, has nothing below it.
            Ok(_) | Err(FsError::At { errno: Errno::NoEnt | Errno::NotDir, .. }) => return Ok(open),
            Err(error) => return Err(error),
        }
    }
    open.push(Open::new(at, None));
    Ok(open)
}

/// Lists more of a folder. Answers whether there was a folder: one that a page began in may be gone since.
fn fill(here: &Here<'_>, at: &mut Open, count: usize, attributes: bool, lenient: bool) -> Result<bool, FsError> {
    let page = match here.list(&at.path, at.after.as_ref(), count.min(STEP), attributes) {
        Ok(page) => page,
        Err(FsError::At { errno: Errno::NoEnt | Errno::NotDir, .. }) if lenient => return Ok(false),
        Err(error) => return Err(error),
    };
    at.done = page.next.is_none();
    at.listed = page.entries.into();
    Ok(true)
}

fn joined(path: &FsPath, name: &EntryName) -> Result<FsPath, FsError> {
    path.join(name.clone()).map_err(|_| FsError::At {
        errno: Errno::NameTooLong,
        what: "cannot list below",
        path: path.to_string(),
    })
}
