//! Schemas: derived from types, checked and compiled once, offline.

use jsonschema::{Draft, PatternOptions, Validator};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{
    CallError,
    limits::{MAX_JSON_DEPTH, MAX_PATTERN_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_REFERENCES},
};

/// The schema of what an operation takes.
pub(crate) fn input_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema of what an operation gives.
pub(crate) fn output_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

/// Why a schema is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is longer than a schema may be.
    #[error("{0} bytes are more than {MAX_SCHEMA_BYTES}")]
    TooLong(usize),
    /// It is nested too deeply.
    #[error("it is nested more than {MAX_JSON_DEPTH} deep")]
    TooDeep,
    /// It refers too often.
    #[error("it has more than {MAX_SCHEMA_REFERENCES} references")]
    TooManyReferences,
    /// It refers to something outside itself.
    #[error("it refers to `{0}`, which is not within it")]
    Foreign(String),
    /// It is no valid schema.
    #[error("it does not compile: {0}")]
    Invalid(String),
}

/// Checks the bounds of a schema and compiles it; nothing is fetched.
pub(crate) fn compile(schema: &Value) -> Result<Validator, SchemaError> {
    check_bounds(schema)?;
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .offline()
        .build(schema)
        .map_err(|error| SchemaError::Invalid(error.to_string()))
}

fn check_bounds(schema: &Value) -> Result<(), SchemaError> {
    let mut references = 0;
    // Depth before length: writing a value out recurses.
    let mut open = vec![(schema, 1)];
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_JSON_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                for (name, member) in members {
                    if let ("$ref" | "$dynamicRef", Value::String(target)) = (name.as_str(), member) {
                        references += 1;
                        if !target.starts_with('#') {
                            return Err(SchemaError::Foreign(target.clone()));
                        }
                    }
                    open.push((member, depth + 1));
                }
            }
            _ => {}
        }
        if references > MAX_SCHEMA_REFERENCES {
            return Err(SchemaError::TooManyReferences);
        }
    }
    let length = schema.to_string().len();
    if length > MAX_SCHEMA_BYTES { Err(SchemaError::TooLong(length)) } else { Ok(()) }
}

/// A schema that something besides an operation's input is held to, such as an event's payload.
pub struct CompiledSchema(Validator);

impl CompiledSchema {
    /// Checks the bounds of a schema and compiles it; nothing is fetched.
    pub fn new(schema: &Value) -> Result<Self, SchemaError> {
        compile(schema).map(Self)
    }
    /// Fails with `INVALID_INPUT` and a pointer to the first thing that is wrong.
    pub fn check(&self, value: &Value) -> Result<(), CallError> {
        validate_input(&self.0, value)
    }
}

/// Fails with `INVALID_INPUT` and a pointer to the first thing that is wrong. Values are not repeated.
pub(crate) fn validate_input(validator: &Validator, input: &Value) -> Result<(), CallError> {
    if validator.is_valid(input) {
        return Ok(());
    }
    // Only the first: all that is wrong with a long list could be many times its size.
    validator
        .validate(input)
        .map_err(|error| CallError::invalid_input(error.instance_path().as_str(), error.masked().to_string()))
}

/// Whether the schema says nothing that the type from which it was made does not say already: a value of the type always fits.
///
/// Said in doubt: whatever bounds lengths, numbers or texts counts as more, except the ranges of Rust's integers.
pub(crate) fn says_only_types(schema: &Value) -> bool {
    const MORE: [&str; 16] = [
        "exclusiveMaximum",
        "exclusiveMinimum",
        "multipleOf",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "contains",
        "maxProperties",
        "minProperties",
        "propertyNames",
        "not",
        "if",
        "contentEncoding",
    ];
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                if !bounds_of_its_type(members) || MORE.iter().any(|more| members.contains_key(*more)) {
                    return false;
                }
                open.extend(members.values());
            }
            _ => {}
        }
    }
    true
}

/// Whether a number is bounded as its Rust type is, and no further.
fn bounds_of_its_type(schema: &serde_json::Map<String, Value>) -> bool {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (Some(0), Some(255)),
        Some("uint16") => (Some(0), Some(65_535)),
        Some("int8") => (Some(-128), Some(127)),
        Some("int16") => (Some(-32_768), Some(32_767)),
        Some(format) if format.starts_with("uint") => (Some(0), None),
        _ => (None, None),
    };
    let is = |name: &str, bound: Option<i64>| {
        schema.get(name).is_none_or(|found| found.as_i64() == bound && bound.is_some())
    };
    is("minimum", least) && is("maximum", most)
}

/// Whether every input that fits `schema` has a text at `pointer` (RFC 6901).
pub(crate) fn requires_text_at(schema: &Value, pointer: &str) -> bool {
    let Some(segments) = pointer.strip_prefix('/') else { return false };
    let mut at = schema;
    for segment in segments.split('/') {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let Some(object) = resolved(schema, at) else { return false };
        let required = object["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name.as_str()));
        match object.pointer("/properties").and_then(|properties| properties.get(&name)) {
            Some(member) if required => at = member,
            _ => return false,
        }
    }
    resolved(schema, at).is_some_and(|end| end["type"] == "string")
}

/// Follows references within the schema, a bounded number of times.
fn resolved<'a>(schema: &'a Value, mut at: &'a Value) -> Option<&'a Value> {
    for _ in 0..MAX_JSON_DEPTH {
        match at.get("$ref").and_then(Value::as_str) {
            Some(target) => at = schema.pointer(target.strip_prefix('#')?)?,
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, Serialize, JsonSchema)]
    struct Inner {
        bucket: String,
        note: Option<String>,
        size: u64,
    }

    #[derive(Deserialize, Serialize, JsonSchema)]
    struct Outer {
        inner: Inner,
        other: Option<Inner>,
    }

    // CALL-28
    #[test]
    fn a_resource_pointer_must_lead_to_a_required_text() {
        let schema = input_schema::<Outer>();
        assert!(requires_text_at(&schema, "/inner/bucket"));
        for bad in ["", "inner", "/inner", "/inner/note", "/inner/size", "/inner/absent", "/other/bucket", "/inner/"] {
            assert!(!requires_text_at(&schema, bad), "{bad}");
        }
        let endless = json!({"properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]});
        assert!(!requires_text_at(&endless, "/a"));
    }

    // CALL-12: what a type does not say is checked for callers in process too.
    #[test]
    fn a_schema_that_says_more_than_its_type_is_known() {
        #[derive(JsonSchema)]
        struct Plain {
            _bytes: Vec<u8>,
            _small: Option<i16>,
            _large: std::collections::BTreeMap<String, u32>,
            _size: usize,
            _b: Option<Vec<String>>,
            _c: i64,
            _d: Inner,
            _e: f64,
            _f: bool,
        }
        #[derive(JsonSchema)]
        struct Short {
            #[schemars(length(max = 3))]
            _text: String,
        }
        #[derive(JsonSchema)]
        struct Small {
            #[schemars(range(max = 3.0))]
            _number: f64,
        }
        #[derive(JsonSchema)]
        struct Page {
            #[schemars(range(min = 1, max = 200))]
            _size: Option<u32>,
        }
        #[derive(JsonSchema)]
        struct Deep {
            _inner: Vec<Short>,
        }
        assert!(says_only_types(&input_schema::<Plain>()));
        for more in [input_schema::<Short>(), input_schema::<Small>(), input_schema::<Page>(), input_schema::<Deep>()] {
            assert!(!says_only_types(&more), "{more}");
        }
    }

    // CALL-29
    #[test]
    fn schemas_are_bounded_and_reach_nowhere() {
        assert!(compile(&input_schema::<Outer>()).is_ok());
        assert!(matches!(compile(&json!({"$ref": "https://example.com/x"})), Err(SchemaError::Foreign(_))));
        assert!(matches!(compile(&json!({"$ref": "file:///etc/passwd"})), Err(SchemaError::Foreign(_))));
        assert!(matches!(compile(&json!({"type": 7})), Err(SchemaError::Invalid(_))));
        assert!(matches!(compile(&json!({"pattern": "(a{1000}){1000}"})), Err(SchemaError::Invalid(_))));
        assert!(matches!(compile(&json!({"title": "x".repeat(MAX_SCHEMA_BYTES)})), Err(SchemaError::TooLong(_))));
        let many: Vec<_> = (0..=MAX_SCHEMA_REFERENCES).map(|_| json!({"$ref": "#"})).collect();
        assert!(matches!(compile(&json!({ "anyOf": many })), Err(SchemaError::TooManyReferences)));
        let deep = (0..MAX_JSON_DEPTH).fold(json!({}), |inner, _| json!({ "not": inner }));
        assert!(matches!(compile(&deep), Err(SchemaError::TooDeep)));
    }

    // CALL-12
    #[test]
    fn a_refusal_points_at_the_place_and_keeps_the_value_to_itself() {
        let validator = compile(&input_schema::<Outer>()).unwrap();
        let error = validate_input(&validator, &json!({"inner": {"bucket": ["s3cret"], "size": 1}})).unwrap_err();
        assert_eq!(error.details, Some(json!({"pointer": "/inner/bucket"})));
        assert!(!error.message.contains("s3cret"), "{}", error.message);
    }
}
