//! The names of a model, spelled in the many ways that a bucket takes for one.

use std::rc::Rc;

use alknet_fs::Names;
use alknet_testkit::simulation::Chance;

/// For each name of the model, by what is the same: what it is called in a bucket. Written down by hand, not computed.
const NFC: [(&str, &[&str]); 4] = [
    ("a", &["ä", "a\u{308}"]),
    ("b", &["Å", "A\u{30a}", "\u{212b}"]),
    ("c", &["가", "\u{1100}\u{1161}"]),
    ("d", &["A\u{308}\u{323}", "A\u{323}\u{308}", "Ạ\u{308}"]),
];
const FOLD: [(&str, &[&str]); 4] = [
    ("a", &["Äpfel", "ÄPFEL", "a\u{308}pfel", "A\u{308}PFEL"]),
    ("b", &["Straße", "STRASSE", "strasse", "STRAẞE"]),
    ("c", &["C", "c"]),
    ("d", &["σίγμας", "ΣΊΓΜΑΣ", "σι\u{301}γμασ"]),
];

/// A name of the model, and what it is called.
type Ways = (&'static str, Vec<Vec<u8>>);

/// How names are spelled in a bucket.
#[derive(Debug, Clone)]
pub struct Spelling(Rc<Vec<Ways>>);

impl Spelling {
    /// In a bucket of names as bytes each name is a few at random, the worst among them.
    pub fn of(names: Names, chance: &Chance) -> Self {
        let ways =
            |(of, ways): &(&'static str, &[&str])| (*of, ways.iter().map(|way| way.as_bytes().to_vec()).collect());
        Self(Rc::new(match names {
            Names::Bytes => ["a", "b", "c", "d"].map(|of| (of, vec![random_name(of, chance)])).to_vec(),
            Names::Nfc => NFC.iter().map(ways).collect(),
            Names::Fold => FOLD.iter().map(ways).collect(),
        }))
    }
    /// A path of the model in one of the spellings; `salt` says which.
    pub fn write(&self, path: &str, salt: u64) -> Vec<u8> {
        let spelled = |name: &str| {
            let ways = self.0.iter().find(|(of, _)| *of == name).map(|(_, ways)| ways);
            ways.map_or(name.as_bytes().to_vec(), |ways| ways[usize::try_from(salt).unwrap() % ways.len()].clone())
        };
        path.split('/').map(spelled).collect::<Vec<_>>().join(&b'/')
    }
    /// The path of the model that is spelled so.
    pub fn read(&self, path: &[u8]) -> String {
        path.split(|byte| *byte == b'/').map(|name| self.read_name(name)).collect::<Vec<_>>().join("/")
    }
    fn read_name(&self, name: &[u8]) -> String {
        // What a merge puts beside something is called after it.
        let mark = name.iter().position(|byte| *byte == b'~').unwrap_or(name.len());
        let (base, mark) = name.split_at(mark);
        let known = self.0.iter().find(|(_, ways)| ways.iter().any(|way| way == base));
        let base = known.map_or_else(|| base.escape_ascii().to_string(), |(of, _)| (*of).to_owned());
        format!("{base}{}", mark.escape_ascii())
    }
}

/// Bytes that a name may have, but for those that mean something in the names of what is put beside.
fn random_name(of: &str, chance: &Chance) -> Vec<u8> {
    if chance.below(3) == 0 {
        return of.as_bytes().to_vec();
    }
    let length = *chance.of(&[1, 2, 5, 5, 200]);
    let byte = |_| match u8::try_from(chance.below(256)).unwrap() {
        0 | b'/' | b'.' | b'~' => 0xff,
        byte => byte,
    };
    // No two are the same.
    (0..length).map(byte).chain(of.bytes()).collect()
}
