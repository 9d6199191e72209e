//! The file system through its library, beside what the disk and other programs do: `cargo xtask bench fs`.
//!
//! Names of parts (`tree`, `files`, …) as arguments run these only; a number divides every size, so that `100` is a run of seconds which
//! says whether all of it works, and nothing about speed. A word with a slash is the folder to work in, on the disk to measure: what is
//! made there stays, and the tree of a million files is made only once.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod bulk;
mod files;
mod gc;
mod juicefs;
mod memory;
mod merge;
mod node;
mod plain;
mod rewrite;
mod size;
mod timing;
mod tree;

use std::path::Path;

use size::Scale;

/// A part, and what runs it in a folder of its own.
type Part = (&'static str, fn(&Path, Scale));

const PARTS: &[Part] = &[
    ("tree", tree::run),
    ("files", files::run),
    ("bulk", bulk::run),
    ("rewrite", rewrite::run),
    ("gc", gc::run),
    ("juicefs", juicefs::run),
];

fn main() {
    // Cargo adds arguments of its own, which begin with dashes.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [role, folder, scale] = &words[..]
        && role == tree::READER
    {
        return tree::read(Path::new(folder), Scale::parse(scale).unwrap());
    }
    let scale = words.iter().find_map(|word| Scale::parse(word)).unwrap_or_default();
    let kept = words.iter().find(|word| word.contains('/')).map(Path::new);
    let wanted: Vec<&String> =
        words.iter().filter(|word| Scale::parse(word).is_none() && !word.contains('/')).collect();
    let is_part = |word: &&&String| PARTS.iter().any(|(name, _)| name == **word);
    let unknown: Vec<_> = wanted.iter().filter(|word| !is_part(word)).collect();
    let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
    assert!(unknown.is_empty(), "no part is called {unknown:?}; there are: {names:?}");

    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            let passing = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let folder = kept.map_or(passing.path().to_owned(), |folder| folder.join(name));
            std::fs::create_dir_all(&folder).unwrap();
            run(&folder, scale);
        }
    }
}
