"""Reads a Delta table with the `deltalake` wheel, which shares no code with Millstream.

usage: read_table.py rows   TABLE [COLUMN ...]     one JSON object per row
       read_table.py pairs  TABLE COLUMN COLUMN    two integer columns as "a,b" lines
       read_table.py digest TABLE [COLUMN ...]     {"version", "rows", "digest"}
       read_table.py serve                         answers {"table", "columns"} lines with
                                                   {"rows": [[..], ..]} or {"error"} lines

The digest is the sum of the rows' SHA-256 hashes modulo 2**128: it does not depend on the order of
the rows, and unlike an exclusive or it sees a row that is there twice. Batches are read one at a
time, so that a table need not fit into memory.
"""

import datetime
import decimal
import hashlib
import json
import os
import sys

import pyarrow.csv
from deltalake import DeltaTable


def plain(value):
    """A value as JSON can say it, without losing digits."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def batches(table, columns):
    return table.to_pyarrow_dataset().to_batches(columns=columns or None)


def lines(table, columns):
    for batch in batches(table, columns):
        for row in batch.to_pylist():
            yield json.dumps(plain(row), ensure_ascii=False, separators=(",", ":"))


def rows(table, columns):
    for line in lines(table, columns):
        sys.stdout.write(line + "\n")


def pairs(table, columns):
    if len(columns) != 2:
        sys.exit("pairs needs two columns")
    options = pyarrow.csv.WriteOptions(include_header=False)
    sys.stdout.flush()
    for batch in batches(table, columns):
        pyarrow.csv.write_csv(batch, sys.stdout.buffer, options)


def digest(table, columns):
    count, total = 0, 0
    for line in lines(table, columns):
        count += 1
        total += int.from_bytes(hashlib.sha256(line.encode()).digest()[:16], "big")
    result = {"version": table.version(), "rows": count, "digest": f"{total % 2**128:032x}"}
    print(json.dumps(result))


def answer(question):
    try:
        table = DeltaTable(question["table"])
        columns = question["columns"]
        found = [
            [plain(row[name]) for name in columns]
            for batch in batches(table, columns)
            for row in batch.to_pylist()
        ]
        return {"rows": found}
    except Exception as error:  # whatever is wrong with the table is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def serve():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def main():
    if sys.argv[1:] == ["serve"]:
        return serve()
    if len(sys.argv) < 3 or sys.argv[1] not in ("rows", "pairs", "digest"):
        sys.exit(__doc__)
    command, path, columns = sys.argv[1], sys.argv[2], sys.argv[3:]
    {"rows": rows, "pairs": pairs, "digest": digest}[command](DeltaTable(path), columns)


if __name__ == "__main__":
    main()
    # The wheels' threads are not always joined when the interpreter is taken down, which aborts the
    # process now and then, after all rows were printed. What was printed is flushed, so that a
    # full pipe or disk is still an error; then there is nothing left to take down.
    sys.stdout.flush()
    os._exit(0)
