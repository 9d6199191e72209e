//! What is asked of a schema that another node wrote, beyond what is asked of every schema.

use jsonschema::Validator;
use serde_json::Value;

use super::effort::{Effort, TooMuch};
use crate::{
    CallError,
    limits::{
        MAX_EXPLAINED_STEPS, MAX_IN_PLACE_DEPTH, MAX_IN_PLACE_SUBSCHEMAS, MAX_PATTERN_STATES, MAX_REMOTE_SCHEMA_DEPTH,
        MAX_REMOTE_SUBSCHEMAS,
    },
    schema::{self, SchemaError},
};

/// How much of a reference is repeated in words.
const MAX_SHOWN_CHARS: usize = 96;

/// The dialect that a schema may say it is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Members that give a schema, or a part of it, a name of its own, or look one up where it is applied.
const NAMING: [&str; 8] =
    ["$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef", "$vocabulary"];
/// Keywords whose work is not bounded by the values they look at.
const UNBOUNDED: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];

/// Why a schema of another node is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaDefect {
    #[error("{0}")]
    Schema(#[from] SchemaError),
    #[error("it is nested more than {MAX_REMOTE_SCHEMA_DEPTH} deep")]
    Depth,
    #[error("`{0}` is not for schemas of other nodes")]
    Keyword(&'static str),
    #[error("it is written in another dialect than {DIALECT}")]
    Dialect,
    #[error("its reference `{}` leads to no schema within it", .0.escape_debug())]
    Reference(String),
    #[error("it has more than {MAX_REMOTE_SUBSCHEMAS} subschemas")]
    TooManySubschemas,
    #[error("its patterns have more than {MAX_PATTERN_STATES} states")]
    Patterns,
    #[error("it applies subschemas of subschemas to one value, more than {MAX_IN_PLACE_DEPTH} deep")]
    InPlaceDepth,
    #[error("it applies subschemas to one value in more than {MAX_IN_PLACE_SUBSCHEMAS} ways")]
    InPlaceSubschemas,
}

/// A schema of another node, ready to check inputs in bounded time.
pub(crate) struct RemoteSchema {
    compiled: Validator,
    effort: Effort,
}

impl RemoteSchema {
    /// Checks a schema before anything is made of it, then compiles it. Reaches nowhere.
    pub(crate) fn compile(schema: &Value) -> Result<Self, SchemaDefect> {
        refuse_names(schema)?;
        let effort = Effort::of(schema)?;
        let compiled = schema::compile(schema)?;
        Ok(Self { compiled, effort })
    }

    /// The steps that checking `input` takes at most.
    ///
    /// # Errors
    /// `INVALID_INPUT` when there are too many: then the input is not checked, so not taken.
    pub(crate) fn steps(&self, input: &Value) -> Result<u64, CallError> {
        self.effort.steps(input).map_err(|TooMuch| {
            CallError::invalid_input("", "checking this input against the operation's schema would take too long")
        })
    }

    /// Fails with `INVALID_INPUT` unless `input` fits. Where it takes many steps ([`Self::steps`]) the place is not said: what is
    /// collected to say it grows with them.
    pub(crate) fn check(&self, input: &Value, steps: u64) -> Result<(), CallError> {
        if self.compiled.is_valid(input) {
            return Ok(());
        }
        let found = if steps > MAX_EXPLAINED_STEPS { Ok(()) } else { self.compiled.validate(input) };
        Err(match found {
            Err(error) => CallError::invalid_input(error.instance_path().as_str(), error.masked().to_string()),
            Ok(()) => CallError::invalid_input("", "the input does not fit the operation's schema"),
        })
    }
}

/// Depth and length were not looked at yet, so nothing here recurses.
fn refuse_names(schema: &Value) -> Result<(), SchemaDefect> {
    let mut open = vec![(schema, 1)];
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_REMOTE_SCHEMA_DEPTH {
            return Err(SchemaDefect::Depth);
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                for (name, member) in members {
                    let is_word = matches!(member, Value::String(_) | Value::Bool(_));
                    if let Some(keyword) = NAMING.iter().find(|keyword| *keyword == name)
                        && (is_word || name == "$vocabulary")
                    {
                        return Err(SchemaDefect::Keyword(keyword));
                    }
                    if let Some(keyword) = UNBOUNDED.iter().find(|keyword| *keyword == name) {
                        return Err(SchemaDefect::Keyword(keyword));
                    }
                    if let ("$schema", Value::String(dialect)) = (name.as_str(), member)
                        && dialect.trim_end_matches('#') != DIALECT
                    {
                        return Err(SchemaDefect::Dialect);
                    }
                    open.push((member, depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The subschema that a reference means: `#`, or `#` and a JSON pointer without percent signs.
pub(super) fn target_of<'a>(root: &'a Value, reference: &str) -> Result<&'a Value, SchemaDefect> {
    let wrong = || SchemaDefect::Reference(reference.chars().take(MAX_SHOWN_CHARS).collect());
    let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%')).ok_or_else(wrong)?;
    let target = root.pointer(pointer).ok_or_else(wrong)?;
    if target.is_object() || target.is_boolean() { Ok(target) } else { Err(wrong()) }
}
