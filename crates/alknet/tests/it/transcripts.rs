//! The command line as plain transcripts: `tests/transcript/*.txt`.
//!
//! A file begins with what it plays in (`@ empty`, `@ identity`, `@ node`) and perhaps the lines of a configuration
//! (`=`). Then come commands and what they came to: `$` the command, `<` a line of standard input, `>` of standard
//! output, `!` of standard error, `?` the exit code. What differs between runs stands as a placeholder.
//! `UPDATE_GOLDEN=1` writes what happens now.

use std::{env, fs, path::Path, thread};

use crate::{folder::Folder, running::RunningNode};

#[test]
fn transcripts_are_golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcript");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    let played: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(|| play(file))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let differing: Vec<_> = played.into_iter().flatten().collect();
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 takes over what is right:\n{}", differing.join("\n"));
}

/// Plays one file; gives what it came to where that differs.
fn play(file: &Path) -> Option<String> {
    let expected = fs::read_to_string(file).unwrap();
    let stage = Stage::set(expected.lines().find_map(|line| line.strip_prefix("@ ")).unwrap());
    let config: Vec<_> = expected.lines().filter_map(|line| line.strip_prefix("= ")).collect();
    if !config.is_empty() {
        stage.folder.configure(&config.join("\n"));
    }
    let mut now = String::new();
    let mut lines = expected.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            // Comments and blank lines stay; what a command came to is written anew.
            if !matches!(line.get(..1), Some(">" | "!" | "?" | "<")) {
                now += &format!("{line}\n");
            }
            continue;
        };
        let mut stdin = String::new();
        now += &format!("$ {command}\n");
        while let Some(line) = lines.next_if(|line| line.starts_with('<')) {
            stdin += &format!("{}\n", &line[1..].trim_start());
            now += &format!("{line}\n");
        }
        now += &stage.run(command, &stdin);
    }
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, &now).unwrap();
        return None;
    }
    (now != expected).then(|| format!("--- {}\n{}", file.display(), first_difference(&expected, &now)))
}

fn first_difference(expected: &str, now: &str) -> String {
    let pairs = expected.lines().map(Some).chain([None]).zip(now.lines().map(Some).chain([None]));
    let differing = pairs.enumerate().find(|(_, (expected, now))| expected != now);
    let (at, (expected, now)) = differing.unwrap();
    format!("line {}: expected {expected:?}\n    but now it is {now:?}", at + 1)
}

/// A folder, perhaps with a node on it, and what of it must not stand in a transcript.
struct Stage {
    folder: Folder,
    _node: Option<RunningNode>,
    placeholders: Vec<(String, &'static str)>,
}

impl Stage {
    fn set(kind: &str) -> Self {
        let folder = if kind == "empty" { Folder::empty() } else { Folder::with_identity() };
        let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let mut placeholders = vec![
            (path(folder.data()), "[DATA]"),
            (path(folder.home()), "[HOME]"),
            (format!("\"{}\"", env!("CARGO_PKG_VERSION")), "\"[VERSION]\""),
            (format!("alknet {}", env!("CARGO_PKG_VERSION")), "alknet [VERSION]"),
        ];
        if kind != "empty" {
            let identity = folder.json(&["identity", "show"]);
            for (member, placeholder) in [("node_id", "[ID]"), ("key", "[KEY]"), ("root", "[ROOT]")] {
                placeholders.push((identity[member].as_str().unwrap().to_owned(), placeholder));
            }
        }
        let node = (kind == "node").then(|| folder.serve());
        if let Some(node) = &node {
            placeholders.push((format!("127.0.0.1:{}", node.port), "127.0.0.1:[PORT]"));
            placeholders.push((format!("process {}", node.pid()), "process [PID]"));
        }
        Self { folder, _node: node, placeholders }
    }

    /// Runs a command and writes down what it came to.
    fn run(&self, command: &str, stdin: &str) -> String {
        let words = words(command);
        let [program, words @ ..] = words.as_slice() else { panic!("an empty command") };
        assert_eq!(program, "alknet");
        let real = |word: &String| {
            self.placeholders.iter().fold(word.clone(), |word, (what, placeholder)| word.replace(placeholder, what))
        };
        let words: Vec<_> = words.iter().map(real).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = self.folder.output_of(&words, stdin);
        let mut text = String::new();
        for (mark, bytes) in [('>', &output.stdout), ('!', &output.stderr)] {
            for line in self.anonymous(std::str::from_utf8(bytes).unwrap()).lines() {
                text += format!("{mark} {line}").trim_end();
                text.push('\n');
            }
        }
        text + &format!("? {}\n", output.status.code().unwrap())
    }

    fn anonymous(&self, text: &str) -> String {
        let known =
            self.placeholders.iter().fold(text.to_owned(), |text, (what, placeholder)| text.replace(what, placeholder));
        known.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(unknown).collect()
    }
}

/// Replaces a word that is a secret, an id or a time, and keeps what stands behind it.
fn unknown(word: &str) -> String {
    let end = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).len();
    let (word, rest) = word.split_at(end);
    let is_time = word.starts_with(['1', '2']) && word.bytes().all(|b| b.is_ascii_digit());
    let is_base32 = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let placeholder = match word.len() {
        10 if is_time => "[TIME]",
        52 if is_base32 => "[ID]",
        81.. if is_base32 => "[TICKET]",
        _ => word,
    };
    format!("{placeholder}{rest}")
}

/// The words of a command line: blanks part them, single quotes keep them together.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
