//! As much of a page as fits into an answer: names and targets are as long as people make them.

use super::{
    text::Octets,
    views::{ConflictView, DiffEntry, DiffSide, EntryView, LogEntry},
};
use crate::limits::MAX_LISTED_BYTES;

/// Bytes of an item besides its paths and targets, at most.
const ITEM_BYTES: usize = 512;
/// Bytes that one byte of a path can become in JSON, at most.
const ESCAPED_BYTES: usize = 6;

/// What can be one of many in an answer.
pub(super) trait Weighed {
    /// What may be long in it.
    fn texts(&self) -> impl Iterator<Item = &Octets>;
}

/// Keeps as many items as fit, and the first in any case. Answers whether some were left out: then the next page begins after the last
/// that stayed.
pub(super) fn fit<T: Weighed>(items: &mut Vec<T>) -> bool {
    let mut bytes = 0;
    let fitting = items.iter().take_while(|item| {
        bytes += ITEM_BYTES + item.texts().map(|text| ESCAPED_BYTES * text.0.len()).sum::<usize>();
        bytes <= MAX_LISTED_BYTES
    });
    let fitting = fitting.count().max(1);
    let is_cut = fitting < items.len();
    items.truncate(fitting);
    is_cut
}

impl Weighed for EntryView {
    fn texts(&self) -> impl Iterator<Item = &Octets> {
        std::iter::once(&self.name).chain(self.attributes.as_ref().and_then(|attributes| attributes.target.as_ref()))
    }
}

fn target(side: Option<&DiffSide>) -> Option<&Octets> {
    side.and_then(|side| side.target.as_ref())
}

impl Weighed for DiffEntry {
    fn texts(&self) -> impl Iterator<Item = &Octets> {
        [Some(&self.path), self.from.as_ref(), target(self.old.as_ref()), target(self.new.as_ref())]
            .into_iter()
            .flatten()
    }
}

impl Weighed for LogEntry {
    fn texts(&self) -> impl Iterator<Item = &Octets> {
        let version = self.version.iter();
        let texts =
            version.flat_map(|version| [version.path.as_ref(), version.from.as_ref(), target(version.state.as_ref())]);
        texts.flatten()
    }
}

impl Weighed for ConflictView {
    fn texts(&self) -> impl Iterator<Item = &Octets> {
        let sides = [&self.ours, &self.theirs].into_iter().flatten();
        let sides = sides.flat_map(|side| [Some(&side.path), target(Some(&side.side))]);
        std::iter::once(&self.path).chain(sides.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::views::EntryKind;

    #[test]
    fn an_answer_holds_what_fits_and_always_something() {
        // FS-35
        let entry = |bytes: usize| EntryView { name: Octets(vec![1; bytes]), kind: EntryKind::File, attributes: None };
        let mut few: Vec<_> = (0..1000).map(|_| entry(255)).collect();
        assert!(!fit(&mut few), "a thousand ordinary names fit");
        let mut long: Vec<_> = (0..1000).map(|_| entry(4096)).collect();
        assert!(fit(&mut long));
        assert!(long.len() > 50 && serde_json::to_vec(&long).unwrap().len() <= MAX_LISTED_BYTES);
        let mut longest = vec![entry(crate::limits::MAX_PATH_BYTES), entry(1)];
        assert!(fit(&mut longest) || longest.len() == 2);
        let mut beyond = vec![entry(MAX_LISTED_BYTES), entry(1)];
        assert!(fit(&mut beyond));
        assert_eq!(beyond.len(), 1);
    }
}
