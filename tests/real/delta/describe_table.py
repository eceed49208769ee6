"""Reads a Delta table with the `deltalake` wheel and prints what it sees as one JSON object.

usage: describe_table.py TABLE [SQL ...]

Each SQL statement sees the table as `t`; its rows come in `answers`. `scan` has the same table read
through pyarrow, which skips files by the statistics in the log.
"""

import datetime
import decimal
import json
import os
import sys

import pyarrow as pa
import pyarrow.dataset  # noqa: F401
from deltalake import DeltaTable, QueryBuilder


def plain(value):
    """A value as JSON can say it, without losing digits."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and value != value:
        return "NaN"
    return value


def rows_of(table):
    return [plain(row) for row in table.to_pylist()]


def main():
    path, statements = sys.argv[1], sys.argv[2:]
    table = DeltaTable(path)
    builder = QueryBuilder().register("t", table)
    answers = []
    for statement in statements:
        result = builder.execute(statement)
        batches = pa.table(result.read_all() if hasattr(result, "read_all") else result)
        answers.append(rows_of(batches))
    protocol = table.protocol()
    print(
        json.dumps(
            {
                "version": table.version(),
                "id": str(table.metadata().id),
                "partition_columns": table.metadata().partition_columns,
                "configuration": table.metadata().configuration,
                "protocol": [protocol.min_reader_version, protocol.min_writer_version],
                "schema": json.loads(table.schema().to_json()),
                "files": sorted(table.file_uris()),
                "adds": rows_of(pa.table(table.get_add_actions(flatten=True))),
                "scan": rows_of(table.to_pyarrow_table()),
                "answers": answers,
                "history": [entry.get("operation") for entry in table.history(3)],
            }
        )
    )


if __name__ == "__main__":
    main()
    # The libraries' threads are sometimes torn down in the wrong order; everything is said.
    sys.stdout.flush()
    os._exit(0)
