"""Runs stateless Kafka-to-Delta queries of real Spark, one after another, each to the end of its
topic.

    spark_run.py JARS

Commands are lines of JSON on standard input, and each is answered by a line of JSON on standard
output. The first line, before any command, is `{"jvm": PID}`.

    {"bootstrap": "..", "topic": "..", "checkpoint": "..", "table": "..", "options": {..}}
        -> {"id": "..", "batches": [NUMBER, ..]} or {"error": ".."}

The query is the one that the tests of `crates/cli/tests` run with Millstream, so that both can go on
from one checkpoint and into one table. Spark is killed when its standard input ends: whoever gave commands is gone, and
a query without brokers would never end by itself.
"""

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path

from pyspark.sql import SparkSession


def session(jars: str) -> SparkSession:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", ",".join(str(jar) for jar in sorted(Path(jars).glob("*.jar"))))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog",
            "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        )
        .config("spark.ui.enabled", "false")
        # Small tables, few turns: less parallelism and quick compilation save most of the time.
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.databricks.delta.snapshotPartitions", "1")
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def turn(spark: SparkSession, command: dict) -> dict:
    # What somebody else did to a table between two turns must not be hidden by what is remembered.
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    reader = spark.readStream.format("kafka")
    reader = reader.option("kafka.bootstrap.servers", command["bootstrap"])
    reader = reader.option("subscribe", command["topic"]).option("startingOffsets", "earliest")
    for name, value in command.get("options", {}).items():
        reader = reader.option(name, value)
    rows = reader.load().selectExpr(
        "CAST(value AS STRING) AS v", "topic", "partition", "offset"
    )
    query = (
        rows.writeStream.format("delta")
        .option("checkpointLocation", command["checkpoint"])
        .trigger(availableNow=True)
        .start(command["table"])
    )
    query.awaitTermination()
    batches = sorted({progress["batchId"] for progress in query.recentProgress})
    return {"id": str(query.id), "batches": batches}


def answer(message: dict) -> None:
    print(json.dumps(message), flush=True)


def commands(jvm: int) -> queue.Queue:
    """The lines of standard input, read by a thread that notices their end during a query too."""
    lines: queue.Queue = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        os.kill(jvm, signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def main() -> None:
    spark = session(sys.argv[1])
    jvm = int(spark._jvm.java.lang.ProcessHandle.current().pid())
    lines = commands(jvm)
    answer({"jvm": jvm})
    while True:
        command = lines.get()
        try:
            answer(turn(spark, command))
        except Exception as error:  # whatever ends a query is the answer to its command
            answer({"error": str(error)})


main()
