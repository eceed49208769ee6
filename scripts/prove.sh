#!/usr/bin/env bash
# Runs the campaigns of faults whole and writes what they found: proof/results/*.json and
# proof/REPORT.md. Exit status 0 only if no promise was broken. The test command runs a fixed part of
# the same campaigns.
#
#   bash scripts/prove.sh             everything (hours on two cores)
#   bash scripts/prove.sh NAME ..     some of: kill-matrix syscalls zombies durability-order
#                                     planted-mistakes damage simulation kill-loop fuzz mutants
#                                     source store recovery interop
#   bash scripts/prove.sh report      only writes the page from the results that are there
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=proof/results
mkdir -p "$results"
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(kill-matrix syscalls zombies durability-order planted-mistakes damage
  simulation kill-loop fuzz mutants source store recovery interop)

target=$(cargo metadata --format-version 1 --no-deps --locked --offline |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Lakes of a few kilobytes by the thousand: in memory where there is a place for it.
[ -n "${TMPDIR:-}" ] || { [ -w /dev/shm ] && export TMPDIR=/dev/shm; }

build() { cargo build --release --workspace --locked --bins "$@" </dev/null; }

# The binaries of this tree, where later builds do not touch them.
binaries() {
  [ -x "$work/millstream" ] && return 0
  build && cp "$target/release/millstream" "$target/release/millstream-campaign" "$work/"
}

# campaign NAME [BINARY]
campaign() {
  binaries || return 1
  "$work/millstream-campaign" --binary "${2:-$work/millstream}" --results "$results" "$1"
}

# A build that makes mistakes on purpose must not stay where the binary is looked for.
planted() {
  binaries || return 1
  build --features millstream-cli/planted-mistakes || return 1
  cp "$target/release/millstream" "$work/millstream-planted"
  build || return 1
  campaign planted-mistakes "$work/millstream-planted"
}

# tested KIND NAME FILTER: a campaign that lives in a test
tested() {
  local kind=$1 name=$2 filter=${3:-}
  local which=(--test "$name")
  [ "$kind" = lib ] && which=(--lib)
  cargo test --release --workspace --locked "${which[@]}" -- --nocapture $filter </dev/null
}

prove() {
  case $1 in
    kill-matrix | syscalls | zombies | durability-order | damage) campaign "$1" ;;
    planted-mistakes) planted ;;
    simulation)
      cargo run --release --locked -p millstream-core --features sim --example simulate -- \
        --batches 10000000 --first-seed 0 --result "$results/simulation.json" </dev/null
      ;;
    kill-loop)
      MILLSTREAM_KILLS=2000 MILLSTREAM_BROKER_KILLS=50 MILLSTREAM_SEED=${MILLSTREAM_SEED:-2026} \
        MILLSTREAM_REPORT=$PWD/$results/kill-loop.json tested test kill_loop
      ;;
    fuzz) bash scripts/fuzz.sh --executions 10000000 --report ;;
    mutants) bash scripts/mutants.sh ;;
    source) bash scripts/source.sh ;;
    store)
      MILLSTREAM_FIRE=all MILLSTREAM_REPORT=$PWD/$results/store.json \
        tested lib - every_call_of_a_run_may_have_every_outcome
      ;;
    recovery)
      MILLSTREAM_RECOVERY_BATCHES=10000 MILLSTREAM_RECOVERY_KILLS=50 \
        MILLSTREAM_REPORT=$PWD/$results/recovery.json tested test recovery_time
      ;;
    interop) bash tests/interop/matrix.sh ;;
    *)
      echo "There is no campaign '$1'." >&2
      return 1
      ;;
  esac
}

failed=0
for name in "${names[@]}"; do
  [ "$name" = report ] && continue
  echo "== $name ($(date +%H:%M:%S))"
  prove "$name" || {
    echo "FAILED: $name"
    failed=1
  }
done
binaries && "$work/millstream-campaign" render "$results" proof/REPORT.md GUARANTEES.md || failed=1
exit "$failed"
