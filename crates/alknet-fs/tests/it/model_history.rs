//! Merges, restores and forgetting, as steps of the worlds of [`crate::tree_model`].

use std::collections::{BTreeMap, BTreeSet};

use alknet_fs::{
    Errno, FsError, Right,
    history::{
        History, How, Merged,
        merge::Strategy::{Both, Conflict, Ours, Theirs},
    },
    rows::{Kind, branch::Mode},
};

use crate::{
    model::Seen,
    node::proj,
    tree_model::{TASK, World, is_same},
};

type Map = BTreeMap<String, Seen>;

impl World {
    fn history(&self) -> History {
        History::new(self.node.tree.clone())
    }
    async fn merge_with(&self, into: &str, from: &str, how: How) -> Merged {
        let permit = self.node.permit(Right::Write, Some(into));
        let views = [into, from].map(|name| format!("proj:{name}"));
        let (into, from) = (self.node.view(&views[0]).await.unwrap(), self.node.view(&views[1]).await.unwrap());
        self.history().merge(&permit, &into, &from, how).await.unwrap()
    }

    /// Takes a branch into another one.
    pub async fn merge(&mut self) {
        let ((into, into_line), (from, from_line)) = (self.line(), self.line());
        if into == from {
            return;
        }
        self.node.tick();
        let how = How { strategy: *self.chance.of(&[Conflict, Ours, Theirs, Both]), ..How::default() };
        let told = format!("{from} into {into} with {:?}", how.strategy);
        // Nothing was done since theirs was made from ours: ours becomes theirs.
        let is_onward = match self.lines[from_line].fork {
            Some((parent, at, Mode::Pinned)) if parent == into_line => {
                let (then, now) = (self.state(parent, at), self.state(parent, self.head));
                then.zip(now).is_some_and(|(then, now)| std::rc::Rc::ptr_eq(&then, &now))
            }
            _ => false,
        };
        let dry = self.merge_with(&into, &from, How { dry_run: true, ..how }).await;
        let merged = self.merge_with(&into, &from, how).await;
        assert_eq!(
            (dry.committed, dry.entries, dry.conflicts.len()),
            (None, merged.entries, merged.conflicts.len()),
            "{told}"
        );
        let Some(committed) = &merged.committed else { return };
        assert_eq!(committed.seq.get(), self.head + 1, "{told}");
        self.keep(into_line, committed.seq.get(), None).await;
        let again = self.merge_with(&into, &from, how).await;
        assert_eq!((again.committed, again.conflicts.len()), (None, 0), "{told}, twice");
        if is_onward {
            assert_eq!(merged.conflicts.len(), 0, "{told}");
            let theirs = self.state(from_line, self.head).map(|model| model.seen());
            let ours = self.state(into_line, self.head).map(|model| model.seen());
            if let Some((ours, theirs)) = ours.zip(theirs) {
                is_same(&untimed(ours), &untimed(theirs), &told);
            }
        }
        if self.chance.below(2) == 0 {
            self.merge_back((&into, into_line), (&from, from_line), merged.conflicts.is_empty(), &told).await;
        }
    }

    async fn merge_back(&mut self, into: (&str, usize), from: (&str, usize), is_agreed: bool, told: &str) {
        self.node.tick();
        let back = self.merge_with(from.0, into.0, How::default()).await;
        if let Some(committed) = &back.committed {
            self.keep(from.1, committed.seq.get(), None).await;
        }
        if is_agreed {
            assert_eq!(back.conflicts.len(), 0, "{told}, and back");
            let shown = |name: &str| format!("proj:{name}");
            let (ours, theirs) = (self.seen(&shown(into.0)).await.unwrap(), self.seen(&shown(from.0)).await.unwrap());
            is_same(&untimed(ours), &untimed(theirs), &format!("{told}, and back,"));
        }
    }

    /// Makes what is at a path what it was.
    pub async fn restore(&mut self) {
        let ((name, line), at) = (self.line(), self.version());
        let path = if self.chance.below(3) == 0 { "/".to_owned() } else { self.path() };
        let (Some(old), Some(now)) = (self.state(line, at), self.state(line, self.head)) else { return };
        let (old, now, told) = (old.seen(), now.seen(), format!("{path} of {name} as at {at}"));
        let view = self.node.view(&format!("proj:{name}@{at}")).await.unwrap();
        self.node.tick();
        let (permit, branch) = (self.node.permit(Right::Write, Some(&name)), name.parse().unwrap());
        let spelled = self.spelled(&path, self.salt());
        let outcome = self.history().restore(&permit, (&proj(), &branch), &spelled, &view).await;
        let is_in_the_way = |(above, entry): (&String, &Seen)| is_above(above, &path) && entry.kind != Kind::Folder;
        let restored = match outcome {
            Ok(committed) => committed.seq.get(),
            Err(FsError::At { errno: Errno::NoEnt, .. }) if !old.contains_key(&path) => return,
            Err(FsError::At { errno: Errno::NotDir, .. }) if now.iter().any(is_in_the_way) => return,
            Err(error) => panic!("{told}: {error}"),
        };
        assert!(old.contains_key(&path), "{told}: nothing was there");
        let is = self.seen(&format!("proj:{name}")).await.unwrap();
        let is_below = |at: &str| at == path || is_above(&path, at);
        let linked: BTreeSet<&str> = [&now, &old, &is].into_iter().flat_map(|map| linked(map, &is_below)).collect();
        let below = |map: &Map| part(map, |at| is_below(at) && !linked.contains(at));
        is_same(&untimed(below(&is)), &untimed(below(&old)), &told);
        let beside = |map: &Map| part(map, |at| !is_below(at) && !linked.contains(at) && !is_above(at, &path));
        is_same(&beside(&is), &beside(&now), &told);
        for (at, entry) in is.iter().filter(|(at, _)| linked.contains(at.as_str()) && is_below(at)) {
            let was = old.get(at).map(|was| (was.kind, was.size, was.hash, was.mode, &was.xattrs));
            assert_eq!(Some((entry.kind, entry.size, entry.hash, entry.mode, &entry.xattrs)), was, "{told}: {at}");
        }
        self.keep(line, restored, None).await;
    }

    pub async fn forget(&mut self) {
        self.history().forget(&TASK, &proj()).await.unwrap();
    }
}

fn is_above(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// What has a name below a path and one elsewhere.
fn linked<'a>(map: &'a Map, is_below: &impl Fn(&str) -> bool) -> Vec<&'a str> {
    let groups = |wanted: bool| -> BTreeSet<&str> {
        map.iter().filter(|(at, _)| is_below(at) == wanted).map(|(_, entry)| entry.same_as.as_str()).collect()
    };
    let both: BTreeSet<_> = groups(true).intersection(&groups(false)).copied().collect();
    map.iter().filter(|(_, entry)| both.contains(entry.same_as.as_str())).map(|(at, _)| at.as_str()).collect()
}

fn part(map: &Map, is_wanted: impl Fn(&str) -> bool) -> Map {
    map.iter().filter(|(at, _)| is_wanted(at)).map(|(at, entry)| (at.clone(), entry.clone())).collect()
}

/// Without the times of folders, which tell when this branch last gained or lost a name there.
fn untimed(mut map: Map) -> Map {
    for entry in map.values_mut().filter(|entry| entry.kind == Kind::Folder) {
        entry.mtime = 0;
    }
    map
}
