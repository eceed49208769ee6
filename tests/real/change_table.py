"""Changes a Delta table with the `deltalake` wheel as its users do: an operation a call.

usage: change_table.py TABLE OPERATION

The table has the columns v, topic, partition and offset. Prints the table's new version.
"""

import os
import sys

import pyarrow as pa
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType


def strangers(**more):
    """Two rows of somebody else's, of which one says nothing of where it is from."""
    return pa.table(
        {
            "v": ["a", "b"],
            "topic": pa.array(["elsewhere", None], pa.string()),
            "partition": pa.array([0, 0], pa.int32()),
            "offset": pa.array([5, None], pa.int64()),
            **more,
        }
    )


def append(table):
    write_deltalake(table, strangers(), mode="append", schema_mode="merge")


def append_with_a_new_column(table):
    rows = strangers(note=pa.array(["x", "y"]))
    write_deltalake(table, rows, mode="append", schema_mode="merge")


def add_column(table):
    table.alter.add_columns([Field("remark", PrimitiveType("string"))])


def delete(table):
    table.delete("partition = 0 AND offset % 7 = 3")


def update(table):
    table.update(updates={"v": "'changed'"}, predicate="partition = 1 AND offset % 5 = 0")


def merge(table):
    source = pa.table(
        {
            "v": ["merged", "new"],
            "topic": ["topic", "elsewhere"],
            "partition": pa.array([0, 9], pa.int32()),
            "offset": pa.array([1, 1], pa.int64()),
        }
    )
    same = "t.topic = s.topic AND t.partition = s.partition AND t.offset = s.offset"
    merging = table.merge(source, predicate=same, source_alias="s", target_alias="t")
    merging.when_matched_update_all().when_not_matched_insert_all().execute()


def optimize(table):
    table.optimize.compact()


def z_order(table):
    table.optimize.z_order(["offset"])


def vacuum(table):
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def overwrite_a_partition(table):
    rows = pa.table(
        {
            "v": ["kept"],
            "topic": ["topic"],
            "partition": pa.array([1], pa.int32()),
            "offset": pa.array([0], pa.int64()),
        }
    )
    write_deltalake(table, rows, mode="overwrite", predicate="partition = 1", schema_mode="merge")


def clean_up_the_log(table):
    table.create_checkpoint()
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    table.create_checkpoint()
    table.cleanup_metadata()


def restore_to(version):
    def restore(table):
        table.restore(version)

    return restore


def main():
    path, operation = sys.argv[1:3]
    if operation.startswith("restore:"):
        change = restore_to(int(operation.removeprefix("restore:")))
    else:
        change = globals()[operation]
    change(DeltaTable(path))
    print(DeltaTable(path).version())


if __name__ == "__main__":
    main()
    # The wheel's threads are not always joined when the interpreter is taken down.
    sys.stdout.flush()
    os._exit(0)
