//! The keys by which a person leaves a session on a terminal: `~.` at the beginning of a line, as in ssh.

/// What a person typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Goes to the other end; it may be nothing.
    Input(Vec<u8>),
    /// Goes to the other end, and then the session is left.
    Leave(Vec<u8>),
}

/// Looks for escapes in what is typed, piece by piece.
#[derive(Debug)]
pub struct Escapes {
    at_line_start: bool,
    tilde: bool,
}

impl Default for Escapes {
    fn default() -> Self {
        Self { at_line_start: true, tilde: false }
    }
}

impl Escapes {
    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) -> Typed {
        let mut input = Vec::with_capacity(piece.len() + 1);
        for &byte in piece {
            if std::mem::take(&mut self.tilde) {
                match byte {
                    b'.' => return Typed::Leave(input),
                    // A second one stands for itself.
                    b'~' => {}
                    _ => input.push(b'~'),
                }
            } else if self.at_line_start && byte == b'~' {
                (self.tilde, self.at_line_start) = (true, false);
                continue;
            }
            input.push(byte);
            self.at_line_start = matches!(byte, b'\r' | b'\n');
        }
        Typed::Input(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types one piece after the other; answers with what went on and whether the session was left.
    fn typed(pieces: &[&str]) -> (String, bool) {
        let (mut escapes, mut all) = (Escapes::default(), Vec::new());
        for piece in pieces {
            match escapes.take(piece.as_bytes()) {
                Typed::Input(input) => all.extend(input),
                Typed::Leave(input) => {
                    all.extend(input);
                    return (String::from_utf8(all).unwrap(), true);
                }
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    /// CLI-34.
    #[test]
    fn a_session_is_left_only_at_the_beginning_of_a_line() {
        let table: [(&[&str], &str, bool); 9] = [
            (&["~."], "", true),
            (&["ls\r~.x"], "ls\r", true),
            (&["ls\r", "~", "."], "ls\r", true),
            (&["ls ~.\r"], "ls ~.\r", false),
            (&["~~.\r"], "~.\r", false),
            (&["~/bin\r"], "~/bin\r", false),
            (&["~", "\r", "~."], "~\r", true),
            (&["a~.", "b"], "a~.b", false),
            (&["~a~."], "~a~.", false),
        ];
        for (pieces, input, left) in table {
            assert_eq!(typed(pieces), (input.to_owned(), left), "{pieces:?}");
        }
    }
}
