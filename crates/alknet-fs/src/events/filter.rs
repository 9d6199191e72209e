//! Which paths somebody wants to hear of.

use crate::folding::Names;

/// Paths that begin and end in a certain way. A path is written with a `/` before each name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathFilter {
    /// How it begins; empty: any.
    pub prefix: Vec<u8>,
    /// How it ends; empty: any.
    pub suffix: Vec<u8>,
}

impl PathFilter {
    /// The same of paths by what their names are compared by, where a bucket takes several for one.
    pub(super) fn compared_by(&self, names: Names) -> Self {
        Self { prefix: names.written_key(&self.prefix).into(), suffix: names.written_key(&self.suffix).into() }
    }
    /// Whether a path is meant.
    pub fn admits(&self, path: &[u8]) -> bool {
        path.starts_with(&self.prefix) && path.ends_with(&self.suffix)
    }
    /// Whether what is below a folder may be meant: what happens to the folder as a whole happens to that too.
    pub fn reaches_below(&self, folder: &[u8]) -> bool {
        let below = self.prefix.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'));
        below || folder.starts_with(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(prefix: &str, suffix: &str) -> PathFilter {
        PathFilter { prefix: prefix.into(), suffix: suffix.into() }
    }

    #[test]
    fn paths_are_meant_by_how_they_begin_and_end() {
        // FS-61
        assert!(filter("", "").admits(b"/a"));
        assert!(filter("/in/", ".jpg").admits(b"/in/a.jpg"));
        for other in ["/in", "/in/a.jpg/x", "/out/a.jpg", "/in/a.JPG"] {
            assert!(!filter("/in/", ".jpg").admits(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_happens_to_a_folder_concerns_what_is_below_it() {
        // FS-61
        assert!(filter("/a/b", "").reaches_below(b"/a"));
        assert!(filter("/a/b", ".x").reaches_below(b"/a/b"));
        assert!(filter("/a/b", "").reaches_below(b"/a/bc"));
        assert!(!filter("/ab", "").reaches_below(b"/a"));
        assert!(!filter("/a", "").reaches_below(b"/b"));
    }
}
