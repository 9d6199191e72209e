//! Sessions, alone and shared, as steps of the worlds of [`crate::tree_model`]: begun in one step and ended in a later one, whatever has
//! become of the file since.

use alknet_fs::{Address, Create, FsError, Kept, OpenWrite, Right, SharedFile, Start, When, WriteSession, Xattrs};

use crate::{
    model::{Began, Model, Set},
    node::{errno, proj},
    tree_model::World,
};

/// A file that somebody writes.
pub struct Open {
    pub line: usize,
    branch: String,
    began: Began,
    /// What it will hold.
    content: String,
    set: Set,
    session: Session,
    /// Whether nobody knows any more which file of the model it is.
    pub is_lost: bool,
}

enum Session {
    Alone(Box<WriteSession>),
    Shared(SharedFile),
}

impl World {
    fn place(&self, branch: &str, path: &str) -> Address {
        let path = self.spelled(path, self.salt());
        Address { node: None, bucket: proj(), branch: Some(branch.parse().unwrap()), when: When::Now, path }
    }

    /// Begins to write a file.
    pub async fn open(&mut self) {
        let ((branch, line), path) = (self.line(), self.path());
        let Some(state) = self.state(line, self.head) else { return };
        let (at, permit) = (self.place(&branch, &path), self.node.permit(Right::Write, Some(&branch)));
        let files = self.node.files.clone().unwrap();
        let content = self.content("y");
        if self.chance.below(3) == 0 {
            let how = OpenWrite { start: Start::Existing, create: Create::Never, ..OpenWrite::default() };
            let wanted = state.begin(&path, (true, false, false));
            let is_open = |began: &Began| {
                let file = |began: &Began| began.file.as_ref().map(|(id, _)| *id);
                let shared = self.sessions.iter().filter(|open| matches!(open.session, Session::Shared(_)));
                let mut shared = shared.filter(|open| open.line == line);
                shared.any(|open| open.is_lost || file(&open.began) == file(began))
            };
            if wanted.as_ref().is_ok_and(is_open) {
                return;
            }
            match (files.open_shared(&permit, &at, Some(how)).await, wanted) {
                (Ok(file), Ok(began)) => {
                    let (_, before) = began.file.clone().unwrap();
                    assert_eq!(file.read_at(0, usize::MAX).await.unwrap(), before, "{at}");
                    let content = format!("{content}y");
                    file.set_size(0).await.unwrap();
                    file.append(content.clone().into()).await.unwrap();
                    assert_eq!(file.read_at(0, usize::MAX).await.unwrap(), content, "{at}");
                    self.contents.insert(alknet_fs::ContentHash::of(content.as_bytes()), content.clone());
                    let session = Session::Shared(file);
                    self.sessions.push(Open {
                        line,
                        branch,
                        began,
                        content,
                        set: Set::default(),
                        session,
                        is_lost: false,
                    });
                }
                (Err(error), Err(wanted)) => assert_eq!(errno::<()>(Err(error)), wanted, "{at}"),
                (outcome, wanted) => panic!("{:?}, but POSIX says {wanted:?} to {at}", outcome.map(drop)),
            }
            return;
        }
        let start = *self.chance.of(&[Start::Empty, Start::Existing]);
        let create = *self.chance.of(&[Create::IfAbsent, Create::IfAbsent, Create::Never, Create::Exclusive]);
        let set = self.set(3);
        let xattrs = set.xattrs.clone().map(|xattrs| Xattrs::new(xattrs).unwrap());
        let how = OpenWrite { start, create, mode: set.mode, mtime_ns: set.mtime, xattrs, ..OpenWrite::default() };
        let follows = start == Start::Existing;
        let wanted = state.begin(&path, (follows, create != Create::Never, create == Create::Exclusive));
        match (files.create(&permit, &at, how).await, wanted) {
            (Ok(session), Ok(began)) => {
                let before = began.file.as_ref().filter(|_| follows).map_or("", |(_, before)| before).to_owned();
                // All of it anew, or more at the end; what is as it was is not written.
                let is_as_it_was = began.follows && content == before;
                let content = if is_as_it_was || self.chance.below(2) == 0 { format!("{before}z") } else { content };
                if content.starts_with(&before) && content.len() > before.len() {
                    session.append(content[before.len()..].to_owned().into()).await.unwrap();
                } else {
                    session.set_size(0).await.unwrap();
                    session.write_at(0, content.clone().into()).await.unwrap();
                }
                assert_eq!(session.read_at(0, usize::MAX).await.unwrap(), content, "{at}");
                self.contents.insert(alknet_fs::ContentHash::of(content.as_bytes()), content.clone());
                let session = Session::Alone(Box::new(session));
                self.sessions.push(Open { line, branch, began, content, set, session, is_lost: false });
            }
            (Err(error), Err(wanted)) => assert_eq!(errno::<()>(Err(error)), wanted, "{at}"),
            (outcome, wanted) => panic!("{:?}, but POSIX says {wanted:?} to {at}", outcome.map(drop)),
        }
    }

    /// Ends one of those that write.
    pub async fn close(&mut self) {
        if !self.sessions.is_empty() {
            let index = self.chance.below(self.sessions.len() as u64);
            let open = self.sessions.swap_remove(usize::try_from(index).unwrap());
            self.end(open).await;
        }
    }

    async fn end(&mut self, open: Open) {
        let Open { line, branch, began, content, set, session, is_lost } = open;
        let now = self.node.tick();
        let told = format!("{began:?} on {branch}");
        let mut model = Model::clone(&self.state(line, self.head).unwrap());
        let wanted = if is_lost { Ok(false) } else { model.end(&began, &content, &set, (self.fails, now)) };
        let outcome = match session {
            Session::Alone(session) => session.commit().await.map(Some),
            Session::Shared(file) => file.close().await,
        };
        if is_lost {
            if let Ok(Some(closed)) = &outcome {
                self.keep(line, closed.seq.get().max(self.head), None).await;
            }
            return;
        }
        match (outcome, wanted) {
            (Ok(Some(closed)), Ok(true)) => {
                assert!(matches!(closed.kept, Kept::Version(_)), "{told} {:?}", closed.kept);
                assert_eq!((closed.seq.get(), closed.size), (self.head + 1, content.len() as u64), "{told}");
                self.keep(line, closed.seq.get(), Some(model)).await;
            }
            (Ok(closed), Ok(false)) => {
                assert!(closed.is_none_or(|closed| closed.kept == Kept::Unlinked), "{told}");
            }
            (Err(FsError::Conflict { .. }), Err(None)) => {}
            (Err(error), Err(Some(wanted))) => assert_eq!(errno::<()>(Err(error)), wanted, "{told}"),
            (outcome, wanted) => panic!("{outcome:?}, but POSIX says {wanted:?} to {told}"),
        }
    }

    /// Nothing comes of what was written on a branch that is gone.
    pub async fn close_on_removed(&mut self, line: usize) {
        let (lost, left): (Vec<Open>, Vec<Open>) =
            std::mem::take(&mut self.sessions).into_iter().partition(|open| open.line == line);
        self.sessions = left;
        for Open { session, .. } in lost {
            match session {
                Session::Alone(session) => assert!(session.commit().await.is_err()),
                Session::Shared(file) => drop(file.close().await),
            }
        }
    }

    pub async fn end_all(&mut self) {
        self.sessions.retain(|open| matches!(open.session, Session::Shared(_)));
        while !self.sessions.is_empty() {
            self.close().await;
        }
    }

    /// Who has a file open as a mount does closes it first; of the others nothing is left.
    pub async fn restart(&mut self) {
        self.end_all().await;
        self.node.restart_with_files().await;
    }
}
