//! From a checked plan and a writer's choices to a [`Flow`]: opens the sources, prepares the sinks,
//! casts the rows to what the sink stores, and plans the template, all before the first batch.

use super::flow::{DeadLetters, Flow};
use super::handle::ProgressListener;
use crate::execute::dead_letters::{self, LetterRules};
use crate::plan::error::from_datafusion;
use crate::plan::{DeadLetterPlan, FlowPlan, PhysicalTemplate, StreamDefinition};
use crate::session::Session;
use crate::sinks::{ConsoleSink, DataSink, DeltaDataSink, MemorySink, NoopSink};
use crate::sources::{ScanSettings, StreamingSource};
use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use millstream_core::env::SharedEnv;
use millstream_core::log::Conf;
use millstream_core::options::OptionMap;
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use millstream_delta::{ColumnSource, Conversion, DeltaSink, DeltaSinkOptions};
use millstream_types::StructType;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of one Arrow batch.
const BATCH_ROWS: usize = 8_192;
/// Bytes of one Arrow batch, about.
const BATCH_BYTES: usize = 4 << 20;

/// Where the rows of a flow go.
pub(crate) enum SinkSpec {
    Delta(Box<DeltaSinkOptions>),
    Console(OptionMap),
    Memory,
    Noop,
}

/// What a writer chose.
pub(crate) struct FlowSpec {
    pub(crate) name: Option<String>,
    pub(crate) plan: FlowPlan,
    pub(crate) sink: SinkSpec,
    /// The dead letters' table; `None` where the plan has none.
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) checkpoint: PathBuf,
    pub(crate) trigger: Trigger,
    pub(crate) listeners: Vec<ProgressListener>,
}

/// Builds the flow.
///
/// # Errors
/// Everything that can be wrong with options, schemas and tables before the first batch.
pub(crate) async fn assemble(session: &Session, spec: FlowSpec) -> Result<Flow> {
    let env = session.env();
    let mut sources = Vec::with_capacity(spec.plan.streams.len());
    for (index, stream) in spec.plan.streams.iter().enumerate() {
        let decoded = spec.plan.dead_letters.as_ref().is_some_and(|d| d.stream == index);
        sources.push(open_source(session, stream, decoded)?);
    }
    let dead_letters = match (&spec.plan.dead_letters, &spec.dead_letters) {
        (Some(plan), Some(path)) => {
            let source = sources
                .get(plan.stream)
                .map(|source| source.schema())
                .ok_or_else(|| Error::internal("dead letters of a stream that is not there"))?;
            Some(dead_letters_of(session, plan, source, path.clone()).await?)
        }
        (None, _) => None,
        (Some(_), None) => {
            return Err(Error::invalid(
                "DEAD_LETTERS_NO_TABLE",
                "The query asks for dead letters, and this sink has no place for them.",
            )
            .cure("Write to a Delta table, or leave `deadLetter` out."));
        }
    };
    let identity = spec.plan.identity.clone();
    let (sink, logical) = open_sink(session, &spec, &env).await?;
    let plan = FlowPlan { logical, ..spec.plan };
    let state = session.state();
    let template = PhysicalTemplate::new(&plan, &state).await?;
    Ok(Flow {
        name: spec.name,
        template,
        plan: identity,
        fingerprint: digest_of(&plan.fingerprint),
        sources,
        sink,
        dead_letters,
        store: crate::checkpoint::local_store(&spec.checkpoint),
        checkpoint: spec.checkpoint,
        trigger: spec.trigger,
        batches_to_retain: session.batches_to_retain(),
        conf: Conf::spark(session.shuffle_partitions()),
        context: state.task_ctx(),
        scan: ScanSettings {
            parallelism: session.parallelism(),
            batch_rows: BATCH_ROWS,
            batch_bytes: BATCH_BYTES,
        },
        listeners: spec.listeners,
    })
}

fn digest_of(fingerprint: &str) -> String {
    millstream_core::ids::Digest::of(fingerprint.as_bytes()).to_string()
}

fn open_source(
    session: &Session,
    stream: &StreamDefinition,
    with_dead_letters: bool,
) -> Result<Arc<dyn StreamingSource>> {
    if let Some(memory) = session.memory_stream(stream) {
        return Ok(memory);
    }
    let mut options = stream.options.clone();
    if with_dead_letters {
        // A dead letter keeps its headers, whether or not the query asked for them.
        options.insert("includeHeaders", "true");
    }
    crate::sources::open(&stream.format, &options, &session.env())
}

async fn prepare_delta(
    options: DeltaSinkOptions,
    schema: StructType,
    env: SharedEnv,
) -> Result<DeltaSink> {
    tokio::task::spawn_blocking(move || DeltaSink::prepare(options, &schema, env))
        .await
        .map_err(|e| Error::internal(format!("opening the table: {e}")))?
}

/// The dead letters of a stream whose records have the schema `source`.
async fn dead_letters_of(
    session: &Session,
    plan: &DeadLetterPlan,
    source: SchemaRef,
    path: PathBuf,
) -> Result<DeadLetters> {
    let schema = StructType::from_arrow(&dead_letters::schema())?;
    let options = DeltaSinkOptions::new(path);
    let sink = prepare_delta(options, schema, session.env())
        .await
        .map_err(|e| e.context("the dead letters' table"))?;
    Ok(DeadLetters {
        sink: Arc::new(DeltaDataSink::new(sink)),
        stream: plan.stream,
        rules: LetterRules::of(plan, source, &session.state())?,
    })
}

/// The sink, and the plan with its rows cast to what the sink stores.
async fn open_sink(
    session: &Session,
    spec: &FlowSpec,
    env: &SharedEnv,
) -> Result<(Arc<dyn DataSink>, LogicalPlan)> {
    let logical = spec.plan.logical.clone();
    let schema = Arc::new(spec.plan.schema.to_arrow());
    match &spec.sink {
        SinkSpec::Delta(options) => {
            let options = (**options).clone();
            let sink = prepare_delta(options, spec.plan.schema.clone(), env.clone()).await?;
            let logical = stored(session, logical, &sink)?;
            Ok((Arc::new(DeltaDataSink::new(sink)), logical))
        }
        SinkSpec::Console(options) => Ok((Arc::new(ConsoleSink::new(schema, options)?), logical)),
        SinkSpec::Memory => {
            let name = spec.name.as_deref().ok_or_else(|| {
                Error::invalid("QUERY_NAME_MISSING", "queryName must be specified for memory sink")
                    .cure("Give the query a name with `query_name`.")
            })?;
            let tables = session.memory_tables();
            session.register_table(name, tables.provider(name, schema.clone()))?;
            Ok((Arc::new(MemorySink::new(name, schema, tables)), logical))
        }
        SinkSpec::Noop => Ok((Arc::new(NoopSink::new(schema)), logical)),
    }
}

/// Puts a projection on top that yields the table's columns in the table's order and types
/// (Spark's store assignment).
fn stored(session: &Session, plan: LogicalPlan, sink: &DeltaSink) -> Result<LogicalPlan> {
    let input = sink.input_schema();
    let mut exprs = Vec::with_capacity(input.fields().len());
    for (field, source) in input.fields().iter().zip(sink.columns()) {
        let expr = match source {
            ColumnSource::Null => lit(null_of(field.data_type())?),
            ColumnSource::Query { index, conversion } => {
                let column = Expr::Column(Column::from(plan.schema().qualified_field(*index)));
                match conversion {
                    Conversion::Identical => column,
                    Conversion::Cast => millstream_functions::store_assign(
                        column,
                        field.data_type(),
                        plan.schema(),
                        &session.functions(),
                    )
                    .map_err(from_datafusion)?,
                }
            }
        };
        exprs.push(expr.alias(field.name()));
    }
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}

fn null_of(data_type: &arrow::datatypes::DataType) -> Result<datafusion::common::ScalarValue> {
    datafusion::common::ScalarValue::try_from(data_type).map_err(from_datafusion)
}
