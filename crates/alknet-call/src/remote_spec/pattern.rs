//! How large a pattern becomes, told from its text.

/// What a class of Unicode characters counts.
const UNICODE_CLASS_STATES: u64 = 1024;

/// About how many states a regular expression has: its characters, repeated as often as its counts say. Saturates.
pub(super) fn states(pattern: &str) -> u64 {
    let mut sums: Vec<(u64, u64)> = Vec::new();
    // The sum so far within the open group, and what the last atom added to it.
    let (mut sum, mut last) = (0_u64, 0_u64);
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match next {
            '(' => {
                sums.push((sum, last));
                (sum, last) = (0, 0);
            }
            ')' => {
                let inner = sum.saturating_add(1);
                (sum, last) = sums.pop().unwrap_or_default();
                (sum, last) = (sum.saturating_add(inner), last.max(inner));
            }
            '[' => {
                taken = class_bytes(rest);
                last = 1 + UNICODE_CLASS_STATES * unicode_classes(&rest[..taken]);
                sum = sum.saturating_add(last);
            }
            '{' if count(rest).is_some() => {
                let (times, bytes) = count(rest).unwrap_or((1, 1));
                taken = bytes;
                let repeated = last.saturating_mul(times);
                sum = sum.saturating_add(repeated);
                last = last.saturating_add(repeated);
            }
            '\\' => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
                last = 1 + UNICODE_CLASS_STATES * unicode_classes(&rest[..taken]);
                sum = sum.saturating_add(last);
            }
            _ => {
                last = 1;
                sum = sum.saturating_add(1);
            }
        }
        rest = &rest[taken..];
    }
    sums.into_iter().fold(sum, |sum, (outer, _)| sum.saturating_add(outer))
}

/// Bytes of the class that `rest` starts with.
fn class_bytes(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn unicode_classes(text: &str) -> u64 {
    text.matches("\\p").count() as u64 + text.matches("\\P").count() as u64
}

/// The larger number of `{n}`, `{n,}` or `{n,m}`, and its bytes.
fn count(rest: &str) -> Option<(u64, usize)> {
    let end = rest.find('}')?;
    let (least, most) = rest[1..end].split_once(',').unwrap_or((&rest[1..end], ""));
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let least = number(least)?;
    Some((number(most).unwrap_or(least).max(least), end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_multiply_what_they_repeat() {
        let table = [("abc", 3), ("^[a-z]{1,64}$", 67), ("(ab){10}", 33), ("((a{9}){9}){9}", 1000), ("a{2,}b", 4)];
        for (pattern, about) in table {
            let states = states(pattern);
            assert!((about..about * 2).contains(&states), "{pattern}: {states}");
        }
        assert!(states("(a{1000}){1000}") >= 1_000_000);
        assert!(states("((((a{9999}){9999}){9999}){9999}){9999}") > 1 << 60);
        assert!(states("\\p{L}") > 1000 && states("[\\p{L}]{10}") > 10_000);
        assert!(states("[(){}]") < 4, "within a class nothing groups or repeats");
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "[a(){}\\[\\]\\\\,0-9ä]{0,60}") {
            let _ = states(&text);
        }
    }
}
