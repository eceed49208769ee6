//! A bound plan as bytes: self-contained, without connections and without secrets.
//!
//! Ranges, batch time and the session's settings are in it. A scan writes down what it reads
//! ([`PartitionedScan::description`]); whoever runs the plan turns that into a scan of its own
//! connections ([`ScanResolver`]).

use super::error::from_datafusion;
use super::from_json::{self, FromJsonCall};
use super::scan::{PartitionedScan, StreamScanExec};
use crate::session::Conf;
use arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use millstream_core::{Error, Result};
use millstream_functions::{FunctionSettings, Functions};
use millstream_types::StructType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Version of the form.
const VERSION: u32 = 1;

/// Turns what a scan wrote down into a scan.
pub trait ScanResolver: Send + Sync {
    /// The scan of stream `stream_index` that `description` describes.
    ///
    /// # Errors
    /// Where the description is none of this resolver's.
    fn scan(&self, stream_index: usize, description: &Value) -> Result<Arc<dyn PartitionedScan>>;
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    ansi: bool,
    time_zone: String,
    plan: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct StoredScan {
    stream: usize,
    schema: String,
    projection: Option<Vec<usize>>,
    scan: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredFunction {
    FromJson(from_json::Definition),
    Library,
}

/// The bytes of a bound plan.
///
/// # Errors
/// `PLAN_NOT_SERIALIZABLE` where a scan or an operator has no stored form.
pub fn encode_bound(plan: &Arc<dyn ExecutionPlan>, conf: &Conf) -> Result<Vec<u8>> {
    let codec = Codec { functions: None, resolver: None };
    let plan = physical_plan_to_bytes_with_extension_codec(Arc::clone(plan), &codec)
        .map_err(from_datafusion)?;
    let envelope = Envelope {
        version: VERSION,
        ansi: conf.ansi,
        time_zone: conf.time_zone.clone(),
        plan: plan.to_vec(),
    };
    serde_json::to_vec(&envelope).map_err(|e| not_serializable(&e.to_string()))
}

/// The plan in `bytes`, ready to execute.
///
/// # Errors
/// `PLAN_MALFORMED`, and what `resolver` says.
pub fn decode_bound(
    bytes: &[u8],
    context: &TaskContext,
    resolver: Arc<dyn ScanResolver>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
    if envelope.version != VERSION {
        return Err(malformed(&format!("version {}", envelope.version)));
    }
    let settings = FunctionSettings { ansi: envelope.ansi, time_zone: envelope.time_zone };
    let functions = millstream_functions::register(&settings).map_err(from_datafusion)?;
    let codec = Codec { functions: Some(functions), resolver: Some(resolver) };
    physical_plan_from_bytes_with_extension_codec(&envelope.plan, context, &codec)
        .map_err(from_datafusion)
}

/// The bytes of one expression over columns of `schema`.
///
/// # Errors
/// `PLAN_NOT_SERIALIZABLE` where something in it has no stored form.
pub(crate) fn encode_expr(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Vec<u8>> {
    // An expression travels as the one column of a plan: one format, one set of functions.
    let nothing = Arc::new(EmptyExec::new(Arc::new(schema.clone())));
    let column = ProjectionExpr { expr: Arc::clone(expr), alias: "value".to_owned() };
    let plan = ProjectionExec::try_new(vec![column], nothing).map_err(from_datafusion)?;
    let codec = Codec { functions: None, resolver: None };
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::new(plan), &codec);
    Ok(bytes.map_err(from_datafusion)?.to_vec())
}

/// The expression in `bytes`, whose functions follow `settings`.
///
/// # Errors
/// `PLAN_MALFORMED`.
pub(crate) fn decode_expr(
    bytes: &[u8],
    settings: &FunctionSettings,
) -> Result<Arc<dyn PhysicalExpr>> {
    let functions = millstream_functions::register(settings).map_err(from_datafusion)?;
    let codec = Codec { functions: Some(functions), resolver: None };
    let context = TaskContext::default();
    let plan = physical_plan_from_bytes_with_extension_codec(bytes, &context, &codec)
        .map_err(from_datafusion)?;
    let projection = plan.downcast_ref::<ProjectionExec>();
    let column = projection.and_then(|projection| projection.expr().first());
    column.map(|column| Arc::clone(&column.expr)).ok_or_else(|| malformed(&"no expression"))
}

pub(crate) fn not_serializable(what: &str) -> Error {
    Error::invalid("PLAN_NOT_SERIALIZABLE", format!("The plan cannot be stored: {what}."))
}

pub(crate) fn malformed(why: &dyn fmt::Display) -> Error {
    Error::corrupt("PLAN_MALFORMED", format!("The stored plan cannot be read: {why}."))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

struct Codec {
    functions: Option<Functions>,
    resolver: Option<Arc<dyn ScanResolver>>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        _ctx: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let stored: StoredScan =
            serde_json::from_slice(buf).map_err(|e| external(malformed(&e)))?;
        let schema = StructType::from_json(&stored.schema).map_err(external)?.to_arrow();
        let hole = StreamScanExec::placeholder(stored.stream, Arc::new(schema), stored.projection)?;
        let resolver = self.resolver.as_ref().ok_or_else(|| external(malformed(&"no resolver")))?;
        let scan = resolver.scan(stored.stream, &stored.scan).map_err(external)?;
        Ok(Arc::new(hole.bound_to(scan)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<()> {
        let Some(scan) = node.downcast_ref::<StreamScanExec>() else {
            return Err(external(not_serializable(node.name())));
        };
        let bound = scan.bound().ok_or_else(|| external(not_serializable("an unbound scan")))?;
        let schema = StructType::from_arrow(scan.source_schema()).map_err(external)?;
        let stored = StoredScan {
            stream: scan.stream_index(),
            schema: schema.to_json(),
            projection: scan.projection().map(<[usize]>::to_vec),
            scan: bound.description().map_err(external)?,
        };
        *buf =
            serde_json::to_vec(&stored).map_err(|e| external(not_serializable(&e.to_string())))?;
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> DfResult<Arc<ScalarUDF>> {
        let stored: StoredFunction =
            serde_json::from_slice(buf).map_err(|e| external(malformed(&e)))?;
        if let StoredFunction::FromJson(definition) = stored {
            let call = FromJsonCall::new(definition).map_err(external)?;
            return Ok(Arc::new(ScalarUDF::new_from_impl(call)));
        }
        let functions = self.functions.iter().flat_map(Functions::scalar_udfs);
        let found = functions.into_iter().find(|f| f.name() == name);
        found.ok_or_else(|| external(malformed(&format!("there is no function `{name}`"))))
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> DfResult<()> {
        let stored = match node.inner().downcast_ref::<FromJsonCall>() {
            Some(call) => StoredFunction::FromJson(call.definition().clone()),
            None => StoredFunction::Library,
        };
        *buf =
            serde_json::to_vec(&stored).map_err(|e| external(not_serializable(&e.to_string())))?;
        Ok(())
    }
}
