//! Streaming plans: SQL and verbs agree, templates can be bound again and again, what Spark
//! refuses is refused.

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use millstream::Condition;
use millstream::functions::{self, col, lit};
use millstream::plan::{
    BatchBinding, DeadLetterRequest, PartitionedScan, PhysicalTemplate, ScanResolver, bind,
    decode_bound, encode_bound, fingerprint_diff,
};
use millstream::sources::MemoryStream;
use millstream::{DataFrame, Session};
use std::sync::Arc;

const KAFKA: &str = "STREAM read_kafka(bootstrapServers => 'h:9092', subscribe => 'orders')";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("value", DataType::Binary, true),
        Field::new("Name", DataType::Utf8, true),
    ]))
}

fn rows(ids: &[i64], values: &[&str], names: &[&str]) -> RecordBatch {
    let values = BinaryArray::from_iter_values(values.iter().map(|v| v.as_bytes()));
    let names = StringArray::from_iter_values(names);
    let ids = Int64Array::from_iter_values(ids.iter().copied());
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(values), Arc::new(names)]).unwrap()
}

/// Batches at hand. What one writes down is how many rows it has; [`Again`] knows the rows.
#[derive(Debug)]
struct Rows(Vec<RecordBatch>);

struct Again(Vec<RecordBatch>);

impl ScanResolver for Again {
    fn scan(
        &self,
        stream_index: usize,
        description: &serde_json::Value,
    ) -> millstream::Result<Arc<dyn PartitionedScan>> {
        assert_eq!((stream_index, description), (0, &serde_json::json!({ "partitions": 1 })));
        Ok(Arc::new(Rows(self.0.clone())))
    }
}

impl PartitionedScan for Rows {
    fn partitions(&self) -> usize {
        self.0.len()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let batch = match projection {
            Some(columns) => self.0[partition].project(columns)?,
            None => self.0[partition].clone(),
        };
        let schema = batch.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))))
    }

    fn description(&self) -> millstream::Result<serde_json::Value> {
        Ok(serde_json::json!({ "partitions": self.0.len() }))
    }
}

fn stream(session: &Session) -> DataFrame {
    session.read_memory(&MemoryStream::new(schema())).unwrap()
}

async fn template(frame: &DataFrame) -> PhysicalTemplate {
    let plan = frame.flow_plan(None).unwrap();
    PhysicalTemplate::new(&plan, &frame.session().streaming_state()).await.unwrap()
}

async fn run(template: &PhysicalTemplate, time: i64, batches: Vec<RecordBatch>) -> String {
    let binding = BatchBinding { batch_time_ms: time, scans: vec![Arc::new(Rows(batches))] };
    let plan = bind(template, &binding).unwrap();
    let rows = datafusion::physical_plan::collect(plan, Arc::new(TaskContext::default()));
    let text = pretty_format_batches(&rows.await.unwrap()).unwrap().to_string();
    let lines = text.lines().filter(|l| !l.starts_with('+'));
    lines
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","))
        .collect::<Vec<_>>()
        .join(" / ")
}

#[tokio::test]
async fn a_template_is_bound_to_one_batch_after_another() {
    let session = Session::builder().build().unwrap();
    let frame = stream(&session)
        .select_expr(["id", "upper(name) AS n", "current_timestamp() AS t", "id + 1"])
        .unwrap()
        .filter("id > 1 AND t > TIMESTAMP'1970-01-01 00:00:01'")
        .unwrap();
    let template = template(&frame).await;
    assert_eq!(template.streams(), 1);
    let one = rows(&[1, 2], &["", ""], &["a", "b"]);
    let two = rows(&[3, 4], &["", ""], &["c", "d"]);
    let first = run(&template, 2_000, vec![one.clone(), two]).await;
    assert_eq!(
        first,
        "id,n,t,(id + 1) / 2,B,1970-01-01T00:00:02Z,3 / 3,C,1970-01-01T00:00:02Z,4 / \
         4,D,1970-01-01T00:00:02Z,5"
    );
    let second = run(&template, 3_000, vec![one.clone()]).await;
    assert_eq!(second, "id,n,t,(id + 1) / 2,B,1970-01-01T00:00:03Z,3");
    assert_eq!(run(&template, 3_000, vec![one.clone()]).await, second, "the same batch again");
    assert_eq!(run(&template, 500, vec![one]).await, "", "the time is bound");
}

#[tokio::test]
async fn from_json_reads_the_bytes_and_only_needed_columns_are_read() {
    let session = Session::builder().build().unwrap();
    let frame = stream(&session)
        .select([functions::from_json(col("value").cast("STRING"), "a INT, B STRING").alias("d")])
        .unwrap()
        .select(["d.*"])
        .unwrap();
    assert_eq!(frame.columns(), ["a", "B"]);
    let template = template(&frame).await;
    let explain = template.explain();
    assert!(explain.contains("columns=[value]"), "{explain}");
    assert!(!explain.contains("spark_cast"), "{explain}");
    let batch = rows(&[1, 2], &[r#"{"a":1,"B":"x"}"#, "{"], &["", ""]);
    assert_eq!(run(&template, 0, vec![batch]).await, "a,B / 1,x / ,");
}

#[tokio::test]
async fn only_used_fields_are_decoded() {
    let session = Session::builder().build().unwrap();
    let frame = stream(&session)
        .select_expr(["from_json(CAST(value AS STRING), 'a INT, b STRING, c STRING') AS d", "id"])
        .unwrap()
        .filter("d.c IS NOT NULL")
        .unwrap()
        .select_expr(["d.a AS a", "id"])
        .unwrap();
    let template = template(&frame).await;
    let explain = template.explain();
    assert!(explain.contains("only: STRUCT<a: INT, c: STRING>"), "{explain}");
    assert!(explain.contains("columns=[id, value]"), "{explain}");
    let batch =
        rows(&[1, 2, 3], &[r#"{"a":1,"b":7,"c":"x"}"#, "{}", r#"{"c":"y"}"#], &["", "", ""]);
    assert_eq!(run(&template, 0, vec![batch]).await, "a,id / 1,1 / ,3");
    let whole = stream(&session)
        .select_expr(["from_json(CAST(value AS STRING), 'a INT, b STRING') AS d"])
        .unwrap();
    let plan = whole.flow_plan(None).unwrap();
    assert!(!plan.logical.display_indent().to_string().contains("only:"));
}

#[tokio::test]
async fn a_bound_plan_travels() {
    let session = Session::builder().config("spark.sql.session.timeZone", "Asia/Tokyo").build();
    let session = session.unwrap();
    let frame = stream(&session)
        .select_expr([
            "from_json(CAST(value AS STRING), 'a INT, b STRING').a + id AS x",
            "date_format(current_timestamp(), 'HH:mm') AS t",
            "upper(Name) AS n",
        ])
        .unwrap()
        .filter("x > 1 OR n RLIKE 'B+'")
        .unwrap();
    let template = template(&frame).await;
    let batch = rows(&[1, 2], &[r#"{"a":1}"#, r#"{"a":-5}"#], &["a", "b"]);
    let scan: Arc<dyn PartitionedScan> = Arc::new(Rows(vec![batch.clone()]));
    let binding = BatchBinding { batch_time_ms: 0, scans: vec![scan] };
    let bound = bind(&template, &binding).unwrap();
    let bytes = encode_bound(&bound, &session.conf()).unwrap();
    // Another session, with other settings: those of the plan count.
    let other = Session::builder().build().unwrap().streaming_state().task_ctx();
    let again = decode_bound(&bytes, &other, Arc::new(Again(vec![batch]))).unwrap();
    let context = Arc::new(TaskContext::default());
    let (here, there) = (
        datafusion::physical_plan::collect(bound, context.clone()).await.unwrap(),
        datafusion::physical_plan::collect(again, context).await.unwrap(),
    );
    let text = pretty_format_batches(&here).unwrap().to_string();
    assert!(text.contains("| 2  | 09:00 | A |") && text.contains("| -3 | 09:00 | B |"), "{text}");
    assert_eq!(text, pretty_format_batches(&there).unwrap().to_string());
    let error = decode_bound(b"{}", &other, Arc::new(Again(vec![]))).unwrap_err();
    assert_eq!(error.code(), "PLAN_MALFORMED");
}

#[test]
fn sql_and_verbs_make_the_same_plan() {
    let session = Session::builder().build().unwrap();
    let sql = session
        .sql(&format!(
            "SELECT data.id AS id, upper(data.name) AS name, current_timestamp() AS seen \
             FROM (SELECT from_json(CAST(value AS STRING), 'id BIGINT, name STRING') AS data, \
             topic FROM {KAFKA}) WHERE data.id > 5"
        ))
        .unwrap();
    let verbs = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", "h:9092")
        .option("subscribe", "orders")
        .load()
        .unwrap()
        .select([
            functions::from_json(col("value").cast("STRING"), "id BIGINT, name STRING")
                .alias("data"),
            col("topic"),
        ])
        .unwrap()
        .filter(col("data.id").gt(lit(5)))
        .unwrap()
        .select([
            col("data.id").alias("id"),
            functions::upper(col("data.name")).alias("name"),
            functions::current_timestamp().alias("seen"),
        ])
        .unwrap();
    let (sql, verbs) = (sql.flow_plan(None).unwrap(), verbs.flow_plan(None).unwrap());
    assert_eq!(fingerprint_diff(&sql.fingerprint, &verbs.fingerprint), "");
    assert_eq!(sql.schema, verbs.schema);
    let changed = session.sql(&format!("SELECT topic FROM {KAFKA}")).unwrap();
    let changed = changed.flow_plan(None).unwrap();
    let diff = fingerprint_diff(&sql.fingerprint, &changed.fingerprint);
    assert!(diff.contains("- ") && diff.contains("+ "), "{diff}");
    assert!(!diff.contains("subscribe"), "the source is the same: {diff}");
}

#[tokio::test]
async fn several_streams_keep_their_order() {
    let session = Session::builder().build().unwrap();
    let union = stream(&session)
        .select(["id"])
        .unwrap()
        .union(stream(&session).select([col("id") * lit(10)]).unwrap())
        .unwrap();
    let template = template(&union).await;
    assert_eq!(template.streams(), 2);
    let one: Arc<dyn PartitionedScan> = Arc::new(Rows(vec![rows(&[1], &[""], &[""])]));
    let two: Arc<dyn PartitionedScan> = Arc::new(Rows(vec![rows(&[2], &[""], &[""])]));
    let binding = BatchBinding { batch_time_ms: 0, scans: vec![one, two] };
    let plan = bind(&template, &binding).unwrap();
    let rows = datafusion::physical_plan::collect(plan, Arc::new(TaskContext::default())).await;
    let text = pretty_format_batches(&rows.unwrap()).unwrap().to_string();
    assert!(text.contains("| 1  |") && text.contains("| 20 |"), "{text}");
    let few = BatchBinding { batch_time_ms: 0, scans: vec![] };
    assert_eq!(bind(&template, &few).unwrap_err().code(), "INTERNAL");
}

/// The plan of `SELECT * FROM .. WHERE condition`, once as text and once as a column.
fn conditions(condition: impl Into<Condition>) -> millstream::Result<String> {
    let session = Session::builder().build().unwrap();
    let frame = stream(&session)
        .with_column("amount", col("id") - 1)?
        .with_column("paid", col("id").gt(lit(3)))?
        .where_(condition)?;
    Ok(frame.flow_plan(None)?.fingerprint)
}

#[test]
fn a_condition_is_text_or_a_column() {
    for (text, column) in [
        ("amount > 0", col("amount").gt(0)),
        ("paid", col("paid")),
        ("NOT paid AND name = 'a'", (!col("paid")).and(col("name").eq("a"))),
        ("name IN ('a', 'b')", col("name").is_in(["a", "b"])),
        ("id BETWEEN 1 AND amount", col("id").between(1, col("amount"))),
        ("id + 1 = 2 OR name IS NULL", (col("id") + 1).eq(2).or(col("name").is_null())),
    ] {
        assert_eq!(conditions(text).unwrap(), conditions(column).unwrap(), "{text}");
        assert_eq!(conditions(text).unwrap(), conditions(text.to_owned()).unwrap(), "{text}");
    }
    for (text, code, place) in [
        ("amount > ", "PARSE_SYNTAX_ERROR", "line 1, column 10"),
        ("paid AND\n  amont > 0", "UNRESOLVED_COLUMN", "line 2, column 3"),
        ("name", "DATATYPE_MISMATCH", "line 1, column 1"),
    ] {
        let error = conditions(text).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().starts_with(place), "{error}");
    }
    // In an operator a text is a constant, as in Spark: there is no column `b`.
    assert!(conditions(col("name").eq("b")).is_ok());
    let error = conditions(col("name").eq(col("b"))).unwrap_err();
    assert_eq!(error.code(), "UNRESOLVED_COLUMN");
}

#[test]
fn verbs_change_columns() {
    let session = Session::builder().build().unwrap();
    let frame = stream(&session)
        .with_column("NAME", functions::upper(col("name")))
        .unwrap()
        .with_column("twice", col("id") * lit(2))
        .unwrap()
        .with_column_renamed("ID", "key")
        .unwrap()
        .drop(["value", "nothing"])
        .unwrap();
    assert_eq!(frame.columns(), ["key", "NAME", "twice"]);
    assert!(frame.is_streaming());
    assert_eq!(frame.schema().unwrap().fields[2].data_type.sql(), "BIGINT");
}

#[test]
fn what_cannot_run_as_a_stream_is_refused_before_it_starts() {
    let session = Session::builder().build().unwrap();
    for (sql, code, words) in [
        (
            "SELECT count(*) FROM {K}",
            "STREAMING_OUTPUT_MODE",
            "streaming aggregations without watermark",
        ),
        ("SELECT topic FROM {K} GROUP BY topic", "STREAMING_OUTPUT_MODE", "without watermark"),
        (
            "SELECT topic FROM {K} ORDER BY topic",
            "UNSUPPORTED_STREAMING_OPERATOR",
            "Sorting is not supported on streaming DataFrames/Datasets",
        ),
        ("SELECT topic FROM {K} LIMIT 3", "UNSUPPORTED_STREAMING_OPERATOR", "Limits"),
        ("SELECT DISTINCT topic FROM {K}", "UNSUPPORTED_STREAMING_OPERATOR", "DISTINCT"),
        (
            "SELECT a.topic FROM {K} a JOIN {K} b ON a.topic = b.topic",
            "UNSUPPORTED_STREAMING_OPERATOR",
            "two streams",
        ),
        (
            "SELECT topic FROM {K} UNION SELECT topic FROM {K}",
            "UNSUPPORTED_STREAMING_OPERATOR",
            "UNION ALL",
        ),
        (
            "SELECT topic FROM {K} UNION ALL SELECT 'x'",
            "UNSUPPORTED_STREAMING_OPERATOR",
            "streaming and batch",
        ),
        ("SELECT rand() FROM {K}", "NON_DETERMINISTIC_FUNCTION", "rand"),
        ("SELECT uuid() FROM {K}", "NON_DETERMINISTIC_FUNCTION", "uuid"),
    ] {
        let error = session.sql(&sql.replace("{K}", KAFKA)).err().expect(sql);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let batch = session.sql("SELECT 1 AS a").unwrap().flow_plan(None).unwrap_err();
    assert_eq!(batch.code(), "INVALID_FLOW_QUERY_TYPE");
    let twice = session.sql(&format!("SELECT topic, topic FROM {KAFKA}")).unwrap();
    assert_eq!(twice.flow_plan(None).unwrap_err().code(), "COLUMN_ALREADY_EXISTS");
}

#[test]
fn views_that_double_are_refused_before_they_fill_the_memory() {
    let session = Session::builder().build().unwrap();
    session.sql(&format!("CREATE TEMPORARY VIEW v0 AS SELECT topic FROM {KAFKA}")).unwrap();
    let refused = (1..60).find_map(|n| {
        let below = n - 1;
        let sql = format!(
            "CREATE TEMPORARY VIEW v{n} AS SELECT * FROM STREAM v{below} UNION ALL \
             SELECT * FROM STREAM v{below}"
        );
        session.sql(&sql).err().map(|error| (n, error))
    });
    let (n, error) = refused.unwrap();
    assert_eq!((n, error.code()), (9, "QUERY_TOO_LARGE"), "{error}");
}

#[test]
fn expressions_that_double_are_refused_before_they_fill_the_memory() {
    let session = Session::builder().build().unwrap();
    for wrap in ["({} BETWEEN true AND true)", "coalesce({}, true)", "nullif({}, false)"] {
        let nested = (0..30).fold("true = (1 > 0)".to_owned(), |e, _| wrap.replace("{}", &e));
        // Either the whole is small, or it is refused; it does not take for ever.
        if let Err(error) = session.sql(&format!("SELECT {nested} AS x")) {
            assert_eq!(error.code(), "EXPRESSION_TOO_LARGE", "{error}");
        }
    }
    let between = (0..30).fold("(a > 0)".to_owned(), |e, _| format!("({e} BETWEEN true AND true)"));
    let error = session.sql(&format!("SELECT {between} FROM (SELECT 1 AS a)")).err().unwrap();
    assert_eq!(error.code(), "EXPRESSION_TOO_LARGE", "{error}");
}

#[test]
fn views_over_views_have_a_limit() {
    let session = Session::builder().build().unwrap();
    session.sql("CREATE TEMPORARY VIEW v0 AS SELECT 1 AS a").unwrap();
    let refused = (1..2_000).find_map(|n| {
        let sql = format!("CREATE TEMPORARY VIEW v{n} AS SELECT a FROM v{}", n - 1);
        session.sql(&sql).err()
    });
    assert_eq!(refused.unwrap().code(), "QUERY_TOO_LARGE");
}

#[test]
fn dead_letters_need_one_clear_decoding() {
    let session = Session::builder().build().unwrap();
    let read =
        "STREAM read_kafka(bootstrapServers => 'h:9092', subscribe => 'o', deadLetter => 'bad')";
    let json = "from_json(CAST(value AS STRING), 'a INT')";
    for sql in [
        format!("SELECT {json} AS d, offset FROM {read}"),
        format!(
            "SELECT d.a, e.a AS b FROM (SELECT *, {json} AS d, {json} AS e FROM {read}) WHERE d.a > 1"
        ),
        format!("SELECT {json}.a FROM {read} WHERE value IS NOT NULL"),
        format!("SELECT {json} AS d FROM (SELECT value, topic AS t FROM {read} AS k) AS r"),
    ] {
        let plan =
            session.sql(&sql).unwrap().flow_plan(None).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let letters = plan.dead_letters.unwrap();
        assert_eq!((letters.stream, letters.target.as_str()), (0, "bad"));
        assert_eq!(letters.schema.fields().last().unwrap().name(), "__millstream_decoded");
        let text = plan.logical.display_indent().to_string();
        assert!(text.contains("__millstream_decoded") && !text.contains("; options:"), "{text}");
    }
    for (sql, why) in [
        (format!("SELECT value FROM {read}"), "no `from_json`"),
        (format!("SELECT {json} AS d FROM {read} WHERE topic = 'x'"), "filtered before"),
        (format!("SELECT if(topic = 'x', {json}, NULL) AS d FROM {read}"), "inside a condition"),
        (
            format!(
                "SELECT {json} AS d, from_json(CAST(value AS STRING), 'b INT') AS e FROM {read}"
            ),
            "several ways",
        ),
        (
            format!(
                "SELECT from_json(CAST(value AS STRING), 'a INT', map('mode', 'FAILFAST')) AS d \
                 FROM {read}"
            ),
            "FAILFAST",
        ),
        (
            format!("SELECT {json} AS d FROM {read} UNION ALL SELECT {json} AS d FROM {read}"),
            "several streams",
        ),
    ] {
        let error = session.sql(&sql).unwrap().flow_plan(None).unwrap_err();
        assert_eq!(error.code(), "DEAD_LETTERS_UNCLEAR", "{sql}");
        assert!(error.to_string().contains(why), "{sql}: {error}");
    }
    let by_writer = KAFKA.to_owned();
    let frame = session.sql(&format!("SELECT {json} AS d FROM {by_writer}")).unwrap();
    assert!(frame.flow_plan(None).unwrap().dead_letters.is_none());
    let request = DeadLetterRequest { target: "x".to_owned(), casts: Vec::new() };
    assert_eq!(frame.flow_plan(Some(&request)).unwrap().dead_letters.unwrap().target, "x");
}

#[test]
fn named_casts_move_into_the_scan_or_are_refused() {
    let session = Session::builder().build().unwrap();
    let read = |casts: &str| {
        format!(
            "STREAM read_kafka(bootstrapServers => 'h:9092', subscribe => 'o', deadLetter => 'bad', \
             deadLetterCasts => '{casts}')"
        )
    };
    let json = "from_json(CAST(value AS STRING), 'a STRING, b STRING, c ARRAY<STRING>') AS d";
    for (sql, casts) in [
        // In the same query as the decoding, and above it.
        ("SELECT CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:n})", 1),
        (
            "SELECT n + 1 AS m, b FROM (SELECT CAST(d.a AS INT) AS n, d.b FROM (SELECT {json} FROM {read:M}))",
            1,
        ),
        // One inside another, two in one column, one shared by two columns.
        ("SELECT CAST(CAST(d.a AS DOUBLE) AS INT) AS n FROM (SELECT {json} FROM {read:n})", 2),
        ("SELECT CAST(d.a AS INT) + CAST(d.b AS INT) AS n FROM (SELECT {json} FROM {read:n})", 2),
        (
            "SELECT CAST(d.a AS INT) AS n, CAST(d.a AS INT) AS m FROM (SELECT {json} FROM {read: n , m })",
            1,
        ),
        // Without any from_json.
        ("SELECT CAST(CAST(value AS STRING) AS INT) AS n FROM {read:n} WHERE value IS NOT NULL", 1),
        // What is filtered afterwards was cast before.
        (
            "SELECT n FROM (SELECT CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:n})) WHERE n > 0",
            1,
        ),
    ] {
        let sql = fill(sql, json, &read);
        let plan =
            session.sql(&sql).unwrap().flow_plan(None).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(plan.dead_letters.unwrap().casts.len(), casts, "{sql}");
        let text = plan.logical.display_indent().to_string();
        assert!(!text.contains("spark_cast") && text.contains("__millstream_cast_0"), "{text}");
    }
    for (sql, why) in [
        (
            "SELECT CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:m})",
            "no column `m`; did you mean `n`?",
        ),
        ("SELECT d.a AS n FROM (SELECT {json} FROM {read:n})", "holds no cast"),
        ("SELECT TRY_CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:n})", "holds no cast"),
        (
            "SELECT CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:n}) WHERE d.b = 'x'",
            "filtered before the cast",
        ),
        (
            "SELECT CASE WHEN d.b = 'x' THEN CAST(d.a AS INT) END AS n FROM (SELECT {json} FROM {read:n})",
            "inside a condition",
        ),
        (
            "SELECT CAST(d.c AS ARRAY<INT>) AS n FROM (SELECT {json} FROM {read:n})",
            "arrays, maps or structs",
        ),
        ("SELECT CAST(d.a AS INT) AS n FROM (SELECT {json} FROM {read:n,})", "empty name"),
    ] {
        let sql = fill(sql, json, &read);
        let error = session.sql(&sql).and_then(|frame| frame.flow_plan(None)).unwrap_err();
        assert_eq!(error.code(), "DEAD_LETTERS_UNCLEAR", "{sql}");
        assert!(error.to_string().contains(why), "{sql}: {error}");
    }
    let alone = "SELECT CAST(key AS STRING) AS k FROM STREAM read_kafka(bootstrapServers => 'h:9092', \
                 subscribe => 'o', deadLetterCasts => 'k')";
    let error = session.sql(alone).err().unwrap();
    assert!(error.to_string().contains("without `deadLetter`"), "{error}");
}

/// `template` with `{json}` and the one `{read:CASTS}` filled in.
fn fill(template: &str, json: &str, read: &dyn Fn(&str) -> String) -> String {
    let (before, rest) = template.split_once("{read:").unwrap();
    let (casts, after) = rest.split_once('}').unwrap();
    format!("{before}{}{after}", read(casts)).replace("{json}", json)
}

#[test]
fn settings_are_honoured_ignored_or_refused() {
    let session = Session::builder().build().unwrap();
    session.sql("SET spark.sql.session.timeZone = 'Asia/Kathmandu'").unwrap();
    assert_eq!(session.conf().time_zone, "Asia/Kathmandu");
    session.sql("SET TIME ZONE 'UTC'").unwrap();
    assert_eq!(session.conf().time_zone, "UTC");
    session.sql("SET spark.executor.memory = 4g").unwrap();
    for (sql, code) in [
        ("SET spark.sql.session.timeZone = Mars/Olympus", "INVALID_CONF_VALUE.TIME_ZONE"),
        ("SET spark.sql.ansi.enabled = maybe", "INVALID_CONF_VALUE"),
        ("SET spark.sql.caseSensitive = true", "CONF_UNSUPPORTED"),
        ("SET spark.sql.ansi.enable = true", "CONF_UNKNOWN"),
    ] {
        assert_eq!(session.sql(sql).err().expect(sql).code(), code, "{sql}");
    }
}
