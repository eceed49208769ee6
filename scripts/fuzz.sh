#!/usr/bin/env bash
# Fuzzes every decoder of outside bytes, guided by coverage. Builds with the pinned stable compiler;
# exit status 0 only if no target crashed, hung or took too much memory, and none does so on an input
# that was found before.
#
#   bash scripts/fuzz.sh                              every target for 10 seconds
#   bash scripts/fuzz.sh --target NAME                one target
#   bash scripts/fuzz.sh --seconds N                  for N seconds each
#   bash scripts/fuzz.sh --executions N               until N executions each
#   bash scripts/fuzz.sh --report                     also writes proof/results/fuzz.json, which adds
#                                                     up all runs in this place, over all commits
#   bash scripts/fuzz.sh --figures                    writes that, runs nothing
#   bash scripts/fuzz.sh --merge                      keeps what was found, minimised, under corpus/
#   bash scripts/fuzz.sh --replay                     only the failing inputs that were found before
#   bash scripts/fuzz.sh --build                      builds, runs nothing
#   MILLSTREAM_FUZZ_DIR                               where binaries and corpora grow
#
# See fuzz/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
  PATH="$HOME/.cargo/bin:$PATH"
fi

target= seconds= executions= report= merge= build_only= only_figures= only_replay=
while [ $# -gt 0 ]; do
  case $1 in
    --target) target=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --executions) executions=$2; shift ;;
    --report) report=1 ;;
    --merge) merge=1 ;;
    --build) build_only=1 ;;
    --figures) report=1 only_figures=1 ;;
    --replay) only_replay=1 ;;
    *) echo "fuzz.sh does not know $1" >&2; exit 64 ;;
  esac
  shift
done
[ -n "$seconds$executions" ] || seconds=10

work=${MILLSTREAM_FUZZ_DIR:-${MILLSTREAM_CACHE:-$HOME/.cache/millstream}/fuzz}
platform=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$work/artifacts"

# The instrumentation of libFuzzer by stable options: a counter for every edge, the table of where
# they are, and what comparisons compare. `--target` keeps it out of build scripts.
flags=(--cfg fuzzing -Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
# What the wrapper leaves of it for whom; cargo builds anew when it changes.
wrapper=$PWD/fuzz/rustc.sh
flags+=(--cfg "wrapper_$(cksum <"$wrapper" | cut -d' ' -f1)")

build() {
  cd fuzz
  RUSTFLAGS="${flags[*]}" RUSTC_WRAPPER="$wrapper" CARGO_TARGET_DIR="$work/target" \
    cargo build --release --locked --quiet --target "$platform" --bins
}
[ -n "$only_figures" ] || (build)
[ -z "$build_only" ] || exit 0
# The tree that is built, with a `+` where it has changes that are not committed.
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- crates fuzz || commit+=+
binaries="$work/target/$platform/release"

# Longest input of a target: real ones are shorter, and short ones are fast.
length_max() {
  case $1 in
    delta_checkpoint) echo 24000 ;;
    delta_log) echo 2500 ;;
    checkpoint_files) echo 1600 ;;
    wire_batches | kafka_answers) echo 1200 ;;
    json_decode | json_functions | schemas | sql_scripts) echo 600 ;;
    *) echo 200 ;;
  esac
}

# The recursion of parsers must do with the stack of a worker thread, not that of a main thread.
ulimit -s 2048

# failures NAME: the inputs on which a target failed and has not been seen to pass since.
failures() {
  find "$work/artifacts" -maxdepth 1 -type f \( -name "$1-crash-*" -o -name "$1-oom-*" \
    -o -name "$1-timeout-*" -o -name "$1-leak-*" \) | sort
}

# replay NAME: what failed before. An input that passes now is put aside.
replay() {
  local input status=0
  while read -r input; do
    [ -n "$input" ] || continue
    if "$binaries/$1" -timeout=10 -rss_limit_mb=2048 "$input" >/dev/null 2>&1 </dev/null; then
      mkdir -p "$work/artifacts/mended"
      mv "$input" "$work/artifacts/mended/"
    else
      echo "FAILED: $1 still fails on $input"
      status=1
    fi
  done < <(failures "$1")
  return "$status"
}

# fuzz NAME: one target. Its corpus grows outside the repository, from what is kept there. Runs of
# hours and of seconds may go on beside each other: each has its log until it ends.
fuzz() {
  local name=$1 log="$work/$1.log" grown="$work/corpus/$1" status=0
  local running="$work/$1.$$.log"
  local limits=(-max_len="$(length_max "$name")" -timeout=10 -rss_limit_mb=2048)
  mkdir -p "$grown" "fuzz/corpus/$name"
  if [ -n "$seconds" ]; then limits+=(-max_total_time="$seconds"); fi
  if [ -n "$executions" ]; then limits+=(-runs="$executions"); fi
  if [ -f "fuzz/dictionaries/$name" ]; then limits+=(-dict="fuzz/dictionaries/$name"); fi
  "$binaries/$name" "${limits[@]}" -artifact_prefix="$work/artifacts/$name-" -print_final_stats=1 \
    "$grown" "fuzz/corpus/$name" >"$running" 2>&1 </dev/null || status=$?
  mv "$running" "$log"
  record "$name" "$status"
  if [ "$status" -ne 0 ]; then
    echo "FAILED: $name (status $status); the end of $log:"
    tail -n 40 "$log"
    grep -a 'Test unit written to' "$log" || true
    return 1
  fi
  tail -n 1 "$work/$name.runs" | figures "$name: "
}

# record NAME STATUS: adds a line of figures from the log to the target's runs: executions, covered
# edges, those of the corpus alone, features, inputs, seconds, commit, exit status. Lines of older
# builds end with the seconds.
record() {
  awk -v commit="$commit" -v status="$2" '
    /stat::number_of_executed_units:/ { executions = $2 }
    /cov: / {
      for (i = 1; i < NF; i++) {
        if ($i == "cov:") edges = $(i + 1)
        if ($i == "ft:") features = $(i + 1)
        if ($i == "corp:") split($(i + 1), inputs, "/")
      }
    }
    /^#[0-9]+.*INITED/ { for (i = 1; i < NF; i++) if ($i == "cov:") first = $(i + 1) }
    /^Done [0-9]+ runs in/ { seconds = $5 }
    END {
      printf "%d %d %d %d %d %d %s %d\n",
        executions, edges, first, features, inputs[1], seconds, commit, status
    }' "$work/$1.log" >>"$work/$1.runs"
}

# Prints figures as words.
figures() {
  awk -v front="$1" '{
    printf "%sexecutions %d, edges %d (%d at the start), features %d, inputs %d, seconds %d\n",
      front, $1, $2, $3, $4, $5, $6
  }'
}

# What a target may keep in the repository.
kept_files_max=32
kept_bytes_max=48000

# Minimises what grew into the repository: of a small set of inputs with the same coverage as many
# as fit, the largest first, which cover the most.
keep() {
  local name=$1 kept="fuzz/corpus/$1" fresh="$work/merged/$1" files=0 bytes=0 input size
  rm -rf "$fresh" && mkdir -p "$fresh" "$kept"
  "$binaries/$name" -set_cover_merge=1 -max_len="$(length_max "$name")" -timeout=10 \
    "$fresh" "$work/corpus/$name" "$kept" >"$work/$name.merge.log" 2>&1 </dev/null
  find "$kept" -type f -delete
  while read -r size input; do
    if [ "$files" -ge "$kept_files_max" ]; then break; fi
    if [ $((bytes + size)) -gt "$kept_bytes_max" ]; then continue; fi
    files=$((files + 1)) bytes=$((bytes + size))
    cp "$input" "$kept/"
  done < <(find "$fresh" -type f -printf '%s %p\n' | sort -rn)
  echo "$name: $(find "$kept" -type f | wc -l) inputs of $(find "$fresh" -type f | wc -l) are kept"
}

# The commits that runs tell of, oldest first; those that this clone does not know are left out.
commits() {
  local each
  for each in $(cat "$work"/*.runs | awk 'NF >= 8 { sub(/\+$/, "", $7); print $7 }' | sort -u); do
    git log -1 --format='%ct %h' "$each" 2>/dev/null || true
  done | sort -n | cut -d' ' -f2
}

# Writes the figures of every target: executions and seconds of all its runs, whatever commit they
# were of, coverage of the last. A violation is an input on which a target failed and has not been
# seen to pass since, or a last run that failed and left none.
write_report() {
  local cells= numbers= total=0 spent=0 full=0 violations=0 unknown=0 failed_runs=0 known
  local name sums executions edges seconds of_unknown bad last_status found outcome
  for name in $names; do
    [ -f "$work/$name.runs" ] || : >"$work/$name.runs"
    sums=$(awk '{ n += $1; s += $6; e = $2; f = $3; t = $4; i = $5; last = 0 }
      NF < 8 { u += $1 }
      NF >= 8 { last = $8; if ($8 != 0) bad++ }
      END { printf "%d %d %d %d %d %d %d %d %d", n, e, f, t, i, s, u, bad, last }' "$work/$name.runs")
    read -r executions edges _ _ _ seconds of_unknown bad last_status <<<"$sums"
    found=$(failures "$name" | wc -l)
    if [ "$found" -eq 0 ] && [ "$last_status" -ne 0 ]; then found=1; fi
    outcome="held: $(figures "" <<<"$sums")"
    if [ "$found" -gt 0 ]; then outcome="VIOLATION: $found failures; $(figures "" <<<"$sums")"; fi
    cells+="${cells:+,}
    {\"cell\": \"$name\", \"outcome\": \"$outcome\"}"
    numbers+=", \"${name}_executions\": $executions, \"${name}_edges\": $edges"
    total=$((total + executions)) spent=$((spent + seconds)) unknown=$((unknown + of_unknown))
    violations=$((violations + found)) failed_runs=$((failed_runs + bad))
    if [ "$executions" -ge 10000000 ]; then full=$((full + 1)); fi
  done
  known=$(commits)
  mkdir -p proof/results
  cat >proof/results/fuzz.json <<JSON
{
  "name": "fuzz",
  "title": "Coverage-guided fuzzing of every decoder of outside bytes. Executions add up over the runs of all commits from the oldest to the newest; violations are the failures that are still there.",
  "command": "bash scripts/fuzz.sh --executions 10000000 --report",
  "commit": "$(git rev-parse --short HEAD)",
  "date": "$(date -u +%F)",
  "machine": "$(nproc) cores, $(uname -sm)",
  "seconds": $spent,
  "violations": $violations,
  "figures": {"targets": $(wc -w <<<"$names"), "targets_with_ten_million": $full,
    "executions": $total, "executions_of_unknown_commits": $unknown, "failed_runs": $failed_runs,
    "oldest_commit": "$(head -n 1 <<<"${known:-unknown}")",
    "newest_commit": "$(tail -n 1 <<<"${known:-unknown}")"$numbers},
  "cells": [$cells
  ]
}
JSON
  [ "$violations" -eq 0 ]
}

names=$(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
if [ -n "$target" ]; then
  grep -qx "$target" <<<"$names" || { echo "there is no target $target" >&2; exit 64; }
  names=$target
fi
failed=0
for name in $names; do
  if [ -n "$only_figures" ]; then continue; fi
  if [ -n "$merge" ]; then
    keep "$name"
    continue
  fi
  replay "$name" || failed=1
  [ -n "$only_replay" ] || fuzz "$name" || failed=1
done
[ -z "$report" ] || write_report || failed=1
exit "$failed"
