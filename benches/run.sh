#!/usr/bin/env bash
# The benches, each with its contenders in one run, on real Apache Kafka. Writes benches/results/*.json
# and the tables of benches/README.md. Nothing else should run on the machine meanwhile.
#
#   bash benches/run.sh                  all of them (about an hour on two cores)
#   bash benches/run.sh NAME [OPTION ..] one of: job small latency, with the options that
#                                        `millstream-bench NAME --help` lists
#   bash benches/run.sh render           only the tables, from the results that are there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
  PATH="$HOME/.cargo/bin:$PATH"
fi
bash scripts/setup-tests.sh

cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}
venv=$cache/bench-venv list=benches/contenders/requirements.txt
if ! { [ -x "$venv/bin/python" ] && cmp -s "$list" "$venv/complete"; }; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --only-binary :all: --no-deps -r "$list"
  cp "$list" "$venv/complete"
fi

cargo build --release --workspace --locked --bins </dev/null
target=$(cargo metadata --format-version 1 --no-deps --locked --offline |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
# Later builds must not change what is measured.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$target/release/millstream" "$target/release/millstream-bench" "$work/"

bench() {
  local name=$1
  shift
  "$work/millstream-bench" "$name" --millstream "$work/millstream" \
    --result "benches/results/$name.json" "$@"
}

case ${1:-all} in
  all)
    bench job --variants
    bench small
    bench latency
    ;;
  render) ;;
  *) bench "$@" ;;
esac
"$work/millstream-bench" render benches/results benches/README.md
