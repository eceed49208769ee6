//! The Arrow types that carry Spark's, one each way.
//!
//! [`DataType::to_arrow`] is the one form that Millstream builds. [`DataType::from_arrow`] also
//! takes the wider and narrower encodings that other producers of Arrow data use for the same
//! values. Field metadata stays behind: Arrow compares it, and equal data must have equal schemas.

use crate::{DECIMAL_PRECISION_MAX, DataType, NESTING_MAX, StructField, StructType};
use arrow::datatypes::{DataType as ArrowType, Field, Fields, Schema, TimeUnit};
use millstream_core::{Error, Result};
use std::sync::Arc;

/// The time zone of every Arrow column of the type `TIMESTAMP`.
pub const TIMESTAMP_ZONE: &str = "UTC";

impl DataType {
    /// The Arrow type for this type.
    pub fn to_arrow(&self) -> ArrowType {
        match self {
            DataType::Null => ArrowType::Null,
            DataType::Boolean => ArrowType::Boolean,
            DataType::Byte => ArrowType::Int8,
            DataType::Short => ArrowType::Int16,
            DataType::Integer => ArrowType::Int32,
            DataType::Long => ArrowType::Int64,
            DataType::Float => ArrowType::Float32,
            DataType::Double => ArrowType::Float64,
            DataType::Decimal(precision, scale) => ArrowType::Decimal128(*precision, *scale),
            DataType::String => ArrowType::Utf8,
            DataType::Binary => ArrowType::Binary,
            DataType::Date => ArrowType::Date32,
            DataType::Timestamp => {
                ArrowType::Timestamp(TimeUnit::Microsecond, Some(TIMESTAMP_ZONE.into()))
            }
            DataType::TimestampNtz => ArrowType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Array { element, contains_null } => {
                ArrowType::List(Arc::new(Field::new("element", element.to_arrow(), *contains_null)))
            }
            DataType::Map { key, value, value_contains_null } => {
                let entries = Fields::from(vec![
                    Field::new("key", key.to_arrow(), false),
                    Field::new("value", value.to_arrow(), *value_contains_null),
                ]);
                let entries = Field::new("entries", ArrowType::Struct(entries), false);
                ArrowType::Map(Arc::new(entries), false)
            }
            DataType::Struct(fields) => ArrowType::Struct(fields.to_arrow_fields()),
        }
    }

    /// The Spark type of an Arrow type.
    ///
    /// # Errors
    /// `SCHEMA_UNSUPPORTED_TYPE` for an Arrow type without a Spark type.
    pub fn from_arrow(arrow: &ArrowType) -> Result<Self> {
        from_arrow(arrow, 0)
    }
}

impl StructField {
    /// The Arrow field for this field, without its metadata.
    pub fn to_arrow(&self) -> Field {
        Field::new(&self.name, self.data_type.to_arrow(), self.nullable)
    }
}

impl StructType {
    /// The Arrow schema of these fields, without their metadata.
    pub fn to_arrow(&self) -> Schema {
        Schema::new(self.to_arrow_fields())
    }

    /// The Arrow fields, without their metadata.
    pub fn to_arrow_fields(&self) -> Fields {
        self.fields.iter().map(StructField::to_arrow).collect()
    }

    /// The Spark types of an Arrow schema.
    ///
    /// # Errors
    /// `SCHEMA_UNSUPPORTED_TYPE`, naming the field.
    pub fn from_arrow(schema: &Schema) -> Result<Self> {
        from_fields(schema.fields(), 0)
    }
}

fn from_arrow(arrow: &ArrowType, depth: usize) -> Result<DataType> {
    if depth > NESTING_MAX {
        return Err(Error::invalid(
            "SCHEMA_INVALID",
            format!("The Arrow type nests deeper than {NESTING_MAX}."),
        ));
    }
    Ok(match arrow {
        ArrowType::Null => DataType::Null,
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 => DataType::Byte,
        ArrowType::Int16 | ArrowType::UInt8 => DataType::Short,
        ArrowType::Int32 | ArrowType::UInt16 => DataType::Integer,
        ArrowType::Int64 | ArrowType::UInt32 => DataType::Long,
        ArrowType::UInt64 => DataType::Decimal(20, 0),
        ArrowType::Float16 | ArrowType::Float32 => DataType::Float,
        ArrowType::Float64 => DataType::Double,
        ArrowType::Decimal32(p, s)
        | ArrowType::Decimal64(p, s)
        | ArrowType::Decimal128(p, s)
        | ArrowType::Decimal256(p, s) => decimal(*p, *s)?,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::Binary
        | ArrowType::LargeBinary
        | ArrowType::BinaryView
        | ArrowType::FixedSizeBinary(_) => DataType::Binary,
        ArrowType::Date32 | ArrowType::Date64 => DataType::Date,
        ArrowType::Timestamp(_, Some(_)) => DataType::Timestamp,
        ArrowType::Timestamp(_, None) => DataType::TimestampNtz,
        ArrowType::List(item)
        | ArrowType::LargeList(item)
        | ArrowType::ListView(item)
        | ArrowType::LargeListView(item)
        | ArrowType::FixedSizeList(item, _) => DataType::Array {
            element: Box::new(from_arrow(item.data_type(), depth + 1)?),
            contains_null: item.is_nullable(),
        },
        ArrowType::Map(entries, _) => map(entries, depth)?,
        ArrowType::Struct(fields) => DataType::Struct(from_fields(fields, depth)?),
        ArrowType::Dictionary(_, values) => from_arrow(values, depth + 1)?,
        ArrowType::RunEndEncoded(_, values) => from_arrow(values.data_type(), depth + 1)?,
        other => return Err(unsupported(other)),
    })
}

fn from_fields(fields: &Fields, depth: usize) -> Result<StructType> {
    fields
        .iter()
        .map(|field| {
            let data_type = from_arrow(field.data_type(), depth + 1)
                .map_err(|e| e.context(format_args!("Column `{}`", field.name())))?;
            Ok(StructField::new(field.name(), data_type, field.is_nullable()))
        })
        .collect()
}

fn map(entries: &Field, depth: usize) -> Result<DataType> {
    let ArrowType::Struct(fields) = entries.data_type() else {
        return Err(unsupported(entries.data_type()));
    };
    let [key, value] = fields.as_ref() else { return Err(unsupported(entries.data_type())) };
    Ok(DataType::Map {
        key: Box::new(from_arrow(key.data_type(), depth + 1)?),
        value: Box::new(from_arrow(value.data_type(), depth + 1)?),
        value_contains_null: value.is_nullable(),
    })
}

fn decimal(precision: u8, scale: i8) -> Result<DataType> {
    let fits = (1..=DECIMAL_PRECISION_MAX).contains(&precision)
        && u8::try_from(scale).is_ok_and(|s| s <= precision);
    if fits {
        return Ok(DataType::Decimal(precision, scale));
    }
    Err(Error::invalid(
        "SCHEMA_UNSUPPORTED_TYPE",
        format!("A decimal of precision {precision} and scale {scale} has no Spark type."),
    )
    .cure(format!("Cast it to a DECIMAL of at most {DECIMAL_PRECISION_MAX} digits.")))
}

fn unsupported(arrow: &ArrowType) -> Error {
    Error::invalid(
        "SCHEMA_UNSUPPORTED_TYPE",
        format!("The Arrow type {arrow} has no Spark type that Millstream supports."),
    )
    .cure("Cast the column to a supported type.")
}
