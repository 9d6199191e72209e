//! What the command line says when something did not work: kind, causes, hints.

use std::{
    error::Error,
    fmt::{self, Write},
    process::ExitCode,
};

/// What sort of failure: it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It did not work.
    Failed = 1,
    /// It was asked for in a way that makes no sense.
    Usage = 2,
    /// It is not allowed, or the other side could not be trusted.
    Denied = 3,
    /// There is no such thing.
    NotFound = 4,
    /// The node or its peer cannot be reached at the moment.
    Unavailable = 5,
}

/// A failure as a person reads it.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    causes: Vec<String>,
    hints: Vec<String>,
    /// The exit code where it is not the kind's.
    status: Option<u8>,
}

impl Failure {
    /// A failure of this kind; the text names the thing.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, causes: vec![message.to_string()], hints: Vec::new(), status: None }
    }
    /// Ends this process with the status of another one, and says nothing: that one has spoken for itself.
    pub fn status(status: u8) -> Self {
        Self { status: Some(status), ..Self::failed(format_args!("it ended with status {status}")) }
    }
    /// Whether nothing is to be said about it.
    pub const fn is_silent(&self) -> bool {
        self.status.is_some()
    }
    /// Something did not work.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, message)
    }
    /// The words of the command are off.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// Takes over an error with everything that caused it.
    pub fn caused_by(kind: Kind, error: &dyn Error) -> Self {
        let mut failure = Self::new(kind, error);
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // `transparent` errors repeat their source word for word.
            if failure.causes.last().is_none_or(|last| !last.contains(&text)) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }
    /// Puts what was being done in front.
    pub fn while_doing(mut self, what: impl fmt::Display) -> Self {
        self.causes.insert(0, what.to_string());
        self
    }
    /// Adds a way out.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }
    /// What sort of failure it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// The number of the process's exit code.
    pub fn code(&self) -> u8 {
        self.status.unwrap_or(self.kind as u8)
    }
    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", Plain(&self.causes.join(": ")))?;
        for hint in &self.hints {
            write!(f, "\n  hint: {}", Plain(hint))?;
        }
        Ok(())
    }
}

/// Text with line feeds, and nothing else that steers a terminal: names from elsewhere are in it.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\n' | '\t' => f.write_char(character),
            _ if character.is_control() => write!(f, "{}", character.escape_debug()),
            _ => f.write_char(character),
        })
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::caused_by(Kind::Failed, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn nothing_in_a_failure_steers_the_terminal() {
        // FS-16
        let failure = Failure::failed("cannot write a\u{1b}]0;x\u{7}\u{9b}31m").hint("two\nlines\r");
        assert_eq!(failure.to_string(), "error: cannot write a\\u{1b}]0;x\\u{7}\\u{9b}31m\n  hint: two\nlines\\r");
    }

    #[test]
    fn causes_come_in_order_and_hints_last() {
        let error = Outer(std::io::Error::other("inner"));
        let failure = Failure::from(error).while_doing("starting").hint("try again");
        assert_eq!(failure.to_string(), "error: starting: outer: inner\n  hint: try again");
    }
}
