#!/usr/bin/env bash
# Installs what the tests need, builds everything, runs every check and test, and ends with the
# plain line "N passed, N failed". Exit status 0 only if nothing failed.
#
#   bash scripts/test.sh              everything
#   MILLSTREAM_SKIP_SETUP=1 ...       without looking for what the tests need
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
  PATH="$HOME/.cargo/bin:$PATH"
fi
if ! command -v cargo >/dev/null 2>&1; then
  cat >&2 <<'TEXT'
Rust is missing. Install it with rustup (https://rustup.rs), then run this again;
rust-toolchain.toml names the version, and rustup fetches it by itself.
TEXT
  exit 1
fi

passed=0
failed=0
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

say() { printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"; }

# check NAME COMMAND..: one check, which passes or fails as a whole.
check() {
  local name=$1
  shift
  say "$name"
  if "$@" </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
  fi
}

# Adds what `cargo test` counted. A test binary that did not get to its count is one failure.
count() {
  local status=$1 file=$2 sums
  sums=$(awk '/^test result: / { p += $4; f += $6 } END { print p + 0, f + 0 }' "$file")
  passed=$((passed + ${sums% *}))
  failed=$((failed + ${sums#* }))
  if [ "$status" -ne 0 ] && [ "${sums#* }" -eq 0 ]; then
    failed=$((failed + 1))
  fi
}

tests() {
  say "tests"
  cargo test --release --workspace --locked --no-fail-fast </dev/null 2>&1 | tee "$log/tests"
  count "${PIPESTATUS[0]}" "$log/tests"
  grep -E '^test .* FAILED$|^failures:$' "$log/tests" | sort -u | head -50
}

documents() { RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked --quiet; }

# The binary wherever cargo was told to put it.
millstream() { cargo run --release --locked --quiet --bin millstream -- "$@"; }

demo() { millstream demo --records 40000 --kills 10 --seed 7 --dir "$log/demo"; }

if [ -z "${MILLSTREAM_SKIP_SETUP:-}" ]; then
  say "what the tests need"
  if ! bash scripts/setup-tests.sh </dev/null; then
    echo "The tests' needs could not be installed; see above." >&2
    exit 1
  fi
fi

check "format" cargo fmt --all --check
# The release profile throughout: build scripts and procedural macros are shared by all steps.
check "lints" cargo clippy --release --workspace --all-targets --locked --quiet -- -D warnings
tests
check "documents" documents
check "demo" demo
check "fuzzing" bash scripts/fuzz.sh --seconds 3

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
