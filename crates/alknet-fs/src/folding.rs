//! Which names of entries are one and the same: a bucket says, when it is made, whether octets, characters or letters count.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::path::FsPath;

/// Which names are one and the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Those of the same octets.
    #[default]
    Bytes,
    /// Those of the same characters, however these are put together (Unicode's canonical equivalence). They are kept composed (NFC).
    Nfc,
    /// Those of the same letters too, whatever their case. They are kept as they were written first.
    Fold,
}

impl Names {
    /// The names, with the words for them.
    const WORDS: [(&str, Self); 3] = [("bytes", Self::Bytes), ("nfc", Self::Nfc), ("fold", Self::Fold)];

    /// Reads the word for one.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, names)| names)
    }

    /// What names are compared by: the same of two that are one, and itself its own. A name that is no UTF-8 is compared by its octets.
    pub fn key(self, name: &[u8]) -> Cow<'_, [u8]> {
        match (self, std::str::from_utf8(name)) {
            (Self::Bytes, _) | (_, Err(_)) => Cow::Borrowed(name),
            (Self::Nfc, Ok(text)) if is_nfc_quick(text.chars()) == IsNormalized::Yes => Cow::Borrowed(name),
            (Self::Nfc, Ok(text)) => Cow::Owned(text.nfc().collect::<String>().into_bytes()),
            (Self::Fold, Ok(text)) if is_folded(text) => Cow::Borrowed(name),
            (Self::Fold, Ok(text)) => Cow::Owned(text.nfd().flat_map(folded).nfc().collect::<String>().into_bytes()),
        }
    }

    /// What paths are compared by, in the order in which a tree is listed: each folder before what is in it.
    pub fn path_key(self, path: &FsPath) -> Vec<u8> {
        let mut key = Vec::new();
        for name in path.names() {
            key.extend_from_slice(&self.key(name.as_bytes()));
            key.push(0);
        }
        key
    }

    /// A written path, or the beginning or end of one, as what its names are compared by.
    pub(crate) fn written_key(self, path: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Bytes {
            return Cow::Borrowed(path);
        }
        let keys: Vec<_> = path.split(|byte| *byte == b'/').map(|name| self.key(name)).collect();
        Cow::Owned(keys.join(b"/".as_slice()))
    }

    /// What names are compared by, and how this one is shown where that is not the same.
    pub(crate) fn split(self, name: &[u8]) -> (Box<[u8]>, Option<Box<[u8]>>) {
        let key = self.key(name);
        let shown = (self == Self::Fold && *key != *name).then(|| name.into());
        (key.into(), shown)
    }
}

fn is_folded(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// A character without its case. Unicode's table of foldings says the same of all but a few, which the tests name; the one that people
/// would miss, the dotless `ı`, stays itself here as there.
fn folded(character: char) -> impl Iterator<Item = char> {
    let is_itself = character == 'ı';
    let lower = character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    std::iter::once(character).filter(move |_| is_itself).chain(lower.filter(move |_| !is_itself))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(names: Names, name: &str) -> String {
        String::from_utf8(names.key(name.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn names_are_one_by_octets_characters_or_letters() {
        // TREE-70, TREE-71
        let (composed, apart) = ("Ångström", "A\u{30a}ngstro\u{308}m");
        assert_ne!(key(Names::Bytes, composed), key(Names::Bytes, apart));
        assert_eq!(key(Names::Nfc, apart), composed);
        assert_ne!(key(Names::Nfc, "a"), key(Names::Nfc, "A"));
        assert_eq!(key(Names::Nfc, "ﬁ"), "ﬁ", "what only looks alike is another name");
        let alike = [
            ("README", "ReadMe"),
            (composed, "åNGSTRO\u{308}M"),
            ("Straße", "STRASSE"),
            ("ẞ", "ss"),
            ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
            ("ᾼ", "αι"),
            ("K", "k"),
            ("Ǆ", "ǅ"),
            ("Ꮳ", "ꮳ"),
        ];
        for (one, other) in alike {
            assert_eq!(key(Names::Fold, one), key(Names::Fold, other), "{one} {other}");
        }
        for (one, other) in [("ı", "i"), ("İ", "i"), ("a", "ä"), ("1", "¹")] {
            assert_ne!(key(Names::Fold, one), key(Names::Fold, other), "{one} {other}");
        }
        for names in [Names::Bytes, Names::Nfc, Names::Fold] {
            assert_eq!(*names.key(b"A\xff\xcc\x8a"), *b"A\xff\xcc\x8a", "what is no text stays as it is");
        }
    }

    #[test]
    fn a_name_is_shown_as_it_was_written() {
        // TREE-71
        assert_eq!(Names::Fold.split(b"a"), (b"a".as_slice().into(), None));
        assert_eq!(Names::Fold.split(b"A"), (b"a".as_slice().into(), Some(b"A".as_slice().into())));
        let composed = "é".as_bytes();
        assert_eq!(Names::Nfc.split("e\u{301}".as_bytes()), (composed.into(), None));
    }

    #[test]
    fn what_a_character_is_compared_by_is_compared_by_itself_and_means_nothing_else() {
        // TREE-70, TREE-71
        for names in [Names::Nfc, Names::Fold] {
            for character in '\0'..=char::MAX {
                let text = character.to_string();
                let once = key(names, &text);
                assert_eq!(key(names, &once), once, "{character:?}");
                assert_eq!(once.contains(['/', '\0']), ['/', '\0'].contains(&character), "{character:?}");
                assert_eq!([".", ".."].contains(&once.as_str()), character == '.', "{character:?}");
            }
        }
    }

    #[test]
    fn paths_are_compared_name_by_name() {
        // TREE-71
        let path = |text: &[u8]| FsPath::parse(text).unwrap();
        let key = |names: Names, text: &str| names.path_key(&path(text.as_bytes()));
        assert_eq!(key(Names::Fold, "/Docs/ReadMe"), key(Names::Fold, "/docs/README"));
        assert_ne!(key(Names::Nfc, "/Docs"), key(Names::Nfc, "/docs"));
        let beside = [b"/A\xff/B".as_slice(), b"/A\xff/b"];
        assert_eq!(Names::Fold.path_key(&path(beside[0])), Names::Fold.path_key(&path(beside[1])));
        for names in [Names::Bytes, Names::Fold] {
            let order = ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/b"].map(|text| key(names, text));
            assert!(order.is_sorted(), "{order:?}");
        }
        assert_eq!(*Names::Fold.written_key(b"/In/.JPG"), *b"/in/.jpg");
        assert_eq!(*Names::Bytes.written_key(b"/In/"), *b"/In/");
    }

    proptest! {
        #[test]
        fn the_key_of_a_key_is_the_key(text in "\\PC{0,12}", marks in "[aAåÅİıßẞΐᾳᾼͅ\u{301}\u{308}\u{345}]{0,8}") {
            // TREE-70, TREE-71
            for names in [Names::Nfc, Names::Fold] {
                for text in [&text, &marks, &format!("{text}{marks}")] {
                    let once = key(names, text);
                    prop_assert_eq!(key(names, &once), once);
                    let apart: String = text.nfd().collect();
                    prop_assert_eq!(key(names, &apart), key(names, text));
                    let dotted: String = text.replace('ı', "").nfd().collect();
                    prop_assert_eq!(key(Names::Fold, &dotted.to_uppercase()), key(Names::Fold, &dotted));
                }
            }
        }
    }
}
