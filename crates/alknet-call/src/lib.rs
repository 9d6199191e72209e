//! Operations, their registry, and the `alknet/call` protocol (`docs/spec/call.md`).
//!
//! An [`Operation`] is a name, an access rule and a typed function; its types give the schemas. The [`Registry`] holds all of a
//! node's and runs one for a caller that the gate let through. [`CallHandler`] is the door over connections, [`Client`] the other
//! side of it, in process or remote. Bytes too large for JSON go over `alknet/bytes`, with a ticket that an operation handed out.
//!
//! Not here: HTTP, the operations of any subsystem, storage, transport.
//!
//! ```
//! use alknet_call::{CallError, Nothing, Operation};
//! use alknet_core::AccessRule;
//! let hello = Operation::query("demo/hello")
//!     .title("Say hello")
//!     .access(AccessRule::public())
//!     .handler(|context, _: Nothing| async move {
//!         Ok::<_, CallError>(format!("hello, {}", context.caller.id().unwrap_or("stranger")))
//!     });
//! assert_eq!(hello.spec().output["type"], "string");
//! ```

mod admission;
mod alpn;
mod authenticate;
mod authority;
mod builtin;
mod byte_handler;
mod capability;
mod client;
mod composition;
mod context;
mod ending;
mod envelope;
mod error;
mod frame_stream;
mod graph;
mod graph_node;
mod graph_stats;
mod graph_view;
mod graph_watch;
mod handler;
mod head;
mod idempotency;
mod items;
pub mod limits;
mod operation;
mod registered;
mod registration;
mod registry;
mod remote_spec;
mod request;
mod routes;
mod run;
mod scan;
mod schema;
mod session;
mod spec;
mod supervised_items;
mod tickets;
mod trailer;
mod transfer;
mod typed;
mod wire;
mod worker;

pub use alpn::{BYTES, CALL};
pub use authenticate::Authenticator;
pub use authority::Authority;
pub use builtin::{ListInput, ListOutput, ListedOperation, SchemaInput, SchemaOutput};
pub use byte_handler::BytesHandler;
pub use capability::{
    Capabilities, CapabilityError, CapabilitySource, CredentialField, CredentialKind, CredentialSet,
    InvalidCredentialSet, OidcTokens, Secret,
};
pub use client::{
    Backoff, BatchedCall, CallClient, CallOptions, Client, LocalClient, ReconnectingClient, SubscribeOptions,
    Subscription,
};
pub use composition::Composer;
pub use context::OperationContext;
pub use ending::{Ending, EndingCell};
pub use envelope::{
    Envelope, EnvelopeError, Hello, HelloLimits, InvalidRequestId, PresentedCredential, RequestId, Requested, Wants,
};
pub use error::{CallError, ErrorCode};
pub use graph::{BelowError, CallGraph, LiveCall};
pub use graph_node::{Bond, CallNode, CallNumber, NewCall};
pub use graph_stats::{OperationStats, OperationTally};
pub use graph_view::{CallFilter, CallStatus, CallTree, CallView};
pub use graph_watch::{CallChange, CallWatch, Watched};
pub use handler::CallHandler;
pub use head::{OFFER_OPERATION, OFFER_SCOPE, OfferInput, OfferTaken, operations as head_operations};
pub use items::{Item, ItemStream};
pub use operation::{Nothing, Operation, OperationBuilder};
pub use registration::{RegisterError, RegistryBuilder};
pub use registry::Registry;
pub use remote_spec::{RemoteOperation, SpecDefect};
pub use request::{Answer, CallRequest};
pub use routes::{ANY_WORKER, Balance, Routes, WorkerView};
pub use scan::{JsonDefect, scan_json};
pub use schema::{CompiledSchema, SchemaError};
pub use spec::{
    ByteDirection, DeclaredError, OperationExample, OperationKind, OperationSpec, Visibility, is_operation_name,
};
pub use tickets::{ByteSource, ByteTicket, ByteTickets, TicketId, UploadSink};
pub use transfer::{Downloaded, TransferError, download, upload};
pub use typed::TypedOperation;
pub use wire::{EncodeError, FrameDecoder, FrameError, encode_frame};
pub use worker::{HeadState, stay};
