//! Row-wise reading of arguments and building of results.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanArray, PrimitiveArray, StringBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::Result;

use crate::def::Call;

macro_rules! value_at {
    ($name:ident, $column:ident, $value:ty) => {
        /// The value of argument `index` in `row`; NULL when there is no such argument.
        pub(crate) fn $name(&self, index: usize, row: usize) -> Result<Option<$value>> {
            if !self.has(index) {
                return Ok(None);
            }
            let column = self.$column(index)?;
            Ok(column.is_valid(row).then(|| column.value(row)))
        }
    };
}

impl Call<'_> {
    value_at!(str, strings, &str);
    value_at!(bytes, binaries, &[u8]);
    value_at!(bool, booleans, bool);
    value_at!(int, ints, i32);
    value_at!(long, longs, i64);
    value_at!(double, doubles, f64);
    value_at!(date, dates, i32);
    value_at!(micros, timestamps, i64);

    /// The bytes of a STRING or BINARY argument.
    pub(crate) fn raw(&self, index: usize, row: usize) -> Result<Option<&[u8]>> {
        match self.array(index)?.data_type() {
            DataType::Binary => self.bytes(index, row),
            _ => Ok(self.str(index, row)?.map(str::as_bytes)),
        }
    }

    /// STRING results, one per row.
    pub(crate) fn texts<S: AsRef<str>>(
        &self,
        mut each: impl FnMut(usize) -> Result<Option<S>>,
    ) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 16);
        for row in 0..self.rows {
            builder.append_option(each(row)?);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// BINARY results, one per row.
    pub(crate) fn blobs<B: AsRef<[u8]>>(
        &self,
        mut each: impl FnMut(usize) -> Result<Option<B>>,
    ) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::new();
        for row in 0..self.rows {
            builder.append_option(each(row)?);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// BOOLEAN results, one per row.
    pub(crate) fn flags(
        &self,
        each: impl FnMut(usize) -> Result<Option<bool>>,
    ) -> Result<ArrayRef> {
        let array = (0..self.rows).map(each).collect::<Result<BooleanArray>>()?;
        Ok(Arc::new(array))
    }

    /// Results of a primitive type, one per row.
    pub(crate) fn primitives<T: ArrowPrimitiveType>(
        &self,
        each: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<PrimitiveArray<T>> {
        (0..self.rows).map(each).collect()
    }

    /// INT results, one per row.
    pub(crate) fn int_values(
        &self,
        each: impl FnMut(usize) -> Result<Option<i32>>,
    ) -> Result<ArrayRef> {
        Ok(Arc::new(self.primitives::<Int32Type>(each)?))
    }

    /// BIGINT results, one per row.
    pub(crate) fn long_values(
        &self,
        each: impl FnMut(usize) -> Result<Option<i64>>,
    ) -> Result<ArrayRef> {
        Ok(Arc::new(self.primitives::<Int64Type>(each)?))
    }

    /// DOUBLE results, one per row.
    pub(crate) fn double_values(
        &self,
        each: impl FnMut(usize) -> Result<Option<f64>>,
    ) -> Result<ArrayRef> {
        Ok(Arc::new(self.primitives::<Float64Type>(each)?))
    }

    /// DATE results, one per row.
    pub(crate) fn date_values(
        &self,
        each: impl FnMut(usize) -> Result<Option<i32>>,
    ) -> Result<ArrayRef> {
        Ok(Arc::new(self.primitives::<Date32Type>(each)?))
    }

    /// TIMESTAMP or TIMESTAMP_NTZ results by the return type, one per row.
    pub(crate) fn timestamp_values(
        &self,
        each: impl FnMut(usize) -> Result<Option<i64>>,
    ) -> Result<ArrayRef> {
        let micros = self.primitives::<TimestampMicrosecondType>(each)?;
        Ok(match self.return_type {
            DataType::Timestamp(_, Some(zone)) => Arc::new(micros.with_timezone(Arc::clone(zone))),
            _ => Arc::new(micros),
        })
    }
}
