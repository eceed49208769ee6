//! From text or verbs to one plan, and from that plan to a batch.
//!
//! * `analyze`: unresolved syntax trees to DataFusion's logical plan, with Spark's rules
//! * `flow`: a checked streaming plan ([`FlowPlan`]): sources, schema, fingerprint
//! * `template`: the physical plan with holes ([`PhysicalTemplate`]) and [`bind`], which fills them
//! * `scan`: the hole itself and what fills it ([`PartitionedScan`])
//!
//! Invariants: planning happens once per query, binding once per batch and without optimising;
//! nothing in a template keeps state between two executions.

pub(crate) mod analyze;
mod codec;
mod dead_letter;
pub(crate) mod error;
mod fingerprint;
mod flow;
pub(crate) mod from_json;
mod identity;
mod prune;
mod scan;
mod stream;
mod template;

pub use codec::{ScanResolver, decode_bound, encode_bound};
pub(crate) use codec::{decode_expr, encode_expr, malformed, not_serializable};
pub use dead_letter::CastCheck;
pub use fingerprint::fingerprint_diff;
pub use flow::{DeadLetterPlan, FlowPlan};
pub use scan::{PartitionedScan, StreamScanExec};
pub(crate) use stream::with_dead_letters;
pub use stream::{DeadLetterRequest, StreamDefinition, StreamTable};
pub use template::{BatchBinding, PhysicalTemplate, bind};
