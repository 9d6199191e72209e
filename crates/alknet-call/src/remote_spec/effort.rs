//! How much work it is to check an input against a schema that somebody else wrote.
//!
//! The validator keeps no record of what it has checked already, so a small schema can ask for more steps than there is time:
//! references that fan out, or recursion that enters a value twice. Steps are therefore counted before the validator runs, on the
//! input at hand, as if every branch were taken; counting gives up where the steps run out.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    pattern::states,
    schema::{SchemaDefect, target_of},
};
use crate::limits::{
    MAX_IN_PLACE_DEPTH, MAX_IN_PLACE_SUBSCHEMAS, MAX_PATTERN_STATES, MAX_REMOTE_SUBSCHEMAS, MAX_VALIDATION_STEPS,
};

/// States of a pattern that cost one step for each byte of text.
const STATES_A_STEP: u64 = 4;
/// Bytes of text that cost a step where no pattern looks at them.
const TEXT_BYTES_A_STEP: u64 = 64;
/// Values that are compared pair by pair before `uniqueItems` hashes them.
const COMPARED_PAIRWISE: u64 = 16;

/// The input asks for more steps than there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// The work that a schema makes.
#[derive(Debug)]
pub(super) struct Effort {
    nodes: Vec<Node>,
}

/// The work that one subschema makes, and where it sends values on to.
#[derive(Debug, Default)]
struct Node {
    /// Steps for each value.
    own: u64,
    /// Steps for each byte of a text, of all its patterns.
    text: u64,
    unique: bool,
    /// Subschemas for the same value.
    in_place: Vec<usize>,
    properties: HashMap<String, usize>,
    /// Subschemas for members whose name a pattern may match.
    patterned: Vec<usize>,
    /// Steps for each byte of a member's name.
    name_text: u64,
    additional: Option<usize>,
    names: Option<usize>,
    prefix: Vec<usize>,
    /// Subschemas for every item.
    items: Vec<usize>,
}

impl Effort {
    /// Finds the subschemas that `schema` uses.
    pub(super) fn of(schema: &Value) -> Result<Self, SchemaDefect> {
        let mut survey = Survey { root: schema, found: HashMap::new(), open: Vec::new(), states: 0 };
        survey.node_of(schema)?;
        let mut nodes = Vec::new();
        // Numbers are given in the order in which they are taken up.
        while nodes.len() < survey.open.len() {
            let at = survey.open[nodes.len()];
            nodes.push(survey.read(at)?);
        }
        refuse_expansion(&nodes)?;
        Ok(Self { nodes })
    }

    /// The steps to check `input`, if there are enough.
    pub(super) fn steps(&self, input: &Value) -> Result<u64, TooMuch> {
        let mut walk = Walk { nodes: &self.nodes, open: Vec::new(), spent: 0 };
        walk.enter(0, Subject::Value(input))?;
        while let Some((node, subject)) = walk.open.pop() {
            walk.take(&self.nodes[node], subject)?;
        }
        Ok(walk.spent)
    }
}

/// Gives each subschema a number, by where it stands in memory.
struct Survey<'a> {
    root: &'a Value,
    found: HashMap<*const Value, usize>,
    open: Vec<&'a Value>,
    states: u64,
}

impl<'a> Survey<'a> {
    fn node_of(&mut self, schema: &'a Value) -> Result<usize, SchemaDefect> {
        let next = self.found.len();
        if next >= MAX_REMOTE_SUBSCHEMAS {
            return Err(SchemaDefect::TooManySubschemas);
        }
        let number = *self.found.entry(std::ptr::from_ref(schema)).or_insert(next);
        if number == next {
            self.open.push(schema);
        }
        Ok(number)
    }

    fn list(&mut self, schemas: &'a Value) -> Result<Vec<usize>, SchemaDefect> {
        schemas.as_array().into_iter().flatten().map(|schema| self.node_of(schema)).collect()
    }

    fn read(&mut self, schema: &'a Value) -> Result<Node, SchemaDefect> {
        let mut node = Node { own: 1, ..Node::default() };
        let Some(keywords) = schema.as_object() else { return Ok(node) };
        for (keyword, value) in keywords {
            node.own += 1;
            match keyword.as_str() {
                "$ref" => {
                    let target = target_of(self.root, value.as_str().unwrap_or_default())?;
                    node.in_place.push(self.node_of(target)?);
                }
                "allOf" | "anyOf" | "oneOf" => node.in_place.extend(self.list(value)?),
                "not" | "if" | "then" | "else" => node.in_place.push(self.node_of(value)?),
                "dependentSchemas" | "dependencies" => {
                    for member in value.as_object().into_iter().flat_map(|members| members.values()) {
                        node.in_place.push(self.node_of(member)?);
                    }
                }
                "properties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        node.properties.insert(name.clone(), self.node_of(member)?);
                        node.own += 1;
                    }
                }
                "patternProperties" => {
                    for (pattern, member) in value.as_object().into_iter().flatten() {
                        node.patterned.push(self.node_of(member)?);
                        node.name_text += self.pattern(pattern)?;
                    }
                }
                "additionalProperties" => node.additional = Some(self.node_of(value)?),
                "propertyNames" => node.names = Some(self.node_of(value)?),
                "prefixItems" => node.prefix = self.list(value)?,
                // Before this draft `items` could be a list; the validator refuses that.
                "items" | "contains" | "additionalItems" => node.items.push(self.node_of(value)?),
                "uniqueItems" => node.unique = value == &Value::Bool(true),
                "pattern" => node.text += self.pattern(value.as_str().unwrap_or_default())?,
                "enum" | "const" | "required" | "dependentRequired" => node.own += size(value),
                _ => {}
            }
        }
        Ok(node)
    }

    fn pattern(&mut self, pattern: &str) -> Result<u64, SchemaDefect> {
        let states = states(pattern);
        self.states = self.states.saturating_add(states);
        if self.states > MAX_PATTERN_STATES {
            return Err(SchemaDefect::Patterns);
        }
        Ok(1 + states / STATES_A_STEP)
    }
}

/// Refuses what would be compiled, or entered for one value, too often or too deep: both go through the same subschemas again for
/// every way that leads to them.
fn refuse_expansion(nodes: &[Node]) -> Result<(), SchemaDefect> {
    let mut ways: Vec<Option<(usize, usize)>> = vec![None; nodes.len()];
    let mut total = 0_usize;
    for start in 0..nodes.len() {
        let mut path = vec![(start, 0)];
        while let Some((node, child)) = path.pop() {
            if path.len() >= MAX_IN_PLACE_DEPTH {
                // A circle comes here too.
                return Err(SchemaDefect::InPlaceDepth);
            }
            if ways[node].is_some() {
                continue;
            }
            if let Some(&next) = nodes[node].in_place.get(child) {
                path.push((node, child + 1));
                path.push((next, 0));
                continue;
            }
            let below = nodes[node].in_place.iter().filter_map(|child| ways[*child]);
            let (count, depth) =
                below.fold((1_usize, 0), |(count, depth), (more, deep)| (count + more, depth.max(deep)));
            if depth + 1 > MAX_IN_PLACE_DEPTH {
                return Err(SchemaDefect::InPlaceDepth);
            }
            total = total.saturating_add(count);
            if total > MAX_IN_PLACE_SUBSCHEMAS {
                return Err(SchemaDefect::InPlaceSubschemas);
            }
            ways[node] = Some((count, depth + 1));
        }
    }
    Ok(())
}

/// How many values a value consists of, and one more for each 64 bytes of its texts.
fn size(value: &Value) -> u64 {
    let (mut open, mut count) = (vec![value], 0);
    while let Some(value) = open.pop() {
        count += 1;
        match value {
            Value::String(text) => count += text.len() as u64 / TEXT_BYTES_A_STEP,
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
    count
}

/// What a subschema is applied to.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Value(&'a Value),
    /// A member's name, as `propertyNames` sees it.
    Name(&'a str),
}

struct Walk<'a> {
    nodes: &'a [Node],
    open: Vec<(usize, Subject<'a>)>,
    spent: u64,
}

impl<'a> Walk<'a> {
    fn spend(&mut self, steps: u64) -> Result<(), TooMuch> {
        self.spent = self.spent.saturating_add(steps);
        if self.spent > MAX_VALIDATION_STEPS { Err(TooMuch) } else { Ok(()) }
    }

    /// What waits was paid for, so that the list of it is bounded too.
    fn enter(&mut self, node: usize, subject: Subject<'a>) -> Result<(), TooMuch> {
        self.spend(self.nodes[node].own)?;
        self.open.push((node, subject));
        Ok(())
    }

    fn take(&mut self, node: &Node, subject: Subject<'a>) -> Result<(), TooMuch> {
        for &child in &node.in_place {
            self.enter(child, subject)?;
        }
        match subject {
            Subject::Name(text) => self.text(node, text),
            Subject::Value(Value::String(text)) => self.text(node, text),
            Subject::Value(Value::Array(items)) => self.items(node, items),
            Subject::Value(Value::Object(members)) => {
                members.iter().try_for_each(|(name, member)| self.member(node, name, member))
            }
            Subject::Value(_) => Ok(()),
        }
    }

    fn text(&mut self, node: &Node, text: &str) -> Result<(), TooMuch> {
        let bytes = text.len() as u64;
        self.spend((bytes / TEXT_BYTES_A_STEP).saturating_add(bytes.saturating_mul(node.text)))
    }

    fn items(&mut self, node: &Node, items: &'a [Value]) -> Result<(), TooMuch> {
        if node.unique {
            for item in items {
                self.spend(size(item).saturating_mul(COMPARED_PAIRWISE))?;
            }
        }
        for (&child, item) in node.prefix.iter().zip(items) {
            self.enter(child, Subject::Value(item))?;
        }
        for &child in &node.items {
            items.iter().try_for_each(|item| self.enter(child, Subject::Value(item)))?;
        }
        Ok(())
    }

    fn member(&mut self, node: &Node, name: &'a str, member: &'a Value) -> Result<(), TooMuch> {
        let bytes = name.len() as u64;
        self.spend((bytes / TEXT_BYTES_A_STEP).saturating_add(bytes.saturating_mul(node.name_text)))?;
        let own = node.properties.get(name).copied();
        let additional = node.additional.filter(|_| own.is_none());
        for child in own.into_iter().chain(additional).chain(node.patterned.iter().copied()) {
            self.enter(child, Subject::Value(member))?;
        }
        node.names.map_or(Ok(()), |child| self.enter(child, Subject::Name(name)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(schema: Value, input: Value) -> Result<u64, TooMuch> {
        Effort::of(&schema).unwrap().steps(&input)
    }

    /// `n` definitions, each of which enters the next one twice.
    fn fan(n: usize, enter: impl Fn(String) -> Value) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..n {
            definitions.insert(format!("d{level}"), enter(format!("#/$defs/d{}", level + 1)));
        }
        definitions.insert(format!("d{n}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    }

    // CALL-52
    #[test]
    fn ordinary_schemas_cost_little_more_than_the_input_has_values() {
        let schema = json!({"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}});
        let tags: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        assert!(steps(schema, json!({ "tags": tags })).unwrap() < 5_000);
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let deep = (0..50).fold(json!({}), |inner, _| json!({"left": inner, "right": {}}));
        assert!(steps(tree, deep).unwrap() < 2_000);
    }

    // CALL-52
    #[test]
    fn recursion_that_enters_a_value_twice_runs_out_of_steps() {
        let twice = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
        let deep = |depth| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(steps(twice.clone(), deep(4)).is_ok());
        assert_eq!(steps(twice, deep(60)), Err(TooMuch));
    }

    // CALL-52
    #[test]
    fn references_that_fan_out_are_refused_with_the_schema() {
        let times = |width: usize| move |next: String| json!({"allOf": vec![json!({ "$ref": next }); width]});
        assert!(Effort::of(&fan(3, times(2))).is_ok());
        assert!(matches!(Effort::of(&fan(5, times(8))), Err(SchemaDefect::InPlaceSubschemas)));
        assert!(matches!(Effort::of(&fan(9, times(2))), Err(SchemaDefect::InPlaceDepth)));
        let chain = |next| json!({"$ref": next});
        assert!(Effort::of(&fan(8, chain)).is_ok());
        assert!(matches!(Effort::of(&fan(40, chain)), Err(SchemaDefect::InPlaceDepth)));
        for circle in [json!({"$ref": "#"}), json!({"anyOf": [{"not": {"$ref": "#"}}]})] {
            assert!(matches!(Effort::of(&circle), Err(SchemaDefect::InPlaceDepth)), "{circle}");
        }
    }

    // CALL-52
    #[test]
    fn texts_and_sets_are_paid_for() {
        let text = "x".repeat(1_000_000);
        let plain = steps(json!({"type": "string"}), json!(text)).unwrap();
        let pattern = json!({"pattern": "^(a|b)*a(a|b){200}$"});
        assert!(plain < 20_000, "{plain}");
        assert_eq!(steps(pattern, json!(text)), Err(TooMuch));
        let numbers: Vec<_> = (0..100_000).collect();
        let plain = steps(json!({"items": {}}), json!(numbers)).unwrap();
        assert!(steps(json!({"items": {}, "uniqueItems": true}), json!(numbers)).unwrap() > 10 * plain);
        let choices: Vec<_> = (0..1000).collect();
        assert_eq!(steps(json!({"items": {"enum": choices}}), json!(numbers)), Err(TooMuch));
    }
}
