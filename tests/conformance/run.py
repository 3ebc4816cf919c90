#!/usr/bin/env python3
"""Runs upstream's own suites on our server and on upstream's, side by side.

    tests/conformance/run.py --ours target/release/holdfast [--only REGEXP] [--suites common,e2e]

What is run: the tests of upstream's `common` and `e2e` suites that start one member only. The rule:
a test (or sub test) belongs here if every etcd that it starts is alone in its --initial-cluster and
joins nobody. Those that break the rule stand in several-members.txt, which `--survey` writes anew
from what the suites were seen to start.

Each top-level test runs in a process, a network and a temporary folder of its own: upstream's tests
use fixed ports, and after a failure the suite skips whatever follows in the same process.

What must hold: a test that passes on upstream's binary and not on ours is a difference; each must
stand in known-differences.txt with its reason, else the run fails. A known difference that is none
any more is told, and fails the run too.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
# Seconds for one top-level test; upstream's longest with one member takes about 100.
PATIENCE = 240
# Whatever happens, one test's output is not more than this.
MOST_OUTPUT_BYTES = 64 << 20

LOOPBACK = """
ip link set lo up
ip addr add 10.99.0.1/32 dev lo
ip route add default dev lo src 10.99.0.1
exec "$@"
"""

STARTED = re.compile(r"^\x16?=== (?:RUN|NAME|CONT)\s+(\S+)")
ENDED = re.compile(r"^\s*\x16?--- (PASS|FAIL|SKIP): (\S+) \(")
CLUSTER = re.compile(r"--initial-cluster(?:=|\\?\", \\?\")([^\"\\]+)")
# How a reason begins whose test passes now and then: nobody is told then that it is gone.
BY_LUCK = "by luck: "
LEAKED = "Found leaked goroutined BEFORE test"


class Outcome:
    """What one top-level test came to: a verdict for each leaf."""

    def __init__(self):
        self.verdicts = {}
        self.output = {}
        self.several = set()

    def leaves(self):
        names = list(self.verdicts)
        return {
            name: verdict
            for name, verdict in self.verdicts.items()
            if not any(other.startswith(name + "/") for other in names)
        }


def lines_of(path):
    """The lines of a data file without comments; name and what follows it."""
    found = {}
    if path.exists():
        for line in path.read_text().splitlines():
            line = line.strip()
            if line and not line.startswith("#"):
                name, _, rest = line.partition(" ")
                found[name] = rest.strip()
    return found


def tests_of(suites, suite):
    listed = subprocess.run(
        [suites / f"{suite}.test", "-test.list", "."],
        cwd=suites, capture_output=True, text=True, check=True,
        env=dict(os.environ, TMPDIR=tempfile.gettempdir()),
    )
    return [name for name in listed.stdout.split() if name.startswith("Test")]


def skip_pattern(names):
    """Go's -test.skip for these sub tests; each element of a name is matched by itself."""
    quoted = ["/".join(f"^{re.escape(part)}$" for part in name.split("/")) for name in names]
    return "|".join(quoted)


def read_output(text, outcome):
    current = None
    for line in text.split("\n"):
        begun = STARTED.match(line)
        if begun:
            current = begun.group(1)
            continue
        ended = ENDED.match(line)
        if ended:
            outcome.verdicts[ended.group(2)] = ended.group(1)
            continue
        if current:
            outcome.output.setdefault(current, []).append(line)
            if LEAKED in line:
                outcome.output[current].append("skipped after a leak")
    for name, said in outcome.output.items():
        whole = "".join(said)
        clusters = CLUSTER.findall(whole)
        joins = "--initial-cluster-state=existing" in whole and any("," in one for one in clusters)
        if joins or any("," in one for one in clusters):
            outcome.several.add(name)


def run_test(suites, suite, test, binaries, without, keep, patience=PATIENCE):
    """One test against the programs in a folder; what it says goes to the folder `keep`, if any."""
    outcome = Outcome()
    work = pathlib.Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        # The suites look for their files relative to where they run.
        run_in = work / "tests" / suite
        run_in.mkdir(parents=True)
        (work / "tests" / "fixtures").symlink_to(suites / "fixtures")
        (work / "etcd.conf.yml.sample").symlink_to(suites / "etcd.conf.yml.sample")
        (work / "tmp").mkdir()
        command = ["unshare"] + (["--user", "--map-root-user"] if os.geteuid() != 0 else [])
        command += ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["bash", "-c", LOOPBACK, "conformance", str(suites / f"{suite}.test")]
        command += ["-test.v=test2json", f"-test.timeout={patience}s", f"-test.run=^{test}$"]
        command += [f"-bin-dir={binaries}"]
        if without:
            command.append("-test.skip=" + skip_pattern(without))
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("ETCD")
        }
        environment["TMPDIR"] = str(work / "tmp")
        # Where the robustness harness puts what it has when it fails.
        environment["RESULTS_DIR"] = str(keep or work)
        log = work / "output"
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                command, cwd=run_in, env=environment, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
            )
            try:
                process.wait(timeout=patience + 30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with open(log, "rb") as source:
            text = source.read(MOST_OUTPUT_BYTES).decode(errors="replace")
        read_output(text, outcome)
        if not outcome.verdicts or (process.returncode != 0 and "FAIL" not in outcome.verdicts.values()):
            outcome.verdicts[test] = "FAIL"
            outcome.output.setdefault(test, []).append(text[-2000:])
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, keep / f"{suite}-{test.replace('/', '-')}.log")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return outcome


def folder(work, name, programs):
    place = work / name
    place.mkdir()
    for called, program in programs.items():
        link(program, place / called)
    return place


def link(program, target):
    """A copy under its own name: the server looks at how it is called."""
    try:
        os.link(program, target)
    except OSError:
        shutil.copy2(program, target)


def peers_folder():
    peers = os.environ.get("HOLDFAST_PEERS")
    if not peers:
        cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
        peers = os.path.join(cache, "holdfast", "peers")
    return peers


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="our program")
    parser.add_argument("--peers", default=peers_folder(), help="where upstream's programs are")
    parser.add_argument("--suites", default="common,e2e")
    parser.add_argument("--only", default=".", help="regular expression of top-level tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--our-tools", action="store_true", help="etcdctl and etcdutl are ours too")
    parser.add_argument("--ours-only", action="store_true", help="do not run upstream's")
    parser.add_argument("--survey", action="store_true", help="write several-members.txt anew")
    parser.add_argument("--logs", type=pathlib.Path, help="keep each test's output in this folder")
    parser.add_argument(
        "--reuse", action="store_true",
        help="take what upstream's came to from the outputs in --logs, where they are there",
    )
    return parser.parse_args()


def run_all(options, suites, sides, several):
    """Every test on every side: {(side, suite, leaf): verdict}, and what starts several members."""
    wanted = []
    for suite in options.suites.split(","):
        for test in tests_of(suites, suite):
            if re.search(options.only, test) and (options.survey or f"{suite}:{test}" not in several):
                wanted.append((suite, test))
    results, seen = {}, set()
    lock = threading.Lock()
    done = 0

    def work(suite, test, side):
        nonlocal done
        prefix = f"{suite}:{test}/"
        without = [] if options.survey else [
            name.removeprefix(f"{suite}:") for name in several if name.startswith(prefix)
        ]
        keep = options.logs / side if options.logs else None
        log = keep / f"{suite}-{test}.log" if keep else None
        if options.reuse and side == "upstream" and log and log.exists():
            outcome = Outcome()
            read_output(log.read_text(errors="replace"), outcome)
        else:
            outcome = run_test(suites, suite, test, sides[side], without, keep)
        with lock:
            done += 1
            leaves = outcome.leaves()
            for leaf, verdict in leaves.items():
                results[side, suite, leaf] = verdict
            seen.update(f"{suite}:{name}" for name in outcome.several)
            bad = [leaf for leaf, verdict in leaves.items() if verdict == "FAIL"]
            if bad:
                print(f"{side:9} FAIL {suite} {' '.join(bad)}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(work, suite, test, side) for suite, test in wanted for side in sides]
        for task in tasks:
            task.result()
    return results, seen


def differs(results, suite, leaf):
    """Whether a test passes on upstream's and not on ours."""
    ours, theirs = (results.get((side, suite, leaf)) for side in ("ours", "upstream"))
    return theirs == "PASS" and ours != "PASS"


def once_more(options, suites, sides, several, known, results):
    """Those that differ run again, one at a time: some have deadlines that a busy machine misses."""
    for suite, test in sorted({
        (suite, leaf.split("/")[0]) for _, suite, leaf in results
        if differs(results, suite, leaf) and not is_known(known, f"{suite}:{leaf}")
    }):
        prefix = f"{suite}:{test}/"
        without = [name.removeprefix(f"{suite}:") for name in several if name.startswith(prefix)]
        keep = options.logs / "ours" if options.logs else None
        outcome = run_test(suites, suite, test, sides["ours"], without, keep)
        for leaf, verdict in outcome.leaves().items():
            if results.get(("ours", suite, leaf)) != "PASS":
                results["ours", suite, leaf] = verdict
        print(f"once more {suite} {test}: {sorted(set(outcome.leaves().values()))}", flush=True)


def is_known(known, name):
    return any(name == key or name.startswith(key + "/") for key in known)


def count(results, side):
    verdicts = [verdict for (of, _, _), verdict in results.items() if of == side]
    return ", ".join(
        f"{verdicts.count(kind)} {word}"
        for kind, word in (("PASS", "passed"), ("FAIL", "failed"), ("SKIP", "skipped"))
    )


def compare(results, known, whole):
    """Prints the differences; whether all of them are known and all known ones are there."""
    sound = True
    names = sorted({(suite, leaf) for _, suite, leaf in results})
    met = set()
    for suite, leaf in names:
        ours = results.get(("ours", suite, leaf))
        theirs = results.get(("upstream", suite, leaf))
        if ours == "PASS":
            continue
        name = f"{suite}:{leaf}"
        reasons = {key: why for key, why in known.items() if name == key or name.startswith(key + "/")}
        # Where upstream's fails too this time, the difference is not gone.
        met.update(reasons)
        if ours == theirs:
            continue
        reason = next(iter(reasons.values()), None)
        if reason is not None:
            print(f"known difference: {name}: upstream's {theirs}, ours {ours}: {reason}")
        elif theirs == "PASS":
            sound = False
            print(f"DIFFERENCE: {name}: upstream's {theirs}, ours {ours}")
        else:
            print(f"differs, but does not pass on upstream's either: {name}: {theirs}, {ours}")
    if whole:
        demanded = {name for name, reason in known.items() if not reason.startswith(BY_LUCK)}
        for name in sorted(demanded - met):
            sound = False
            print(f"NO DIFFERENCE ANY MORE: {name}; take it out of known-differences.txt")
    return sound


def write_several(path, seen):
    """What was seen, and what was noted by hand behind the last comment."""
    old = path.read_text().splitlines() if path.exists() else []
    comments = [place for place, line in enumerate(old) if line.startswith("#")]
    by_hand = old[comments[-1]:] if len(comments) > 1 else []
    found = sorted(seen - set(by_hand))
    path.write_text("\n".join(old[:1] + found + by_hand) + "\n")
    print(f"{len(found)} tests start several members: {path}")


def main():
    options = arguments()
    peers = pathlib.Path(options.peers)
    suites = peers / "etcd-suites"
    if not (suites / "e2e.test").exists():
        sys.exit(f"upstream's suites are not in {suites}: run tests/peers/build.sh etcd-suites etcd-3.6 etcd-3.5")
    several = lines_of(HERE / "several-members.txt")
    known = lines_of(HERE / "known-differences.txt")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conformance-") as work:
        work = pathlib.Path(work)
        tools = {"etcdctl": peers / "etcdctl-3.6", "etcdutl": peers / "etcdutl-3.6"}
        last = {"etcd-last-release": peers / "etcd-3.5"}
        our = pathlib.Path(options.ours).resolve()
        our_tools = {"etcdctl": our, "etcdutl": our} if options.our_tools else tools
        sides = {"ours": folder(work, "ours", {"etcd": our, **our_tools, **last})}
        if not (options.ours_only or options.survey):
            theirs = {"etcd": peers / "etcd-3.6", **tools, **last}
            sides["upstream"] = folder(work, "upstream", theirs)
        results, seen = run_all(options, suites, sides, several)
        if "upstream" in sides:
            once_more(options, suites, sides, several, known, results)
    if options.survey:
        return write_several(HERE / "several-members.txt", seen)
    for name in sorted(seen - set(several)):
        print(f"starts several members, and is not listed: {name}")
    for side in sides:
        print(f"{side}: {count(results, side)}")
    print(f"{time.monotonic() - began:.0f} s")
    if options.ours_only:
        return None
    whole = options.only == "." and options.suites == "common,e2e"
    return None if compare(results, known, whole) else sys.exit(1)


if __name__ == "__main__":
    main()
