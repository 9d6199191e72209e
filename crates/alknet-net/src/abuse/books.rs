//! The books of every sort of source, and by which an offence is judged. Pure.

use std::net::SocketAddr;

use alknet_core::{Fingerprint, Offence};

use super::{
    book::Book,
    lines::{self, Budget, Told},
    score::{Change, Score},
    source::{AddressRange, Source},
};
use crate::limits::{MAX_SCORED_SOURCES, PENALTY_POINTS, WIDE_PENALTY_POINTS};

/// Who did it, as far as is known.
pub(super) struct Offender {
    pub(super) addr: SocketAddr,
    /// A key that was proven, whoever's it is.
    pub(super) key: Option<Fingerprint>,
    /// Whether it is somebody known.
    pub(super) known: bool,
}

/// All scores.
pub(super) struct Books {
    v4: Book,
    v6: Book,
    v6_wide: Book,
    keys: Book,
    exempt: Vec<AddressRange>,
    lines: Budget,
    /// Whose scores changed in a way that should outlive a restart.
    unsaved: std::collections::HashSet<Source>,
}

impl Default for Books {
    fn default() -> Self {
        let narrow = || Book::new(MAX_SCORED_SOURCES, PENALTY_POINTS);
        Self {
            v4: narrow(),
            v6: narrow(),
            v6_wide: Book::new(MAX_SCORED_SOURCES, WIDE_PENALTY_POINTS),
            keys: narrow(),
            exempt: Vec::new(),
            lines: Budget::default(),
            unsaved: std::collections::HashSet::new(),
        }
    }
}

impl Books {
    pub(super) const fn of(&self, source: &Source) -> &Book {
        match source {
            Source::V4(_) => &self.v4,
            Source::V6(_) => &self.v6,
            Source::V6Wide(_) => &self.v6_wide,
            Source::Key(_) => &self.keys,
        }
    }

    pub(super) const fn of_mut(&mut self, source: &Source) -> &mut Book {
        match source {
            Source::V4(_) => &mut self.v4,
            Source::V6(_) => &mut self.v6,
            Source::V6Wide(_) => &mut self.v6_wide,
            Source::Key(_) => &mut self.keys,
        }
    }

    pub(super) fn is_penalised(&self, source: &Source, now: u64) -> bool {
        self.of(source).is_penalised(source, now)
    }

    /// What is not judged, whatever it does. The scores that these ranges had until now are thrown away.
    pub(super) fn set_exempt(&mut self, exempt: Vec<AddressRange>) {
        self.exempt = exempt;
        let scored = self.iter().map(|(source, ..)| source);
        let freed: Vec<Source> = scored.filter(|source| self.keeps_no_score(source)).cloned().collect();
        for source in freed {
            self.of_mut(&source).remove(&source);
            self.unsaved.insert(source);
        }
    }

    /// Whether all addresses of a source are exempt.
    fn keeps_no_score(&self, source: &Source) -> bool {
        self.exempt.iter().any(|range| range.covers(source))
    }

    pub(super) fn is_exempt(&self, ip: std::net::IpAddr) -> bool {
        self.exempt.iter().any(|range| range.contains(ip))
    }

    /// Those of an address's sources that are penalised.
    pub(super) fn penalties(&self, ip: std::net::IpAddr, now: u64) -> Vec<Source> {
        if self.is_exempt(ip) {
            return Vec::new();
        }
        let narrow = Source::of(ip);
        let wide = narrow.wider();
        [Some(narrow), wide].into_iter().flatten().filter(|source| self.is_penalised(source, now)).collect()
    }

    /// Judges an offence: of somebody known against the key alone, because neighbours have done nothing; of a stranger against the
    /// address, and against the key that it proved, if any.
    pub(super) fn offend(&mut self, offender: &Offender, offence: Offence, door: &str, now: u64) {
        if self.is_exempt(offender.addr.ip()) {
            return;
        }
        let key = offender.key.clone().map(Source::Key);
        let counted = key.as_ref().map(|key| self.count(key, offence, door, now));
        if offender.known {
            let (change, threshold) = (counted.unwrap_or(Change::Counted), self.keys.threshold());
            let told = Told { offence, addr: offender.addr, door, change, threshold, now };
            let key = key.as_ref().and_then(|key| Some((key, self.keys.score_mut(key)?)));
            return lines::known(&mut self.lines, key, &told);
        }
        let narrow = Source::of(offender.addr.ip());
        let change = self.count(&narrow, offence, door, now);
        if let (Some(wide), Change::Counted | Change::Penalised) = (narrow.wider(), change) {
            self.count(&wide, offence, door, now);
        }
        let threshold = self.of(&narrow).threshold();
        let told = Told { offence, addr: offender.addr, door, change, threshold, now };
        // Named one by one: the score is in one field, the budget of lines in another.
        let book = match &narrow {
            Source::V4(_) => &mut self.v4,
            _ => &mut self.v6,
        };
        if let Some(score) = book.score_mut(&narrow) {
            lines::offence(&mut self.lines, score, &told);
        }
    }

    fn count(&mut self, source: &Source, offence: Offence, door: &str, now: u64) -> Change {
        let entered = self.of_mut(source).offend(source, offence, door, now);
        if entered.change != Change::Counted {
            self.unsaved.insert(source.clone());
        }
        if let (Change::Penalised, Some(score)) = (entered.change, self.of(source).score(source)) {
            lines::penalty(source, score, now);
        }
        self.unsaved.extend(entered.given_up);
        entered.change
    }

    /// Wipes the slate of a source; answers whether there was anything on it.
    pub(super) fn forgive(&mut self, source: &Source, by: &str) -> bool {
        if self.of_mut(source).remove(source).is_none() {
            return false;
        }
        lines::forgiven(source, by);
        self.unsaved.insert(source.clone());
        true
    }

    /// Takes a score that outlived a restart.
    pub(super) fn restore(&mut self, source: Source, score: Score, now: u64) {
        if score.is_blank(now) || self.keeps_no_score(&source) {
            self.unsaved.insert(source);
        } else {
            let given_up = self.of_mut(&source).insert(source, score, now);
            self.unsaved.extend(given_up);
        }
    }

    /// Throws away what time took back.
    pub(super) fn tidy(&mut self, now: u64) {
        for book in [&mut self.v4, &mut self.v6, &mut self.v6_wide, &mut self.keys] {
            self.unsaved.extend(book.tidy(now));
        }
    }

    pub(super) fn take_unsaved(&mut self) -> Vec<Source> {
        self.unsaved.drain().collect()
    }

    pub(super) fn save_again(&mut self, sources: impl IntoIterator<Item = Source>) {
        self.unsaved.extend(sources);
    }

    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Every source with its score and the points that are a penalty for it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Source, &Score, u64)> {
        let books = [&self.v4, &self.v6, &self.v6_wide, &self.keys];
        books.into_iter().flat_map(|book| book.iter().map(|(source, score)| (source, score, book.threshold())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn stranger(addr: &str) -> Offender {
        Offender { addr: addr.parse().unwrap(), key: None, known: false }
    }
    fn key(seed: u8) -> Fingerprint {
        Fingerprint::of_sha256(&[seed; 32])
    }
    fn fail(books: &mut Books, offender: &Offender, times: usize) {
        for _ in 0..times {
            books.offend(offender, Offence::FailedAuthentication, "ssh", NOW);
        }
    }
    fn penalties(books: &Books, ip: &str) -> Vec<String> {
        books.penalties(ip.parse().unwrap(), NOW).iter().map(Source::to_string).collect()
    }

    #[test]
    fn a_site_is_penalised_when_several_of_its_networks_are() {
        // GATE-05 GATE-09
        let mut books = Books::default();
        fail(&mut books, &stranger("[2001:db8:1::1]:5"), 1000);
        assert_eq!(penalties(&books, "2001:db8:1::2"), ["2001:db8:1::/64"]);
        assert!(penalties(&books, "2001:db8:1:1::1").is_empty(), "one network does not answer for its neighbours");
        for network in 1..4 {
            fail(&mut books, &stranger(&format!("[2001:db8:1:{network}::1]:5")), 10);
        }
        assert_eq!(penalties(&books, "2001:db8:1:ffff::1"), ["2001:db8:1::/48"]);
        assert!(penalties(&books, "2001:db8:2::1").is_empty());
    }

    #[test]
    fn a_site_that_changes_networks_with_every_attempt_is_penalised_too() {
        // GATE-09
        let mut books = Books::default();
        for network in 0..40 {
            fail(&mut books, &stranger(&format!("[2001:db8:1:{network:x}::1]:5")), 1);
        }
        assert_eq!(penalties(&books, "2001:db8:1:ffff::1"), ["2001:db8:1::/48"]);
    }

    #[test]
    fn neighbours_of_somebody_known_do_not_pay() {
        // GATE-04
        let mut books = Books::default();
        let known = Offender { key: Some(key(1)), known: true, ..stranger("192.0.2.1:5") };
        fail(&mut books, &known, 100);
        assert!(penalties(&books, "192.0.2.1").is_empty());
        assert!(books.is_penalised(&Source::Key(key(1)), NOW));
    }

    #[test]
    fn a_strangers_key_is_scored_wherever_it_comes_from() {
        // GATE-05
        let mut books = Books::default();
        for host in 0..10 {
            fail(&mut books, &Offender { key: Some(key(2)), ..stranger(&format!("192.0.2.{host}:5")) }, 1);
        }
        assert!(books.is_penalised(&Source::Key(key(2)), NOW));
        assert!(penalties(&books, "192.0.2.1").is_empty());
    }

    #[test]
    fn what_is_exempt_has_no_score() {
        // GATE-13
        let mut books = Books::default();
        fail(&mut books, &stranger("192.0.2.1:5"), 10);
        assert_eq!(penalties(&books, "192.0.2.1"), ["192.0.2.1"]);
        books.set_exempt(vec!["192.0.2.0/24".parse().unwrap()]);
        assert!(penalties(&books, "192.0.2.1").is_empty(), "from now on");
        fail(&mut books, &stranger("192.0.2.2:5"), 100);
        books.set_exempt(Vec::new());
        assert!(penalties(&books, "192.0.2.1").is_empty() && penalties(&books, "192.0.2.2").is_empty());
        assert_eq!(books.iter().count(), 0);
    }

    #[test]
    fn a_prefix_keeps_its_score_unless_all_of_it_is_exempt() {
        // GATE-13
        let mut books = Books::default();
        for network in 1..5 {
            fail(&mut books, &stranger(&format!("[2001:db8:1:{network}::1]:5")), 10);
        }
        books.take_unsaved();
        let mut left = |ranges: &[&str]| {
            books.set_exempt(ranges.iter().map(|range| range.parse().unwrap()).collect());
            (books.iter().count(), books.take_unsaved().len())
        };
        assert_eq!(left(&["2001:db8:1:1::/65", "2001:db8:2::/48", "10.0.0.0/8"]), (5, 0));
        assert_eq!(left(&["2001:db8:1:1::/64"]), (4, 1), "and it is gone from the journal");
        assert_eq!(left(&["2001:db8:1::/48"]), (0, 4));
    }

    #[test]
    fn what_is_exempt_has_no_score_from_before_the_start() {
        // GATE-13 GATE-22
        let (mut before, mut books) = (Books::default(), Books::default());
        fail(&mut before, &stranger("192.0.2.1:5"), 10);
        let (source, score, _) = before.iter().next().unwrap();
        books.set_exempt(vec!["192.0.2.0/24".parse().unwrap()]);
        books.restore(source.clone(), score.clone(), NOW);
        assert_eq!((books.iter().count(), books.take_unsaved()), (0, vec![source.clone()]));
    }

    #[test]
    fn what_must_be_saved_is_what_outlives() {
        // GATE-22
        let mut books = Books::default();
        fail(&mut books, &stranger("192.0.2.1:5"), 9);
        assert!(!books.has_unsaved(), "a few points are not worth a write");
        fail(&mut books, &stranger("192.0.2.1:5"), 1);
        let source = Source::of([192, 0, 2, 1].into());
        assert_eq!(books.take_unsaved(), std::slice::from_ref(&source));
        assert!(books.forgive(&source, "me") && !books.forgive(&source, "me"));
        assert_eq!(books.take_unsaved(), [source]);
    }
}
