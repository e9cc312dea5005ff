#!/usr/bin/env python3
"""How the cost of a request grows; called by growth.sh, which names the build in RUNNER.

One number of hold.yaml is changed at a time, the others stay: 10,000 requests a second over ten connections with a limit of 100, records
from the built-in store and every answer mapped into it. The responder is a process of its own, so that it does not share the
descriptors; CPU is that of both processes, user and system, over the whole run, and memory the most that the runner ever had
(its store is in it). Steps are gone through in turns, and what is printed are medians. A run counts only if it passes, all is
mapped, and nothing is lost; one that does not keep its rate is shown as such.
"""

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile

RUNNER = os.environ["RUNNER"]
RUNS = int(os.environ["RUNS"])
SECONDS = int(os.environ["SECONDS_EACH"])
HOLD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hold.yaml")
RATE = 10_000


class Step:
    """A row: its label, what is changed, and what its runs have shown."""

    def __init__(self, label, *sets, rate=RATE, words=()):
        self.label, self.sets, self.rate, self.words = label, sets, rate, words
        self.found = []
        self.missed = 0


def rates():
    return [Step(f"{rate:,}", rate=rate) for rate in (100, 1_000, 10_000, 50_000, 100_000, 200_000, 300_000)]


def connections():
    counts = (1, 10, 100, 1_000, 5_000, 10_000)
    return [Step(f"{count:,}", f"connections.count={count}", "connections.limit=0") for count in counts]


def limits():
    return [Step("none" if limit == 0 else f"{limit:,}", f"connections.limit={limit}") for limit in (1, 10, 100, 1_000, 0)]


def records():
    return [Step(f"10^{power}", f"records.range=1..{10**power}") for power in range(3, 8)]


def payload():
    def step(size):
        label = f"{size} B" if size < 1024 else f"{size // 1024} KiB"
        return Step(label, f"records.template='{{size:{size}}}'", "records.range=1..1000", "redis.prefetch=1000")

    return [step(size) for size in (16, 128, 1024, 8 * 1024, 64 * 1024)]


def workers():
    return [Step(f"{count}, {rate:,}/s", rate=rate, words=("--workers", str(count))) for rate in (10_000, 100_000) for count in (1, 2)]


PARTS = {
    "rate": ("requests a second", rates),
    "connections": ("connections, without a limit", connections),
    "limit": ("requests on a connection", limits),
    "records": ("records", records),
    "payload": ("bytes of a record", payload),
    "workers": ("workers", workers),
}


class Responder:
    """Ten ports of its own, until the end of a `with`."""

    def __enter__(self):
        for _ in range(20):
            first = random.randrange(10_000, 30_000)
            words = [RUNNER, "responder", "--ports", f"{first}-{first + 9}"]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            said = self.process.stdout.readline()
            if said.startswith("responder on"):
                self.ports = f"{first}-{first + 9}"
                return self
            self.process.wait()
        sys.exit(f"error: the responder does not start: {said.strip()}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(step):
    """One run of a step, into `step.found`; a run that does not pass counts as a miss."""
    with tempfile.TemporaryDirectory() as folder, Responder() as responder:
        out = os.path.join(folder, "run")
        sets = [f"load.stages[0].hold={step.rate}", f"load.stages[0].duration={SECONDS}s", *step.sets]
        words = [RUNNER, HOLD, "--out", out, "--quiet", *step.words, "--set", f"target.addresses=[127.0.0.1:{responder.ports}]"]
        words += [word for pair in sets for word in ("--set", pair)]
        with open(os.path.join(folder, "said"), "w+") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read().strip()
        spent = used.ru_utime + used.ru_stime + responder.cpu_s()
        try:
            with open(os.path.join(out, "summary.csv")) as file:
                row = next(csv.DictReader(file))
        except FileNotFoundError:
            sys.exit(f"error: {step.label}: {text}")
    if process.returncode != 0 or row["mapped"] != row["scheduled"]:
        print(f"    {step.label}: exit {process.returncode}: {text.splitlines()[-1] if text else ''}", file=sys.stderr)
        step.missed += 1
        return
    step.found.append(
        {
            "CPU, µs per request": spent / int(row["scheduled"]) * 1e6,
            "lag p50, µs": float(row["lag_p50_us"]),
            "lag p99, µs": float(row["lag_p99_us"]),
            "response p99, µs": float(row["response_p99_us"]),
            "peak memory, MiB": used.ru_maxrss / 1024,
        }
    )


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def run(name):
    what, steps_of = PARTS[name]
    steps = steps_of()
    for turn in range(RUNS):
        for step in steps:
            print(f"  {name}: {turn + 1} of {RUNS}, {step.label}", file=sys.stderr)
            measure(step)
    figures = ["CPU, µs per request", "lag p50, µs", "lag p99, µs", "response p99, µs", "peak memory, MiB"]
    print(f"\n### {name}\n")
    print(f"| {what} | {' | '.join(figures)} |  |\n|--:|{'--:|' * len(figures)}---|")
    drawn = []
    for step in steps:
        medians = [statistics.median(of[figure] for of in step.found) if step.found else None for figure in figures]
        note = f"{step.missed} of {RUNS} runs not kept" if step.missed else ""
        cells = ["-" if value is None else short(value) for value in medians]
        print(f"| {step.label} | {' | '.join(cells)} | {note} |")
        if medians[0] is not None:
            drawn.append((step.label, medians[0]))
    labels = ", ".join(f'"{label}"' for label, _ in drawn)
    values = ", ".join(f"{value:.2f}" for _, value in drawn)
    print(f'\n```mermaid\nxychart-beta\n    title "CPU of a request by {what}"\n    x-axis [{labels}]')
    print(f'    y-axis "µs"\n    bar [{values}]\n```')
    sys.stdout.flush()


def main():
    global RUNS, SECONDS
    parser = argparse.ArgumentParser(description="How the cost of a request grows.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any, every part")
    parser.add_argument("--quick", action="store_true", help="one run of a second each: shows that it works, measures nothing")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}: there are {', '.join(PARTS)}")
    if given.quick:
        RUNS, SECONDS = 1, 1
    for part in given.parts or PARTS:
        run(part)


main()
