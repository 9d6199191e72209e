//! What the registry takes.

use std::sync::Arc;

use alknet_call::{CallError, Nothing, Operation, RegisterError, Registry, RegistryBuilder};
use alknet_core::{AccessRule, Authorizer, ResourceDemand, Sessions};
use alknet_testkit::identities::KeptAudit;
use serde_json::{Value, json};

use crate::node::Text;

pub fn simple(name: &str) -> Operation {
    Operation::query(name)
        .access(AccessRule::public())
        .handler(|_, _: Nothing| async move { Ok::<_, CallError>(Value::Null) })
}

fn builder() -> RegistryBuilder {
    Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), Sessions::default())
}

fn refusal(operation: Operation) -> RegisterError {
    builder().register(operation).err().expect("a refusal")
}

// CALL-10
#[test]
fn names_are_checked_and_unique() {
    let mut registry = builder();
    registry.register(simple("a/b")).unwrap();
    assert!(matches!(registry.register(simple("a/b")).err(), Some(RegisterError::Duplicate(_))));
    assert!(matches!(refusal(simple("/a/b")), RegisterError::Name(_)));
    assert!(matches!(refusal(simple("a/b/c")), RegisterError::Name(_)));
    let mut taken = builder();
    taken.register(simple("services/list")).unwrap();
    assert!(matches!(taken.build().err(), Some(RegisterError::Duplicate(_))));
}

// CALL-28 CALL-29
#[test]
fn rules_examples_and_codes_are_checked() {
    let echo = |_: Arc<alknet_call::OperationContext>, input: Text| async move { Ok::<_, CallError>(input) };
    let demand =
        |pointer: &str| ResourceDemand { kind: "bucket".into(), id_pointer: pointer.into(), action: "fs:read".into() };
    let on = |pointer| Operation::query("a/b").access(AccessRule::default().on(demand(pointer))).handler(echo);
    assert!(matches!(refusal(on("/bucket")), RegisterError::Pointer { .. }));
    assert!(builder().register(on("/text")).is_ok());
    let example = Operation::query("a/b").example(json!({"text": 1}), json!({"text": ""})).handler(echo);
    assert!(matches!(refusal(example), RegisterError::Example { .. }));
    let code = Operation::query("a/b").error("not a code", "x").handler(echo);
    assert!(matches!(refusal(code), RegisterError::Code { .. }));
    assert!(matches!(refusal(Operation::query("a/b").byte_output().handler(echo)), RegisterError::NoTicket(_)));
}

/// A type whose hand-written schema its values do not fit.
struct Lies;

impl serde::Serialize for Lies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }
}

impl schemars::JsonSchema for Lies {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lies".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}

// CALL-12: outputs are checked where tests run.
#[tokio::test]
async fn an_output_that_does_not_fit_is_a_bug_that_tests_see() {
    let lies = Operation::query("test/lies")
        .access(AccessRule::public())
        .handler(|_, _: Nothing| async move { Ok::<_, CallError>(Lies) });
    let node = crate::node::Node::with(vec![lies]);
    let outcome = node.local(None).call("test/lies", json!({}), alknet_call::CallOptions::default()).await;
    assert_eq!(outcome.unwrap_err().code, alknet_call::ErrorCode::Internal);
}

// CALL-47: what an operation reaches exists, and what it declares can be.
#[test]
fn what_is_reached_must_exist() {
    let reaching = |pattern: &'static str| {
        Operation::query("a/b")
            .reaches([pattern])
            .handler(|_, _: Nothing| async move { Ok::<_, CallError>(Value::Null) })
    };
    for bad in ["*", "a", "a/*/b", "A/b", ""] {
        assert!(matches!(refusal(reaching(bad)), RegisterError::Declared { .. }), "{bad}");
    }
    let needs = Operation::query("a/b").capability("not a name");
    let needs = needs.handler(|_, _: Nothing| async move { Ok::<_, CallError>(Value::Null) });
    assert!(matches!(refusal(needs), RegisterError::Declared { .. }));
    for (reached, exists) in [("a/c", false), ("a/b", true), ("services/list", true), ("later/*", true)] {
        let mut registry = builder();
        registry.register(reaching(reached)).unwrap();
        assert_eq!(registry.build().is_ok(), exists, "{reached}");
    }
}
