//! One case to a value, its type, or the class of the error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, ExprSchemable, col, lit};
use datafusion::physical_expr::create_physical_expr;
use millstream_functions::{FunctionSettings, Functions, find_spark_error, register};
use serde_json::Value;

use crate::lower;

/// A value with its type, or an error's class and text.
pub(crate) type Outcome = Result<(ArrayRef, DataType), (String, String)>;

/// Runs one case.
pub(crate) fn case(case: &Value) -> Outcome {
    let settings = FunctionSettings {
        ansi: case["settings"]["ansi"].as_bool().unwrap(),
        time_zone: case["settings"]["timeZone"].as_str().unwrap().to_owned(),
    };
    let functions = register(&settings).map_err(|e| class_of(&e))?;
    if case["kind"] == "from_json" {
        return from_json(&functions, case);
    }
    let schema = DFSchema::empty();
    let sql = case["sql"].as_str().unwrap();
    let tree = millstream_sql::parse_expression(sql)
        .map_err(|error| ("PARSE".to_owned(), format!("{error:?}")))?;
    let expr = lower::lower(&tree, &functions, &schema).map_err(|e| class_of(&e))?;
    let one = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .unwrap();
    run(&expr, &schema, &one)
}

fn run(expr: &Expr, schema: &DFSchema, batch: &RecordBatch) -> Outcome {
    let data_type = expr.get_type(schema).map_err(|e| class_of(&e))?;
    let physical = create_physical_expr(expr, schema, &ExecutionProps::new(), &Default::default())
        .map_err(|e| class_of(&e))?;
    let value = physical.evaluate(batch).map_err(|e| class_of(&e))?;
    let array = value.into_array(batch.num_rows()).map_err(|e| class_of(&e))?;
    assert_eq!(*array.data_type(), data_type, "declared and computed types of {expr}");
    Ok((array, data_type))
}

/// The call taken apart: the input is a binary column, as a Kafka record's value is.
fn from_json(functions: &Functions, case: &Value) -> Outcome {
    let bytes: Option<Vec<u8>> = match (&case["input"], &case["input_hex"]) {
        (Value::String(text), _) => Some(text.as_bytes().to_vec()),
        (_, Value::String(hex)) => Some(
            (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect(),
        ),
        _ => None,
    };
    let field = Field::new("value", DataType::Binary, true);
    let arrow_schema = Arc::new(Schema::new(vec![field]));
    let schema = DFSchema::try_from(arrow_schema.as_ref().clone()).unwrap();
    let input: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![bytes.as_deref()]));
    let batch = RecordBatch::try_new(arrow_schema, vec![input]).unwrap();
    let mut args = vec![col("value"), lit(case["schema"].as_str().unwrap())];
    let options = case["options"].as_object().unwrap();
    if !options.is_empty() {
        let pairs =
            options.iter().flat_map(|(k, v)| [lit(k.as_str()), lit(v.as_str().unwrap())]).collect();
        args.push(functions.call("map", pairs, &schema).map_err(|e| class_of(&e))?);
    }
    let expr = functions.call("from_json", args, &schema).map_err(|e| class_of(&e))?;
    run(&expr, &schema, &batch)
}

fn class_of(error: &DataFusionError) -> (String, String) {
    match find_spark_error(error) {
        Some(error) => (error.code().to_owned(), error.to_string()),
        None => ("OTHER".to_owned(), error.to_string()),
    }
}
