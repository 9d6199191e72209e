//! The files of the repository that rules look at.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// A folder and the files in it that belong to the project, as sorted `/`-separated paths below it.
pub struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// The files that git tracks, or would track if they were added.
    pub fn of_git(root: &Path) -> Result<Tree> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("running git ls-files")?;
        ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let files = listing.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Tree::new(root, files))
    }

    fn new(root: &Path, mut files: Vec<String>) -> Tree {
        files.retain(|name| root.join(name).is_file());
        files.sort();
        files.dedup();
        Tree { root: root.to_owned(), files }
    }

    /// Where the tree lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The files whose path starts with `prefix` and ends with one of `endings`.
    pub fn select<'a>(&'a self, prefix: &'a str, endings: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.files().filter(move |path| path.starts_with(prefix) && endings.iter().any(|ending| path.ends_with(ending)))
    }

    /// The text of `path`, or `None` where it is not UTF-8 text.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = fs::read(self.root.join(path)).with_context(|| format!("reading {path}"))?;
        Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
    }
}

/// The repository's root: the parent of this package as cargo names it at run time, so that clones that share a target
/// folder do not see each other; else the nearest folder upwards with a workspace manifest.
pub fn root() -> Result<PathBuf> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => env::current_dir().context("finding the current folder")?,
    };
    for folder in start.ancestors() {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        if manifest.contains("[workspace]") {
            return Ok(folder.to_owned());
        }
    }
    bail!("{} lies in no cargo workspace", start.display())
}

#[cfg(test)]
pub mod made_up {
    //! Small trees for the rules' tests.

    use super::*;

    /// A tree of `(path, text)` in a temporary folder that goes with the value.
    pub struct MadeUp {
        pub tree: Tree,
        _folder: tempfile::TempDir,
    }

    pub fn tree(files: &[(&str, &str)]) -> MadeUp {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let names = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        MadeUp { tree: Tree::new(folder.path(), names), _folder: folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace_and_its_files_are_listed() {
        let tree = Tree::of_git(&root().unwrap()).unwrap();
        assert!(tree.files().any(|path| path == "xtask/src/tree.rs"));
        assert!(!tree.files().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    }

    #[test]
    fn binary_files_have_no_text() {
        let made = made_up::tree(&[("a.txt", "words"), ("b.bin", "\0\u{1}")]);
        assert_eq!(made.tree.text("a.txt").unwrap().as_deref(), Some("words"));
        assert_eq!(made.tree.text("b.bin").unwrap(), None);
    }
}
