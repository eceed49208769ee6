#!/usr/bin/env bash
# Installs what the tests need beyond Rust: Debian packages (as root), the jars of Apache Kafka by
# Maven, Python environments with independent table readers and with real Spark. What is there
# already is skipped, so
# that a second run takes no time. Nothing outside of the cache and the Debian packages is changed.
#
#   MILLSTREAM_CACHE   where jars and wheels go (default: ~/.cache/millstream)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}
mkdir -p "$cache"
# Two runs at once would fill the same directories.
exec 9>"$cache/.setup.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi

say() { printf 'setup: %s\n' "$1"; }

has() { command -v "$1" >/dev/null 2>&1; }

# Debian packages for commands that are missing.
packages() {
  local wanted=()
  has gcc && has g++ && has make || wanted+=(build-essential)
  has strace || wanted+=(strace)
  has pkg-config || wanted+=(pkg-config)
  has java || wanted+=(default-jre-headless)
  has mvn || wanted+=(maven)
  has python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || wanted+=(python3-venv)
  [ ${#wanted[@]} -eq 0 ] && return 0
  say "Debian packages: ${wanted[*]}"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! has sudo; then
      echo "setup: not root, and no sudo; install these packages: ${wanted[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  if ! has apt-get; then
    echo "setup: no apt-get here; install what these packages give: ${wanted[*]}" >&2
    return 1
  fi
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${wanted[@]}"
}

# The jars of Apache Kafka. The mark `complete` is written last and holds the list of jars that is
# there; a run that was interrupted starts anew.
kafka() {
  local pom=tests/real/kafka/pom.xml version dir
  version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$pom")
  dir=$cache/kafka-$version
  if cmp -s "$pom" "$dir/complete"; then return 0; fi
  say "Apache Kafka $version"
  rm -rf "$dir/libs" "$dir/complete"
  mkdir -p "$dir"
  local attempt
  for attempt in 1 2 3; do
    if mvn -q -B -f "$pom" dependency:copy-dependencies \
      -Dmaven.repo.local="$cache/m2" -DincludeScope=runtime \
      -DoutputDirectory="$dir/libs" </dev/null; then
      cp "$pom" "$dir/complete"
      return 0
    fi
    say "Maven failed (attempt $attempt)"
  done
  return 1
}

# The table readers. The mark holds the list of wheels that is installed.
readers() {
  local list=tests/real/requirements.txt venv=$cache/venv
  if [ -x "$venv/bin/python" ] && cmp -s "$list" "$venv/complete"; then return 0; fi
  say "Python wheels: independent table readers"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --only-binary :all: --no-deps -r "$list"
  "$venv/bin/python" -c 'import deltalake, duckdb, pyarrow.dataset'
  cp "$list" "$venv/complete"
}

# Real Spark, the other engine on the checkpoint, with its connectors.
spark() {
  local list=tests/interop/requirements.txt pom=tests/interop/pom.xml
  local venv=$cache/spark-venv jars=$cache/spark-4.2.0
  if ! { [ -x "$venv/bin/python" ] && cmp -s "$list" "$venv/complete"; }; then
    say "Python wheels: Spark"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
      --no-deps -r "$list"
    cp "$list" "$venv/complete"
  fi
  if ! cmp -s "$pom" "$jars/complete"; then
    say "Spark's connectors"
    rm -rf "$jars"
    mkdir -p "$jars"
    mvn -q -B -f "$pom" dependency:copy-dependencies -Dmaven.repo.local="$cache/m2" \
      -DincludeScope=runtime -DoutputDirectory="$jars" </dev/null
    cp "$pom" "$jars/complete"
  fi
}

packages
kafka
readers
spark
say "ready in $cache"
