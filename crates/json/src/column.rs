//! Arrow columns under construction. A column can be cut back to an earlier length, so that a
//! record which turns out to need the exact parser leaves nothing behind.

use crate::plan::{Kind, StructPlan};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, NullArray,
    NullBufferBuilder, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType as ArrowType, Date32Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use std::sync::Arc;

/// One value as the exact parser makes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Boolean(bool),
    Byte(i8),
    Short(i16),
    Integer(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    Text(String),
    Binary(Vec<u8>),
    List(Vec<Datum>),
    Map(Vec<(String, Datum)>),
    Struct(Vec<Datum>),
}

/// Values of a fixed width.
pub(crate) struct Fixed<T> {
    values: Vec<T>,
    validity: NullBufferBuilder,
}

impl<T: Default> Fixed<T> {
    fn new() -> Self {
        Fixed { values: Vec::new(), validity: NullBufferBuilder::new(0) }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        self.values.push(value);
        self.validity.append_non_null();
    }

    fn push_null(&mut self) {
        self.values.push(T::default());
        self.validity.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }
}

/// Values of varying length.
pub(crate) struct Bytes {
    pub(crate) data: Vec<u8>,
    ends: Vec<i32>,
    validity: NullBufferBuilder,
}

impl Bytes {
    fn new() -> Self {
        Bytes { data: Vec::new(), ends: vec![0], validity: NullBufferBuilder::new(0) }
    }

    /// Ends a value whose bytes were put at the end of `data`.
    #[inline]
    pub(crate) fn end_value(&mut self) {
        self.ends.push(end(self.data.len()));
        self.validity.append_non_null();
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end_value();
    }

    fn push_null(&mut self) {
        self.ends.push(end(self.data.len()));
        self.validity.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.data.truncate(start(&self.ends, self.ends.len().saturating_sub(1)));
        self.validity.truncate(len);
    }
}

/// Values made of a varying number of other values.
pub(crate) struct Lists<C> {
    pub(crate) child: C,
    ends: Vec<i32>,
    validity: NullBufferBuilder,
}

impl<C> Lists<C> {
    fn new(child: C) -> Self {
        Lists { child, ends: vec![0], validity: NullBufferBuilder::new(0) }
    }

    /// Ends a value whose elements are the child's, up to `child_len`.
    pub(crate) fn end_value(&mut self, child_len: usize) {
        self.ends.push(end(child_len));
        self.validity.append_non_null();
    }

    fn push_null(&mut self) {
        self.ends.push(self.ends.last().copied().unwrap_or(0));
        self.validity.append_null();
    }

    fn truncate(&mut self, len: usize) -> usize {
        self.ends.truncate(len + 1);
        self.validity.truncate(len);
        start(&self.ends, self.ends.len().saturating_sub(1))
    }
}

/// The columns of a struct, and the order in which the last object named them.
pub(crate) struct Fields {
    pub(crate) columns: Vec<Column>,
    pub(crate) order: Vec<u16>,
}

impl Fields {
    pub(crate) fn new(plan: &StructPlan) -> Self {
        let columns = plan.fields.iter().map(|f| Column::new(&f.kind)).collect();
        Fields { columns, order: Vec::new() }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.columns.iter_mut().for_each(|c| c.truncate(len));
    }

    pub(crate) fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
    }
}

/// Structs.
pub(crate) struct Structs {
    pub(crate) fields: Fields,
    len: usize,
    validity: NullBufferBuilder,
}

impl Structs {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Ends a value to which every field's column has one value.
    pub(crate) fn end_value(&mut self) {
        self.len += 1;
        self.validity.append_non_null();
    }
}

/// A column under construction.
pub(crate) enum Column {
    Null(usize),
    Boolean(Fixed<bool>),
    Byte(Fixed<i8>),
    Short(Fixed<i16>),
    /// Also days.
    Integer(Fixed<i32>),
    /// Also microseconds.
    Long(Fixed<i64>),
    Float(Fixed<f32>),
    Double(Fixed<f64>),
    Decimal(Fixed<i128>),
    /// Text is UTF-8 by construction; finishing checks it.
    Bytes(Bytes),
    List(Box<Lists<Column>>),
    Map(Box<Lists<(Bytes, Column)>>),
    Struct(Box<Structs>),
}

impl Column {
    pub(crate) fn new(kind: &Kind) -> Column {
        match kind {
            Kind::Null => Column::Null(0),
            Kind::Boolean => Column::Boolean(Fixed::new()),
            Kind::Byte => Column::Byte(Fixed::new()),
            Kind::Short => Column::Short(Fixed::new()),
            Kind::Integer | Kind::Date => Column::Integer(Fixed::new()),
            Kind::Long | Kind::Timestamp | Kind::TimestampNtz => Column::Long(Fixed::new()),
            Kind::Float => Column::Float(Fixed::new()),
            Kind::Double => Column::Double(Fixed::new()),
            Kind::Decimal(..) => Column::Decimal(Fixed::new()),
            Kind::Text | Kind::Binary => Column::Bytes(Bytes::new()),
            Kind::List(element) => Column::List(Box::new(Lists::new(Column::new(element)))),
            Kind::Map(value) => {
                Column::Map(Box::new(Lists::new((Bytes::new(), Column::new(value)))))
            }
            Kind::Struct(plan) => Column::Struct(Box::new(Structs {
                fields: Fields::new(plan),
                len: 0,
                validity: NullBufferBuilder::new(0),
            })),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Null(len) => *len,
            Column::Boolean(c) => c.values.len(),
            Column::Byte(c) => c.values.len(),
            Column::Short(c) => c.values.len(),
            Column::Integer(c) => c.values.len(),
            Column::Long(c) => c.values.len(),
            Column::Float(c) => c.values.len(),
            Column::Double(c) => c.values.len(),
            Column::Decimal(c) => c.values.len(),
            Column::Bytes(c) => c.ends.len() - 1,
            Column::List(c) => c.ends.len() - 1,
            Column::Map(c) => c.ends.len() - 1,
            Column::Struct(c) => c.len,
        }
    }

    pub(crate) fn push_null(&mut self) {
        match self {
            Column::Null(len) => *len += 1,
            Column::Boolean(c) => c.push_null(),
            Column::Byte(c) => c.push_null(),
            Column::Short(c) => c.push_null(),
            Column::Integer(c) => c.push_null(),
            Column::Long(c) => c.push_null(),
            Column::Float(c) => c.push_null(),
            Column::Double(c) => c.push_null(),
            Column::Decimal(c) => c.push_null(),
            Column::Bytes(c) => c.push_null(),
            Column::List(c) => c.push_null(),
            Column::Map(c) => c.push_null(),
            Column::Struct(c) => {
                c.fields.push_nulls();
                c.len += 1;
                c.validity.append_null();
            }
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len() <= len {
            // Children of an unfinished value may still be longer.
            self.truncate_children();
            return;
        }
        match self {
            Column::Null(n) => *n = len,
            Column::Boolean(c) => c.truncate(len),
            Column::Byte(c) => c.truncate(len),
            Column::Short(c) => c.truncate(len),
            Column::Integer(c) => c.truncate(len),
            Column::Long(c) => c.truncate(len),
            Column::Float(c) => c.truncate(len),
            Column::Double(c) => c.truncate(len),
            Column::Decimal(c) => c.truncate(len),
            Column::Bytes(c) => c.truncate(len),
            Column::List(c) => {
                c.truncate(len);
            }
            Column::Map(c) => {
                c.truncate(len);
            }
            Column::Struct(c) => {
                c.len = len;
                c.validity.truncate(len);
            }
        }
        self.truncate_children();
    }

    /// Cuts everything that belongs to no finished value.
    fn truncate_children(&mut self) {
        match self {
            Column::Bytes(c) => c.data.truncate(start(&c.ends, c.ends.len() - 1)),
            Column::List(c) => {
                let len = start(&c.ends, c.ends.len() - 1);
                c.child.truncate(len);
            }
            Column::Map(c) => {
                let len = start(&c.ends, c.ends.len() - 1);
                c.child.0.truncate(len);
                c.child.1.truncate(len);
            }
            Column::Struct(c) => c.fields.truncate(c.len),
            _ => {}
        }
    }

    /// Appends a value of the exact parser.
    pub(crate) fn push(&mut self, datum: Datum) {
        match (self, datum) {
            (Column::Boolean(c), Datum::Boolean(v)) => c.push(v),
            (Column::Byte(c), Datum::Byte(v)) => c.push(v),
            (Column::Short(c), Datum::Short(v)) => c.push(v),
            (Column::Integer(c), Datum::Integer(v)) => c.push(v),
            (Column::Long(c), Datum::Long(v)) => c.push(v),
            (Column::Float(c), Datum::Float(v)) => c.push(v),
            (Column::Double(c), Datum::Double(v)) => c.push(v),
            (Column::Decimal(c), Datum::Decimal(v)) => c.push(v),
            (Column::Bytes(c), Datum::Text(v)) => c.push(v.as_bytes()),
            (Column::Bytes(c), Datum::Binary(v)) => c.push(&v),
            (Column::List(c), Datum::List(values)) => {
                values.into_iter().for_each(|v| c.child.push(v));
                let len = c.child.len();
                c.end_value(len);
            }
            (Column::Map(c), Datum::Map(entries)) => {
                for (key, value) in entries {
                    c.child.0.push(key.as_bytes());
                    c.child.1.push(value);
                }
                let len = c.child.1.len();
                c.end_value(len);
            }
            (Column::Struct(c), Datum::Struct(values)) => {
                c.fields.columns.iter_mut().zip(values).for_each(|(c, v)| c.push(v));
                c.end_value();
            }
            (column, _) => column.push_null(),
        }
    }

    /// The Arrow array. `arrow` is the type that the schema gives this column.
    pub(crate) fn finish(self, arrow: &ArrowType) -> Result<ArrayRef, ArrowError> {
        Ok(match (self, arrow) {
            (Column::Null(len), _) => Arc::new(NullArray::new(len)),
            (Column::Boolean(mut c), _) => {
                Arc::new(BooleanArray::new(c.values.into(), c.validity.finish()))
            }
            (Column::Byte(c), _) => Arc::new(primitive::<Int8Type>(c)),
            (Column::Short(c), _) => Arc::new(primitive::<Int16Type>(c)),
            (Column::Integer(c), ArrowType::Date32) => Arc::new(primitive::<Date32Type>(c)),
            (Column::Integer(c), _) => Arc::new(primitive::<Int32Type>(c)),
            (Column::Long(c), ArrowType::Timestamp(_, zone)) => {
                Arc::new(primitive::<TimestampMicrosecondType>(c).with_timezone_opt(zone.clone()))
            }
            (Column::Long(c), _) => Arc::new(primitive::<Int64Type>(c)),
            (Column::Float(c), _) => Arc::new(primitive::<Float32Type>(c)),
            (Column::Double(c), _) => Arc::new(primitive::<Float64Type>(c)),
            (Column::Decimal(mut c), other) => {
                let array = Decimal128Array::new(c.values.into(), c.validity.finish());
                Arc::new(array.with_data_type(other.clone()))
            }
            (Column::Bytes(c), ArrowType::Binary) => {
                let (offsets, data, nulls) = bytes(c)?;
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            (Column::Bytes(c), _) => Arc::new(strings(c)?),
            (Column::List(mut c), ArrowType::List(item)) => {
                let child = c.child.finish(item.data_type())?;
                let nulls = c.validity.finish();
                Arc::new(ListArray::try_new(item.clone(), offsets(c.ends)?, child, nulls)?)
            }
            (Column::Map(mut c), ArrowType::Map(entries, ordered)) => {
                let ArrowType::Struct(fields) = entries.data_type() else {
                    return Err(mismatch(arrow));
                };
                let value = fields.last().ok_or_else(|| mismatch(arrow))?.data_type();
                let columns =
                    vec![Arc::new(strings(c.child.0)?) as ArrayRef, c.child.1.finish(value)?];
                let pairs = StructArray::try_new(fields.clone(), columns, None)?;
                let (entries, nulls) = (entries.clone(), c.validity.finish());
                Arc::new(MapArray::try_new(entries, offsets(c.ends)?, pairs, nulls, *ordered)?)
            }
            (Column::Struct(mut c), ArrowType::Struct(fields)) => {
                let columns = c.fields.columns.into_iter().zip(fields);
                let columns: Result<Vec<_>, _> =
                    columns.map(|(column, f)| column.finish(f.data_type())).collect();
                let nulls = c.validity.finish();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns?, nulls, c.len)?)
            }
            _ => return Err(mismatch(arrow)),
        })
    }
}

/// A column of texts, for those that no field of the document fills.
pub(crate) struct Texts(Bytes);

impl Texts {
    pub(crate) fn new() -> Self {
        Texts(Bytes::new())
    }

    pub(crate) fn push(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.0.push(text.as_bytes()),
            None => self.0.push_null(),
        }
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(strings(self.0)?))
    }
}

/// Lengths beyond what an offset can say are noticed when the column is finished.
#[inline]
fn end(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(-1)
}

fn start(ends: &[i32], at: usize) -> usize {
    ends.get(at).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
}

fn mismatch(arrow: &ArrowType) -> ArrowError {
    ArrowError::SchemaError(format!("a decoded column is not of the type {arrow}"))
}

fn primitive<T: ArrowPrimitiveType>(mut column: Fixed<T::Native>) -> PrimitiveArray<T> {
    PrimitiveArray::new(ScalarBuffer::from(column.values), column.validity.finish())
}

fn offsets(ends: Vec<i32>) -> Result<OffsetBuffer<i32>, ArrowError> {
    if ends.iter().any(|end| *end < 0) {
        return Err(ArrowError::OffsetOverflowError(ends.len()));
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(ends)))
}

type Parts = (OffsetBuffer<i32>, Buffer, Option<arrow::buffer::NullBuffer>);

fn bytes(mut column: Bytes) -> Result<Parts, ArrowError> {
    let nulls = column.validity.finish();
    Ok((offsets(column.ends)?, Buffer::from_vec(column.data), nulls))
}

fn strings(column: Bytes) -> Result<StringArray, ArrowError> {
    let (offsets, data, nulls) = bytes(column)?;
    StringArray::try_new(offsets, data, nulls)
}
