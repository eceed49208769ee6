//! `current_timestamp()` answers only once the time of the batch is bound.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Date32Type, Schema, TimestampMicrosecondType};
use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use millstream_functions::{
    FunctionSettings, Functions, bind_batch_time, find_spark_error, register, uses_batch_time,
};

const ONE_AM_UTC: i64 = 1_577_840_400_000_000;

fn functions(time_zone: &str) -> Functions {
    let settings = FunctionSettings { ansi: true, time_zone: time_zone.to_owned() };
    register(&settings).unwrap()
}

fn physical(functions: &Functions, name: &str) -> Arc<dyn PhysicalExpr> {
    let schema = DFSchema::empty();
    let expr = functions.call(name, vec![], &schema).unwrap();
    assert!(uses_batch_time(&expr).unwrap());
    create_physical_expr(&expr, &schema, &ExecutionProps::new(), &Default::default()).unwrap()
}

fn one_row() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

#[test]
fn unbound_time_is_an_error() {
    let expr = physical(&functions("UTC"), "now");
    let error = expr.evaluate(&one_row()).unwrap_err();
    assert_eq!(find_spark_error(&error).unwrap().code(), "BATCH_TIME_UNBOUND");
}

#[test]
fn bound_time_is_the_time_of_the_batch() {
    let expr = bind_batch_time(physical(&functions("UTC"), "now"), ONE_AM_UTC).unwrap();
    let array = expr.evaluate(&one_row()).unwrap().into_array(1).unwrap();
    assert_eq!(array.as_primitive::<TimestampMicrosecondType>().value(0), ONE_AM_UTC);
}

#[test]
fn bound_date_is_the_session_zones() {
    for (zone, days) in [("UTC", 18_262), ("America/New_York", 18_261)] {
        let expr = physical(&functions(zone), "current_date");
        let expr = bind_batch_time(expr, ONE_AM_UTC).unwrap();
        let array = expr.evaluate(&one_row()).unwrap().into_array(1).unwrap();
        assert_eq!(array.as_primitive::<Date32Type>().value(0), days, "{zone}");
    }
}
