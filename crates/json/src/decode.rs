//! `from_json` over a column: the fast parser first, the exact one for every record that the
//! fast one will not judge.

use crate::column::{Column, Datum, Fields, Texts};
use crate::convert::{Converted, Reason, convert};
use crate::fast::Fast;
use crate::options::{FromJsonOptions, Mode};
use crate::plan::{Kind, StructPlan};
use arrow::array::{Array, ArrayRef, AsArray, NullBufferBuilder, StructArray};
use arrow::datatypes::DataType as ArrowType;
use arrow::error::ArrowError;
use millstream_core::{Error, Result};
use millstream_types::DataType;
use std::sync::Arc;

/// Which bad records [`FromJson::decode`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// None.
    None,
    /// Each one for which Spark would fill the corrupt-record column.
    BadRows,
}

/// A record that did not match the schema.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRow {
    /// Index into the input.
    pub row: usize,
    /// [`crate::MALFORMED_JSON`], [`crate::FIELD_TYPE_MISMATCH`] or [`crate::ROOT_TYPE_MISMATCH`].
    pub reason: &'static str,
    /// A sentence with the place.
    pub detail: String,
}

/// The result of [`FromJson::decode`].
#[derive(Debug)]
pub struct Decoded {
    /// One value a row.
    pub array: ArrayRef,
    /// Bad records, if they were asked for.
    pub bad: Vec<BadRow>,
    /// How many records held bytes that are not UTF-8; those bytes became U+FFFD.
    pub invalid_utf8: u64,
}

/// Why [`FromJson::decode`] gave no array.
#[derive(Debug, Clone)]
pub enum DecodeError {
    /// In mode FAILFAST, the first record that did not match.
    BadRecord {
        /// Index into the input.
        row: usize,
        /// What was wrong.
        reason: Reason,
    },
    /// The batch itself cannot be decoded.
    Batch(Error),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::BadRecord { row, reason } => Error::invalid(
                "MALFORMED_RECORD_IN_PARSING",
                format!(
                    "Malformed records are detected in record parsing: row {row}, {}. \
                     Parse Mode: FAILFAST.",
                    reason.detail
                ),
            )
            .cure(
                "To process malformed records as null result, try setting the option 'mode' as \
                 'PERMISSIVE'.",
            ),
            DecodeError::Batch(error) => error,
        }
    }
}

impl From<ArrowError> for DecodeError {
    fn from(error: ArrowError) -> Self {
        DecodeError::Batch(match error {
            ArrowError::OffsetOverflowError(_) => Error::new(
                millstream_core::ErrorKind::Exhausted,
                "JSON_BATCH_TOO_LARGE",
                "A column of the decoded batch would hold more than 2 GiB.",
            )
            .cure("Decode fewer records at once."),
            other => Error::internal("A decoded batch is inconsistent.").caused_by(other),
        })
    }
}

/// The decoder for one schema and one set of options.
#[derive(Debug, Clone)]
pub struct FromJson {
    schema: DataType,
    options: FromJsonOptions,
    /// The schema without the corrupt-record column, as the exact parser reads it.
    kind: Kind,
    /// Position of the corrupt-record column.
    corrupt: Option<usize>,
    /// Fields of the schema to give, if not all.
    projection: Option<Vec<usize>>,
}

impl FromJson {
    /// A decoder. Whatever the schema says, the result is nullable at every level.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH` for a root that is no struct, array or map or for map keys other than
    /// STRING; `INVALID_CORRUPT_RECORD_TYPE` if the corrupt-record column is not a STRING,
    /// `COLUMN_ALREADY_EXISTS` if it is there twice.
    pub fn new(schema: &DataType, options: &FromJsonOptions) -> Result<Self> {
        check_schema(schema)?;
        let schema = schema.as_nullable();
        let mut corrupt = None;
        let kind = match &schema {
            DataType::Struct(fields) => {
                corrupt = fields.index_of(&options.corrupt_column);
                if let Some(field) = corrupt.and_then(|at| fields.fields.get(at))
                    && field.data_type != DataType::String
                {
                    return Err(Error::invalid(
                        "INVALID_CORRUPT_RECORD_TYPE",
                        format!(
                            "The column `{}` for corrupt records must have the nullable STRING \
                             type, but got {}.",
                            field.name,
                            field.data_type.sql()
                        ),
                    ));
                }
                let read = fields.fields.iter().filter(|f| f.name != options.corrupt_column);
                if corrupt.is_some() && read.clone().count() + 1 != fields.fields.len() {
                    // Spark would fill the last one and leave the others null.
                    return Err(Error::invalid(
                        "COLUMN_ALREADY_EXISTS",
                        format!(
                            "The schema has the column `{}` for corrupt records more than once.",
                            options.corrupt_column
                        ),
                    )
                    .cure("Keep one of them."));
                }
                Kind::Struct(StructPlan::new(&read.cloned().collect()))
            }
            other => Kind::new(other),
        };
        Ok(FromJson { schema, options: options.clone(), kind, corrupt, projection: None })
    }

    /// A decoder that gives only these top-level fields, in this order. The syntax of every
    /// record is checked all the same; with [`Report::BadRows`], FAILFAST or a corrupt-record
    /// column among the fields, so are all fields of the schema.
    ///
    /// # Errors
    /// `INTERNAL` if the root is not a struct or a field does not exist.
    pub fn with_projection(&self, fields: &[usize]) -> Result<Self> {
        let DataType::Struct(schema) = &self.schema else {
            return Err(Error::internal("Only fields of a struct can be chosen."));
        };
        if let Some(field) = fields.iter().find(|field| **field >= schema.fields.len()) {
            return Err(Error::internal(format!("There is no field {field} to choose.")));
        }
        Ok(FromJson { projection: Some(fields.to_vec()), ..self.clone() })
    }

    /// The type of the decoded column.
    pub fn data_type(&self) -> DataType {
        match (&self.schema, &self.projection) {
            (DataType::Struct(schema), Some(chosen)) => DataType::Struct(
                chosen.iter().filter_map(|at| schema.fields.get(*at).cloned()).collect(),
            ),
            (schema, _) => schema.clone(),
        }
    }

    /// Decodes a column of texts or of bytes.
    ///
    /// # Errors
    /// [`DecodeError::BadRecord`] in mode FAILFAST; `JSON_BATCH_TOO_LARGE` for more than 2 GiB in
    /// a column; `INTERNAL` for a column of another type.
    pub fn decode(&self, input: &ArrayRef, report: Report) -> Result<Decoded, DecodeError> {
        let mut run = Run::new(self, report);
        match input.data_type() {
            ArrowType::Utf8 => run.texts(input.as_string::<i32>().iter())?,
            ArrowType::LargeUtf8 => run.texts(input.as_string::<i64>().iter())?,
            ArrowType::Utf8View => run.texts(input.as_string_view().iter())?,
            ArrowType::Binary => run.bytes(input.as_binary::<i32>().iter())?,
            ArrowType::LargeBinary => run.bytes(input.as_binary::<i64>().iter())?,
            ArrowType::BinaryView => run.bytes(input.as_binary_view().iter())?,
            ArrowType::Null => (0..input.len()).for_each(|_| run.null()),
            other => {
                return Err(DecodeError::Batch(Error::internal(format!(
                    "from_json cannot read a column of the type {other}."
                ))));
            }
        }
        run.finish()
    }
}

fn check_schema(schema: &DataType) -> Result<()> {
    if !schema.is_nested() {
        return Err(Error::invalid(
            "DATATYPE_MISMATCH",
            format!("Input schema {} must be a struct, an array, or a map.", schema.sql()),
        ));
    }
    check_map_keys(schema)
}

fn check_map_keys(schema: &DataType) -> Result<()> {
    match schema {
        DataType::Map { key, .. } if **key != DataType::String => Err(Error::invalid(
            "DATATYPE_MISMATCH",
            format!(
                "Input schema {} can only contain STRING as a key type for a MAP.",
                schema.sql()
            ),
        )),
        DataType::Map { value, .. } => check_map_keys(value),
        DataType::Array { element, .. } => check_map_keys(element),
        DataType::Struct(fields) => {
            fields.fields.iter().try_for_each(|f| check_map_keys(&f.data_type))
        }
        _ => Ok(()),
    }
}

/// Where decoded values go.
enum Target {
    /// The root is a struct: the columns of the fields that are built, their positions among the
    /// fields that the exact parser reads, and which rows are not null.
    Struct {
        plan: StructPlan,
        built: Vec<usize>,
        fields: Fields,
        validity: NullBufferBuilder,
    },
    Value {
        kind: Kind,
        column: Column,
    },
}

struct Run<'a> {
    decoder: &'a FromJson,
    fast: Fast<'a>,
    target: Target,
    corrupt: Option<Texts>,
    list_bad: bool,
    row: usize,
    bad: Vec<BadRow>,
    invalid_utf8: u64,
}

impl<'a> Run<'a> {
    fn new(decoder: &'a FromJson, report: Report) -> Self {
        let chosen = decoder.projection.as_deref();
        let corrupt_wanted =
            decoder.corrupt.filter(|at| chosen.is_none_or(|chosen| chosen.contains(at)));
        let target = match &decoder.kind {
            Kind::Struct(plan) => {
                let checked = report == Report::BadRows
                    || decoder.options.mode == Mode::FailFast
                    || corrupt_wanted.is_some();
                let wanted = |at: &usize| {
                    checked
                        || chosen.is_none_or(|c| c.contains(&schema_index(*at, decoder)))
                        || plan.fields.get(*at).is_some_and(|f| f.kind.can_mislead())
                };
                let built: Vec<usize> = (0..plan.fields.len()).filter(wanted).collect();
                let fields = built.iter().filter_map(|at| plan.fields.get(*at).cloned()).collect();
                let plan = StructPlan::of(fields);
                let fields = Fields::new(&plan);
                Target::Struct { plan, built, fields, validity: NullBufferBuilder::new(0) }
            }
            other => Target::Value { kind: other.clone(), column: Column::new(other) },
        };
        Run {
            decoder,
            fast: Fast::new(&decoder.options),
            target,
            corrupt: corrupt_wanted.map(|_| Texts::new()),
            list_bad: report == Report::BadRows,
            row: 0,
            bad: Vec::new(),
            invalid_utf8: 0,
        }
    }

    fn texts<'t>(
        &mut self,
        rows: impl Iterator<Item = Option<&'t str>>,
    ) -> Result<(), DecodeError> {
        for text in rows {
            match text {
                Some(text) => self.record(text)?,
                None => self.null(),
            }
        }
        Ok(())
    }

    fn bytes<'t>(
        &mut self,
        rows: impl Iterator<Item = Option<&'t [u8]>>,
    ) -> Result<(), DecodeError> {
        for bytes in rows {
            match bytes.map(|bytes| (bytes, simdutf8::basic::from_utf8(bytes))) {
                Some((_, Ok(text))) => self.record(text)?,
                Some((bytes, Err(_))) => {
                    self.invalid_utf8 += 1;
                    self.record(&String::from_utf8_lossy(bytes))?;
                }
                None => self.null(),
            }
        }
        Ok(())
    }

    fn null(&mut self) {
        match &mut self.target {
            Target::Struct { fields, validity, .. } => {
                fields.push_nulls();
                validity.append_null();
            }
            Target::Value { column, .. } => column.push_null(),
        }
        self.end_row(None);
    }

    fn end_row(&mut self, corrupt: Option<&str>) {
        if let Some(column) = &mut self.corrupt {
            column.push(corrupt);
        }
        self.row += 1;
    }

    fn record(&mut self, text: &str) -> Result<(), DecodeError> {
        let done = match &mut self.target {
            Target::Struct { plan, fields, validity, .. } => {
                let done = self.fast.record(text, plan, fields, self.row);
                match done {
                    Ok(()) => validity.append_non_null(),
                    Err(_) => fields.truncate(self.row),
                }
                done
            }
            Target::Value { kind, column } => {
                let done = self.fast.root(text, kind, column);
                if done.is_err() {
                    column.truncate(self.row);
                }
                done
            }
        };
        match done {
            Ok(()) => self.end_row(None),
            Err(_) => self.exact(text)?,
        }
        Ok(())
    }

    fn exact(&mut self, text: &str) -> Result<(), DecodeError> {
        let Converted { value, bad } = convert(text, &self.decoder.kind, &self.decoder.options);
        let Some(value) = value else {
            self.null();
            return Ok(());
        };
        match &mut self.target {
            Target::Struct { built, fields, validity, .. } => {
                match value {
                    Datum::Struct(mut values) => {
                        for (column, at) in fields.columns.iter_mut().zip(built) {
                            let value =
                                values.get_mut(*at).map(|v| std::mem::replace(v, Datum::Null));
                            column.push(value.unwrap_or(Datum::Null));
                        }
                    }
                    _ => fields.push_nulls(),
                }
                validity.append_non_null();
            }
            Target::Value { column, .. } => column.push(value),
        }
        let row = self.row;
        self.end_row(bad.is_some().then_some(text));
        match bad {
            Some(reason) if self.decoder.options.mode == Mode::FailFast => {
                Err(DecodeError::BadRecord { row, reason })
            }
            Some(reason) if self.list_bad => {
                self.bad.push(BadRow { row, reason: reason.code, detail: reason.detail });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Decoded, DecodeError> {
        let arrow = self.decoder.data_type().to_arrow();
        let array: ArrayRef = match (self.target, &arrow) {
            (Target::Struct { built, fields, mut validity, .. }, ArrowType::Struct(wanted)) => {
                let mut corrupt = self.corrupt.map(Texts::finish).transpose()?;
                let mut columns: Vec<Option<Column>> =
                    fields.columns.into_iter().map(Some).collect();
                let mut done: Vec<(usize, ArrayRef)> = Vec::new();
                let mut out = Vec::with_capacity(wanted.len());
                for (field, at) in wanted.iter().zip(chosen_indices(self.decoder)) {
                    if let Some((_, array)) = done.iter().find(|(index, _)| *index == at) {
                        out.push(array.clone());
                        continue;
                    }
                    let array = if self.decoder.corrupt == Some(at) {
                        corrupt.take()
                    } else {
                        let column = built
                            .iter()
                            .position(|index| schema_index(*index, self.decoder) == at)
                            .and_then(|index| columns.get_mut(index)?.take());
                        column.map(|c| c.finish(field.data_type())).transpose()?
                    };
                    let array = array
                        .ok_or_else(|| ArrowError::SchemaError("a column is missing".into()))?;
                    done.push((at, array.clone()));
                    out.push(array);
                }
                let nulls = validity.finish();
                Arc::new(StructArray::try_new_with_length(wanted.clone(), out, nulls, self.row)?)
            }
            (Target::Value { column, .. }, arrow) => column.finish(arrow)?,
            _ => return Err(ArrowError::SchemaError("the root is not a struct".into()).into()),
        };
        Ok(Decoded { array, bad: self.bad, invalid_utf8: self.invalid_utf8 })
    }
}

/// The position in the schema of a field that the exact parser reads.
fn schema_index(read: usize, decoder: &FromJson) -> usize {
    match decoder.corrupt {
        Some(corrupt) if read >= corrupt => read + 1,
        _ => read,
    }
}

fn chosen_indices(decoder: &FromJson) -> Vec<usize> {
    match (&decoder.projection, &decoder.schema) {
        (Some(chosen), _) => chosen.clone(),
        (None, DataType::Struct(schema)) => (0..schema.fields.len()).collect(),
        _ => Vec::new(),
    }
}
