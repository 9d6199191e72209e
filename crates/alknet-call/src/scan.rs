//! What `serde_json` does not refuse: deep nesting and members that occur twice.

use std::borrow::Cow;

use crate::limits::MAX_JSON_DEPTH;

/// Objects with at most so many members are compared pair by pair.
const FEW_MEMBERS: usize = 8;

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonDefect {
    /// It is no JSON.
    #[error("it is not JSON")]
    Malformed,
    /// Arrays and objects are nested too deeply.
    #[error("it is nested more than {MAX_JSON_DEPTH} deep")]
    TooDeep,
    /// An object has two members of one name.
    #[error("an object has two members of one name")]
    DuplicateMember,
}

struct Container {
    is_object: bool,
    first_member: usize,
}

/// Refuses nesting beyond 64 and duplicate members. One pass, no recursion; the text must still be parsed, which finds all else.
pub fn scan_json(text: &str) -> Result<(), JsonDefect> {
    let bytes = text.as_bytes();
    let mut open: Vec<Container> = Vec::with_capacity(8);
    let mut members: Vec<Cow<'_, str>> = Vec::with_capacity(16);
    let mut name_is_next = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let (end, escaped) = end_of_string(bytes, at).ok_or(JsonDefect::Malformed)?;
                if name_is_next {
                    members.push(member_name(text, at, end, escaped)?);
                    name_is_next = false;
                }
                at = end + 1;
            }
            b'{' | b'[' => {
                if open.len() == MAX_JSON_DEPTH {
                    return Err(JsonDefect::TooDeep);
                }
                name_is_next = byte == b'{';
                open.push(Container { is_object: name_is_next, first_member: members.len() });
            }
            b'}' | b']' => {
                let closed = open.pop().ok_or(JsonDefect::Malformed)?;
                refuse_duplicates(&mut members[closed.first_member..])?;
                members.truncate(closed.first_member);
                name_is_next = false;
            }
            b',' => name_is_next = open.last().is_some_and(|container| container.is_object),
            _ => {}
        }
    }
    if open.is_empty() { Ok(()) } else { Err(JsonDefect::Malformed) }
}

/// Where the string that starts at `at` has its closing quote, and whether it holds an escape.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((at, escaped)),
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// A member's name as it reads, so that `"a"` and `"\u0061"` are the same.
fn member_name(text: &str, start: usize, end: usize, escaped: bool) -> Result<Cow<'_, str>, JsonDefect> {
    if !escaped {
        return Ok(Cow::Borrowed(&text[start..end]));
    }
    let quoted = &text[start - 1..=end];
    serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| JsonDefect::Malformed)
}

fn refuse_duplicates(names: &mut [Cow<'_, str>]) -> Result<(), JsonDefect> {
    let duplicate = if names.len() <= FEW_MEMBERS {
        names.iter().enumerate().any(|(nth, name)| names[..nth].contains(name))
    } else {
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    if duplicate { Err(JsonDefect::DuplicateMember) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn depth_is_counted_over_arrays_and_objects() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(scan_json(&nested(MAX_JSON_DEPTH)), Ok(()));
        assert_eq!(scan_json(&nested(MAX_JSON_DEPTH + 1)), Err(JsonDefect::TooDeep));
        let mixed = "{\"a\":[".repeat(33) + &"]}".repeat(33);
        assert_eq!(scan_json(&mixed), Err(JsonDefect::TooDeep));
        assert_eq!(scan_json(&format!("[\"{}\"]", "[".repeat(100))), Ok(()), "brackets in a string are text");
    }

    #[test]
    fn a_million_brackets_are_refused_at_the_65th() {
        assert_eq!(scan_json(&"[".repeat(1_000_000)), Err(JsonDefect::TooDeep));
    }

    #[test]
    fn duplicates_are_found_wherever_they_hide() {
        let many: Vec<_> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(scan_json(&format!("{{{}}}", many.join(","))), Ok(()));
        for bad in [
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"a":1,"\u0061":2}"#.to_owned(),
            r#"{"a":{"b":1,"c":[],"b":2}}"#.to_owned(),
            r#"[{},{"x":{},"y":1,"x":[]}]"#.to_owned(),
            format!("{{{},\"k7\":0}}", many.join(",")),
        ] {
            assert_eq!(scan_json(&bad), Err(JsonDefect::DuplicateMember), "{bad}");
        }
        for good in [r#"{"a":"a","b":{"a":1},"c":{"a":1}}"#, r#"["a","a"]"#, r#"{"a":["a","a"],"A":1}"#, "null"] {
            assert_eq!(scan_json(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn unfinished_texts_are_malformed() {
        for bad in ["{", "\"abc", "\"abc\\", "]", "{\"\\u12\":1}", "{\"\\ud800\":1}"] {
            assert_eq!(scan_json(bad), Err(JsonDefect::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "[\\[\\]{}\",:\\\\a0 ]{0,200}") {
            let _ = scan_json(&text);
        }

        #[test]
        fn what_serde_writes_passes(values in proptest::collection::btree_map(".{0,8}", 0..9u8, 0..20)) {
            prop_assert_eq!(scan_json(&serde_json::to_string(&values).unwrap()), Ok(()));
        }
    }
}
