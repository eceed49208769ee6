"""Measures how many mutants the tests notice, with one build for all of them; see README.md.

    measure.py CACHE CARGO_MUTANTS TOOL [--survivors] PART..

Called by scripts/mutants.sh. What was found lies in CACHE/<part>/found.json, under a key of all that
the tests of the part are built from, so that a run that was stopped goes on.
"""

import collections
import concurrent.futures
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULT = ROOT / "proof/results/mutants.json"
EXPLAINED = ROOT / "proof/mutants.md"

# What of the tree no test of a part reads.
UNREAD = re.compile(r"\.md$|^(docs|proof|scripts|fuzz|examples|tests)/")

# The question of every mutant whether it was chosen.
CHOICE = """
#[doc(hidden)]
#[inline(never)]
pub(crate) fn mutant_is(number: usize) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    let chosen = || std::env::var("MILLSTREAM_MUTANT").ok().and_then(|text| text.parse().ok());
    *CHOSEN.get_or_init(chosen) == Some(number)
}
"""

# What stands in no build, and why.
ABSENT = {
    "unviable": "unviable",
    "constant": "not measured: computed while compiling",
    "feature": "not measured: only in builds with another feature",
    "unknown": "not measured: of a form that is not merged",
}

# An address space that no test needs: a mutant that asks for ever more ends.
MOST_KILOBYTES = 16 * 1024 * 1024
# The share of the core's mutants that have to be killed.
CORE_PERCENT_MIN = 90.0
# How often a set of tests is asked where a test failed once and not again.
ATTEMPTS = 3


@dataclasses.dataclass
class Tests:
    """A set of tests: a target of the package, and arguments and variables for it."""

    target: str
    arguments: list
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Part:
    """What is mutated, and which sets of tests are asked about it, the fast one first."""

    package: str
    files: list
    tests: list

    @property
    def folder(self):
        return "crates/" + self.package.removeprefix("millstream-")


PARTS = {
    "core": Part(
        "millstream-core",
        [],
        [
            Tests("lib", ["--skip", "sim::", "--skip", "every_branch"]),
            # Planted bugs take more seeds, and tell of the simulator, not of what it runs.
            Tests(
                "lib",
                ["sim::", "every_branch", "--skip", "every_planted_bug"],
                {"MILLSTREAM_SEEDS": "100"},
            ),
        ],
    ),
    "sink": Part(
        "millstream-delta",
        [
            "crates/delta/src/{commit,sink,mark,plan,table,features,properties}.rs",
            "crates/delta/src/log/*.rs",
        ],
        [Tests("lib", []), Tests("delta", ["--skip", "independent::"])],
    ),
    "source": Part(
        "millstream-kafka",
        [
            "crates/kafka/src/{plan,loss,split,snapshot,source}.rs",
            "crates/kafka/src/{source,plan,loss}/**/*.rs",
        ],
        [Tests("lib", []), Tests("it", ["--skip", "real::"])],
    ),
}


def said(*command, place=ROOT):
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout


def files_of_tree():
    """The tree as git knows it, with what is not committed yet."""
    named = said("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return sorted({name for name in named.split("\0") if name and (ROOT / name).is_file()})


def files_in(tree):
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())


def mirror(names, source, into):
    """Makes `into` hold these files; one that is the same keeps its time, and cargo its build."""
    wanted = set(names)
    for name in files_in(into):
        if name not in wanted:
            (into / name).unlink()
    for name in names:
        path, content = into / name, (source / name).read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def packages_of(part, tree):
    """The folders of a part's package and of all of ours that its tests stand on."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"]
    metadata = json.loads(said(*command, place=tree))
    by_name = {package["name"]: package for package in metadata["packages"]}
    found, todo = set(), [part.package]
    while todo:
        package = by_name[todo.pop()]
        if package["name"] not in found:
            found.add(package["name"])
            todo += [each["name"] for each in package["dependencies"] if each.get("path")]
    folders = (pathlib.Path(by_name[name]["manifest_path"]).parent for name in found)
    return [str(folder.relative_to(tree)) + "/" for folder in folders]


def key(part, tree):
    """Of all that decides what is found about a part."""
    folders = (*packages_of(part, tree), "mutants/src/", ".cargo/")
    hashed = hashlib.sha256(repr((part, said("rustc", "-vV"))).encode())
    for name in files_in(tree):
        if UNREAD.search(name) or ("/" in name and not name.startswith(folders)):
            continue
        hashed.update(name.encode() + b"\0" + hashlib.sha256((tree / name).read_bytes()).digest())
    return hashed.hexdigest()


class Build:
    """One build with all mutants of a part."""

    def __init__(self, cache, part, tool, mutants):
        self.part, self.tool, self.mutants = part, tool, mutants
        self.original, self.tree = cache / "tree", cache / "build"
        listed = json.loads(mutants.read_text())
        self.genres = [mutant["genre"] for mutant in listed]
        # Number to where it stands, of what is in the build.
        self.written = {}
        # Number to why not, of what is not.
        self.absent = {}

    def merge(self):
        """Writes the files anew, without the mutants that are known not to compile."""
        left_out = [str(number) for number in self.absent]
        answer = json.loads(
            said(self.tool, self.mutants, self.original, self.tree, *left_out)
        )
        self.written = {int(number): place for number, place in answer["written"].items()}
        for number, why in answer["absent"].items():
            self.absent[int(number)] = ABSENT[why]
        library = self.tree / self.part.folder / "src/lib.rs"
        text = library.read_text()
        if "fn mutant_is" not in text:
            library.write_text(text + CHOICE)

    def tests(self):
        """The test binaries by their target, after as many builds as mutants need to be left out."""
        targets = {tests.target for tests in self.part.tests}
        asked = [arg for name in targets for arg in (["--lib"] if name == "lib" else ["--test", name])]
        command = ["cargo", "test", "--profile", "mutants", "--locked", "--no-run", "--jobs",
                   str(os.cpu_count()), "--message-format", "json", "--package", self.part.package]
        while True:
            self.merge()
            done = subprocess.run([*command, *asked], cwd=self.tree, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, check=False)
            messages = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
            if done.returncode == 0:
                return {
                    "lib" if "lib" in each["target"]["kind"] else each["target"]["name"]:
                        each["executable"]
                    for each in messages
                    if each.get("executable") and each["profile"]["test"]
                }
            self.leave_out([each["message"] for each in messages if "message" in each])

    def leave_out(self, messages):
        """The mutants that these errors of the compiler are about."""
        errors = [each for each in messages if each["level"] == "error" and each["spans"]]
        found = {}
        for error in errors:
            for number, why in self.blamed(error):
                # What is wrong in itself is wrong whatever else an error says.
                if found.get(number) != "unviable":
                    found[number] = why
        if not found:
            raise SystemExit("\n".join(each["rendered"] for each in errors))
        print(f"  {len(found)} mutants do not compile", flush=True)
        self.absent.update(found)

    def blamed(self, error):
        """An error inside a mutant is its own; one beside it may come of the merging."""
        if (error["code"] or {}).get("code") == "E0004":
            return self.needed_arms(error)
        spans = sorted(all_spans(error), key=lambda span: not span["is_primary"])
        for span in spans:
            inside = [n for n, place in self.written.items() if covers(place, "mutant", span)]
            if inside:
                return [(number, "unviable") for number in inside]
        for span in spans:
            around = [n for n, place in self.written.items() if covers(place, "whole", span)]
            if around:
                size = {n: length(self.written[n]["whole"]) for n in around}
                least = min(size.values())
                return [(n, "not measured: does not compile beside the original")
                        for n in around if size[n] == least]
        return []


    def needed_arms(self, error):
        """Deleted arms of a `match` that is not exhaustive now: it needs one of them, or each."""
        place = next(span for span in error["spans"] if span["is_primary"])
        spans = list(all_spans(error))
        # The compiler proposes another arm behind the last one.
        last = max(span["byte_end"] for span in spans if span["file_name"] == place["file_name"])
        arms = [
            number
            for number, written in self.written.items()
            if self.genres[number] == "MatchArm"
            and written["file"] == place["file_name"]
            and place["byte_start"] <= written["mutant"]["start"] < last
        ]
        why = "unviable" if len(arms) == 1 else "not measured: its match needs one of several arms"
        return [(number, why) for number in arms]


def all_spans(message):
    yield from message["spans"]
    for child in message["children"]:
        yield from all_spans(child)


def length(place):
    return place["end"] - place["start"]


def covers(place, what, span):
    return (
        place["file"] == span["file_name"]
        and place[what]["start"] <= span["byte_start"] < place[what]["end"]
    )


class Runner:
    """Runs test binaries with a mutant chosen."""

    def __init__(self, part, binaries):
        self.part, self.binaries = part, binaries
        self.limits = []
        # Lakes and logs of tests by the thousand: in memory where there is a place for it.
        memory = pathlib.Path("/dev/shm")
        self.place = memory if os.access(memory, os.W_OK) else None

    def baseline(self):
        """The tests without a mutant, which have to pass; how long they may take with one."""
        for tests in self.part.tests:
            started = time.monotonic()
            outcome, test = self.run(tests, None, 3600)
            seconds = time.monotonic() - started
            if outcome != "passed":
                raise SystemExit(f"without a mutant, {test or tests.target} {outcome}")
            self.limits.append(30 + 10 * seconds)
            print(f"  without a mutant: {tests.target} {' '.join(tests.arguments)}: "
                  f"{seconds:.1f} s", flush=True)

    def mutant(self, number, killer):
        """How a mutant ends: `killed` and by what, `timeout`, `survived`. What killed it in an
        earlier tree is asked first."""
        for tests, limit in zip(self.part.tests, self.limits):
            alone = dataclasses.replace(tests, arguments=["--exact", killer or ""])
            if killer and all(self.run(alone, number, limit)[0] == "failed" for _ in range(2)):
                return "killed", killer
        for tests, limit in zip(self.part.tests, self.limits):
            outcome, test = self.ask(tests, number, limit)
            if outcome != "passed":
                return outcome, test
        return "survived", None

    def ask(self, tests, number, limit):
        """A failure counts if the same test fails again by itself: some depend on time."""
        for _ in range(ATTEMPTS):
            outcome, test = self.run(tests, number, limit)
            if outcome != "failed" or test is None:
                return ("killed" if outcome == "failed" else outcome), test
            alone = dataclasses.replace(tests, arguments=["--exact", test])
            outcome, _ = self.run(alone, number, limit)
            if outcome != "passed":
                return "killed" if outcome == "failed" else outcome, test
        return "passed", None

    def run(self, tests, number, limit):
        """One run until its first failure: `passed`, `failed` (and which test) or `timeout`."""
        environment = {**os.environ, **tests.environment}
        if number is not None:
            environment["MILLSTREAM_MUTANT"] = str(number)
        with tempfile.TemporaryDirectory(dir=self.place, prefix="mutant") as place:
            environment["TMPDIR"] = place
            process = subprocess.Popen(
                ["sh", "-c", f'ulimit -v {MOST_KILOBYTES} -c 0; exec nice -n 10 "$0" "$@"',
                 self.binaries[tests.target], *tests.arguments],
                cwd=self.binaries["folder"], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
                start_new_session=True,
            )
            late = threading.Event()

            def stop():
                late.set()
                os.killpg(process.pid, signal.SIGKILL)

            timer = threading.Timer(limit, stop)
            timer.start()
            try:
                failed = first_failure(process.stdout)
                if failed is not None:
                    os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
            finally:
                timer.cancel()
                process.stdout.close()
        if failed is not None:
            return "failed", failed
        if late.is_set():
            return "timeout", None
        return ("passed" if status == 0 else "failed"), None


def first_failure(lines):
    for line in lines:
        failed = re.match(r"test (\S+).* \.\.\. FAILED", line)
        if failed:
            return failed[1]
    return None


class Found:
    """What is known about the mutants of a part, kept as it grows."""

    def __init__(self, path, of):
        self.path, self.lock = path, threading.Lock()
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.before = kept.get("mutants", {})
        killed = {name: each["test"] for name, each in self.before.items() if "test" in each}
        # What killed a mutant, in this tree or in an earlier one.
        self.killers = {**kept.get("killers", {}), **killed}
        self.known = kept if kept.get("key") == of else {"key": of, "seconds": 0.0, "mutants": {}}
        self.known["killers"] = self.killers

    def add(self, name, outcome, test=None):
        with self.lock:
            self.known["mutants"][name] = {"outcome": outcome, **({"test": test} if test else {})}

    def save(self, seconds=0.0):
        with self.lock:
            self.known["seconds"] += seconds
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.known, indent=1))
            new.replace(self.path)


def listed(part, cargo_mutants, tree, into):
    """All mutants of a part, as cargo-mutants names them."""
    files = [argument for each in part.files for argument in ("--file", each)]
    command = [cargo_mutants, "mutants", "--list", "--json", "--package", part.package, *files]
    into.write_text(said(*command, place=tree))
    return [mutant["name"] for mutant in json.loads(into.read_text())]


def measure(name, cache, cargo_mutants, tool, only_survivors):
    """Asks about every mutant of a part that nothing is known about."""
    part, folder = PARTS[name], cache / name
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"{name}:", flush=True)
    tree = cache / "tree"
    mirror(files_in(tree), tree, cache / "build")
    found = Found(folder / "found.json", key(part, tree))
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / "bin").mkdir()
    names = listed(part, cargo_mutants, tree, folder / "list.json")
    build = Build(cache, part, tool, folder / "list.json")
    binaries = {
        target: shutil.copy2(path, folder / "bin" / target) for target, path in build.tests().items()
    }
    for path in binaries.values():
        if b"MILLSTREAM_MUTANT" not in pathlib.Path(path).read_bytes():
            raise SystemExit(f"{path} was built without mutants")
    binaries["folder"] = str(build.tree / part.folder)
    for number, why in build.absent.items():
        found.add(names[number], why)
    runner = Runner(part, binaries)
    runner.baseline()
    wanted = [n for n in sorted(build.written) if names[n] not in found.known["mutants"]]
    if only_survivors:
        left = ("survived", "timeout")
        wanted = [n for n in wanted if found.before.get(names[n], {}).get("outcome") in left]
    print(f"  {len(names)} mutants, {len(build.absent)} not in the build, {len(wanted)} to ask",
          flush=True)

    def ask(number):
        outcome, test = runner.mutant(number, found.killers.get(names[number]))
        if only_survivors:
            print(f"  {outcome}: {names[number]}" + (f" ({test})" if test else ""), flush=True)
            return
        found.add(names[number], outcome, test)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        waiting = {workers.submit(ask, number) for number in wanted}
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, timeout=20)
            for each in done:
                each.result()
            if not only_survivors:
                found.save(time.monotonic() - started)
                started = time.monotonic()
                if waiting:
                    print(f"  {len(waiting)} left", flush=True)
    return found.known


def plain(name):
    """A mutant's name without where it stands: `file: what in function`."""
    return re.sub(r"^crates/\w+/src/(\S+?):\d+:\d+: ", r"\1: ", name)


def place(name):
    """Line and column of a mutant."""
    found = re.match(r"\S+?:(\d+):(\d+): ", name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def keys(names):
    """A mutant's name as proof/mutants.md writes it: file, function and what is put in, which stay
    when lines move. Where a function has several of one such name, each has its number in their
    order, `.. #2`, so that an explanation is one of one mutant."""
    alike = collections.defaultdict(list)
    for each in names:
        alike[plain(each)].append(each)
    found = {}
    for name, mutants in alike.items():
        for at, mutant in enumerate(sorted(mutants, key=place), start=1):
            found[mutant] = name if len(mutants) == 1 else f"{name} #{at}"
    return found


def unexplained(known, text):
    """The survivors of a part that proof/mutants.md does not explain, under their keys there."""
    named = keys(known["mutants"])
    survivors = [n for n, each in known["mutants"].items() if each["outcome"] == "survived"]
    return {n: named[n] for n in sorted(survivors, key=place) if f"`{named[n]}`" not in text}


def useless(known_parts, text):
    """Explanations of what did not survive, or does not exist. Only where all parts are known."""
    survivors = {
        keys(known["mutants"])[name]
        for known in known_parts
        for name, each in known["mutants"].items()
        if each["outcome"] == "survived"
    }
    explained = re.findall(r"`([\w/]+\.rs: [^`]+)`", text)
    return [name for name in explained if name not in survivors]


def figures(name, known):
    """Counts of a part."""
    outcomes = collections.Counter(
        each["outcome"].split(":")[0].replace(" ", "_") for each in known["mutants"].values()
    )
    killed = outcomes["killed"] + outcomes["timeout"]
    viable = killed + outcomes["survived"]
    return {
        f"{name}_viable": viable,
        f"{name}_killed": killed,
        f"{name}_survived": outcomes["survived"],
        f"{name}_timeouts": outcomes["timeout"],
        f"{name}_unviable": outcomes["unviable"],
        f"{name}_not_measured": outcomes["not_measured"],
        f"{name}_percent": round(100 * killed / viable, 1) if viable else 0,
    }


def cells(name, known):
    """Every mutant that was not simply killed or refused by the compiler."""
    missing = unexplained(known, EXPLAINED.read_text())
    for mutant, each in sorted(known["mutants"].items()):
        outcome = each["outcome"]
        if outcome == "survived":
            outcome = "survived, explained in proof/mutants.md"
        if mutant in missing:
            outcome = "VIOLATION: survived, and nothing explains it"
        if outcome == "timeout":
            outcome = "timeout: its tests did not end"
        if outcome not in ("killed", "unviable"):
            yield {"cell": f"{name} {mutant}", "outcome": outcome}


def main():
    arguments = sys.argv[1:]
    only_survivors = "--survivors" in arguments
    cache, cargo_mutants, tool, *parts = [each for each in arguments if each != "--survivors"]
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise SystemExit(f"no part `{unknown[0]}`: {', '.join(PARTS)}")
    cache = pathlib.Path(cache)
    commit = said("git", "rev-parse", "--short", "HEAD").strip()
    # The tree as it is now, whatever is changed meanwhile.
    mirror(files_of_tree(), ROOT, cache / "tree")
    for part in parts or list(PARTS):
        measure(part, cache, cargo_mutants, tool, only_survivors)
    if not only_survivors:
        return report(cache, commit)
    return True


def report(cache, commit):
    """Writes the result, with all parts that were measured on this tree. Whether every survivor is
    explained and enough of the core's mutants are killed."""
    known = {}
    for name, part in PARTS.items():
        found = Found(cache / name / "found.json", key(part, cache / "tree"))
        if found.known["mutants"]:
            known[name] = found.known
    if not known:
        return True
    text = EXPLAINED.read_text()
    missing = {name: unexplained(each, text) for name, each in known.items()}
    counts = {k: v for name, each in known.items() for k, v in figures(name, each).items()}
    violations = sum(len(each) for each in missing.values())
    counts["survivors_explained"] = (
        sum(counts[f"{name}_survived"] for name in known) - violations
    )
    too_few = "core" in known and counts["core_percent"] < CORE_PERCENT_MIN
    result = {
        "name": "mutants",
        "title": "Small changes of the code, one at a time: how many the tests notice",
        "command": "bash scripts/mutants.sh",
        "commit": commit,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "seconds": round(sum(each["seconds"] for each in known.values()), 1),
        "violations": violations + too_few,
        "figures": counts,
        "cells": [cell for name, each in known.items() for cell in cells(name, each)],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name in known:
        counts = {k.removeprefix(name + "_"): v for k, v in figures(name, known[name]).items()}
        print(f"{name}: {counts['killed']} of {counts['viable']} viable mutants killed "
              f"({counts['percent']} %), {counts['survived']} survived, {counts['timeouts']} of the "
              f"killed did not end, {counts['not_measured']} not measured")
    for name, mutants in missing.items():
        for mutant, as_written in mutants.items():
            print(f"{name}: nothing explains `{as_written}` ({mutant})")
    if known.keys() == PARTS.keys():
        for name in useless(known.values(), text):
            print(f"proof/mutants.md explains what did not survive: `{name}`")
    if too_few:
        print(f"core: less than {CORE_PERCENT_MIN} % are killed")
    return not violations and not too_few


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
