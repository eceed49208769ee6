//! The bridge to the independent table readers, on a table that they wrote themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use millstream_testkit::{Ledger, reader, skip_or_fail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes two commits of a small table; the second repeats a row.
const WRITE: &str = r#"
import sys, decimal, datetime, pyarrow as pa
from deltalake import write_deltalake
schema = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("name", pa.string()),
                    ("price", pa.decimal128(9, 2)), ("at", pa.timestamp("us", "UTC"))])
at = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.timezone.utc)
def row(p, o): return {"partition": p, "offset": o, "name": "n\u00e4me" if o else None,
                       "price": decimal.Decimal("1.50"), "at": at}
order = [int(n) for n in sys.argv[2].split(",")]
rows = [row(0, 0), row(0, 1), row(1, 0)]
write_deltalake(sys.argv[1], pa.Table.from_pylist([rows[n] for n in order], schema=schema))
write_deltalake(sys.argv[1], pa.Table.from_pylist([row(0, 1)], schema=schema), mode="append")
"#;

fn write(python: &Path, table: &Path, order: &str) {
    let done = Command::new(python).args(["-c", WRITE]).arg(table).arg(order).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn rows_pairs_and_digests_come_from_the_wheel() {
    let python: Option<PathBuf> = skip_or_fail("the table reader", reader::python());
    let Some(python) = python else { return };
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&python, &a, "0,1,2");
    write(&python, &b, "2,0,1");

    let rows = reader::rows(&a, &["offset", "name", "price", "at"]).unwrap();
    assert_eq!(rows.len(), 4);
    let last = rows.iter().find(|r| r["offset"] == 1).unwrap();
    assert_eq!(last["name"], "n\u{e4}me");
    assert_eq!(last["price"], "1.50");
    assert_eq!(last["at"], "2026-01-02T03:04:05.000006+00:00");

    let mut pairs = reader::pairs(&a, "partition", "offset").unwrap();
    pairs.sort_unstable();
    assert_eq!(pairs, [(0, 0), (0, 1), (0, 1), (1, 0)]);
    let audit = Ledger::of_ends([(0, 2), (1, 1)]).audit(pairs);
    assert_eq!((audit.lost, audit.duplicated, audit.phantom), (0, 1, 0), "{audit}");

    let digest = reader::digest(&a, &[]).unwrap();
    assert_eq!((digest.rows, digest.version), (4, 1));
    assert_eq!(digest, reader::digest(&b, &[]).unwrap(), "the order of rows does not matter");
    assert_ne!(digest.digest, reader::digest(&a, &["offset"]).unwrap().digest);

    let missing = reader::rows(&dir.path().join("none"), &[]).unwrap_err();
    assert!(missing.message().contains("none"), "{missing}");
}
