//! Everything below a folder, one entry after the other.

use std::collections::VecDeque;

use futures_util::{Stream, stream};

use super::{
    list::{self, Listed, Page},
    stat::Attributes,
    view::View,
};
use crate::{
    error::{Errno, FsError},
    ids::Ino,
    limits::{PAGE_ROWS_AT_ONCE, WALK_PAGES_KEPT},
    path::{EntryName, FsPath},
    rows::Kind,
};

/// An entry that a walk came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Its path, from the root of the branch on.
    pub path: FsPath,
    /// What it is, without what lists do not tell.
    pub attributes: Attributes,
}

/// A folder on the way down.
struct Level {
    path: FsPath,
    dir: Ino,
    after: Option<EntryName>,
    ahead: VecDeque<Listed>,
    is_read: bool,
}

impl View {
    /// What is below a folder: each folder before what is in it, names by their bytes. Links are not followed, but at the end of the
    /// path. Memory is bounded whatever the tree; an error is the last item.
    pub fn walk(&self, path: &FsPath) -> impl Stream<Item = Result<Walked, FsError>> + Send + use<> {
        let begin = Walk { view: self.clone(), path: Some(path.clone()), levels: Vec::new() };
        stream::try_unfold(begin, |mut walk| async move { Ok(walk.next().await?.map(|walked| (walked, walk))) })
    }
}

struct Walk {
    view: View,
    /// Where it begins; taken when it has.
    path: Option<FsPath>,
    levels: Vec<Level>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Walked>, FsError> {
        if let Some(path) = self.path.take() {
            let at = path.clone();
            let folder = move |stop: super::stop::Stop| stop.at("cannot list", &at);
            let wanted = path.clone();
            let dir = self.view.look(move |here| here.folder(&wanted).map_err(folder)).await?;
            self.enter(path, dir);
        }
        while let Some(level) = self.levels.last_mut() {
            if let Some(listed) = level.ahead.pop_front() {
                level.after = Some(listed.name.clone());
                return self.step(listed).map(Some);
            }
            if level.is_read {
                self.levels.pop();
                continue;
            }
            let (dir, after, path) = (level.dir, level.after.clone(), level.path.clone());
            let page: Page = self
                .view
                .look(move |here| {
                    list::page(here, dir, after.as_ref(), PAGE_ROWS_AT_ONCE, true)
                        .map_err(|stop| stop.at("cannot list", &path))
                })
                .await?;
            level.is_read = page.next.is_none();
            level.ahead = page.entries.into();
        }
        Ok(None)
    }

    fn step(&mut self, listed: Listed) -> Result<Walked, FsError> {
        let above = self.levels.last().map(|level| level.path.clone()).unwrap_or_default();
        let too_deep = || FsError::At { errno: Errno::NameTooLong, what: "cannot list", path: above.to_string() };
        let path = above.join(listed.name).map_err(|_| too_deep())?;
        let gone = || FsError::At { errno: Errno::Io, what: "cannot look at", path: path.to_string() };
        let attributes = listed.attributes.ok_or_else(gone)?;
        if attributes.kind == Kind::Folder {
            self.enter(path.clone(), attributes.ino);
        }
        Ok(Walked { path, attributes })
    }

    fn enter(&mut self, path: FsPath, dir: Ino) {
        self.levels.push(Level { path, dir, after: None, ahead: VecDeque::new(), is_read: false });
        // Far above, what was read ahead is let go of, and read again on the way back.
        let far = self.levels.len().checked_sub(WALK_PAGES_KEPT + 1).and_then(|index| self.levels.get_mut(index));
        if let Some(level) = far
            && !level.ahead.is_empty()
        {
            (level.ahead, level.is_read) = (VecDeque::new(), false);
        }
    }
}
