//! Spark's functions for the DataFrame interface. Every function of SQL is also there by name
//! through [`call_function`].
//!
//! ```
//! use millstream::Session;
//! use millstream::functions::{call_function, col, expr, from_json, lit, to_json};
//!
//! # #[tokio::main]
//! # async fn main() -> millstream::Result<()> {
//! let session = Session::builder().build()?;
//! let frame = session.sql(r#"SELECT '{"id": 7, "tags": ["a"]}' AS value"#)?;
//! let frame = frame
//!     .select([from_json(col("value"), "id INT, tags ARRAY<STRING>").alias("event")])?
//!     .select([
//!         col("event.id"),
//!         col("event.tags").get_item(0).alias("tag"),
//!         call_function("concat_ws", [lit("-"), lit("x"), lit("y")]).alias("words"),
//!         expr("event.id + 1 AS next")?,
//!         to_json(col("event")).alias("json"),
//!     ])?;
//! assert_eq!(frame.columns(), ["id", "tag", "words", "next", "json"]);
//! let rows = frame.collect().await?;
//! let cell = |at: usize| arrow::util::display::array_value_to_string(rows[0].column(at), 0);
//! let cells = [0, 1, 2, 3, 4].map(|at| cell(at).expect("a value"));
//! assert_eq!(cells, ["7", "a", "x-y", "8", r#"{"id":7,"tags":["a"]}"#]);
//! # Ok(())
//! # }
//! ```

use crate::column::Column;
use millstream_sql::ast::{ExprKind, Ident};

pub use crate::column::{col, expr, lit};

/// A call of any function of SQL.
pub fn call_function<C: Into<Column>>(name: &str, args: impl IntoIterator<Item = C>) -> Column {
    let args = args.into_iter().map(|a| a.into().into_argument()).collect();
    Column::of(ExprKind::Function { name: Ident::new(name), args, distinct: false })
}

/// `from_json(column, schema)`; the schema as DDL or as StructType JSON.
pub fn from_json(column: impl Into<Column>, schema: &str) -> Column {
    call_function("from_json", [column.into(), lit(schema)])
}

/// `from_json(column, schema, map(options))`
pub fn from_json_with_options<'a>(
    column: impl Into<Column>,
    schema: &str,
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Column {
    let pairs = options.into_iter().flat_map(|(name, value)| [lit(name), lit(value)]);
    let map = call_function("map", pairs.collect::<Vec<_>>());
    call_function("from_json", [column.into(), lit(schema), map])
}

/// `struct(columns)`
pub fn struct_<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("struct", columns)
}

/// `coalesce(columns)`
pub fn coalesce<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("coalesce", columns)
}

/// `concat(columns)`
pub fn concat<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("concat", columns)
}

/// `current_timestamp()`: the time of the batch, the same for all its rows.
pub fn current_timestamp() -> Column {
    call_function("current_timestamp", Vec::<Column>::new())
}

/// `current_date()`: the date of the batch in the session's time zone.
pub fn current_date() -> Column {
    call_function("current_date", Vec::<Column>::new())
}

/// `date_format(column, pattern)`
pub fn date_format(column: impl Into<Column>, pattern: &str) -> Column {
    call_function("date_format", [column.into(), lit(pattern)])
}

/// `get_json_object(column, path)`
pub fn get_json_object(column: impl Into<Column>, path: &str) -> Column {
    call_function("get_json_object", [column.into(), lit(path)])
}

macro_rules! of_one_column {
    ($($name:ident),* $(,)?) => {$(
        #[doc = concat!("`", stringify!($name), "(column)`")]
        pub fn $name(column: impl Into<Column>) -> Column {
            call_function(stringify!($name), [column.into()])
        }
    )*};
}

of_one_column!(
    to_json,
    upper,
    lower,
    trim,
    length,
    to_date,
    to_timestamp,
    year,
    month,
    hour,
    minute,
    abs,
    explode,
    explode_outer,
    size,
    unix_timestamp,
);

/// `dayofmonth(column)`
pub fn day(column: impl Into<Column>) -> Column {
    call_function("dayofmonth", [column.into()])
}
