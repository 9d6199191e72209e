//! Credentials for services elsewhere: what is given is never seen again.

use std::{fs, path::Path, process::Output};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};

use crate::folder::Folder;

const TRACE: &str = "[log]\nlevel = \"trace\"\n";

/// A secret that stands nowhere else, and how it may look where it leaked.
struct Canary(String);

impl Canary {
    fn new(name: &str) -> Self {
        let mut random = [0; 12];
        getrandom::fill(&mut random).unwrap();
        Self(format!("{name}{}", HEXLOWER.encode(&random)))
    }

    fn must_not_be_in(&self, what: &str, bytes: &[u8]) {
        let plain = self.0.as_bytes();
        let reversed: Vec<u8> = plain.iter().rev().copied().collect();
        let mut shapes = vec![plain.to_vec(), reversed, HEXLOWER.encode(plain).into_bytes()];
        // In base64 it looks different at each of three offsets; its ends depend on what stands beside it.
        for offset in 0..3 {
            let shifted = [&b"xyz"[..offset], plain].concat();
            for encoded in [BASE64_NOPAD.encode(&shifted), BASE64URL_NOPAD.encode(&shifted), BASE64.encode(&shifted)] {
                shapes.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
            }
        }
        for shape in shapes {
            let found = bytes.windows(shape.len()).any(|window| window == shape);
            assert!(!found, "{what} holds {}", String::from_utf8_lossy(&shape));
        }
    }

    fn must_not_be_in_output(&self, what: &str, output: &Output) {
        self.must_not_be_in(&format!("standard output of {what}"), &output.stdout);
        self.must_not_be_in(&format!("standard error of {what}"), &output.stderr);
    }

    fn must_not_be_below(&self, folder: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                files += self.must_not_be_below(&entry.path());
            } else if kind.is_file() {
                self.must_not_be_in(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap());
                files += 1;
            }
        }
        files
    }
}

#[test]
fn a_canary_given_to_a_node_is_found_nowhere_afterwards() {
    // STORE-61, STORE-57
    let folder = Folder::with_identity();
    folder.configure(TRACE);
    let node = folder.serve();
    let canary = Canary::new("canary");
    let (secret, set) = (format!("{}\n", canary.0), format!(r#"{{"username":"me","password":"{}"}}"#, canary.0));
    // A member too many, a text where an object should be, an object where a text should be.
    let crooked = [
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":"t","other":"{}"}}}}"#, canary.0),
        format!(r#"{{"name":"a","kind":"bearer","fields":"{}"}}"#, canary.0),
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":{{"x":"{}"}}}}}}"#, canary.0),
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":"{}"}},"lifetime_s":"x"}}"#, canary.0),
    ];
    let good: [(&[&str], &str); 7] = [
        (&["credential", "add", "one", "--kind", "bearer"], &secret),
        (&["credential", "add", "two", "--kind", "basic", "--json"], &set),
        (&["credential", "rotate", "one", "--kind", "api-key"], &secret),
        (&["credential", "list", "--json"], ""),
        (&["audit", "--json"], ""),
        (&["call", "credentials/list", "{}"], ""),
        (&["credential", "remove", "two"], ""),
    ];
    for (words, input) in good {
        let output = folder.output_of(words, input);
        assert!(output.status.success(), "{words:?}: {output:?}");
        canary.must_not_be_in_output(&words.join(" "), &output);
    }
    let bad: [(&[&str], &str); 3] = [
        (&["credential", "add", "one", "--kind", "bearer"], &secret),
        (&["credential", "add", "three", "--kind", "s3"], &set),
        (&["credential", "add", "four", "--kind", "custom"], &secret),
    ];
    let calls = crooked.iter().map(|input| (&["call", "credentials/add", "-"][..], input.as_str()));
    for (words, input) in bad.into_iter().chain(calls) {
        let output = folder.output_of(words, input);
        assert!(!output.status.success(), "{words:?} {input}");
        canary.must_not_be_in_output(&words.join(" "), &output);
    }
    let log = node.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "nothing was traced:\n{log}");
    canary.must_not_be_in("the log", log.as_bytes());
    assert!(canary.must_not_be_below(&folder.data()) > 2, "the database and its log were looked through");
    folder.run(&["stop"]);
    assert!(node.gone().success());
    assert!(canary.must_not_be_below(&folder.data()) > 1);
}

#[test]
fn a_credential_outlives_the_node_and_needs_its_vault() {
    // STORE-57
    let folder = Folder::with_identity();
    let output = folder.output_of(&["credential", "add", "one", "--kind", "bearer"], "secret\n");
    assert!(output.status.success(), "without a node running: {output:?}");
    let node = folder.serve();
    let listed = folder.json(&["credential", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"one".into(), &"bearer".into()));
    folder.run(&["stop"]);
    assert!(node.gone().success());
}
