//! The scores of all sources of one sort, a bounded number of them. Pure.

use std::collections::{BTreeMap, HashMap};

use alknet_core::Offence;

use super::{
    score::{Change, Score},
    source::Source,
};

/// Where a source stands in the order in which sources are given up: those without a penalty first, then by their last offence.
type Rank = (bool, u64);

/// A bounded table of scores.
pub(super) struct Book {
    capacity: usize,
    threshold: u64,
    scores: HashMap<Source, (Score, Rank)>,
    order: BTreeMap<Rank, Source>,
    next: u64,
}

/// What an offence did to a book.
pub(super) struct Entered {
    pub(super) change: Change,
    /// Who was given up for it.
    pub(super) given_up: Option<Source>,
}

impl Book {
    /// An empty book in which `threshold` points are a penalty.
    pub(super) fn new(capacity: usize, threshold: u64) -> Self {
        Self { capacity, threshold, scores: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// Points, in thousandths, at which a source is penalised.
    pub(super) const fn threshold(&self) -> u64 {
        self.threshold
    }

    /// The score of a source, if one is kept.
    pub(super) fn score(&self, source: &Source) -> Option<&Score> {
        self.scores.get(source).map(|(score, _)| score)
    }

    /// The same, to note what was written about it.
    pub(super) fn score_mut(&mut self, source: &Source) -> Option<&mut Score> {
        self.scores.get_mut(source).map(|(score, _)| score)
    }

    /// Whether a source is penalised.
    pub(super) fn is_penalised(&self, source: &Source, now: u64) -> bool {
        self.score(source).is_some_and(|score| score.penalised_for(now).is_some())
    }

    /// Counts an offence.
    pub(super) fn offend(&mut self, source: &Source, offence: Offence, door: &str, now: u64) -> Entered {
        let mut score = self.remove(source).unwrap_or_default();
        let change = score.offend(offence, door, now, self.threshold);
        let given_up = self.insert(source.clone(), score, now);
        Entered { change, given_up }
    }

    /// Takes a score, in place of the one that was kept. Answers who was given up for it.
    pub(super) fn insert(&mut self, source: Source, score: Score, now: u64) -> Option<Source> {
        self.remove(&source);
        let given_up = if self.scores.len() >= self.capacity { self.give_up_one() } else { None };
        let rank = (score.penalised_for(now).is_some(), self.next);
        self.next += 1;
        self.order.insert(rank, source.clone());
        self.scores.insert(source, (score, rank));
        given_up
    }

    fn give_up_one(&mut self) -> Option<Source> {
        let (_, source) = self.order.pop_first()?;
        self.scores.remove(&source);
        Some(source)
    }

    /// Takes a source out.
    pub(super) fn remove(&mut self, source: &Source) -> Option<Score> {
        let (score, rank) = self.scores.remove(source)?;
        self.order.remove(&rank);
        Some(score)
    }

    /// Takes out those that are as good as unknown; answers who they were.
    pub(super) fn tidy(&mut self, now: u64) -> Vec<Source> {
        let blank: Vec<_> = self
            .scores
            .iter()
            .filter(|(_, (score, _))| score.is_blank(now))
            .map(|(source, _)| source.clone())
            .collect();
        for source in &blank {
            self.remove(source);
        }
        blank
    }

    /// Every source with its score.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Source, &Score)> {
        self.scores.iter().map(|(source, (score, _))| (source, score))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::limits::{MAX_SCORED_SOURCES, PENALTY_POINTS};

    const NOW: u64 = 1_800_000_000_000;

    fn hostile(number: u128) -> Source {
        Source::of(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | number << 64).into())
    }

    fn offend(book: &mut Book, source: &Source, times: usize, now: u64) -> Change {
        (0..times).map(|_| book.offend(source, Offence::BadFrame, "tls", now).change).last().unwrap()
    }

    #[test]
    fn countless_prefixes_take_a_bounded_place_and_free_nobody_from_a_penalty() {
        // GATE-12
        let mut book = Book::new(MAX_SCORED_SOURCES, PENALTY_POINTS);
        let known: Vec<_> = (0..100).map(|number| hostile(number + (1 << 30))).collect();
        for source in &known {
            assert_eq!(offend(&mut book, source, 10, NOW), Change::Penalised);
        }
        for number in 0..100_000 {
            book.offend(&hostile(number), Offence::BadFrame, "tls", NOW);
        }
        assert_eq!((book.scores.len(), book.order.len()), (MAX_SCORED_SOURCES, MAX_SCORED_SOURCES));
        assert!(known.iter().all(|source| book.is_penalised(source, NOW)));
        assert!(book.score(&hostile(0)).is_none() && book.score(&hostile(99_999)).is_some());
    }

    #[test]
    fn a_book_full_of_penalties_still_takes_the_next_one() {
        // GATE-12
        let mut book = Book::new(4, PENALTY_POINTS);
        for number in 0..5 {
            offend(&mut book, &hostile(number), 10, NOW + number as u64);
        }
        assert_eq!(book.scores.len(), 4);
        assert!(book.score(&hostile(0)).is_none() && book.is_penalised(&hostile(4), NOW));
    }

    #[test]
    fn what_time_took_back_entirely_is_tidied_away() {
        let mut book = Book::new(4, PENALTY_POINTS);
        offend(&mut book, &hostile(1), 1, NOW);
        offend(&mut book, &hostile(2), 10, NOW);
        assert_eq!(book.tidy(NOW), []);
        assert_eq!(book.tidy(NOW + 120_000), [hostile(1)]);
        assert_eq!((book.scores.len(), book.order.len()), (1, 1));
    }
}
