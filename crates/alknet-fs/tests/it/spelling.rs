//! The names of a model, spelled in the many ways that a bucket takes for one.

use alknet_fs::Names;

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

/// How names are spelled in a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Spelling(pub Names);

impl Spelling {
    fn table(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self.0 {
            Names::Bytes => &[],
            Names::Nfc => &NFC,
            Names::Fold => &FOLD,
        }
    }
    /// A path of the model in one of the spellings; `salt` says which.
    pub fn write(self, path: &str, salt: u64) -> String {
        let spelled = |name| {
            let ways = self.table().iter().find(|(of, _)| *of == name).map(|(_, ways)| ways);
            ways.map_or(name, |ways| ways[usize::try_from(salt).unwrap() % ways.len()])
        };
        path.split('/').map(spelled).collect::<Vec<_>>().join("/")
    }
    /// The path of the model that is spelled so.
    pub fn read(self, path: &str) -> String {
        let read = |name| self.table().iter().find(|(_, ways)| ways.contains(&name)).map_or(name, |(of, _)| *of);
        path.split('/').map(read).collect::<Vec<_>>().join("/")
    }
}
