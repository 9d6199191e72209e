//! What is wrong with a configuration: everything, at once.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    limits::{MAX_QUOTED_BYTES, MAX_SHOWN_PROBLEMS},
    origin::Origin,
};

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In a value or line.
    Value(Origin),
    /// In a file as a whole.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(origin) => origin.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    place: Place,
    message: String,
    hint: Option<String>,
}

impl Problem {
    pub(super) fn at(origin: &Origin, message: impl Into<String>) -> Self {
        Self { place: Place::Value(origin.clone()), message: message.into(), hint: None }
    }
    pub(super) fn in_file(path: &Path, message: impl Into<String>) -> Self {
        Self { place: Place::File(path.to_owned()), message: message.into(), hint: None }
    }
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Adds "did you mean", when something close is known.
    pub(super) fn meaning(self, suggestion: Option<&str>) -> Self {
        match suggestion {
            Some(suggestion) => self.with_hint(format!("did you mean `{suggestion}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// A configuration that cannot be used. Nothing of it was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of the layers.
    pub(super) problems: Vec<Problem>,
}

impl ConfigError {
    /// An error out of these problems, or `Ok` when there are none.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
    pub(super) fn of(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return problem.fmt(f);
        }
        write!(f, "the configuration has {} problems", self.problems.len())?;
        for problem in self.problems.iter().take(MAX_SHOWN_PROBLEMS) {
            write!(f, "\n  {problem}")?;
        }
        match self.problems.len().checked_sub(MAX_SHOWN_PROBLEMS) {
            Some(more @ 1..) => write!(f, "\n  … and {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A foreign text as it may stand in a problem: escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(MAX_QUOTED_BYTES).collect();
    if text.len() > shown.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}
