//! Loading as a whole: layers, origins, and the vectors of configurations that must or must not load.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Value;

use super::{addresses::EnvPattern, origin::Origin, *};

fn vectors(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/config").join(kind);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn user(path: &Path) -> Sources {
    Sources { user: Some(path.to_owned()), ..Sources::default() }
}

fn from_text(text: &str) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alknet.toml");
    fs::write(&path, text).unwrap();
    load(&user(&path))
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.entries().into_iter().find(|entry| entry.key == key).unwrap().origin.to_string()
}

#[test]
fn good_configurations_load() {
    let files = vectors("ok");
    assert!(files.len() >= 3);
    for file in files {
        load(&user(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// The first lines of a bad vector are `#! LINE: fragment`: a problem at that line whose text has the fragment.
#[test]
fn bad_configurations_are_refused_for_the_right_reason_at_the_right_line() {
    let files = vectors("bad");
    assert!(files.len() >= 20);
    for file in files {
        let name = file.display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let expected: Vec<_> = text.lines().map_while(|line| line.strip_prefix("#! ")).collect();
        assert!(!expected.is_empty(), "{name} says nothing about what must happen");
        let error = load(&user(&file)).expect_err(&name);
        let found: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
        for expectation in expected {
            let (line, fragment) = expectation.split_once(": ").unwrap();
            let at = format!("{name}:{line}: ");
            assert!(
                found.iter().any(|problem| problem.starts_with(&at) && problem.contains(fragment)),
                "{name}: no problem at line {line} with `{fragment}` in {found:#?}"
            );
        }
    }
}

#[test]
fn the_defaults_are_what_the_documentation_says() {
    let loaded = load(&Sources::default()).unwrap();
    let config = loaded.config();
    assert_eq!(config.node.listen.to_string(), "[::]:4433");
    assert_eq!(config.node.drain_timeout, Duration::from_secs(10));
    assert!(config.gate.plain_ssh && config.gate.public_url.is_none());
    assert_eq!(config.web.pem_files(), None);
    assert_eq!(config.http.decoy(), Decoy::None);
    assert_eq!(config.ssh.shell(), None);
    assert_eq!(config.ssh.env_allow[1].as_str(), "LC_*");
    assert_eq!(config.tokens.max_lifetime, Duration::from_secs(86_400));
    assert_eq!((config.log.level(), config.log.format), ("info", LogFormat::Text));
    assert_eq!(config.audit.rows(), 1_000_000);
    assert!(loaded.entries().iter().all(|entry| entry.origin == Origin::Default));
}

#[test]
fn later_layers_win_key_by_key_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let system = write(
        "system.toml",
        "[node]\nlisten = \"1.1.1.1:1\"\ndrain_timeout = \"1s\"\n[log]\nlevel = \"warn\"\n[audit]\nmax_rows = 7\n",
    );
    let user =
        write("user.toml", "\n[node]\nlisten = \"2.2.2.2:2\"\ndrain_timeout = \"2s\"\n\n[log]\nlevel = \"debug\"\n");
    let env = [
        ("ALKNET_NODE_LISTEN", "3.3.3.3:3"),
        ("ALKNET_NODE_DRAIN_TIMEOUT", "3s"),
        ("ALKNET_SSH_ENV_ALLOW", "A, B_*"),
        ("ALKNET_GATE_PLAIN_SSH", "false"),
        ("ALKNET_NODE_ADVERTISE", ""),
    ];
    let sources = Sources {
        system: Some(system.clone()),
        user: Some(user.clone()),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        flags: vec![("node.listen".into(), Value::from("4.4.4.4:4"))],
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    let config = loaded.config();
    assert_eq!(config.node.listen.to_string(), "4.4.4.4:4");
    assert_eq!(origin(&loaded, "node.listen"), "flag --listen");
    assert_eq!(config.node.drain_timeout, Duration::from_secs(3));
    assert_eq!(origin(&loaded, "node.drain_timeout"), "environment ALKNET_NODE_DRAIN_TIMEOUT");
    assert_eq!(origin(&loaded, "log.level"), format!("{}:7", user.display()));
    assert_eq!(config.audit.rows(), 7);
    assert_eq!(origin(&loaded, "audit.max_rows"), format!("{}:7", system.display()));
    assert_eq!(origin(&loaded, "tokens.max_lifetime"), "default");
    let allowed: Vec<_> = config.ssh.env_allow.iter().map(EnvPattern::as_str).collect();
    assert_eq!(allowed, ["A", "B_*"]);
    assert!(!config.gate.plain_ssh && config.node.advertise.is_empty());
}

#[test]
fn variables_that_are_not_keys_are_left_alone_unless_they_look_like_keys() {
    let with = |name: &str, value: &str| Sources { env: vec![(name.into(), value.into())], ..Sources::default() };
    for other in
        ["ALKNET_DATA", "ALKNET_CONFIG", "ALKNET_PASSPHRASE_FILE", "ALKNET_BIN", "NODE_LISTEN", "ALKNET_NODES_X"]
    {
        assert!(load(&with(other, "x")).is_ok(), "{other}");
    }
    for (name, value, expected) in [
        ("ALKNET_NODE_LISTE", "x", "did you mean `ALKNET_NODE_LISTEN`?"),
        ("ALKNET_LOG", "debug", "no key"),
        ("ALKNET_ROLES_X_SCOPES", "a:b", "written in a file"),
        ("ALKNET_GATE_PLAIN_SSH", "yes", "gate.plain_ssh: write true or false"),
        ("ALKNET_AUDIT_MAX_ROWS", "many", "audit.max_rows: write a whole number"),
        ("ALKNET_NODE_LISTEN", "nowhere", "node.listen: not an address"),
    ] {
        let error = load(&with(name, value)).expect_err(name).to_string();
        assert!(error.starts_with(&format!("environment {name}: ")) && error.contains(expected), "{error}");
    }
}

#[test]
fn an_unknown_flag_key_is_refused() {
    let sources = Sources { flags: vec![("node.liste".into(), Value::from("x"))], ..Sources::default() };
    assert!(load(&sources).unwrap_err().to_string().contains("did you mean `node.listen`?"));
}

#[test]
fn absent_folder_large_and_binary_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alknet.toml");
    let system = |path: &Path| Sources { system: Some(path.to_owned()), ..Sources::default() };
    assert!(load(&system(&path)).is_ok(), "no system file is fine");
    assert!(load(&user(&path)).unwrap_err().to_string().contains("cannot be read"), "a named file must be there");
    assert!(load(&system(folder.path())).unwrap_err().to_string().contains("cannot be read"));
    fs::write(&path, vec![b'#'; limits::MAX_FILE_BYTES as usize + 1]).unwrap();
    assert!(load(&user(&path)).unwrap_err().to_string().contains("larger than 1 MiB"));
    fs::write(&path, vec![b'#'; limits::MAX_FILE_BYTES as usize]).unwrap();
    assert!(load(&user(&path)).is_ok());
    fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(load(&user(&path)).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn every_problem_of_every_layer_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (system, user) = (folder.path().join("system.toml"), folder.path().join("user.toml"));
    fs::write(&system, "[node]\nlisten = 3\n").unwrap();
    fs::write(&user, "[node]\nlisten = \"x:1\"\nlisen = 1\n").unwrap();
    let env = vec![("ALKNET_LOG_FORMAT".to_owned(), "xml".to_owned())];
    let error = load(&Sources { system: Some(system), user: Some(user), env, ..Sources::default() }).unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(error.to_string().starts_with("the configuration has 3 problems\n  "), "{error}");
}

#[test]
fn a_flood_of_problems_is_cut() {
    let text: String = (0..1000).map(|n| format!("k{n} = 1\n")).collect();
    let shown = from_text(&format!("[node]\n{text}")).unwrap_err().to_string();
    assert!(shown.lines().count() <= limits::MAX_SHOWN_PROBLEMS + 2 && shown.contains("… and 970 more"), "{shown}");
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let text = format!("[node]\nadvertise = {}\n", "[".repeat(100_000));
    assert!(from_text(&text).is_err());
}

#[test]
fn entries_written_line_by_line_load_to_the_same() {
    let loaded = from_text(
        "[roles.2-reader_x]\nscopes = [\"fs:read\"]\nresources = { \"bucket:photos\" = [\"fs:read\"] }\n[http]\ndecoy = \"404\"\n",
    )
    .unwrap();
    let text: String = loaded.entries().iter().map(|entry| format!("{} = {}\n", entry.key, entry.value)).collect();
    assert!(text.contains("\nroles.2-reader_x.resources = { \"bucket:photos\" = [\"fs:read\"] }\n"), "{text}");
    assert_eq!(diff(&loaded, &from_text(&text).unwrap()), []);
}

#[test]
fn the_difference_names_what_waits_for_a_restart() {
    let old = from_text("[node]\nlisten = \"127.0.0.1:1\"\n[roles.a]\nscopes = [\"x:y\"]\n").unwrap();
    let new = from_text("[node]\nlisten = \"127.0.0.1:2\"\ndrain_timeout = \"1s\"\n[log]\nlevel = \"info\"\n").unwrap();
    let changes: Vec<_> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "node.drain_timeout: \"10s\" becomes \"1s\"",
            "node.listen: \"127.0.0.1:1\" becomes \"127.0.0.1:2\" after a restart",
            "roles.a.scopes: [\"x:y\"] becomes nothing",
        ]
    );
}

#[test]
fn the_usual_places_are_looked_at_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.toml"), folder.path().join("second.toml"));
    let sources = Sources { usual: vec![first.clone(), second.clone()], ..Sources::default() };
    let level = || load(&sources).unwrap().config().log.level().to_owned();
    assert_eq!(level(), "info");
    fs::write(&second, "[log]\nlevel = \"warn\"\n").unwrap();
    assert_eq!(level(), "warn");
    fs::write(&first, "[log]\nlevel = \"debug\"\n").unwrap();
    assert_eq!(level(), "debug");
    fs::remove_file(&first).unwrap();
    assert_eq!(level(), "warn");
}

/// The fuzzer's corpus: whatever stands in a file, loading it answers.
#[test]
fn the_corpus_of_the_fuzz_target_is_answered() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/config");
    let entries: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let sources = Sources { user: Some(entry.clone()), ..Sources::default() };
        match load(&sources) {
            Ok(loaded) => assert!(!loaded.entries().is_empty(), "{}", entry.display()),
            Err(error) => assert!(!error.to_string().is_empty(), "{}", entry.display()),
        }
    }
}

#[test]
fn rules_with_commas_stand_in_the_environment_with_semicolons() {
    // POL-03
    let env =
        |text: &str| load(&Sources { env: vec![("ALKNET_SSH_FORWARD".into(), text.into())], ..Sources::default() });
    let rules = |text: &str| -> Vec<String> {
        env(text).unwrap().config().ssh.forward.iter().map(ToString::to_string).collect()
    };
    assert_eq!(rules("allow a,b local h:22,80;"), ["allow a,b local h:22,80"]);
    assert_eq!(rules("deny * * h:1; allow * local *:2"), ["deny * * h:1", "allow * local *:2"]);
    assert_eq!(rules("deny * * h:1"), ["deny * * h:1"]);
    assert!(env("allow a local h:22,80").unwrap_err().to_string().contains("rule 2, `80`"));
    assert_eq!(
        load(&Sources::default()).unwrap().config().ssh.forward.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["deny * * <data>", "allow role:owner * *", "deny * * *"]
    );
}
