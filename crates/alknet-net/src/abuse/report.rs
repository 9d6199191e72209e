//! What the owner asks the gate, and tells it.

use std::time::Duration;

use alknet_core::{Identity, PastOffence, Permit, PermitError};

use super::{
    gate::{AbuseGate, State},
    score::Score,
    source::{GateTarget, Source},
};

/// What a permit must cover to ask.
const READ: &str = "gate:read";
/// What it must cover to pardon.
const WRITE: &str = "gate:write";

/// How one address, prefix or key stands with the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateReport {
    /// The address, prefix or fingerprint.
    pub source: String,
    /// Points, in thousandths.
    pub points: u64,
    /// Points at which it is penalised, in thousandths.
    pub threshold: u64,
    /// How long it is penalised still.
    pub penalised_for: Option<Duration>,
    /// How many penalties count for the length of the next one.
    pub level: u32,
    /// The last offences, oldest first.
    pub history: Vec<PastOffence>,
}

/// The places of an address at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it is exempt.
    pub exempt: bool,
    /// Its unfinished handshakes.
    pub unfinished: usize,
}

impl AbuseGate {
    /// Everybody who has points or penalties: the penalised first, the longest of them first of all. Needs `gate:read`.
    pub fn list(&self, permit: &Permit) -> Result<Vec<GateReport>, PermitError> {
        permit.require(READ)?;
        let (now, state) = (self.now(), self.state());
        let known = state.books.iter().filter(|(_, score, _)| !score.is_blank(now));
        let mut reports: Vec<_> =
            known.map(|(source, score, threshold)| report(source, Some(score), threshold, now)).collect();
        drop(state);
        let rank = |report: &GateReport| (report.penalised_for, report.points, report.level);
        reports.sort_by(|one, other| rank(other).cmp(&rank(one)).then_with(|| one.source.cmp(&other.source)));
        Ok(reports)
    }

    /// How somebody stands, the narrowest source first, and, for an address, its places. Needs `gate:read`.
    pub fn why(&self, permit: &Permit, target: &GateTarget) -> Result<(Vec<GateReport>, Option<Place>), PermitError> {
        permit.require(READ)?;
        let (now, state) = (self.now(), self.state());
        let reports = target.sources.iter().map(|source| {
            let book = state.books.of(source);
            report(source, book.score(source), book.threshold(), now)
        });
        let reports = reports.collect();
        let place = target
            .ip
            .map(|ip| Place { exempt: state.books.is_exempt(ip), unfinished: state.places.count_of(&Source::of(ip)) });
        Ok((reports, place))
    }

    /// Wipes the slate of somebody, or of everybody; answers who had anything on it. Needs `gate:write`.
    pub fn forgive(&self, permit: &Permit, target: Option<&GateTarget>) -> Result<Vec<String>, PermitError> {
        permit.require(WRITE)?;
        let by = permit.identity().map_or("nobody", |identity| Identity::id(identity)).to_owned();
        let now = self.now();
        let mut state = self.state();
        let sources = target.map_or_else(|| everybody(&state, now), |target| target.sources.clone());
        let mut forgiven = Vec::new();
        for source in sources {
            if state.books.forgive(&source, &by) {
                forgiven.push(source.to_string());
            }
        }
        self.unlock(state);
        forgiven.sort();
        Ok(forgiven)
    }
}

fn everybody(state: &State, now: u64) -> Vec<Source> {
    state.books.iter().filter(|(_, score, _)| !score.is_blank(now)).map(|(source, ..)| source.clone()).collect()
}

fn report(source: &Source, score: Option<&Score>, threshold: u64, now: u64) -> GateReport {
    GateReport {
        source: source.to_string(),
        points: score.map_or(0, |score| score.points(now)),
        threshold,
        penalised_for: score.and_then(|score| score.penalised_for(now)).map(Duration::from_millis),
        level: score.map_or(0, |score| score.level(now)),
        history: score.map(|score| score.history().cloned().collect()).unwrap_or_default(),
    }
}
