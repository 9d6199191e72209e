//! What the registry takes: names, schemas, examples and access rules are checked once, before the node starts.

use std::{collections::BTreeMap, sync::Arc};

use alknet_core::{Authorizer, CallJournal, NodeKey, Sessions};
use jsonschema::Validator;

use crate::{
    CallError, CallGraph, CapabilitySource, ErrorCode, Operation, OperationSpec, Registry, builtin,
    registered::Registered,
    schema::{self, SchemaError},
    spec::is_operation_name,
    tickets::ByteTicket,
};

/// Why an operation is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name is none.
    #[error("`{0}` is no operation name: write service/operation")]
    Name(String),
    /// There is one of that name.
    #[error("two operations are called {0}")]
    Duplicate(String),
    /// A schema is not accepted.
    #[error("the {side} schema of {name}: {cause}")]
    Schema {
        /// The operation.
        name: String,
        /// `input` or `output`.
        side: &'static str,
        /// Why.
        cause: SchemaError,
    },
    /// The access rule points at nothing that every input has.
    #[error("{name} names its resource at {pointer}, where not every input has a text")]
    Pointer {
        /// The operation.
        name: String,
        /// Where it points.
        pointer: String,
    },
    /// An example does not fit the schema.
    #[error("an example of {name} does not fit its schema: {cause}")]
    Example {
        /// The operation.
        name: String,
        /// What does not fit.
        cause: Box<CallError>,
    },
    /// A declared error's code is none.
    #[error("{name} declares `{code}`, which is no code")]
    Code {
        /// The operation.
        name: String,
        /// The code.
        code: String,
    },
    /// It declares a credential or an operation to reach whose name can be none.
    #[error("{name} declares `{declared}`, which can name nothing")]
    Declared {
        /// The operation.
        name: String,
        /// What it declares.
        declared: String,
    },
    /// It reaches an operation that does not exist.
    #[error("{name} reaches {reached}, which does not exist")]
    Unreachable {
        /// The operation.
        name: String,
        /// What it reaches.
        reached: String,
    },
    /// It says that bytes go beside its output, but gives no ticket for them.
    #[error("{0} moves bytes, so its handler must give a byte ticket")]
    NoTicket(String),
}

/// Collects the operations of a node.
pub struct RegistryBuilder {
    pub(crate) operations: BTreeMap<String, Registered>,
    pub(crate) graph: CallGraph,
    pub(crate) authorizer: Authorizer,
    pub(crate) sessions: Sessions,
    pub(crate) journal: Option<Arc<dyn CallJournal>>,
    pub(crate) capabilities: Option<Arc<dyn CapabilitySource>>,
    pub(crate) node: Option<NodeKey>,
}

impl RegistryBuilder {
    pub(crate) fn new(authorizer: Authorizer, sessions: Sessions) -> Self {
        Self {
            operations: BTreeMap::new(),
            graph: CallGraph::default(),
            authorizer,
            sessions,
            journal: None,
            capabilities: None,
            node: None,
        }
    }

    /// Says where outcomes of mutations with an idempotency key are kept. Without one such calls are refused.
    pub fn journal(&mut self, journal: Arc<dyn CallJournal>) -> &mut Self {
        self.journal = Some(journal);
        self
    }

    /// Says where the credentials come from that operations declared. Without it they get none.
    pub fn capabilities(&mut self, source: Arc<dyn CapabilitySource>) -> &mut Self {
        self.capabilities = Some(source);
        self
    }

    /// Says which node this is, so that calls that come round in a circle are known.
    pub fn node(&mut self, node: NodeKey) -> &mut Self {
        self.node = Some(node);
        self
    }

    /// The graph in which the registry's calls will be: for operations that show it.
    pub const fn graph(&self) -> &CallGraph {
        &self.graph
    }

    /// Takes an operation in, after checking its name, schemas, examples and access rule.
    ///
    /// # Errors
    /// What is wrong with it, or that there is one of its name.
    pub fn register(&mut self, operation: Operation) -> Result<&mut Self, RegisterError> {
        let name = operation.spec.name.clone();
        if !is_operation_name(&name) {
            return Err(RegisterError::Name(name));
        }
        if self.operations.contains_key(&name) {
            return Err(RegisterError::Duplicate(name));
        }
        let registered = Registered::new(operation, &self.graph)?;
        self.operations.insert(name, registered);
        Ok(self)
    }

    /// Adds the registry's own operations and finishes.
    ///
    /// # Errors
    /// When an operation took the name of one of them, or reaches one that does not exist.
    pub fn build(mut self) -> Result<Arc<Registry>, RegisterError> {
        let own = builtin::Catalogue::default();
        for operation in builtin::operations(&own) {
            self.register(operation)?;
        }
        for (name, operation) in &self.operations {
            let mut reached = operation.composing.reachable.names();
            if let Some(reached) = reached.find(|reached| !self.operations.contains_key(*reached)) {
                return Err(RegisterError::Unreachable { name: name.clone(), reached: reached.to_owned() });
            }
        }
        let registry = Arc::new(Registry::from_builder(self));
        own.show(&registry);
        Ok(registry)
    }
}

pub(crate) fn check(spec: &OperationSpec) -> Result<(Validator, Validator), RegisterError> {
    let name = || spec.name.clone();
    let compile = |side, schema| {
        schema::compile(schema).map_err(|cause| RegisterError::Schema { name: spec.name.clone(), side, cause })
    };
    let input = compile("input", &spec.input)?;
    let output = compile("output", &spec.output)?;
    if let Some(demand) = spec.access.resource()
        && !schema::requires_text_at(&spec.input, &demand.id_pointer)
    {
        return Err(RegisterError::Pointer { name: name(), pointer: demand.id_pointer.clone() });
    }
    for example in &spec.examples {
        schema::validate_input(&input, &example.input)
            .and_then(|()| schema::validate_input(&output, &example.output))
            .map_err(|cause| RegisterError::Example { name: name(), cause: Box::new(cause) })?;
    }
    if let Some(error) = spec.errors.iter().find(|error| !ErrorCode::is_code(&error.code)) {
        return Err(RegisterError::Code { name: name(), code: error.code.clone() });
    }
    if spec.bytes.is_some() && spec.output != schema::output_schema::<ByteTicket>() {
        return Err(RegisterError::NoTicket(name()));
    }
    Ok((input, output))
}
