//! Configuration files: bounded reading, and settings with their lines.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, de::IntoDeserializer};
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::{
    defaults::{self, ROLE_FIELDS, ROLES},
    error::{Problem, quoted},
    limits::{MAX_FILE_BYTES, MAX_ROLE_NAME_BYTES},
    merge::Setting,
    origin::Origin,
    suggest::closest,
};

/// What was found in a file so far.
struct Reading<'a> {
    path: &'a Path,
    /// Offset of each line's first byte.
    line_starts: Vec<usize>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

type Members<'i> = DeTable<'i>;
type Member<'i> = Spanned<DeValue<'i>>;

/// Reads a file's settings; what is wrong with it is added to `problems`. An absent file is a problem only when `required`.
pub(super) fn read(path: &Path, required: bool, problems: &mut Vec<Problem>) -> Vec<Setting> {
    match bounded_text(path) {
        Ok(text) => {
            let (settings, found) = settings_in(path, &text);
            problems.extend(found);
            settings
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Vec::new(),
        Err(error) => {
            problems.push(Problem::in_file(path, format!("cannot be read: {error}")));
            Vec::new()
        }
    }
}

fn bounded_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message);
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid("it is larger than 1 MiB, so it is no configuration"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))
}

/// The settings in a text, and everything that is wrong with it.
fn settings_in(path: &Path, text: &str) -> (Vec<Setting>, Vec<Problem>) {
    let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut reading = Reading { path, line_starts, settings: Vec::new(), problems: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = reading.origin(error.span().map_or(0, |span| span.start));
        reading.problems.push(Problem::at(&at, error.message()));
    }
    // What a broken file seems to say besides its syntax errors would only mislead.
    if errors.is_empty() {
        reading.sections(table.get_ref());
    }
    (reading.settings, reading.problems)
}

impl Reading<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        Origin::File { path: self.path.to_owned(), line }
    }

    fn problem(&mut self, offset: usize, message: String, suggestion: Option<&str>) {
        let at = self.origin(offset);
        self.problems.push(Problem::at(&at, message).meaning(suggestion));
    }

    fn sections(&mut self, table: &Members<'_>) {
        let known = defaults::sections();
        for (section, value) in table {
            let (name, at) = (section.get_ref().as_ref(), section.span().start);
            match value.get_ref().as_table() {
                _ if !known.contains(&name) => self.unknown_section(name, at, &known),
                Some(roles) if name == ROLES => self.roles(roles),
                Some(keys) => self.keys(name, keys),
                None => self.problem(at, format!("`{name}` is a section: write [{name}] and its keys below"), None),
            }
        }
    }

    fn unknown_section(&mut self, name: &str, at: usize, known: &[&str]) {
        // A key that stands above its section's header looks like a section.
        let suggestion = closest(name, known.iter().copied()).or_else(|| key_called(name));
        self.problem(at, format!("unknown section or key {}", quoted(name)), suggestion);
    }

    fn keys(&mut self, section: &str, keys: &Members<'_>) {
        for (key, value) in keys {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let full = format!("{section}.{name}");
            if defaults::find(&full).is_some() {
                self.setting(full, at, value);
                continue;
            }
            let siblings = defaults::keys()
                .iter()
                .filter(|key| key.section() == section)
                .map(|key| &key.name[section.len() + 1..]);
            let suggestion = closest(name, siblings).map(|sibling| format!("{section}.{sibling}"));
            let suggestion = suggestion.as_deref().or_else(|| key_called(name));
            self.problem(at, format!("unknown key {}", quoted(&full)), suggestion);
        }
    }

    fn roles(&mut self, roles: &Members<'_>) {
        for (role, value) in roles {
            let (name, at) = (role.get_ref().as_ref(), role.span().start);
            match value.get_ref().as_table() {
                _ if !is_role_name(name) => {
                    let rule = format!("write 1 to {MAX_ROLE_NAME_BYTES} of a-z 0-9 - _");
                    self.problem(at, format!("{} is no name for a role: {rule}", quoted(name)), None);
                }
                Some(fields) if !fields.is_empty() => self.role(name, fields),
                _ => self.problem(
                    at,
                    format!("the role `{name}` says nothing: write [roles.{name}] and scopes = […] below"),
                    None,
                ),
            }
        }
    }

    fn role(&mut self, role: &str, fields: &Members<'_>) {
        for (field, value) in fields {
            let (name, at) = (field.get_ref().as_ref(), field.span().start);
            let full = format!("{ROLES}.{role}.{name}");
            if ROLE_FIELDS.contains(&name) {
                self.setting(full, at, value);
            } else {
                self.problem(at, format!("unknown key {}", quoted(&full)), closest(name, ROLE_FIELDS));
            }
        }
    }

    fn setting(&mut self, key: String, at: usize, value: &Member<'_>) {
        match Value::deserialize(value.clone().into_deserializer()) {
            Ok(value) => self.settings.push(Setting { key, value, origin: self.origin(at) }),
            Err(error) => self.problem(at, format!("{key}: {}", error.message()), None),
        }
    }
}

/// The full name of a key that has this name in some section.
fn key_called(name: &str) -> Option<&'static str> {
    defaults::keys()
        .iter()
        .filter(|key| !key.is_role())
        .map(|key| key.name.as_str())
        .find(|full| full.split_once('.').is_some_and(|(_, last)| last == name))
}

/// The store's rule for names, without the dot, which separates the parts of a key here.
pub(super) fn is_role_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.len() <= MAX_ROLE_NAME_BYTES && name.bytes().all(good)
}
