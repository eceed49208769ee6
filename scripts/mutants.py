"""Adds up what cargo-mutants left behind: mutants.py CACHE RESULT PART.."""

import datetime
import json
import os
import pathlib
import subprocess
import sys


def lines(path):
    return set(path.read_text().splitlines()) if path.exists() else set()


def counts(cache, part):
    """Of one part, over all its rounds: a round of `--iterate` names again what it asked again."""
    out = cache / part / "mutants.out"
    missed, timeouts = lines(out / "missed.txt"), lines(out / "timeout.txt")
    caught = lines(out / "caught.txt") | lines(out / "previously_caught.txt")
    # What was unviable in an earlier round counts there as previously caught.
    rounds = (out, cache / part / "mutants.out.old")
    unviable = set().union(*(lines(each / "unviable.txt") for each in rounds))
    caught -= unviable
    killed = len(caught) + len(timeouts)
    viable = killed + len(missed)
    return {
        "viable": viable,
        "killed": killed,
        "survived": len(missed),
        "timeouts": len(timeouts),
        "unviable": len(unviable),
        "percentKilled": round(100 * killed / viable, 1) if viable else 0,
        "seconds": int((cache / part / "seconds").read_text()),
    }


def main():
    cache, result = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    parts = sys.argv[3:]
    said = {part: counts(cache, part) for part in parts}
    figures = {
        f"{part}{name[0].upper()}{name[1:]}": figure
        for part, found in said.items()
        for name, figure in found.items()
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    whole = {
        "name": "mutants",
        "title": "Mutants that the tests notice",
        "command": "bash scripts/mutants.sh " + " ".join(parts),
        "commit": commit.stdout.strip(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {os.uname().sysname.lower()} {os.uname().machine}",
        "seconds": sum(found["seconds"] for found in said.values()),
        "violations": 0,
        "figures": figures,
    }
    result.write_text(json.dumps(whole, indent=2) + "\n")
    for part, found in said.items():
        print(f"{part}: {found['killed']} of {found['viable']} viable mutants killed "
              f"({found['percentKilled']} %), {found['survived']} survived")


main()
