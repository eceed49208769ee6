//! Carries out the casts that a query names for its dead letters, once, and takes out the records
//! that one of them refuses.

use super::{DeadLetterTap, VALUE, needed, stored_schema, with_field};
use crate::plan::error::from_datafusion;
use crate::plan::{CastCheck, PartitionedScan, decode_expr, encode_expr, malformed};
use crate::sources::{StoredScan, projected, to_datafusion};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::{Error, Result};
use millstream_functions::{FunctionSettings, OnFailure, find_spark_error, spark_cast};
use millstream_json::BadRow;
use millstream_types::StructType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reason code of a dead letter whose cast failed.
pub const CAST_FAILED: &str = "CAST_FAILED";

/// One cast, ready to evaluate.
#[derive(Debug, Clone)]
pub struct LetterCast {
    /// The result's column in the scan.
    column: Field,
    /// The query's column that named it.
    named: String,
    input: Arc<dyn PhysicalExpr>,
    settings: FunctionSettings,
    /// Whether records without a `value` do not count.
    after_tombstones: bool,
}

/// The casts of `checks` over the columns of `source`, each seeing the results of those before it.
///
/// # Errors
/// Only defects: the casts were checked with the plan.
pub(super) fn letter_casts(
    checks: &[CastCheck],
    source: &Schema,
    state: &SessionState,
) -> Result<Vec<LetterCast>> {
    let mut schema = source.clone();
    let mut casts = Vec::with_capacity(checks.len());
    for check in checks {
        let over = DFSchema::try_from(schema.clone()).map_err(from_datafusion)?;
        let input = state.create_physical_expr(check.cast.input.clone(), &over);
        let column = Field::new(&check.column, check.cast.to.clone(), true);
        casts.push(LetterCast {
            column: column.clone(),
            named: check.named.clone(),
            input: input.map_err(from_datafusion)?,
            settings: check.cast.settings.clone(),
            after_tombstones: check.after_tombstones,
        });
        schema = with_field(&schema, column);
    }
    Ok(casts)
}

/// A scan with the results of casts as columns, without the records that a cast refuses.
#[derive(Debug)]
pub(crate) struct CastingScan {
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
    pub(super) fn new(
        inner: Arc<dyn PartitionedScan>,
        source: SchemaRef,
        schema: SchemaRef,
        casts: Vec<LetterCast>,
        tap: Arc<DeadLetterTap>,
    ) -> Arc<Self> {
        Arc::new(CastingScan { inner, source, schema, casts, tap })
    }

    /// The scan that was written down, over the `records` that were written down with it.
    ///
    /// # Errors
    /// `PLAN_MALFORMED`.
    pub(crate) fn restored(
        stored: &StoredCastingScan,
        records: Arc<dyn PartitionedScan>,
        tap: Arc<DeadLetterTap>,
    ) -> Result<Arc<Self>> {
        let casts = stored.casts.iter().map(StoredCast::restored).collect::<Result<Vec<_>>>()?;
        Ok(CastingScan::new(
            records,
            stored_schema(&stored.source)?,
            stored_schema(&stored.schema)?,
            casts,
            tap,
        ))
    }

    /// The columns that the casts read.
    fn used(&self) -> BTreeSet<String> {
        let columns = self.casts.iter().flat_map(|cast| collect_columns(&cast.input));
        columns.map(|column| column.name().to_owned()).collect()
    }

    /// The casts over batches of schema `read`.
    fn over(&self, read: &Schema) -> DfResult<Vec<LetterCast>> {
        let mut schema = read.clone();
        let mut casts = Vec::with_capacity(self.casts.len());
        for cast in &self.casts {
            let input = reassign_expr_columns(cast.input.clone(), &schema)?;
            casts.push(LetterCast { input, ..cast.clone() });
            schema = with_field(&schema, cast.column.clone());
        }
        Ok(casts)
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
        let used = self.used();
        let needed = needed(&self.source, &wanted, |name| used.contains(name));
        let casts = self.over(&self.source.project(&needed)?)?;
        let records = self.inner.execute(partition, Some(&needed))?;
        let (tap, output) = (self.tap.clone(), wanted.clone());
        let checked = records.map(move |records| {
            let records = records?;
            let (all, bad) = evaluate(&casts, &records)?;
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

    fn description(&self) -> Result<Value> {
        let json = |schema: &Schema| Ok::<_, Error>(StructType::from_arrow(schema)?.to_json());
        let mut over = self.source.as_ref().clone();
        let mut casts = Vec::with_capacity(self.casts.len());
        for cast in &self.casts {
            casts.push(StoredCast {
                column: json(&Schema::new(vec![cast.column.clone()]))?,
                named: cast.named.clone(),
                input: encode_expr(&cast.input, &over)?,
                ansi: cast.settings.ansi,
                time_zone: cast.settings.time_zone.clone(),
                after_tombstones: cast.after_tombstones,
            });
            over = with_field(&over, cast.column.clone());
        }
        StoredScan::Casting(StoredCastingScan {
            records: self.inner.description()?,
            source: json(&self.source)?,
            schema: json(&self.schema)?,
            casts,
        })
        .to_json()
    }
}

/// A [`CastingScan`] as it travels. Where its dead letters go is settled where the plan runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredCastingScan {
    /// Description of the scan below.
    records: Value,
    source: String,
    schema: String,
    casts: Vec<StoredCast>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredCast {
    /// A schema of one field.
    column: String,
    named: String,
    input: Vec<u8>,
    ansi: bool,
    time_zone: String,
    after_tombstones: bool,
}

impl StoredCastingScan {
    /// The scan below.
    ///
    /// # Errors
    /// `PLAN_MALFORMED` where it casts in its turn, which no plan of ours does.
    pub(crate) fn records(&self) -> Result<StoredScan> {
        match StoredScan::deserialize(&self.records).map_err(|e| malformed(&e))? {
            StoredScan::Casting(_) => Err(malformed(&"records are cast twice")),
            records => Ok(records),
        }
    }
}

impl StoredCast {
    fn restored(&self) -> Result<LetterCast> {
        let settings = FunctionSettings { ansi: self.ansi, time_zone: self.time_zone.clone() };
        let column = StructType::from_json(&self.column)?.to_arrow();
        let [column] = column.fields().as_ref() else { return Err(malformed(&"a cast's column")) };
        Ok(LetterCast {
            column: column.as_ref().clone(),
            named: self.named.clone(),
            input: decode_expr(&self.input, &settings)?,
            settings,
            after_tombstones: self.after_tombstones,
        })
    }
}

/// `records` with the casts' results, and the rows that a cast refuses, each once.
fn evaluate(casts: &[LetterCast], records: &RecordBatch) -> DfResult<(RecordBatch, Vec<BadRow>)> {
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    let mut all = records.clone();
    let mut refused: BTreeMap<usize, BadRow> = BTreeMap::new();
    for cast in casts {
        let input = cast.input.evaluate(&all)?.into_array(all.num_rows())?;
        let to = cast.column.data_type();
        let result = spark_cast(&input, to, OnFailure::Null, &cast.settings)?;
        for row in cast.refuses(&input, &result, records)? {
            if refused.contains_key(&row) {
                continue;
            }
            let detail = format!("`{}`: {}", cast.named, cast.why(&input.slice(row, 1)));
            refused.insert(row, BadRow { row, reason: CAST_FAILED, detail });
        }
        let mut columns = all.columns().to_vec();
        columns.push(result);
        let schema = Arc::new(with_field(&all.schema(), cast.column.clone()));
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

    /// What Spark says about the one value.
    fn why(&self, value: &ArrayRef) -> String {
        match spark_cast(value, self.column.data_type(), OnFailure::Error, &self.settings) {
            Err(error) => match find_spark_error(&error) {
                Some(spark) => format!("[{}] {}", spark.code(), spark.message()),
                None => error.strip_backtrace(),
            },
            Ok(_) => "the value does not fit the type".to_owned(),
        }
    }
}
