//! Functions over arrays and maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::coercion::type_name;
use crate::def::{Call, Def, Param, Params, own};
use crate::error::spark_error;
use crate::nested::item_range;

pub(crate) const DEFS: &[Def] =
    &[own("size", &["cardinality"], Params::Exact(&[Param::Any]), |_| Ok(DataType::Int32), size)];

/// NULL has the size NULL under ANSI, and -1 otherwise.
fn size(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let offsets = match array.data_type() {
        DataType::List(_) => Some(call.lists(0)?.offsets()),
        DataType::Map(..) => Some(call.maps(0)?.offsets()),
        DataType::Null => None,
        other => {
            return Err(spark_error(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!(
                    "The first parameter requires the (\"ARRAY\" or \"MAP\") type, however it has \
                     the type \"{}\".",
                    type_name(other)
                ),
            ));
        }
    };
    let of_null = if call.settings.ansi { None } else { Some(-1) };
    let sizes: Int32Array = (0..call.rows)
        .map(|row| match offsets {
            Some(offsets) if array.is_valid(row) => {
                i32::try_from(item_range(offsets, row).len()).ok()
            }
            _ => of_null,
        })
        .collect();
    Ok(Arc::new(sizes))
}
