//! Paths of Unix sockets, in rules and as asked for.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use crate::{
    limits::MAX_SOCKET_PATH_BYTES,
    pattern::{fits_by, fits_exactly},
};

/// How rules write the node's data folder.
const DATA: &str = "<data>";

/// Paths that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    /// The data folder and everything in it.
    Data,
    /// What the pattern fits. `*` and `?` are never a slash; `**` as a whole part is any number of parts.
    Fits {
        written: String,
        /// The same with the symbolic links in its beginning followed, when that is something else.
        followed: Option<String>,
    },
}

/// A text that is no path, or no pattern of paths.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPath {
    /// Nothing tells what a relative path begins at.
    #[error("a socket's path begins with /")]
    Relative,
    /// It could mean another path than it says.
    #[error("a socket's path has no . or .. and no control characters")]
    Parts,
    /// Longer than any socket's.
    #[error("a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes")]
    Length,
}

/// A socket's path as a client wrote it, once it is sure what it says.
pub(crate) fn asked(text: &str) -> Result<PathBuf, InvalidPath> {
    if text.len() > MAX_SOCKET_PATH_BYTES {
        return Err(InvalidPath::Length);
    }
    if !text.starts_with('/') {
        return Err(InvalidPath::Relative);
    }
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // `components` passes over `/./`, which is no harm but no usual form either.
    if !plain || text.split('/').any(|part| part == ".") || text.ends_with('/') || text.contains(char::is_control) {
        return Err(InvalidPath::Parts);
    }
    // Written without doubled slashes.
    Ok(path.components().collect())
}

impl PathPattern {
    /// Whether the path, whose symbolic links were followed, is one of them.
    pub(crate) fn has(&self, path: &Path, data: Option<&Path>) -> bool {
        match self {
            Self::Data => data.is_some_and(|data| path.starts_with(data)),
            Self::Fits { written, followed } => {
                let text = path.to_string_lossy();
                [Some(written), followed.as_ref()].into_iter().flatten().any(|pattern| fits_path(pattern, &text))
            }
        }
    }

    /// Follows the symbolic links before the first wildcard as they are now, so that `/var/run/x` is also `/run/x`.
    pub(crate) fn follow(&mut self) {
        let Self::Fits { written, followed } = self else { return };
        let parts: Vec<&str> = written.split('/').collect();
        let plain = parts.iter().position(|part| part.contains(['*', '?'])).unwrap_or(parts.len());
        // The longest beginning that exists; what follows is as written.
        *followed = (1..=plain).rev().find_map(|kept| {
            let real = Path::new(&format!("/{}", parts[..kept].join("/"))).canonicalize().ok()?;
            let rest = parts[kept..].iter().map(|part| format!("/{part}")).collect::<String>();
            let text = format!("{}{rest}", real.to_str()?.trim_end_matches('/'));
            (text != *written).then_some(text)
        });
    }
}

fn fits_path(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    fits_by(&pattern, &path, |part| *part == "**", |part, name| fits_exactly(part, name))
}

impl FromStr for PathPattern {
    type Err = InvalidPath;
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if text == DATA {
            return Ok(Self::Data);
        }
        let path = asked(text)?;
        Ok(Self::Fits { written: path.to_string_lossy().into_owned(), followed: None })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str(DATA),
            Self::Fits { written, .. } => f.write_str(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(pattern: &str, path: &str) -> bool {
        pattern.parse::<PathPattern>().unwrap().has(Path::new(path), Some(Path::new("/var/lib/alknet")))
    }

    #[test]
    fn patterns_of_paths() {
        // POL-13
        for (pattern, path) in [
            ("/run/a.sock", "/run/a.sock"),
            ("/run/*/s.?", "/run/user/s.1"),
            ("/run/**", "/run/a/b"),
            ("/run/**/s", "/run/s"),
            ("/**", "/a"),
            ("<data>", "/var/lib/alknet/alknet.sock"),
            ("<data>", "/var/lib/alknet"),
        ] {
            assert!(has(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/run/a.sock", "/run/A.sock"),
            ("/run/*", "/run/a/b"),
            ("/run", "/run/a"),
            ("/run/?", "/run//"),
            ("/run/**", "/runner/a"),
            ("<data>", "/var/lib/alknet2/s"),
        ] {
            assert!(!has(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn the_data_folder_is_nowhere_until_it_is_known() {
        assert!(!PathPattern::Data.has(Path::new("/x"), None));
    }

    #[test]
    fn a_pattern_also_means_what_its_links_lead_to() {
        // POL-13
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let mut pattern: PathPattern = format!("{}/link/*.sock", root.display()).parse().unwrap();
        assert!(!pattern.has(&root.join("real/a.sock"), None));
        pattern.follow();
        assert!(pattern.has(&root.join("real/a.sock"), None) && pattern.has(&root.join("link/a.sock"), None));
        let mut absent: PathPattern = format!("{}/link/none/a", root.display()).parse().unwrap();
        absent.follow();
        assert!(absent.has(&root.join("real/none/a"), None));
    }

    #[test]
    fn a_path_is_what_it_says() {
        // POL-21
        use InvalidPath::{Length, Parts, Relative};
        let long = format!("/{}", "a".repeat(MAX_SOCKET_PATH_BYTES));
        for (text, error) in [
            ("", Relative),
            ("a", Relative),
            ("\0abstract", Relative),
            ("/a\0b", Parts),
            ("/a\nb", Parts),
            ("/../a", Parts),
            ("/a/./b", Parts),
            ("/a/..", Parts),
            ("/a/", Parts),
            ("/", Parts),
            (&long, Length),
        ] {
            assert_eq!(asked(text), Err(error), "{text:?}");
        }
        assert_eq!(asked("/a//b").unwrap(), Path::new("/a/b"));
    }
}
