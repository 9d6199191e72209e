//! `.alknet-metadata`: what Git does not keep, as a file beside the others.
//!
//! The first line is `{"alknet_metadata":1}`; then one JSON object for each entry. Bytes that are no plain ASCII, `%` and `=` are
//! written as `%XX`; values of attributes as Base64.

use std::collections::BTreeMap;

use alknet_fs::FsPath;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{
    ArchiveError,
    pax::{percent_decode, percent_encode},
};
use crate::files::entry::{Entry, What, Xattrs, foreign_path, relative, xattrs_fit};

/// Its name, at the top of the tree.
pub const NAME: &[u8] = b".alknet-metadata";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    alknet_metadata: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    folder: bool,
    /// The twelve bits, octal.
    mode: String,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

/// What the sidecar says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub is_folder: bool,
    pub mode: u16,
    pub mtime_ns: i64,
    pub link: Option<FsPath>,
    pub xattrs: Xattrs,
}

/// The first line.
pub fn begin() -> String {
    "{\"alknet_metadata\":1}\n".to_owned()
}

/// Adds the line of an entry.
pub fn add(text: &mut String, entry: &Entry) -> serde_json::Result<()> {
    let plain = |bytes: &[u8]| String::from_utf8_lossy(&percent_encode(bytes)).into_owned();
    let line = Line {
        path: plain(&relative(&entry.path)),
        folder: entry.what == What::Folder,
        mode: format!("{:04o}", entry.mode),
        mtime_ns: entry.mtime_ns,
        link: if let What::HardLink { to, .. } = &entry.what { Some(plain(&relative(to))) } else { None },
        xattrs: entry.xattrs.iter().map(|(name, value)| (plain(name), BASE64.encode(value))).collect(),
    };
    text.push_str(&serde_json::to_string(&line)?);
    text.push('\n');
    Ok(())
}

/// Reads a sidecar.
pub fn read(text: &[u8]) -> Result<BTreeMap<FsPath, Said>, ArchiveError> {
    let wrong = |line: usize| ArchiveError::Damaged {
        format: "git",
        what: format!("line {line} of .alknet-metadata says nothing that can be understood"),
    };
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    let first = lines.next().and_then(|(_, line)| serde_json::from_slice::<First>(line).ok());
    if first.is_none_or(|first| first.alknet_metadata != 1) {
        return Err(wrong(1));
    }
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines.map(|(at, line)| read_line(line).ok_or_else(|| wrong(at + 1))).collect()
}

fn read_line(line: &[u8]) -> Option<(FsPath, Said)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let path = |text: &str| foreign_path(&percent_decode(text.as_bytes()));
    let mode = u16::from_str_radix(&line.mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
    let value = |(name, value): (String, String)| {
        Some((percent_decode(name.as_bytes()), BASE64.decode(value.as_bytes()).ok()?))
    };
    let xattrs: Xattrs = line.xattrs.into_iter().map(value).collect::<Option<_>>()?;
    let link = line.link.map(|link| path(&link).ok_or(())).transpose().ok()?;
    let said = Said { is_folder: line.folder, mode, mtime_ns: line.mtime_ns, link, xattrs };
    xattrs_fit(&said.xattrs).then_some((path(&line.path)?, said))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sidecar_that_cannot_be_understood_is_refused_by_its_line() {
        // ARCH-43
        let good = r#"{"path":"a","mode":"0644","mtime_ns":1}"#;
        let bad = [
            r#"{"path":"../a","mode":"0644","mtime_ns":1}"#,
            r#"{"path":"a","mode":"17777","mtime_ns":1}"#,
            r#"{"path":"a","mode":"0644","mtime_ns":1,"more":1}"#,
            r#"{"path":"a","mode":"0644","mtime_ns":1,"link":".."}"#,
            r#"{"path":"a","mode":"0644","mtime_ns":1,"xattrs":{"user.x":"!"}}"#,
            "x",
        ];
        assert_eq!(read(format!("{}{good}\n", begin()).as_bytes()).unwrap().len(), 1);
        for bad in bad {
            let error = read(format!("{}{good}\n{bad}\n", begin()).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("line 3"), "{error}");
        }
        for bad in ["", "{\"alknet_metadata\":2}\n", good] {
            assert!(read(bad.as_bytes()).unwrap_err().to_string().contains("line 1"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            let _ = read(&text);
        }
    }
}
