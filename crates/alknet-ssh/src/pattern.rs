//! Patterns of ssh_config(5), PATTERNS: `*` is any number of characters, `?` exactly one.

/// Whether `text` fits `pattern`; letters of ASCII fit in either case. Takes time in the product of the lengths at most.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let same = |of: &u8, byte: &u8| *of == b'?' || of.eq_ignore_ascii_case(byte);
    fits_by(pattern.as_bytes(), text.as_bytes(), |of| *of == b'*', same)
}

/// Whether `text` fits `pattern`, letter by letter.
pub(crate) fn fits_exactly(pattern: &str, text: &str) -> bool {
    fits_by(pattern.as_bytes(), text.as_bytes(), |of| *of == b'*', |of, byte| *of == b'?' || of == byte)
}

/// Whether the parts fit, where a star is any number of parts and everything else one that `fits_one`.
pub(crate) fn fits_by<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits_one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(of) if is_star(of) => {
                star = Some((p, t));
                p += 1;
            }
            Some(of) if fits_one(of, &text[t]) => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a?c", "aXc"),
            ("*.b.*", "a.b.c"),
            ("10.*", "10.1.2.3"),
            ("A*", "ab"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a", "ab"), ("a*c", "abd"), ("*.b", "a.bc"), ("10.?", "10.11")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn letters_fit_in_either_case_or_exactly() {
        assert!(fits("*.Example", "a.eXample") && !fits_exactly("*.Example", "a.example"));
        assert!(fits_exactly("s-?", "s-1") && !fits_exactly("s-?", "s-12"));
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!fits(&"*a".repeat(500), &"a".repeat(499)));
        assert!(!fits(&format!("{}b", "*a".repeat(200)), &"a".repeat(4000)));
    }
}
