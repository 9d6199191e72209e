//! Credentials for services elsewhere: what is given is never seen again.

use std::process::Output;

use alknet_testkit::canary::Canary;

use crate::folder::Folder;

const TRACE: &str = "[log]\nlevel = \"trace\"\n";

fn must_not_be_in_output(canary: &Canary, what: &str, output: &Output) {
    canary.must_not_be_in(&format!("standard output of {what}"), &output.stdout);
    canary.must_not_be_in(&format!("standard error of {what}"), &output.stderr);
}

#[test]
fn a_canary_given_to_a_node_is_found_nowhere_afterwards() {
    // STORE-61, STORE-57
    let folder = Folder::with_identity();
    folder.configure(TRACE);
    let node = folder.serve();
    let canary = Canary::new();
    let (secret, set) =
        (format!("{}\n", canary.text()), format!(r#"{{"username":"me","password":"{}"}}"#, canary.text()));
    // A member too many, a text where an object should be, an object where a text should be.
    let crooked = [
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":"t","other":"{}"}}}}"#, canary.text()),
        format!(r#"{{"name":"a","kind":"bearer","fields":"{}"}}"#, canary.text()),
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":{{"x":"{}"}}}}}}"#, canary.text()),
        format!(r#"{{"name":"a","kind":"bearer","fields":{{"token":"{}"}},"lifetime_s":"x"}}"#, canary.text()),
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
        must_not_be_in_output(&canary, &words.join(" "), &output);
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
        must_not_be_in_output(&canary, &words.join(" "), &output);
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
