//! `tests/vectors/specs`: what a worker may say of its operations, and what its head refuses.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use alknet_call::{RemoteOperation, Visibility, limits::MAX_REMOTE_SPEC_BYTES};
use serde_json::{Value, json};

fn vectors(kind: &str) -> BTreeMap<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/specs").join(kind);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

fn with_input(schema: Value) -> Value {
    json!({"name": "notes/read", "kind": "query", "input": schema})
}

// CALL-52, CALL-53: it only ever becomes narrower.
#[test]
fn good_specifications_are_taken_and_narrowed() {
    let vectors = vectors("ok");
    assert!(vectors.len() >= 9);
    for (name, said) in vectors {
        let operation = RemoteOperation::read("box", &said).unwrap_or_else(|error| panic!("{name}: {error}"));
        let spec = operation.spec();
        assert_eq!((spec.name.as_str(), operation.local_name()), ("box/notes/read", "notes/read"), "{name}");
        assert!(!spec.access.is_public(), "{name}");
        assert_eq!(spec.visibility, Visibility::External, "{name}");
        let scopes: Vec<_> = spec.access.scopes().iter().map(|scope| scope.as_str()).collect();
        assert_eq!(scopes.last(), Some(&"remote:box"), "{name}");
        for scope in said["access"]["scopes"].as_array().into_iter().flatten() {
            assert!(scopes.contains(&scope.as_str().unwrap()), "{name}");
        }
    }
}

// CALL-52, CALL-29
#[test]
fn bad_specifications_are_refused_for_their_defect() {
    let refusals: BTreeMap<_, _> = vectors("bad")
        .into_iter()
        .map(|(name, said)| match RemoteOperation::read("box", &said) {
            Ok(_) => panic!("{name} was taken"),
            Err(defect) => (name, defect.to_string()),
        })
        .collect();
    let written: String = refusals.iter().map(|(name, why)| format!("{name}: {why}\n")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/specs/bad_errors.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &written).unwrap();
    }
    assert_eq!(written, fs::read_to_string(path).unwrap());
}

// CALL-52: sizes.
#[test]
fn huge_specifications_are_refused_by_their_length() {
    for huge in [
        with_input(json!({"title": "x".repeat(MAX_REMOTE_SPEC_BYTES)})),
        with_input(json!({"enum": (0..20_000).collect::<Vec<_>>()})),
        json!({"name": "a/b", "kind": "query", "unknown": "x".repeat(MAX_REMOTE_SPEC_BYTES)}),
    ] {
        let refusal = RemoteOperation::read("box", &huge).err().unwrap().to_string();
        assert!(refusal.contains("bytes are more than"), "{refusal}");
    }
}

// CALL-52: what a schema asks of an input is bounded too, whoever wrote either.
#[test]
fn checking_a_hostile_pair_of_schema_and_input_ends_soon() {
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
    let twice = |member: Value| json!({"allOf": [member.clone(), member]});
    let numbers = |many: u32| json!((0..many).collect::<Vec<_>>());
    let pairs = [
        (twice(json!({"properties": {"a": {"$ref": "#"}}})), nested(60)),
        (json!({"not": twice(json!({"additionalProperties": {"$ref": "#"}}))}), nested(60)),
        (
            json!({"anyOf": [{"items": {"$ref": "#"}}, {"contains": {"$ref": "#"}}]}),
            (0..60).fold(json!(1), |inner, _| json!([inner])),
        ),
        (json!({"uniqueItems": true}), numbers(400_000)),
        (json!({"items": {"enum": (0..5_000).collect::<Vec<_>>()}}), numbers(100_000)),
        (json!({"pattern": "^(a|b)*a(a|b){200}$"}), json!("ab".repeat(1_000_000))),
        (json!({"pattern": "[ab]{0,3000}[ab]{0,3000}c"}), json!("ab".repeat(100_000))),
        (json!({"items": {"type": "string"}}), numbers(600_000)),
    ];
    for (schema, input) in pairs {
        let operation = RemoteOperation::read("box", &with_input(schema.clone()))
            .unwrap_or_else(|error| panic!("{schema}: {error}"));
        let begun = Instant::now();
        let refusal = operation.check(&input).unwrap_err();
        assert_eq!(refusal.code.as_str(), "INVALID_INPUT");
        assert!(begun.elapsed().as_secs() < 10, "{schema} took {:?}", begun.elapsed());
    }
}

// CALL-54: the head checks the input against the worker's schema.
#[test]
fn inputs_are_checked_with_the_place_and_without_the_value() {
    let operation = RemoteOperation::read(
        "box",
        &json!({"name": "a/b", "kind": "query", "max_input_bytes": 64,
            "input": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}),
    )
    .unwrap();
    assert!(operation.check(&json!({"n": 1})).is_ok());
    let refusal = operation.check(&json!({"n": "s3cret"})).unwrap_err();
    assert_eq!(refusal.details, Some(json!({"pointer": "/n"})));
    assert!(!refusal.message.contains("s3cret"), "{refusal}");
    assert!(operation.check(&json!({"n": 1, "m": "x".repeat(64)})).unwrap_err().message.contains("bytes"));
}
