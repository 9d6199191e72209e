//! How large a run is.

/// What every size is divided by.
#[derive(Debug, Clone, Copy)]
pub struct Scale(u64);

impl Default for Scale {
    fn default() -> Self {
        Self(1)
    }
}

impl Scale {
    /// A number above zero.
    pub fn parse(word: &str) -> Option<Self> {
        word.parse().ok().filter(|divisor| *divisor > 0).map(Self)
    }
    /// This many, divided; at least one.
    pub fn of(self, count: u64) -> u64 {
        (count / self.0).max(1)
    }
    /// What was written, for another process.
    pub fn word(self) -> String {
        self.0.to_string()
    }
}
