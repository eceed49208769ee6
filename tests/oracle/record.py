#!/usr/bin/env python3
"""Records real Spark's answers to the cases under `cases/` as JSON lines.

Usage: record.py [category ...]   (from_json casts functions names; all by default)
Needs pyspark 4.2.0 and Java 17; see README.md. One local[1] session, no network.
"""
import json
import logging
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
TABLE = """
CREATE OR REPLACE TEMP VIEW t AS SELECT
  CAST(1 AS INT) AS a, 'xyz' AS b, CAST(5 AS INT) AS `c d`,
  named_struct('x', 7, 'y', 'w') AS s, array(10, 20) AS arr, map('k', 100) AS m,
  DATE'2020-01-02' AS d, TIMESTAMP'2020-01-02 03:04:05' AS ts,
  CAST(12.50 AS DECIMAL(10,2)) AS dec, 2.5D AS dbl
"""
PAIR_VALUES = {
    "BOOLEAN": "true",
    "TINYINT": "CAST(5 AS TINYINT)",
    "SMALLINT": "CAST(300 AS SMALLINT)",
    "INT": "70000",
    "BIGINT": "5000000000L",
    "FLOAT": "CAST(1.5 AS FLOAT)",
    "DOUBLE": "-2.75D",
    "DECIMAL(10,2)": "CAST(12.34 AS DECIMAL(10,2))",
    "STRING": "'7'",
    "BINARY": "X'37'",
    "DATE": "DATE'2020-01-02'",
    "TIMESTAMP": "TIMESTAMP'2020-01-02 03:04:05.5'",
    "TIMESTAMP_NTZ": "TIMESTAMP_NTZ'2020-01-02 03:04:05.5'",
}


def read_lines(name):
    return (HERE / "cases" / name).read_text(encoding="utf-8").split("\n")


def settings_of(line, current):
    """Applies an `@ key=value ..` line; schema and options take the rest of the line."""
    text = line[1:].strip()
    if text.startswith(("schema=", "options=")):
        key, value = text.split("=", 1)
        current[key] = value
        return
    for part in text.split():
        key, value = part.split("=", 1)
        current[key] = value


def expression_cases(kind, name):
    current = {"ansi": "true", "timeZone": "UTC"}
    for line in read_lines(name):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@ "):
            settings_of(line, current)
            continue
        yield {"kind": kind, "sql": line, "settings": pick(current)}


def pair_cases():
    for ansi in ("true", "false"):
        for value in PAIR_VALUES.values():
            for target in PAIR_VALUES:
                settings = {"ansi": ansi, "timeZone": "UTC"}
                yield {"kind": "cast", "sql": f"CAST({value} AS {target})",
                       "settings": pick(settings)}


def pick(current):
    return {"ansi": current["ansi"] == "true", "timeZone": current["timeZone"]}


def quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def from_json_cases():
    current = {"ansi": "true", "timeZone": "UTC", "schema": "", "options": "{}"}
    for line in read_lines("from_json.txt"):
        if line == "" or line.startswith("#"):
            continue
        if line.startswith("@ "):
            settings_of(line, current)
            continue
        case = {"kind": "from_json", "schema": current["schema"],
                "options": json.loads(current["options"]), "settings": pick(current)}
        if line == "n":
            case["input"] = None
            value = "CAST(NULL AS STRING)"
        elif line.startswith("x "):
            case["input_hex"] = line[2:]
            value = f"CAST(X'{line[2:]}' AS STRING)"
        else:
            case["input"] = line[2:]
            value = f"CAST(X'{line[2:].encode().hex().upper()}' AS STRING)"
        options = ", ".join(f"{quote(k)}, {quote(v)}" for k, v in case["options"].items())
        tail = f", map({options})" if options else ""
        case["sql"] = f"from_json({value}, {quote(current['schema'])}{tail})"
        yield case


def encode(value, kind, jvm):
    """One of Spark's internal values as JSON."""
    if value is None:
        return None
    name = kind.typeName()
    if name in ("boolean", "byte", "short", "integer", "long", "timestamp", "timestamp_ntz"):
        return value
    if name in ("float", "double"):
        if math.isnan(value) or math.isinf(value):
            return str(float(value)).replace("inf", "Infinity").replace("nan", "NaN")
        return value
    if name.startswith("decimal"):
        return format(value.toJavaBigDecimal(), "f")
    if name in ("string", "char", "varchar"):
        raw = bytes(value.getBytes())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return {"hex": raw.hex().upper()}
    if name == "binary":
        return bytes(value).hex().upper()
    if name == "date":
        return jvm.java.time.LocalDate.ofEpochDay(value).toString()
    if name == "array":
        return [element(value, i, kind.elementType, jvm) for i in range(value.numElements())]
    if name == "map":
        keys, values = value.keyArray(), value.valueArray()
        return [[element(keys, i, kind.keyType, jvm), element(values, i, kind.valueType, jvm)]
                for i in range(value.numElements())]
    if name == "struct":
        return [element(value, i, field.dataType, jvm) for i, field in enumerate(kind.fields)]
    if name == "void":
        return None
    return value


def element(row, i, kind, jvm):
    if row.isNullAt(i):
        return None
    return encode(row.get(i, jtype(kind, jvm)), kind, jvm)


def jtype(kind, jvm):
    return jvm.org.apache.spark.sql.types.DataType.fromJson(kind.json())


def failure(error):
    """Class and first line of an error, however it was wrapped."""
    code = None
    text = str(error).strip().split("\n")[0][:200]
    if hasattr(error, "getCondition"):
        code = error.getCondition()
    thrown = getattr(error, "java_exception", None)
    while code is None and thrown is not None:
        if hasattr(thrown, "getCondition"):
            try:
                code = thrown.getCondition()
                text = thrown.getMessage().split("\n")[0][:200]
            except Exception:
                code = None
        thrown = thrown.getCause()
    return {"class": code or type(error).__name__, "message": text}


def record(spark, case):
    spark.conf.set("spark.sql.ansi.enabled", str(case["settings"]["ansi"]).lower())
    spark.conf.set("spark.sql.session.timeZone", case["settings"]["timeZone"])
    source = " FROM t" if case["kind"] == "name" else ""
    try:
        frame = spark.sql(f"SELECT {case['sql']}{source}")
        field = frame.schema.fields[0]
        jfield = frame._jdf.schema().apply(0)
        case["name"] = field.name
        case["type"] = jfield.dataType().sql()
        rows = frame._jdf.queryExecution().executedPlan().executeCollect()
        if case["kind"] == "name" and "current_" in case["sql"] or case["sql"] in (
                "now()", "current_timezone()") and case["kind"] == "name":
            return case
        case["answer"] = element(rows[0], 0, field.dataType, spark._jvm)
    except Exception as error:
        case["error"] = failure(error)
    return case


CATEGORIES = {
    "from_json": lambda: from_json_cases(),
    "casts": lambda: [*expression_cases("cast", "casts.txt"), *pair_cases()],
    "functions": lambda: expression_cases("function", "functions.txt"),
    "names": lambda: expression_cases("name", "names.txt"),
}


def main():
    from pyspark.sql import SparkSession

    logging.disable(logging.CRITICAL)
    wanted = sys.argv[1:] or list(CATEGORIES)
    spark = (SparkSession.builder.master("local[1]")
             .config("spark.ui.enabled", "false")
             .config("spark.sql.shuffle.partitions", "1")
             .config("spark.driver.memory", "1g")
             .config("spark.log.level", "OFF")
             .getOrCreate())
    spark.sparkContext.setLogLevel("OFF")
    for category in wanted:
        spark.conf.set("spark.sql.ansi.enabled", "true")
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.sql(TABLE)
        done = []
        seen = {}
        for case in CATEGORIES[category]():
            key = json.dumps(case, sort_keys=True)
            if key in seen:
                continue
            seen[key] = True
            done.append(record(spark, {"id": f"{category}-{len(done) + 1:04}", **case}))
        path = HERE / f"{category}.jsonl"
        with path.open("w", encoding="utf-8") as out:
            for case in done:
                out.write(json.dumps(case, ensure_ascii=False) + "\n")
        errors = sum("error" in case for case in done)
        print(f"{path.name}: {len(done)} cases, {errors} of them errors")
    spark.stop()


if __name__ == "__main__":
    main()
