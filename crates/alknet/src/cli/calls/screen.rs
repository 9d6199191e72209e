//! A terminal that is drawn on in place, and is as before afterwards.

use std::io::{self, Stdout, Write};

use rustix::termios::tcgetwinsize;

/// Where the window's size is not known.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// The alternate screen, without a cursor and without wrapping long lines.
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
/// What was there before.
const CLOSE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// The terminal while it is drawn on.
pub struct Screen {
    out: Stdout,
    open: bool,
}

impl Screen {
    /// Begins to draw on standard output, which is a terminal.
    pub fn open() -> io::Result<Self> {
        let mut out = io::stdout();
        out.write_all(OPEN.as_bytes())?;
        out.flush()?;
        Ok(Self { out, open: true })
    }

    /// Columns and rows of the window now.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.out) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
            _ => USUAL_SIZE,
        }
    }

    /// Replaces what is drawn, in one write so that it does not flicker.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        self.out.write_all(picture(lines).as_bytes())?;
        self.out.flush()
    }

    /// Makes the terminal what it was.
    pub fn close(mut self) -> io::Result<()> {
        self.open = false;
        self.out.write_all(CLOSE.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.open {
            // There is nobody left to tell.
            let _ = self.out.write_all(CLOSE.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

/// Each line over the one that was there, and nothing below the last.
fn picture(lines: &[String]) -> String {
    format!("\u{1b}[H{}\u{1b}[K\u{1b}[J", lines.join("\u{1b}[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_covers_what_was_there() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(picture(&lines), "\u{1b}[Hone\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J");
    }
}
