//! How entries look in lists.

use alknet_fs::{
    Escaped,
    operations::{AttributesView, EntryKind, EntryView, Octets, Timestamp},
};

use crate::{cli::output, failure::Failure};

/// An entry as `ls -l` has it: permissions, size, time, name.
pub(super) fn long(kind: EntryKind, attributes: &AttributesView, name: &str) -> String {
    let size = if kind == EntryKind::Folder { "-".to_owned() } else { output::bytes(attributes.size) };
    let arrow = attributes.target.as_ref().map_or_else(String::new, |target| format!(" -> {target}"));
    format!("{}  {size:>10}  {}  {name}{arrow}", permissions(kind, attributes.mode), seconds(attributes.mtime))
}

/// A name with what says its kind: `/` after a folder, `@` after a link.
pub(super) fn marked(entry: &EntryView) -> String {
    let mark = match entry.kind {
        EntryKind::Folder => "/",
        EntryKind::Symlink => "@",
        EntryKind::File => "",
    };
    format!("{}{mark}", entry.name)
}

/// A time without the parts of a second.
pub(super) fn seconds(time: Timestamp) -> String {
    Timestamp(time.0.div_euclid(1_000_000_000).saturating_mul(1_000_000_000)).to_string()
}

/// `drwxr-xr-x`.
pub(super) fn permissions(kind: EntryKind, mode: u16) -> String {
    let mut text = String::from(match kind {
        EntryKind::File => '-',
        EntryKind::Folder => 'd',
        EntryKind::Symlink => 'l',
    });
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    for (who, (bit, with, without)) in [6, 3, 0].into_iter().zip(special) {
        let bits = mode >> who & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & bit != 0) {
            (true, true) => with,
            (false, true) => without,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Prints one JSON object on a line of its own.
pub(super) fn json_line(value: &impl serde::Serialize) -> Result<(), Failure> {
    output::json_line(value)
}

/// Prints one of many JSON objects on a line of its own; once nobody reads any more, the command ends.
pub(super) fn json_flow(value: &impl serde::Serialize) -> Result<(), Failure> {
    output::json_flow(value)
}

/// The last of the names of a path.
pub(super) fn last(path: &Octets) -> &[u8] {
    path.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Bytes for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_as_everybody_knows_them() {
        for (kind, mode, text) in [
            (EntryKind::Folder, 0o755, "drwxr-xr-x"),
            (EntryKind::File, 0o4754, "-rwsr-xr--"),
            (EntryKind::File, 0o7640, "-rwSr-S--T"),
            (EntryKind::Symlink, 0o777, "lrwxrwxrwx"),
            (EntryKind::Folder, 0o1777, "drwxrwxrwt"),
        ] {
            assert_eq!(permissions(kind, mode), text);
        }
    }
}
