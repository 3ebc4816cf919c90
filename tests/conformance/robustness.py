#!/usr/bin/env python3
"""Runs upstream's robustness harness on our server and on upstream's, one member each.

    tests/conformance/robustness.py --ours target/release/holdfast [--rounds 10]

The harness puts a load on the server, kills it meanwhile, and then judges three things against a
model: what each client was told (linearizability), what each watch was told (nothing lost, doubled
or out of order), and the log, which it reads off the disk: every acknowledged write must be there.

What is run: the scenarios that start one member and need no failpoints. They alone are named here;
docs/CONFORMANCE.md says what the others need. no_failpoints.py stands before both servers. Each run
has a process, a network and a folder of its own, one after the other: the load has a lowest rate.

What must hold: no run on ours fails.
"""

import argparse
import pathlib
import re
import sys
import tempfile
import time

import run

SCENARIOS = (
    "TestRobustnessExploratory/^EtcdHighTraffic$/^ClusterOfSize1",
    "TestRobustnessExploratory/^EtcdTrafficDeleteLeases$/^ClusterOfSize1",
    "TestRobustnessExploratory/^KubernetesHighTraffic$/^ClusterOfSize1",
    "TestRobustnessExploratory/^KubernetesLowTraffic$/^ClusterOfSize1",
    "TestRobustnessRegression/^Issue15220",
)
# Seconds for one run: the harness itself gives its judgement five minutes.
PATIENCE = 540
# What a failure of the machine looks like: the load did not come up before anything was done.
TOO_SLOW = "qps before failpoint injection for test results to be reliable"
# Tries of a run that was too slow to judge anything.
TRIES = 3
# Requests that were answered in the whole run.
ANSWERED = re.compile(r'Reporting complete traffic"?.*?"successes": (\d+)')


def stand_before(work, name, server):
    """A folder with `etcd`, which answers for failpoints, and the server behind it."""
    place = work / name
    (place / "server").mkdir(parents=True)
    run.link(server, place / "server" / "etcd")
    run.link(run.HERE / "no_failpoints.py", place / "etcd")
    return place


def judge(outcome):
    """(verdict, requests answered, whether the machine was too slow) of one run."""
    text = "\n".join(line for lines in outcome.output.values() for line in lines)
    answered = [int(count) for count in ANSWERED.findall(text)]
    verdicts = set(outcome.leaves().values())
    if verdicts == {"PASS"}:
        # A scenario that nothing was asked in has shown nothing.
        return ("PASS" if sum(answered) > 0 else "FAIL"), sum(answered), False
    verdict = "SKIP" if verdicts == {"SKIP"} else "FAIL"
    return verdict, sum(answered), TOO_SLOW in text


def run_scenario(options, suites, scenario, place, side, number):
    shown = scenario.translate({ord("^"): None, ord("$"): None})
    keep = options.logs / side / str(number) if options.logs else None
    for _ in range(TRIES):
        begun = time.monotonic()
        outcome = run.run_test(suites, "robustness", scenario, place, [], keep, PATIENCE)
        verdict, answered, too_slow = judge(outcome)
        took = time.monotonic() - begun
        print(f"{side:9} {verdict} {shown}: {answered} requests, {took:.0f} s", flush=True)
        if not too_slow:
            break
        print("          the machine was too slow for the load; once more", flush=True)
    if verdict != "PASS":
        for name, said in sorted(outcome.output.items()):
            told = [line for line in said if "Error" in line or "rror:" in line][:20]
            print("\n".join(f"          {name}: {line.strip()[:300]}" for line in told), flush=True)
    return verdict


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="our program")
    parser.add_argument("--peers", default=run.peers_folder(), help="where upstream's programs are")
    parser.add_argument("--rounds", type=int, default=1, help="how often each scenario is run")
    parser.add_argument("--only", default=".", help="regular expression of scenarios")
    parser.add_argument("--ours-only", action="store_true", help="do not run upstream's")
    parser.add_argument("--logs", type=pathlib.Path, help="keep each run's output in this folder")
    return parser.parse_args()


def main():
    options = arguments()
    peers = pathlib.Path(options.peers)
    suites = peers / "etcd-robustness"
    if not (suites / "robustness.test").exists():
        sys.exit(f"the harness is not in {suites}: run tests/peers/build.sh etcd-robustness etcd-3.6")
    if options.logs:
        options.logs = options.logs.resolve()
    came_to = {}
    with tempfile.TemporaryDirectory(prefix="robustness-") as work:
        work = pathlib.Path(work)
        sides = {"ours": stand_before(work, "ours", pathlib.Path(options.ours).resolve())}
        if not options.ours_only:
            sides["upstream"] = stand_before(work, "upstream", peers / "etcd-3.6")
        for number in range(options.rounds):
            for scenario in (one for one in SCENARIOS if re.search(options.only, one)):
                for side, place in sides.items():
                    verdict = run_scenario(options, suites, scenario, place, side, number)
                    came_to.setdefault(side, []).append(verdict)
    for side, verdicts in came_to.items():
        print(f"{side}: {verdicts.count('PASS')} of {len(verdicts)} runs passed")
    sys.exit(0 if came_to and set(came_to["ours"]) == {"PASS"} else 1)


if __name__ == "__main__":
    main()
