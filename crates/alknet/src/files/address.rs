//! What an argument names: a place of this machine, or an entry on a branch of a bucket.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use alknet_fs::{
    Address, BranchName, BucketName, EntryName, FsPath, When,
    operations::{BranchRef, Octets},
};

use crate::{
    cli::printable,
    failure::{Failure, Kind},
};

/// An argument of a command that takes both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `-`: standard input or output.
    Standard,
    /// It begins with `/`, `./` or `../`.
    Local(PathBuf),
    /// Anything else is an address.
    Remote(OsString),
}

impl Argument {
    /// Reads an argument.
    pub fn of(text: &OsStr) -> Self {
        match text.as_bytes() {
            b"-" => Self::Standard,
            b"." | b".." => Self::Local(text.into()),
            bytes if [b"/".as_slice(), b"./", b"../"].iter().any(|begin| bytes.starts_with(begin)) => {
                Self::Local(text.into())
            }
            _ => Self::Remote(text.to_owned()),
        }
    }
}

/// An entry on a branch, as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The node, where it is another one.
    pub node: Option<String>,
    /// The branch.
    pub branch: BranchRef,
    /// What stands after `@`.
    pub when: Option<String>,
    /// The entry.
    pub path: FsPath,
    /// Whether a branch was written.
    pub branch_written: bool,
    /// Whether the address ends in `/`: what comes goes into it.
    pub into: bool,
}

impl Spot {
    /// Its bucket as commands take it, with the node that it is on.
    pub fn bucket_address(&self) -> String {
        let node = self.node.as_ref().map_or_else(String::new, |node| format!("{node}//"));
        printable(&format!("{node}{}", self.branch.bucket))
    }

    /// Reads an address; a branch that is not written is the one that was switched to, or `main`.
    pub fn read(text: &OsStr, switched: &Switched) -> Result<Self, Failure> {
        let bytes = text.as_bytes();
        let address = Address::parse(bytes, now_ns()).map_err(|error| {
            let failure = Failure::usage(error);
            if matches!(Argument::of(text), Argument::Local(_)) {
                return failure.hint("that names a file of this machine; here an address is meant: BUCKET/PATH");
            }
            if Path::new(text).exists() {
                return failure.hint(format_args!(
                    "a file of this machine is written ./{}",
                    text.to_string_lossy().escape_debug()
                ));
            }
            failure
        })?;
        let written = address.branch.is_some();
        let branch = match address.branch {
            Some(branch) => branch,
            None => switched.branch(address.node.as_deref(), &address.bucket),
        };
        let when = (address.when != When::Now).then(|| address.when.to_string());
        let branch = BranchRef { bucket: address.bucket, branch };
        let into = bytes.ends_with(b"/");
        Ok(Self { node: address.node, branch, when, path: address.path, branch_written: written, into })
    }

    /// The same, for what is to be changed: nothing of the past is.
    pub fn read_now(text: &OsStr, switched: &Switched) -> Result<Self, Failure> {
        let spot = Self::read(text, switched)?;
        match &spot.when {
            None => Ok(spot),
            Some(when) => Err(Failure::usage(format_args!("{spot} is of the past (@{when}), which cannot be changed"))
                .hint("leave out what stands after @; `alknet fs restore` makes it again as it was")),
        }
    }

    /// The path as operations take it.
    pub fn octets(&self) -> Octets {
        Octets::from(&self.path)
    }

    /// The entry of this name in it.
    pub fn join(&self, name: EntryName) -> Result<Self, Failure> {
        let path = self.path.join(name).map_err(Failure::usage)?;
        Ok(Self { path, into: false, ..self.clone() })
    }

    /// The same place of the tree at another path.
    pub fn at(&self, path: FsPath) -> Self {
        Self { path, into: false, ..self.clone() }
    }

    /// The address as bytes, with the branch where it was written or is not `main`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.node.as_ref().map_or_else(String::new, |node| format!("{node}//"));
        text.push_str(self.branch.bucket.as_str());
        if self.branch_written || self.branch.branch != BranchName::main() {
            text.push_str(&format!(":{}", self.branch.branch));
        }
        if let Some(when) = &self.when {
            text.push_str(&format!("@{when}"));
        }
        [text.into_bytes(), self.path.to_bytes()].concat()
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        alknet_fs::Escaped(&self.to_bytes()).fmt(f)
    }
}

/// Now, in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The branches that `alknet fs switch` remembers for this user, by data folder and bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switched {
    file: PathBuf,
    data: String,
    all: BTreeMap<String, BTreeMap<String, String>>,
}

impl Switched {
    /// Reads what is remembered in this file for the node of this data folder.
    pub fn load(file: PathBuf, data: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::failed(format_args!("{} cannot be read: {error}", file.display()))
                .hint("remove it to forget which branches were switched to")
        };
        let all = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(wrong(&error)),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| wrong(&error))?,
        };
        Ok(Self { file, data: data.to_string_lossy().into_owned(), all })
    }

    /// The branch that is meant where none is written.
    pub fn branch(&self, node: Option<&str>, bucket: &BucketName) -> BranchName {
        let remembered = self.all.get(&self.data).and_then(|of_node| of_node.get(&key(node, bucket)));
        remembered.and_then(|branch| branch.parse().ok()).unwrap_or_else(BranchName::main)
    }

    /// Remembers a branch; `main` is what is meant anyway.
    pub fn remember(&mut self, node: Option<&str>, branch: &BranchRef) -> Result<(), Failure> {
        let of_node = self.all.entry(self.data.clone()).or_default();
        let key = key(node, &branch.bucket);
        if branch.branch == BranchName::main() {
            of_node.remove(&key);
        } else {
            of_node.insert(key, branch.branch.to_string());
        }
        self.all.retain(|_, of_node| !of_node.is_empty());
        let written = || -> io::Result<()> {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            let part = self.file.with_added_extension("part");
            fs::write(&part, serde_json::to_vec_pretty(&self.all)?)?;
            fs::rename(&part, &self.file)
        };
        written().map_err(|error| {
            Failure::new(Kind::Failed, format_args!("{} cannot be written: {error}", self.file.display()))
        })
    }
}

fn key(node: Option<&str>, bucket: &BucketName) -> String {
    node.map_or_else(|| bucket.to_string(), |node| format!("{node}//{bucket}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(text: &str, switched: &Switched) -> Spot {
        Spot::read(OsStr::new(text), switched).unwrap()
    }

    #[test]
    fn an_argument_is_local_only_if_it_looks_like_a_path() {
        for local in ["/", "/a", "./a", "../a", ".", ".."] {
            assert_eq!(Argument::of(OsStr::new(local)), Argument::Local(local.into()), "{local}");
        }
        assert_eq!(Argument::of(OsStr::new("-")), Argument::Standard);
        for remote in ["a", "a/b", "a.txt", ".a", "node//b/x", "..b", "-x"] {
            assert_eq!(Argument::of(OsStr::new(remote)), Argument::Remote(remote.into()), "{remote}");
        }
    }

    #[test]
    fn a_switched_branch_is_meant_until_main_is_switched_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alknet/fs-branches.json");
        let load = |data: &str| Switched::load(file.clone(), Path::new(data)).unwrap();
        let mut switched = load("/one");
        assert_eq!(spot("b/x", &switched).branch.to_string(), "b/main");
        switched.remember(None, &"b/trial".parse().unwrap()).unwrap();
        let switched = load("/one");
        let meant = spot("b/x", &switched);
        assert_eq!((meant.branch.to_string().as_str(), meant.to_string().as_str()), ("b/trial", "b:trial/x"));
        assert_eq!(spot("b:main/x", &switched).to_string(), "b:main/x");
        assert_eq!(spot("other//b/x", &switched).branch.to_string(), "b/main", "of another node");
        assert_eq!(spot("b/x", &load("/two")).branch.to_string(), "b/main", "of another data folder");
        load("/one").remember(None, &"b/main".parse().unwrap()).unwrap();
        assert_eq!(load("/one"), load("/one"));
        assert_eq!(spot("b/x", &load("/one")).branch.to_string(), "b/main");
        fs::write(&file, "[").unwrap();
        assert!(Switched::load(file.clone(), Path::new("/one")).is_err());
    }

    #[test]
    fn the_past_cannot_be_changed_and_a_slash_says_into() {
        let switched = Switched::default();
        assert!(spot("b/a/", &switched).into && spot("b/", &switched).into);
        assert!(!spot("b", &switched).into && !spot("b/a", &switched).into);
        assert_eq!(spot("b@17/a", &switched).when.as_deref(), Some("17"));
        assert!(Spot::read_now(OsStr::new("b@17/a"), &switched).is_err());
        let local = Spot::read(OsStr::new("./b"), &switched).unwrap_err().to_string();
        assert!(local.contains("hint: that names a file of this machine") && !local.contains("././"), "{local}");
        assert_eq!(spot("b@now/a", &switched).when, None);
    }
}
