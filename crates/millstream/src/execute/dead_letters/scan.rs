//! The scan that decodes, here or written down for another process.

use super::{DECODED_COLUMN, DeadLetterTap, VALUE, needed, stored_schema};
use crate::plan::from_json::{Definition, FromJsonCall};
use crate::plan::{PartitionedScan, malformed};
use crate::sources::{StoredScan, to_datafusion};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::{Error, Result};
use millstream_json::{BadRow, FromJson, Report};
use millstream_types::StructType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A scan with the decoded column, without the records that do not decode.
#[derive(Debug)]
pub struct DecodingScan {
    inner: Arc<dyn PartitionedScan>,
    /// Schema of `inner`.
    source: SchemaRef,
    /// Schema that the plan knows: columns of `inner` by name, and the decoded one.
    schema: SchemaRef,
    decoding: FromJsonCall,
    tap: Arc<DeadLetterTap>,
}

impl DecodingScan {
    /// Decodes the `value` of `inner`'s records into `schema`'s decoded column.
    pub(crate) fn new(
        inner: Arc<dyn PartitionedScan>,
        source: SchemaRef,
        schema: SchemaRef,
        decoding: FromJsonCall,
        tap: Arc<DeadLetterTap>,
    ) -> Arc<Self> {
        Arc::new(DecodingScan { inner, source, schema, decoding, tap })
    }

    /// The scan that was written down, over the `records` that were written down with it.
    ///
    /// # Errors
    /// `PLAN_MALFORMED`, and what the decoder says about its schema and options.
    pub(crate) fn restored(
        stored: &StoredDecodingScan,
        records: Arc<dyn PartitionedScan>,
        tap: Arc<DeadLetterTap>,
    ) -> Result<Arc<Self>> {
        Ok(DecodingScan::new(
            records,
            stored_schema(&stored.source)?,
            stored_schema(&stored.schema)?,
            FromJsonCall::new(stored.decoding.clone())?,
            tap,
        ))
    }
}

impl PartitionedScan for DecodingScan {
    fn partitions(&self) -> usize {
        self.inner.partitions()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let wanted = crate::sources::projected(&self.schema, projection)?;
        let records =
            self.inner.execute(partition, Some(&needed(&self.source, &wanted, |_| false)))?;
        let decoder = Arc::clone(self.decoding.decoder());
        let (tap, output) = (self.tap.clone(), wanted.clone());
        let decoded = records.map(move |records| {
            let records = records?;
            split(&records, &output, &decoder, |bad| tap.write(partition, &records, bad))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(wanted, decoded)))
    }

    fn description(&self) -> Result<Value> {
        let json = |schema: &Schema| Ok::<_, Error>(StructType::from_arrow(schema)?.to_json());
        StoredScan::Decoding(StoredDecodingScan {
            records: self.inner.description()?,
            source: json(&self.source)?,
            schema: json(&self.schema)?,
            decoding: self.decoding.definition().clone(),
        })
        .to_json()
    }
}

/// A [`DecodingScan`] as it travels. Where its dead letters go is settled where the plan runs, as
/// with the rows themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredDecodingScan {
    /// Description of the scan below.
    records: Value,
    source: String,
    schema: String,
    decoding: Definition,
}

impl StoredDecodingScan {
    /// The scan below.
    ///
    /// # Errors
    /// `PLAN_MALFORMED` where it decodes in its turn, which no plan of ours does.
    pub(crate) fn records(&self) -> Result<StoredScan> {
        match StoredScan::deserialize(&self.records).map_err(|e| malformed(&e))? {
            records @ StoredScan::Kafka(_) => Ok(records),
            _ => Err(malformed(&"records are decoded twice")),
        }
    }
}

/// The good rows of `records` with the columns of `wanted`; the bad ones go to `dead_letter`.
fn split(
    records: &RecordBatch,
    wanted: &SchemaRef,
    decoder: &FromJson,
    dead_letter: impl FnOnce(&[BadRow]) -> Result<()>,
) -> Result<RecordBatch, DataFusionError> {
    let value = records
        .column_by_name(VALUE)
        .ok_or_else(|| DataFusionError::Internal("the scan has no column `value`".to_owned()))?;
    let decoded =
        decoder.decode(value, Report::BadRows).map_err(|e| to_datafusion(Error::from(e)))?;
    let columns = wanted
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            DECODED_COLUMN => Ok(decoded.array.clone()),
            name => records.column_by_name(name).cloned().ok_or_else(|| {
                DataFusionError::Internal(format!("the scan has no column `{name}`"))
            }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    let rows = RecordBatch::try_new_with_options(wanted.clone(), columns, &options)?;
    if decoded.bad.is_empty() {
        return Ok(rows);
    }
    dead_letter(&decoded.bad).map_err(to_datafusion)?;
    Ok(super::without(&rows, &decoded.bad)?)
}
