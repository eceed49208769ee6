#!/usr/bin/env bash
# Changes the code in hundreds of small ways, one at a time, and counts which changes the tests
# notice. Ends with figures, also in proof/results/mutants.json, where every change that was not
# noticed is named; those that no test can notice are explained in proof/mutants.md. One that is not
# explained there is a violation. Exit status 0 only without any, and if 90 % of the core's changes
# were noticed.
#
#   bash scripts/mutants.sh [core] [sink] [source]     these parts, or all
#   bash scripts/mutants.sh --survivors sink           only what survived the last run, with the tests
#                                                      of now; writes no result
#
# Goes on where a run of the same tree was stopped. See mutants/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
  PATH="$HOME/.cargo/bin:$PATH"
fi

version=27.1.0
cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}/mutants
cargo_mutants=$cache/tool-$version/bin/cargo-mutants
# Never a place of other builds: for cargo, a copy of the tree is the same tree.
export CARGO_TARGET_DIR=$cache/target
mkdir -p "$cache"

if [ ! -x "$cargo_mutants" ]; then
  CARGO_TARGET_DIR=$cache/tool-target \
    cargo install --locked --version "$version" cargo-mutants --root "$cache/tool-$version"
fi
(cd mutants && CARGO_TARGET_DIR=$cache/tool-target cargo build --locked --quiet)

# One run at a time has the copies of the tree.
exec 9>"$cache/lock"
flock 9
python3 mutants/measure.py "$cache" "$cargo_mutants" "$cache/tool-target/debug/millstream-mutants" "$@"
