//! What the parser takes, and what it says about what it does not take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use millstream_core::options::OptionMap;
use millstream_sql::ast::{
    BinaryOp, ExprKind, Literal, ReadAs, Relation, SetExpr, Statement, StatementKind,
};
use millstream_sql::{parse_expression, parse_query, parse_script};

fn statements(text: &str) -> Vec<Statement> {
    let script = parse_script(text, &OptionMap::new());
    let mistakes: Vec<String> = script.mistakes.iter().map(|m| m.render(text)).collect();
    assert_eq!(mistakes, Vec::<String>::new());
    script.statements
}

fn mistakes(text: &str) -> Vec<String> {
    let script = parse_script(text, &OptionMap::new());
    script.mistakes.iter().map(|m| m.render(text)).collect()
}

fn literal(text: &str) -> Literal {
    match parse_expression(text).unwrap().kind {
        ExprKind::Literal(value) => value,
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn literals_have_the_type_of_their_spelling() {
    assert_eq!(literal("1"), Literal::Integer("1".into()));
    assert_eq!(literal("-2147483648"), Literal::Integer("-2147483648".into()));
    assert_eq!(literal("1L"), Literal::Long(1));
    assert_eq!(literal("-1s"), Literal::Short(-1));
    assert_eq!(literal("127Y"), Literal::Byte(127));
    assert_eq!(literal("1.5D"), Literal::Double(1.5));
    assert_eq!(literal("1e3"), Literal::Double(1000.0));
    assert_eq!(literal("2.5f"), Literal::Float(2.5));
    assert_eq!(literal("1.50"), Literal::Decimal("1.50".into()));
    assert_eq!(literal(".5"), Literal::Decimal(".5".into()));
    assert_eq!(literal("1.5BD"), Literal::Decimal("1.5".into()));
    assert_eq!(literal("X'1f'"), Literal::Binary(vec![0x1f]));
    assert_eq!(literal("DATE '2026-01-02'"), Literal::Typed("DATE".into(), "2026-01-02".into()));
    assert_eq!(literal("INTERVAL 10 SECONDS"), Literal::Interval("10 SECONDS".into()));
    assert_eq!(literal("INTERVAL '1 day 2 hours'"), Literal::Interval("1 day 2 hours".into()));
    assert!(parse_expression("128Y").unwrap_err().to_string().contains("INVALID_LITERAL"));
    assert!(parse_expression("12abc").unwrap_err().to_string().contains("INVALID_LITERAL"));
}

#[test]
fn strings_follow_sparks_escapes() {
    let text = |sql: &str| match literal(sql) {
        Literal::String(s) => s,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(r"'a\nb'"), "a\nb");
    assert_eq!(text(r"'it''s'"), "it's");
    assert_eq!(text(r"'it\'s'"), "it's");
    assert_eq!(text(r#""double""#), "double");
    assert_eq!(text(r"'\u0041\101\x'"), "AAx");
    assert_eq!(text(r"'50\%'"), r"50\%");
    assert_eq!(text(r"r'\d+'"), r"\d+");
    assert_eq!(text(r"'a' 'b'"), "ab");
}

#[test]
fn operators_bind_as_in_spark() {
    let shape = |sql: &str| {
        fn show(e: &millstream_sql::ast::Expr) -> String {
            match &e.kind {
                ExprKind::Binary(op, a, b) => format!("({} {} {})", show(a), op.symbol(), show(b)),
                ExprKind::Unary(op, a) => format!("({op:?} {})", show(a)),
                ExprKind::Column(parts) => parts[0].name.clone(),
                ExprKind::Literal(Literal::Integer(n)) => n.clone(),
                other => format!("{other:?}"),
            }
        }
        show(&parse_expression(sql).unwrap())
    };
    assert_eq!(shape("a + b * c"), "(a + (b * c))");
    assert_eq!(shape("a || b = c"), "((a || b) = c)");
    assert_eq!(shape("NOT a = b AND c OR d"), "(((Not (a = b)) AND c) OR d)");
    assert_eq!(shape("a | b & c"), "(a | (b & c))");
    assert_eq!(shape("a div b % c"), "((a div b) % c)");
    assert_eq!(shape("a <=> b"), "(a <=> b)");
    assert_eq!(shape("a == b"), "(a = b)");
    assert_eq!(shape("a - -1"), "(a - -1)");
}

#[test]
fn streams_are_recognised() {
    for (sql, stream) in [
        ("SELECT * FROM STREAM read_kafka(subscribe => 'a')", true),
        ("SELECT * FROM STREAM(read_kafka(subscribe => 'a')) AS k", true),
        ("SELECT * FROM STREAM(orders)", true),
        ("SELECT * FROM STREAM orders o", true),
        ("SELECT * FROM stream", false),
        ("SELECT * FROM read_kafka(subscribe => 'a', `kafka.group.id` => 'g')", false),
        ("SELECT * FROM delta.`/data/orders`", false),
    ] {
        let SetExpr::Select(select) = parse_query(sql).unwrap().body else { panic!() };
        let read_as = match select.from.unwrap() {
            Relation::Table { read_as, .. } | Relation::Function { read_as, .. } => read_as,
            other => panic!("{other:?}"),
        };
        assert_eq!(read_as == ReadAs::Stream, stream, "{sql}");
    }
}

#[test]
fn table_clauses_come_in_any_order() {
    let sql = "CREATE OR REFRESH STREAMING TABLE db.orders (id BIGINT NOT NULL COMMENT 'key', \
               tags MAP<STRING, ARRAY<INT>>, price DECIMAL(10, 2)) \
               TBLPROPERTIES ('delta.appendOnly' = 'true', quality = gold) \
               COMMENT 'all orders' LOCATION '/lake/orders' PARTITIONED BY (day, `re gion`) USING delta \
               AS SELECT 1 AS id";
    let [statement] = statements(sql).try_into().unwrap();
    let StatementKind::CreateStreamingTable(table) = statement.kind else { panic!() };
    assert!(table.or_refresh && !table.if_not_exists);
    assert_eq!(table.name.last().unwrap().name, "orders");
    assert_eq!(table.columns.len(), 3);
    assert_eq!(table.columns[1].data_type.text, "MAP<STRING, ARRAY<INT>>");
    assert_eq!(table.columns[2].data_type.text, "DECIMAL(10, 2)");
    assert!(!table.columns[0].nullable);
    assert_eq!(table.partitioned_by.unwrap()[1].name, "re gion");
    assert_eq!(table.location.as_deref(), Some("/lake/orders"));
    assert_eq!(table.properties[1].1, "gold");
    assert!(table.query.is_some());
    let flow = "CREATE STREAMING TABLE IF NOT EXISTS t; \
                CREATE FLOW f AS INSERT INTO t BY NAME SELECT 1 AS a";
    assert!(matches!(statements(flow)[1].kind, StatementKind::CreateFlow { .. }));
}

#[test]
fn variables_are_put_in_and_places_stay() {
    let text = "SET topic = orders; -- the topic\nSET n = ${topic}_${topic};\n\
                SELECT '${n}', ${topic}.x FROM t;\nSELECT ${topic} FORM t";
    let script = parse_script(text, &OptionMap::new());
    let StatementKind::Query(query) = &script.statements[2].kind else { panic!() };
    let SetExpr::Select(select) = &query.body else { panic!() };
    assert_eq!(
        select.items[0].expr.kind,
        ExprKind::Literal(Literal::String("orders_orders".into()))
    );
    let ExprKind::Column(parts) = &select.items[1].expr.kind else { panic!() };
    assert_eq!(parts[0].name, "orders");
    assert_eq!(
        mistakes(text),
        ["4:17: [PARSE_SYNTAX_ERROR] Syntax error at or near 'FORM': expected one of `FROM`, \
             `WHERE`, `HAVING`, `LIMIT`, `UNION`. Did you mean `FROM`?"]
    );
    let given = [("topic", "x")].into_iter().collect();
    let script = parse_script("SET topic = y; SELECT '${topic}'", &given);
    assert!(format!("{:?}", script.statements[1]).contains("String(\"x\")"));
    assert!(mistakes("SELECT ${nope}")[0].starts_with("1:8: [VARIABLE_UNKNOWN]"));
}

#[test]
fn every_statement_is_parsed_although_one_is_wrong() {
    let text = "SELEC 1;\nSELECT 2;\nSELECT 'open;\n";
    let script = parse_script(text, &OptionMap::new());
    assert_eq!(script.statements.len(), 1);
    let found = mistakes(text);
    assert!(found[0].starts_with("1:1: [PARSE_SYNTAX_ERROR]"), "{found:?}");
    assert!(found[0].contains("Did you mean `SELECT`?"), "{found:?}");
    assert!(found[1].starts_with("3:8: [PARSE_SYNTAX_ERROR]"), "{found:?}");
}

#[test]
fn known_but_missing_features_are_refused_by_name() {
    for (sql, what) in [
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "Materialized views"),
        ("CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a > 1)) AS SELECT 1", "Expectations"),
        ("CREATE FLOW f AS AUTO CDC INTO t FROM STREAM(s) KEYS (k) SEQUENCE BY x", "AUTO CDC"),
        ("APPLY CHANGES INTO t FROM STREAM(s) KEYS (k) SEQUENCE BY x", "APPLY CHANGES"),
        ("SELECT * FROM STREAM(s) WATERMARK ts DELAY OF INTERVAL 1 MINUTE", "WATERMARK"),
        ("SELECT * FROM t VERSION AS OF 3", "Time travel"),
        ("SELECT * FROM t@v3", "Time travel"),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", "OVER"),
        ("SELECT value:a.b FROM t", "JSON paths"),
        ("SELECT transform(a, x -> x + 1) FROM t", "Lambda"),
        ("SELECT (SELECT 1)", "Subqueries as values"),
        ("SELECT a FROM t WHERE a IN (SELECT b FROM u)", "Subqueries in IN"),
        ("OPTIMIZE t", "OPTIMIZE"),
        ("MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE", "MERGE"),
        ("CREATE TABLE t (a INT)", "CREATE TABLE without STREAMING"),
        ("CREATE STREAMING TABLE t CLUSTER BY (a) AS SELECT 1", "CLUSTER BY"),
        ("SELECT a FROM t GROUP BY ROLLUP (a)", "ROLLUP"),
    ] {
        let found = mistakes(sql);
        assert!(found.first().is_some_and(|m| m.contains(what)), "{sql}: {found:?}");
        assert!(found[0].contains("not supported yet"), "{sql}: {found:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(mistakes(&deep)[0].contains("STATEMENT_TOO_DEEP"));
    let not = format!("SELECT {} TRUE", "NOT ".repeat(5_000));
    assert!(mistakes(&not)[0].contains("STATEMENT_TOO_DEEP"));
    for chain in ["::int", "[0]", ".a"] {
        let long = format!("SELECT a{};", chain.repeat(5_000));
        assert!(mistakes(&long)[0].contains("STATEMENT_TOO_DEEP"), "{chain}");
    }
    // Spark's grammar has one predicate to a value.
    for chain in [" IS NULL", " BETWEEN true AND true"] {
        let long = format!("SELECT a{};", chain.repeat(2));
        assert!(mistakes(&long)[0].contains("PARSE_SYNTAX_ERROR"), "{chain}");
    }
    // Variables that double one another.
    let sets: String = (1..60).map(|n| format!("SET a{n} = ${{a{0}}}${{a{0}}};", n - 1)).collect();
    assert!(mistakes(&format!("SET a0 = x; {sets}"))[0].contains("STATEMENT_TOO_LONG"));
}

#[test]
fn nothing_makes_the_parser_panic() {
    let sql = "SELECT a.b[1], `x y`, CASE WHEN a > 1.5D THEN r'\\d' ELSE 'é\\u00e9' END FROM STREAM \
               read_kafka(subscribe => '${t}', `a.b` => -1) AS k WHERE x IN (1, 2) -- end\n/* c */;";
    for at in 0..=sql.len() {
        for cut in [sql.get(..at), sql.get(at..)].into_iter().flatten() {
            let _ = parse_script(cut, &OptionMap::new());
        }
    }
    assert_eq!(BinaryOp::IntegralDivide.symbol(), "div");
}
