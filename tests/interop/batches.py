"""Lists the rows that each batch of a query added to a Delta table, from the log and the data files
alone: nothing of Millstream or Spark takes part.

    batches.py TABLE QUERY

Prints one line of JSON per log entry with a `txn` of the query, in the order of the versions:
`{"version": .., "batch": .., "rows": [[partition, offset], ..]}`. Older entries must still be there.
"""

import json
import sys
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet


def main() -> None:
    table, query = Path(sys.argv[1]), sys.argv[2]
    for entry in sorted((table / "_delta_log").glob("[0-9]*.json")):
        actions = [json.loads(line) for line in entry.read_text().splitlines() if line]
        txns = [a["txn"] for a in actions if "txn" in a]
        batch = [t["version"] for t in txns if t["appId"] == query]
        if not batch:
            continue
        rows = []
        for add in (a["add"] for a in actions if "add" in a):
            data = pyarrow.parquet.read_table(
                table / unquote(add["path"]), columns=["partition", "offset"]
            )
            columns = (data["partition"].to_pylist(), data["offset"].to_pylist())
            rows.extend(list(pair) for pair in zip(*columns))
        print(json.dumps({"version": int(entry.stem), "batch": batch[0], "rows": rows}))


main()
