use std::{fs, path::Path};

use alknet_ssh::{
    AuthorizedKeysError, KeyOptionError, PublicKeyError, PublicKeyLine, limits, parse_authorized_keys, parse_public_key,
};
use proptest::prelude::*;

fn vectors(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(folder);
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// `[cert-authority ]FINGERPRINT COMMENT[ | OPTIONS]`
fn shown(key: &PublicKeyLine) -> String {
    let authority = if key.authority { "cert-authority " } else { "" };
    let options = key.options.as_ref().map(|options| format!(" | {options}")).unwrap_or_default();
    format!("{authority}{} {}{options}", key.fingerprint, key.comment)
}

/// SSH-50: the fingerprints stand beside the keys, as `ssh-keygen -l` and the key's own bytes give them.
#[test]
fn good_files_give_their_fingerprints() {
    for (name, text) in vectors("ok") {
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        let keys = parse_authorized_keys(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: Vec<_> = keys.iter().map(shown).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// SSH-51, SSH-52: each is refused for what it is named after; `expected.txt` holds the message.
#[test]
fn bad_files_are_refused_for_their_defect() {
    let mut expected = String::new();
    for (name, text) in vectors("bad") {
        if name != "expected" {
            expected += &format!("{name}: {}\n", parse_authorized_keys(&text).unwrap_err());
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bad/expected.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &expected).unwrap();
    }
    assert_eq!(expected, fs::read_to_string(golden).unwrap());
}

/// SSH-51.
#[test]
fn an_option_is_refused_by_its_name_and_line() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    for (option, name) in [
        ("no-ptty", "no-ptty"),
        ("restrict,comand=\"echo hi\"", "comand"),
        ("command=\"ssh-rsa AAAA\",unknown", "unknown"),
        ("from=\"10.0.0.0/8\",zos-key-ring-label=\"x\"", "zos-key-ring-label"),
    ] {
        let text = format!("# keys\n\n{option} {key}\n");
        let source = PublicKeyError::Option(KeyOptionError::Unknown(name.to_owned()));
        assert_eq!(parse_authorized_keys(&text), Err(AuthorizedKeysError::Line { line: 3, source }));
    }
}

/// SSH-53.
#[test]
fn lines_and_files_are_bounded() {
    let line = format!("ssh-ed25519 {}", "A".repeat(limits::MAX_KEY_LINE_BYTES));
    assert_eq!(parse_public_key(&line), Err(PublicKeyError::TooLong));
    let file = "#\n".repeat(limits::MAX_KEY_FILE_BYTES / 2 + 1);
    assert_eq!(parse_authorized_keys(&file), Err(AuthorizedKeysError::TooLarge));
}

proptest! {
    /// SSH-53.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let _ = parse_authorized_keys(&text);
        let _ = parse_public_key(&format!("ssh-ed25519 {text}"));
    }
}
