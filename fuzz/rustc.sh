#!/usr/bin/env bash
# A wrapper of the compiler (`RUSTC_WRAPPER`, see scripts/fuzz.sh): takes the instrumentation away
# from what is not ours to fuzz. Comparisons are traced in our crates only, and so is what is
# generic and compiled in them; most of the time went into those of the regex library. Libraries
# that decode bytes for us keep their edges, so that inputs find their way through to us.
set -euo pipefail

name=
for ((at = 1; at <= $#; at++)); do
  if [ "${!at}" = --crate-name ]; then
    at=$((at + 1)) name=${!at}
    break
  fi
done
case "$name ${CARGO_PKG_NAME:-}" in
  *" millstream-"*) exec "$@" ;;
  "parquet "* | "serde_json "* | "kafka_protocol "* | "snap "* | "lz4_flex "* | "zlib_rs "*)
    dropped='*-sanitizer-coverage-trace-compares' ;;
  *) dropped='*-sanitizer-coverage-*' ;;
esac
kept=()
for argument in "$@"; do
  # shellcheck disable=SC2053 # a pattern
  if [[ $argument != $dropped ]]; then kept+=("$argument"); fi
done
exec "${kept[@]}"
