#!/usr/bin/env bash
# The whole matrix of handovers between real Spark and Millstream: every fault point that a run of
# Millstream passes by itself, in the first and in a later batch (all but the steps P5, of a start
# after a death, and P12, of an unclear answer), three states in which Spark may leave a batch, deaths
# of both in one batch (there with P5), and SIGKILLs of Spark. Writes proof/results/interop.json. A
# plain test run takes a part of it.
#
#   bash tests/interop/matrix.sh
#   CARGO                      what builds (default: cargo)
#   MILLSTREAM_INTEROP_KILLS   SIGKILLs of Spark (default: 20)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$(date +%s)
export MILLSTREAM_REQUIRE_REAL=1 MILLSTREAM_INTEROP=full
export MILLSTREAM_INTEROP_CELLS=$work/cells
: >"$work/cells"
status=0
# One test at a time: each has a Spark and a Kafka of its own.
"${CARGO:-cargo}" test --release --workspace --locked --test handover -- \
  --nocapture --test-threads 1 </dev/null 2>&1 | tee "$work/log" || status=$?
failed=$(awk '/^test result: / { f += $6 } END { print f + 0 }' "$work/log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
mkdir -p proof/results
python3 - "$work/cells" "$failed" "$(($(date +%s) - started))" <<'PYTHON'
import collections, datetime, json, os, platform, subprocess, sys

cells = [json.loads(line) for line in open(sys.argv[1])]
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
kinds = collections.Counter()
for cell in cells:
    name = cell["cell"]
    kinds["Spark killed" if name.startswith("Spark killed") else "stopped at a step"] += 1
    for word in ("executed by Spark", "executed by Millstream", "commit was kept", "in doubt"):
        kinds[word] += word in cell["outcome"]
result = {
    "name": "interop",
    "title": "One checkpoint and one table, between Spark 4.2 and Millstream, with batches in doubt",
    "command": "bash tests/interop/matrix.sh",
    "commit": commit,
    "date": datetime.date.today().isoformat(),
    "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
    "seconds": int(sys.argv[3]),
    "violations": int(sys.argv[2]),
    "figures": {
        "cells": len(cells),
        "cells of a named step": kinds["stopped at a step"],
        "SIGKILLs of Spark": kinds["Spark killed"],
        "batches in doubt executed by Spark": kinds["executed by Spark"],
        "batches in doubt executed by Millstream": kinds["executed by Millstream"],
        "commits that were kept": kinds["commit was kept"],
        "nothing in doubt": kinds["in doubt"],
    },
    "cells": cells,
}
with open("proof/results/interop.json", "w") as out:
    json.dump(result, out, indent=1)
    out.write("\n")
PYTHON
[ "$failed" -eq 0 ]
