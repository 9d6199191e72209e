//! Which ranges of a file: kept apart, in order, joined where they touch.

use std::{collections::BTreeMap, ops::Range};

/// Ranges of offsets. Adding and taking away cost the logarithm of their number, plus what is joined or cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents(BTreeMap<u64, u64>);

impl Extents {
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&first, &last)) = self.0.range(..=end).next_back() {
            if last < start {
                break;
            }
            self.0.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.0.insert(start, end);
    }

    /// Takes everything from here on away.
    pub fn cut(&mut self, at: u64) {
        self.0.split_off(&at);
        if let Some(last) = self.0.values_mut().next_back() {
            *last = (*last).min(at);
        }
    }

    /// Takes everything before here away.
    pub fn cut_before(&mut self, at: u64) {
        let end = self.end_of(at);
        self.0 = self.0.split_off(&at);
        end.map(|end| self.0.insert(at, end));
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }
    /// Where the range that holds this offset ends.
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        self.0.range(..=offset).next_back().map(|(_, &end)| end).filter(|end| *end > offset)
    }
    /// The first range that ends after this offset.
    pub fn from(&self, offset: u64) -> Option<Range<u64>> {
        let held = self.0.range(..=offset).next_back().filter(|(_, end)| **end > offset);
        held.or_else(|| self.0.range(offset..).next()).map(|(&start, &end)| start..end)
    }
    pub fn meets(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.from(range.start).is_some_and(|found| found.start < range.end)
    }
    /// What of a range is not held, in order.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let (mut gaps, mut at) = (Vec::new(), range.start);
        while at < range.end {
            let next = self.from(at).filter(|next| next.start < range.end);
            let until = next.as_ref().map_or(range.end, |next| next.start);
            if until > at {
                gaps.push(at..until);
            }
            at = next.map_or(range.end, |next| next.end);
        }
        gaps
    }
    /// One range from the first to the last.
    pub fn join_all(&mut self) {
        let first = self.0.keys().next().copied();
        let last = self.0.values().next_back().copied();
        if let (Some(first), Some(last)) = (first, last) {
            self.0.clear();
            self.0.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(held: &[bool], index: u64) -> bool {
        held.get(index as usize).copied().unwrap_or(false)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn ranges_hold_what_was_added_and_not_cut(
            steps in proptest::collection::vec((0u64..60, 0u64..20, 0u8..5), 0..20),
            probe in 0u64..70, length in 0u64..30,
        ) {
            let (mut extents, mut held) = (Extents::default(), vec![false; 100]);
            for (start, length, kind) in steps {
                if kind == 0 {
                    extents.cut(start);
                    held[start as usize..].fill(false);
                } else if kind == 1 {
                    extents.cut_before(start);
                    held[..start as usize].fill(false);
                } else {
                    extents.add(start..start + length);
                    held[start as usize..(start + length) as usize].fill(true);
                }
            }
            let all: Vec<_> = extents.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", all);
            prop_assert!(all.iter().all(|range| !range.is_empty()));
            prop_assert_eq!((0..100).filter(|i| all.iter().any(|r| r.contains(i))).collect::<Vec<_>>(),
                (0..100).filter(|i| at(&held, *i)).collect::<Vec<_>>());
            let gaps = extents.gaps(probe..probe + length);
            for index in probe..probe + length {
                prop_assert_eq!(gaps.iter().any(|gap| gap.contains(&index)), !at(&held, index));
            }
            prop_assert_eq!(extents.meets(&(probe..probe + length)), (probe..probe + length).any(|i| at(&held, i)));
            prop_assert_eq!(extents.end_of(probe).is_some(), at(&held, probe));
            let (first, last) = (all.first().map(|r| r.start), all.last().map(|r| r.end));
            extents.join_all();
            prop_assert_eq!(extents.iter().next().map(|r| (r.start, r.end)), first.zip(last));
        }
    }
}
