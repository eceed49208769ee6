//! Carries out the casts that a query names for its dead letters, once, and takes out the records
//! that one of them refuses.

use super::{DeadLetterTap, KEPT, VALUE};
use crate::plan::error::from_datafusion;
use crate::plan::{CastCheck, PartitionedScan};
use crate::sources::{projected, to_datafusion};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::Result;
use millstream_functions::find_spark_error;
use millstream_json::BadRow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reason code of a dead letter whose cast failed.
pub const CAST_FAILED: &str = "CAST_FAILED";

/// One cast, ready to evaluate.
#[derive(Debug, Clone)]
pub struct LetterCast {
    column: Field,
    named: String,
    input: Arc<dyn PhysicalExpr>,
    tried: Arc<dyn PhysicalExpr>,
    strict: Arc<dyn PhysicalExpr>,
    after_tombstones: bool,
}

/// The casts of `checks` over the columns of `source`, each seeing the results of those before it.
///
/// # Errors
/// Only defects: the casts were checked with the plan.
pub fn letter_casts(
    checks: &[CastCheck],
    source: &Schema,
    state: &SessionState,
) -> Result<Vec<LetterCast>> {
    let mut schema = source.clone();
    let mut casts = Vec::with_capacity(checks.len());
    for check in checks {
        let over = DFSchema::try_from(schema.clone()).map_err(from_datafusion)?;
        let physical =
            |expr: &Expr| state.create_physical_expr(expr.clone(), &over).map_err(from_datafusion);
        let tried = physical(&check.cast.tried)?;
        let data_type = tried.data_type(&schema).map_err(from_datafusion)?;
        let column = Field::new(&check.column, data_type, true);
        casts.push(LetterCast {
            column: column.clone(),
            named: check.named.clone(),
            input: physical(&check.cast.input)?,
            strict: physical(&check.cast.strict)?,
            tried,
            after_tombstones: check.after_tombstones,
        });
        schema = with_field(&schema, column);
    }
    Ok(casts)
}

fn with_field(schema: &Schema, field: Field) -> Schema {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone()).chain([field]);
    Schema::new(fields.collect::<Vec<_>>())
}

/// A scan with the results of casts as columns, without the records that a cast refuses.
#[derive(Debug)]
pub struct CastingScan {
    inner: Arc<dyn PartitionedScan>,
    /// Schema of `inner`.
    source: SchemaRef,
    /// Schema that the plan knows: columns of `inner` by name, and those of the casts.
    schema: SchemaRef,
    casts: Vec<LetterCast>,
    tap: Arc<DeadLetterTap>,
}

impl CastingScan {
    /// Evaluates `casts` over `inner`'s records into `schema`'s columns of theirs.
    pub fn new(
        inner: Arc<dyn PartitionedScan>,
        source: SchemaRef,
        schema: SchemaRef,
        casts: Vec<LetterCast>,
        tap: Arc<DeadLetterTap>,
    ) -> Arc<Self> {
        Arc::new(CastingScan { inner, source, schema, casts, tap })
    }

    /// Columns of the source that this scan reads for the columns asked for.
    fn needed(&self, wanted: &Schema) -> Vec<usize> {
        let used: BTreeSet<String> = self
            .casts
            .iter()
            .flat_map(|cast| collect_columns(&cast.tried))
            .map(|column| column.name().to_owned())
            .collect();
        let kept = |name: &str| {
            KEPT.contains(&name) || used.contains(name) || wanted.index_of(name).is_ok()
        };
        let fields = self.source.fields().iter().enumerate();
        fields.filter(|(_, field)| kept(field.name())).map(|(at, _)| at).collect()
    }

    /// The casts over batches of schema `read`, and the schema with their results.
    fn over(&self, read: &Schema) -> DfResult<(Vec<LetterCast>, SchemaRef)> {
        let mut schema = read.clone();
        let mut casts = Vec::with_capacity(self.casts.len());
        for cast in &self.casts {
            let here = |expr: &Arc<dyn PhysicalExpr>| reassign_expr_columns(expr.clone(), &schema);
            casts.push(LetterCast {
                input: here(&cast.input)?,
                tried: here(&cast.tried)?,
                strict: here(&cast.strict)?,
                ..cast.clone()
            });
            schema = with_field(&schema, cast.column.clone());
        }
        Ok((casts, Arc::new(schema)))
    }
}

impl PartitionedScan for CastingScan {
    fn partitions(&self) -> usize {
        self.inner.partitions()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> DfResult<SendableRecordBatchStream> {
        let wanted = projected(&self.schema, projection)?;
        let needed = self.needed(&wanted);
        let (casts, full) = self.over(&self.source.project(&needed)?)?;
        let records = self.inner.execute(partition, Some(&needed))?;
        let (tap, output) = (self.tap.clone(), wanted.clone());
        let checked = records.map(move |records| {
            let records = records?;
            let (all, bad) = evaluate(&casts, &records, &full)?;
            let columns = output
                .fields()
                .iter()
                .map(|field| all.schema().index_of(field.name()))
                .collect::<Result<Vec<_>, _>>()?;
            let rows = all.project(&columns)?;
            if bad.is_empty() {
                return Ok(rows);
            }
            tap.write(partition, &records, &bad).map_err(to_datafusion)?;
            Ok(super::without(&rows, &bad)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(wanted, checked)))
    }
}

/// `records` with the casts' results, and the rows that a cast refuses, each once.
fn evaluate(
    casts: &[LetterCast],
    records: &RecordBatch,
    full: &SchemaRef,
) -> DfResult<(RecordBatch, Vec<BadRow>)> {
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    let mut all = records.clone();
    let mut refused: BTreeMap<usize, BadRow> = BTreeMap::new();
    for cast in casts {
        let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(&all)?.into_array(all.num_rows());
        let (input, result) = (array(&cast.input)?, array(&cast.tried)?);
        for row in cast.refuses(&input, &result, records)? {
            if refused.contains_key(&row) {
                continue;
            }
            let detail = format!("`{}`: {}", cast.named, cast.why(&all.slice(row, 1)));
            refused.insert(row, BadRow { row, reason: CAST_FAILED, detail });
        }
        let mut columns = all.columns().to_vec();
        columns.push(result);
        let fields = full.fields().iter().take(columns.len()).cloned().collect::<Vec<_>>();
        let schema = Arc::new(Schema::new(fields));
        all = RecordBatch::try_new_with_options(schema, columns, &options)?;
    }
    Ok((all, refused.into_values().collect()))
}

impl LetterCast {
    /// Rows with a value that the cast made NULL.
    fn refuses(
        &self,
        input: &ArrayRef,
        result: &ArrayRef,
        records: &RecordBatch,
    ) -> DfResult<Vec<usize>> {
        if result.null_count() == input.null_count() {
            return Ok(Vec::new());
        }
        let value = match self.after_tombstones {
            true => Some(records.column_by_name(VALUE).ok_or_else(|| {
                DataFusionError::Internal("the scan has no column `value`".to_owned())
            })?),
            false => None,
        };
        let counts = |row: usize| value.is_none_or(|value| value.is_valid(row));
        let rows = 0..records.num_rows();
        Ok(rows.filter(|r| input.is_valid(*r) && result.is_null(*r) && counts(*r)).collect())
    }

    /// What Spark says about the one row of `row`.
    fn why(&self, row: &RecordBatch) -> String {
        match self.strict.evaluate(row) {
            Err(error) => match find_spark_error(&error) {
                Some(spark) => format!("[{}] {}", spark.code(), spark.message()),
                None => error.strip_backtrace(),
            },
            Ok(_) => "the value does not fit the type".to_owned(),
        }
    }
}
