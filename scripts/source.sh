#!/usr/bin/env bash
# The source under fire: every test of the Kafka source against Apache Kafka and against the embedded
# broker, with brokers that die and come back, leaders that change, logs that are cut, emptied and
# compacted, topics that live twice, transactions that hang, and lines that break, stall and garble.
# The embedded broker's own tests come along. Runs longer than the test command does: every bit of every answer is flipped, and a bad line is
# read through for more rounds. Writes proof/results/source.json, a cell for each test; exit status 0
# only if all held.
#
#   bash scripts/source.sh
#   CARGO                     what builds (default: cargo)
#   MILLSTREAM_FAULT_ROUNDS   rounds of two random faults each on a bad line (default: 1,000; tests: 60)
#   MILLSTREAM_FLIP_STRIDE    every n-th bit of an answer is flipped (default: 1; tests: a few)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MILLSTREAM_REQUIRE_REAL=1
export MILLSTREAM_FAULT_ROUNDS=${MILLSTREAM_FAULT_ROUNDS:-1000}
export MILLSTREAM_FLIP_STRIDE=${MILLSTREAM_FLIP_STRIDE:-1}
started=$(date +%s)
# Each test file by itself, so that one that fails does not keep the others from being run.
for file in fire it source_fire; do
  echo "FILE $file"
  "${CARGO:-cargo}" test --release --workspace --locked --test "$file" </dev/null 2>&1
done | tee "$work/log"
mkdir -p proof/results
python3 - "$work/log" "$(($(date +%s) - started))" <<'PYTHON'
import datetime, json, os, platform, re, subprocess, sys

cells, violations, file, expected = [], 0, "", 0
for line in open(sys.argv[1], errors="replace"):
    if named := re.match(r"FILE (\S+)$", line):
        file = named[1]
    elif counted := re.match(r"running (\d+) tests?$", line):
        expected += int(counted[1])
    elif test := re.match(r"test (\S+) \.\.\. (ok|FAILED|ignored.*)$", line):
        held = test[2] == "ok"
        violations += not held
        outcome = "held: what was read is what was written, once, or was refused by name"
        cells.append({"cell": f"{file} {test[1]}",
                      "outcome": outcome if held else f"VIOLATION: {test[2]}"})
# A file that does not build, or a process that ends in the middle, must not look like success.
if len(cells) != expected or {c["cell"].split()[0] for c in cells} != {"fire", "it", "source_fire"}:
    violations += 1
    cells.append({"cell": "all", "outcome": f"VIOLATION: {len(cells)} of {expected} tests have a result"})
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
result = {
    "name": "source",
    "title": "The Kafka source under fire: brokers, logs, topics, transactions and lines that fail",
    "command": "bash scripts/source.sh",
    "commit": commit,
    "date": datetime.date.today().isoformat(),
    "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
    "seconds": int(sys.argv[2]),
    "violations": violations,
    "figures": {
        "tests": len(cells),
        "rounds on a bad line": int(os.environ["MILLSTREAM_FAULT_ROUNDS"]),
        "every n-th bit flipped": int(os.environ["MILLSTREAM_FLIP_STRIDE"]),
    },
    "cells": cells,
}
with open("proof/results/source.json", "w") as out:
    json.dump(result, out, indent=1)
    out.write("\n")
print(f"source: {len(cells)} tests, {violations} violations")
sys.exit(1 if violations else 0)
PYTHON
