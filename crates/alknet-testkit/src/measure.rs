//! Measuring beside a peer: runs in turn, medians, and one line with the ratio and the bar it has to keep.

use std::fmt;

/// What a figure has to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing: the figure is for information.
    Open,
}

impl Bar {
    fn verdict(self, figure: f64) -> &'static str {
        let kept = match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
            Self::Open => return "",
        };
        if kept { "kept" } else { "MISSED" }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "bar <= {bound}"),
            Self::AtLeast(bound) => write!(f, "bar >= {bound}"),
            Self::Open => f.write_str("no bar"),
        }
    }
}

/// The median; NaN of nothing.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (count, middle) if count % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// One figure of ours without a peer, from several runs.
#[derive(Debug)]
pub struct Figure<'a> {
    /// What was measured.
    pub name: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// One figure for each run.
    pub runs: &'a [f64],
    /// What the median has to keep.
    pub bar: Bar,
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (middle, unit, bar) = (median(self.runs), self.unit, self.bar);
        write!(f, "figure  {:<34} {middle:>10.2} {unit:<8} {bar}  {}", self.name, bar.verdict(middle))
    }
}

/// Figures of ours and of a peer that were taken in turn.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// What was measured.
    pub name: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// Our figures, one for each run.
    pub ours: &'a [f64],
    /// The peer's, each taken right after ours.
    pub peer: &'a [f64],
    /// What the ratio has to keep.
    pub bar: Bar,
}

impl Comparison<'_> {
    /// The median of the ratios pair by pair, which a machine that slows down halfway does not move.
    pub fn ratio(&self) -> f64 {
        median(&self.ratios())
    }

    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(self.peer).map(|(ours, peer)| ours / peer).collect()
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = self.ratios();
        let (least, most) = ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
        let (name, unit, bar, ratio) = (self.name, self.unit, self.bar, self.ratio());
        let (ours, peer) = (median(self.ours), median(self.peer));
        write!(f, "ratio   {name:<34} {ratio:>6.3} ({least:.2} to {most:.2})  ours {ours:.2}, peer {peer:.2} {unit}")?;
        write!(f, "  {bar}  {}", bar.verdict(ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_ratio_is_taken_pair_by_pair_and_judged() {
        // The machine was twice as slow in the second half: the ratio does not see it.
        let (ours, peer) = ([1.2, 1.2, 2.4, 2.4], [1.0, 1.0, 2.0, 2.0]);
        let with = |bar| Comparison { name: "login", unit: "ms", ours: &ours, peer: &peer, bar };
        assert!((with(Bar::Open).ratio() - 1.2).abs() < 1e-9);
        assert!(with(Bar::AtMost(1.25)).to_string().ends_with("bar <= 1.25  kept"));
        assert!(with(Bar::AtMost(1.1)).to_string().ends_with("MISSED"));
        assert!(with(Bar::AtLeast(1.3)).to_string().ends_with("MISSED"));
        assert!(with(Bar::AtLeast(1.1)).to_string().ends_with("kept"));
    }

    #[test]
    fn a_figure_says_its_unit_and_bar() {
        let figure = Figure { name: "start", unit: "ms", runs: &[90.0, 100.0, 110.0], bar: Bar::AtMost(200.0) };
        assert!(figure.to_string().contains("100.00 ms") && figure.to_string().ends_with("kept"));
    }
}
