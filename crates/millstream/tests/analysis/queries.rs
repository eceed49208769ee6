//! Batch queries: answers, names, order of NULLs.

use arrow::util::pretty::pretty_format_batches;
use millstream::Session;

async fn table(sql: &str) -> String {
    let session = Session::builder().build().unwrap();
    session
        .sql(
            "CREATE TEMPORARY VIEW t AS SELECT * FROM VALUES (1, 'a', NULL), (2, 'b', 1.5), \
             (3, 'a', 2.5), (NULL, NULL, 0.5) AS v(id, Name, price)",
        )
        .unwrap();
    let batches = session.sql(sql).unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let lines = text.lines().filter(|l| !l.starts_with('+'));
    lines
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","))
        .collect::<Vec<_>>()
        .join(" / ")
}

#[tokio::test]
async fn null_comes_first_ascending_and_last_descending() {
    assert_eq!(table("SELECT id FROM t ORDER BY id").await, "id /  / 1 / 2 / 3");
    assert_eq!(table("SELECT id FROM t ORDER BY id DESC").await, "id / 3 / 2 / 1 / ");
    assert_eq!(table("SELECT id FROM t ORDER BY id DESC NULLS FIRST LIMIT 2").await, "id /  / 3");
}

#[tokio::test]
async fn names_resolve_without_case_and_keep_the_querys() {
    assert_eq!(table("SELECT NAME, T.iD FROM t WHERE ID = 2").await, "NAME,iD / b,2");
    assert_eq!(table("SELECT * FROM t x WHERE x.name = 'b'").await, "id,Name,price / 2,b,1.5");
    assert_eq!(table("SELECT t.* EXCEPT (Price) FROM t WHERE id = 1").await, "id,Name / 1,a");
}

#[tokio::test]
async fn aggregates() {
    assert_eq!(
        table(
            "SELECT name, count(*), sum(id) + 1, avg(price) AS p FROM t GROUP BY name ORDER BY name"
        )
        .await,
        "name,count(1),(sum(id) + 1),p / ,1,,0.50000 / a,2,5,2.50000 / b,1,3,1.50000"
    );
    assert_eq!(
        table("SELECT count(DISTINCT Name) AS n, max(id) FROM t HAVING count(1) > 1").await,
        "n,max(id) / 2,3"
    );
    assert_eq!(table("SELECT upper(name) AS u FROM t GROUP BY 1 ORDER BY u").await, "u /  / A / B");
}

#[tokio::test]
async fn set_operations_and_joins() {
    assert_eq!(table("SELECT 1 AS x UNION ALL SELECT 2L ORDER BY x").await, "x / 1 / 2");
    assert_eq!(
        table("SELECT a.id, b.price FROM t a JOIN t b ON a.id = b.id WHERE b.price > 2").await,
        "id,price / 3,2.5"
    );
    assert_eq!(
        table("WITH w AS (SELECT id FROM t WHERE id > 1) SELECT count(1) AS n FROM w").await,
        "n / 2"
    );
}

#[tokio::test]
async fn explode_multiplies_rows() {
    assert_eq!(
        table("SELECT id, explode(array(id, 10)) AS e FROM t WHERE id = 2").await,
        "id,e / 2,2 / 2,10"
    );
    assert_eq!(
        table("SELECT id, e FROM t LATERAL VIEW explode(split('x,y', ',')) v AS e WHERE id = 1")
            .await,
        "id,e / 1,x / 1,y"
    );
}

#[tokio::test]
async fn arithmetic_is_sparks() {
    assert_eq!(
        table("SELECT 7 / 2 AS d, 7 DIV 2 AS i, -7 % 3 AS m, 1 + '2' AS s FROM t LIMIT 1").await,
        "d,i,m,s / 3.5,3,-1,3"
    );
    let session = Session::builder().build().unwrap();
    let error = session.sql("SELECT 2147483647 + id FROM VALUES (1) AS v(id)").unwrap();
    let error = error.collect().await.unwrap_err();
    assert_eq!(error.code(), "ARITHMETIC_OVERFLOW");
    session.set("spark.sql.ansi.enabled", "false").unwrap();
    let wrapped = session.sql("SELECT 2147483647 + id FROM VALUES (1) AS v(id)").unwrap();
    let batches = wrapped.collect().await.unwrap();
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("-2147483648"));
}
