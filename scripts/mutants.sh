#!/usr/bin/env bash
# Changes the code in hundreds of small ways, one at a time, and counts which changes the tests
# notice (cargo-mutants). Ends with figures, also in proof/results/mutants.json.
#
#   bash scripts/mutants.sh              core, sink and source
#   bash scripts/mutants.sh core         one part: core, sink or source
#   MILLSTREAM_MUTANTS_ARGS="--re decide" ...   more arguments for cargo-mutants
#
# Works in a copy below the cache (MILLSTREAM_CACHE), so that nothing here changes meanwhile. What
# survives is listed by the part in <cache>/mutants/<part>/mutants.out/missed.txt; mutants that no
# test can notice are explained in proof/mutants.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=27.1.0
root=$PWD
cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}/mutants
tool=$cache/tool-$version/bin/cargo-mutants
mkdir -p "$cache"

if [ ! -x "$tool" ]; then
  CARGO_TARGET_DIR=$cache/tool-target \
    cargo install --locked --version "$version" cargo-mutants --root "$cache/tool-$version"
fi

# The tree as git knows it, with what is not committed yet.
copy=$cache/tree
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  [ -e "$file" ] && printf '%s\0' "$file"
done | tar --create --null --files-from=- | tar --extract --directory "$copy"

# round PART ARGUMENTS.. -- TEST ARGUMENTS..: tests what no round before has caught. Exit status 2
# and 3 say that mutants survived or hung, which the figures say as well.
round() {
  local part=$1 status=0
  shift
  (
    cd "$copy"
    unset CARGO_TARGET_DIR
    # shellcheck disable=SC2086
    "$tool" mutants --in-place --iterate --profile mutants --baseline skip \
      --timeout 120 --build-timeout 900 --no-times --output "$cache/$part" \
      ${MILLSTREAM_MUTANTS_ARGS:-} "$@"
  ) || status=$?
  case $status in 0 | 2 | 3) ;; *) return "$status" ;; esac
}

core() {
  # Most mutants die of tests that take a moment; the simulator is asked about the rest.
  round core --package millstream-core -- --lib -- --skip sim:: --skip every_branch
  MILLSTREAM_SEEDS=100 round core --package millstream-core -- --lib
}

sink() {
  round sink --package millstream-delta \
    --file 'crates/delta/src/{commit,sink,mark,plan,table,features,properties}.rs' \
    --file 'crates/delta/src/log/*.rs' -- --lib --test delta -- --skip independent::
}

source_part() {
  round source --package millstream-kafka \
    --file 'crates/kafka/src/{plan,loss,split,snapshot,source}.rs' \
    --file 'crates/kafka/src/{source,plan,loss}/**/*.rs' -- --lib --test it -- --skip real::
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(core sink source)
for part in "${parts[@]}"; do
  case $part in core | sink | source) ;; *) echo "no part \`$part\`" >&2; exit 2 ;; esac
  # The figures are those of this tree: what another tree caught says nothing.
  rm -rf "${cache:?}/$part"
  started=$(date +%s)
  case $part in source) source_part ;; *) "$part" ;; esac
  echo $(($(date +%s) - started)) >"$cache/$part/seconds"
done

# A run that was asked for some mutants only is no result.
result=$root/proof/results/mutants.json
[ -z "${MILLSTREAM_MUTANTS_ARGS:-}" ] || result=$cache/some.json
mkdir -p "$(dirname "$result")"
python3 "$root/scripts/mutants.py" "$cache" "$result" "${parts[@]}"
