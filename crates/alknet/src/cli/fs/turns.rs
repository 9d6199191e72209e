//! The arguments of a verb that takes several: one that fails does not keep the others from their turn, unless it is that a node is gone.

use crate::{
    cli::output,
    failure::{Failure, Kind},
};

/// What became of each argument.
pub(super) struct Turns {
    several: bool,
    failures: Vec<Failure>,
}

impl Turns {
    /// Of so many arguments.
    pub(super) const fn of(arguments: usize) -> Self {
        Self { several: arguments > 1, failures: Vec::new() }
    }

    /// Notes what became of an argument; what makes the others fail too ends the command.
    pub(super) fn took<T>(&mut self, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(failure) if !self.several || failure.is_silent() || failure.kind() == Kind::Unavailable => {
                let code = self.failures.first().map(Failure::code);
                self.tell();
                // Whoever reads no more has not made what failed before succeed.
                Err(code.filter(|_| failure.is_silent()).map_or(failure, Failure::status))
            }
            Err(failure) => {
                self.failures.push(failure);
                Ok(None)
            }
        }
    }

    /// Says what failed; the first of it decides the exit code.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let code = self.failures.first().map(Failure::code);
        self.tell();
        code.map_or(Ok(()), |code| Err(Failure::status(code)))
    }

    fn tell(&mut self) {
        self.failures.drain(..).for_each(|failure| output::note(failure.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<(), Failure> {
        Err(Failure::new(Kind::NotFound, "none"))
    }

    #[test]
    fn the_first_failure_decides_and_the_last_argument_has_its_turn() {
        let mut turns = Turns::of(3);
        assert!(turns.took(none()).unwrap().is_none());
        assert_eq!(turns.took(Ok(7)).unwrap(), Some(7));
        assert!(turns.took::<()>(Err(Failure::usage("no"))).unwrap().is_none());
        let failure = turns.end().unwrap_err();
        assert_eq!((failure.code(), failure.is_silent()), (4, true));
        assert!(Turns::of(0).end().is_ok());
    }

    #[test]
    fn one_alone_fails_as_it_is_and_a_node_that_is_gone_ends_all() {
        assert_eq!(Turns::of(1).took(none()).unwrap_err().to_string(), "error: none");
        let gone = Failure::new(Kind::Unavailable, "gone");
        assert_eq!(Turns::of(2).took::<()>(Err(gone)).unwrap_err().code(), 5);
        // Whoever read has seen enough.
        assert_eq!(Turns::of(2).took::<()>(Err(Failure::status(0))).unwrap_err().code(), 0);
        let mut turns = Turns::of(3);
        assert!(turns.took(none()).unwrap().is_none());
        assert_eq!(turns.took::<()>(Err(Failure::status(0))).unwrap_err().code(), 4);
    }
}
