//! Absolute paths.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

/// A path from the root, so that it does not depend on where the node was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

/// A text that is no absolute path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("write an absolute path, beginning with / (`~` is not expanded)")]
pub(super) struct NotAbsolute;

impl FromStr for AbsolutePath {
    type Err = NotAbsolute;
    fn from_str(text: &str) -> Result<Self, NotAbsolute> {
        let usable = Path::new(text).is_absolute() && !text.contains('\0');
        if usable { Ok(Self(text.into())) } else { Err(NotAbsolute) }
    }
}
