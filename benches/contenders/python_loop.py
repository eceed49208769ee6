"""The loop that people write by hand: confluent-kafka, pyarrow, the `deltalake` wheel.

    python_loop.py BOOTSTRAP TOPIC TABLE ROWS_OF_AN_APPEND LEAST_AMOUNT

Reads the topic to the ends that it has now, and appends the orders in chunks. No offsets are kept, so
a crash loses or repeats rows; nothing is checked against a checkpoint, and a malformed record ends it.
"""

import sys

import pyarrow
import pyarrow.compute
import pyarrow.json
from confluent_kafka import Consumer, TopicPartition
from deltalake import write_deltalake

SCHEMA = pyarrow.schema(
    [
        ("order_id", pyarrow.string()),
        ("customer_id", pyarrow.string()),
        ("amount", pyarrow.float64()),
        ("status", pyarrow.string()),
        ("event_time", pyarrow.timestamp("us", tz="UTC")),
    ]
)


def main() -> None:
    bootstrap, topic, table = sys.argv[1:4]
    rows_of_append, least = int(sys.argv[4]), float(sys.argv[5])
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "python-loop",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65536,
            "fetch.message.max.bytes": 8 << 20,
        }
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    left = 0
    starts = []
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition))
        left += high - low
        starts.append(TopicPartition(topic, partition, low))
    consumer.assign(starts)
    raw = pyarrow.schema([*list(SCHEMA)[:4], ("event_time", pyarrow.string())])
    options = pyarrow.json.ParseOptions(explicit_schema=raw, unexpected_field_behavior="ignore")
    while left > 0:
        values = []
        while left > 0 and len(values) < rows_of_append:
            messages = consumer.consume(min(left, 10_000, rows_of_append - len(values)), timeout=10)
            for message in messages:
                if message.error():
                    sys.exit(str(message.error()))
                values.append(message.value())
            left -= len(messages)
        rows = pyarrow.json.read_json(
            pyarrow.BufferReader(b"\n".join(values)),
            read_options=pyarrow.json.ReadOptions(block_size=16 << 20),
            parse_options=options,
        )
        # 2026-01-02T03:04:05.678Z
        times = pyarrow.compute.cast(
            pyarrow.compute.utf8_rtrim(rows["event_time"], "Z"), pyarrow.timestamp("us")
        )
        rows = rows.set_column(4, "event_time", pyarrow.compute.assume_timezone(times, "UTC"))
        rows = rows.filter(pyarrow.compute.greater_equal(rows["amount"], least))
        write_deltalake(table, rows, mode="append")


main()
