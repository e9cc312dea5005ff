#!/usr/bin/env python3
"""The store against redis-server; called by store.sh, which names the build in RUNNER.

Every figure is taken in turns: ours, theirs, theirs, ours, ..., each server started fresh on a free port and ended by its
process id. Where redis-benchmark measures, both servers are up in a round and are asked in short turns, so that a neighbour who
takes the machine for a second takes it from both: a round's rate is all its requests by all their time, its CPU that of all
turns, its p99 the median of the turns. A pair of turns in which the hypervisor gave more than STOLEN of the machine to others is
taken again, whatever it has measured; how many were is printed. What is compared is the median of all rounds; the spread is the distance of the
quartiles in percent of it. Only that is held to a bar. Beside it stands, for the reader, the ratio of the best round of each.
"""

import argparse
import csv
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
OURS, THEIRS = "runner", "redis"
QUICK = False
ROUNDS = 9
MISSED = []
# The share of the machine that may be somebody else's while a pair of turns is measured; how many pairs of a part may be
# taken again, and how long it is waited before.
STOLEN = 0.02
MOST_AGAIN = 150
PAUSE_S = 2
AGAIN = {"taken": 0, "kept": 0}


class Stolen:
    """The share of the machine's time that was given to others within a `with`."""

    def __enter__(self):
        self.before = self.times()
        return self

    def __exit__(self, *_):
        (total, stolen), (total_before, stolen_before) = self.times(), self.before
        self.share = (stolen - stolen_before) / max(1, total - total_before)

    @staticmethod
    def times():
        with open("/proc/stat") as file:
            times = [int(ticks) for ticks in file.readline().split()[1:9]]
        return sum(times), times[7]


class Server:
    """One of both, fresh, until the end of a `with`."""

    def __init__(self, name):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        if name == OURS:
            words = [os.environ["RUNNER"], "store", "--port", str(self.port)]
        else:
            words = [os.environ.get("REDIS_SERVER", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
            words += ["--save", "", "--appendonly", "no", "--maxclients", "20000"]
        environment = {name: value for name, value in os.environ.items() if name != "RUNNER_STORE_PASSWORD"}
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(words, cwd=self.folder.name, env=environment, **quiet)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    sys.exit(f"error: {words[0]} does not start")
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def cpu_s(self):
        """User and system time until now."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE

    def used_memory(self):
        found = subprocess.run(["redis-cli", "-p", str(self.port), "INFO", "memory"], capture_output=True, text=True, check=True)
        return int(next(line for line in found.stdout.splitlines() if line.startswith("used_memory:")).split(":")[1])

    def benchmark(self, *words):
        """Runs redis-benchmark; the rows of its CSV by test, and what the server's CPU cost in seconds."""
        before = self.cpu_s()
        command = ["redis-benchmark", "-p", str(self.port), "--csv", *map(str, words)]
        found = subprocess.run(command, capture_output=True, text=True)
        spent = self.cpu_s() - before
        if found.returncode != 0 or found.stderr.strip():
            sys.exit(f"error: {' '.join(command)}: {found.stderr or found.stdout}")
        rows = {row["test"]: row for row in csv.DictReader(found.stdout.splitlines())}
        return {name: (float(row["rps"]), float(row["p99_latency_ms"])) for name, row in rows.items()}, spent

    def send(self, data):
        """Sends bytes through one connection while its replies are read beside it, until all of them have come."""
        commands, payload = data
        done = threading.Event()
        failure = []
        with self.connect() as connection:

            def read():
                # Every reply is the same: +OK and a line end.
                missing = 5 * commands
                while missing:
                    read = connection.recv(1 << 20)
                    if not read or read[:1] not in (b"+", b"O", b"K", b"\r", b"\n"):
                        failure.append(read[:80])
                        break
                    missing -= len(read)
                done.set()

            reader = threading.Thread(target=read)
            began = time.perf_counter()
            reader.start()
            connection.sendall(payload)
            reader.join()
            spent = time.perf_counter() - began
        if failure:
            sys.exit(f"error: the server answered {failure[0]!r}")
        return spent


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


def records(count):
    """SETs of record:1 and on, each with a JSON document of 100 bytes."""
    def document(n):
        text = json.dumps({"id": n, "name": f"user {n}", "email": f"user{n}@example.com", "pad": ""})
        return text[:-2] + "x" * (100 - len(text)) + '"}'

    return count, b"".join(encode("SET", f"record:{n}", document(n)) for n in range(1, count + 1))


def in_turns(measure):
    """What `measure` gives for a fresh server of each kind, figure by figure: {figure: {server: [value of each round]}}."""
    figures = {}
    for round_ in range(ROUNDS):
        order = (OURS, THEIRS) if round_ % 2 == 0 else (THEIRS, OURS)
        for name in order:
            print(f"  round {round_ + 1} of {ROUNDS}, {name}", file=sys.stderr)
            with Server(name) as server:
                for figure, value in measure(server).items():
                    figures.setdefault(figure, {OURS: [], THEIRS: []})[name].append(value)
    return figures


def spread(values):
    if len(values) < 2:
        return "-"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    middle = statistics.median(values)
    return f"{100 * (high - low) / middle:.0f} %" if middle else "-"


def of_the_best(figure, of):
    best = max if "rate" in figure else min
    ours, theirs = best(of[OURS]), best(of[THEIRS])
    return round(ours / theirs, 3) if theirs else None


def short(value):
    if value >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def table(title, figures, bars):
    """`bars`: (words of a figure's name, "at least" or "at most", the ratio); the first that fits holds. The
    ratio of the medians is held to it; a bar with a unit is for our own median."""
    print(f"\n### {title}\n")
    print(f"Median of {ROUNDS} in turns.", end="")
    if AGAIN["taken"]:
        print(f" {AGAIN['taken']} pairs of turns were disturbed and taken again, {AGAIN['kept']} counted though disturbed.", end="")
    AGAIN.update(taken=0, kept=0)
    print("\n")
    print("| figure | runner | spread | redis | spread | runner/redis | of the best | bar |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for figure, of in figures.items():
        ours, theirs = statistics.median(of[OURS]), statistics.median(of[THEIRS])
        # The kernel counts CPU time in hundredths of a second: what took less says nothing.
        ratio = round(ours / theirs, 3) if theirs else None
        of_best = of_the_best(figure, of)
        bar = next((bar for bar in bars if bar[0] in figure), None) if ratio is not None else None
        verdict = ""
        if bar:
            word, limit, *unit = bar[1:]
            held = ours if unit else ratio
            kept = held >= limit if word == "at least" else held <= limit
            asked = " ".join([f"{word} {limit:g}", *unit])
            verdict = asked + ("" if kept else " **MISSED**")
            if not kept:
                MISSED.append(f"{title}: {figure} {short(held)}, {asked}")
        cells = [figure, short(ours), spread(of[OURS]), short(theirs), spread(of[THEIRS])]
        cells += ["-" if value is None else value for value in (ratio, of_best)]
        cells.append(verdict)
        print(f"| {' | '.join(map(str, cells))} |")
    sys.stdout.flush()


# A ratio of ours to theirs. The time of a whole request is mostly the kernel's and the tool's without a pipeline.
RATE_P16 = ("rate", "at least", 1.0)
RATE_PIPE = ("rate", "at least", 1.43)
RATE = ("rate", "at least", 0.97)
RATE_SCAN = ("rate", "at least", 2.0)
RATE_ALL = ("rate", "at least", 0.9)
CPU_P16 = ("CPU", "at most", 0.75)
CPU = ("CPU", "at most", 0.95)
P99 = ("p99", "at most", 1.0)


def in_short_turns(tests, count, *words, turns):
    """Every test alone, so that the server's CPU is that test's: rate, CPU and p99 of each, figure by figure as `in_turns`."""
    figures = {}
    for round_ in range(ROUNDS):
        print(f"  round {round_ + 1} of {ROUNDS}", file=sys.stderr)
        with Server(OURS) as ours, Server(THEIRS) as theirs:
            servers = {OURS: ours, THEIRS: theirs}
            for test in tests:
                for name, found in test_in_turns(servers, round_, test, count, words, turns).items():
                    for figure, value in found.items():
                        figures.setdefault(f"{test} {figure}", {OURS: [], THEIRS: []})[name].append(value)
    return figures


def test_in_turns(servers, round_, test, count, words, turns):
    """One test on both servers in one round."""
    what, requests = ["-t", test], count
    if test.startswith("lrange_"):
        # The tool would fill the list itself in between, and that is not to be measured.
        for server in servers.values():
            server.benchmark("-t", "lpush", "-n", 1000, "-P", 16)
        what, requests = ["LRANGE", "mylist", 0, int(test.removeprefix("lrange_")) - 1], min(count, 25_000)
    sums = {name: {"time": 0, "cpu": 0, "p99": []} for name in servers}
    for turn in range(turns):
        order = (OURS, THEIRS) if (round_ + turn) % 2 == 0 else (THEIRS, OURS)
        while True:
            with Stolen() as stolen:
                found = {name: servers[name].benchmark("-n", requests, *words, *what) for name in order}
            if stolen.share <= STOLEN or QUICK:
                break
            if AGAIN["taken"] >= MOST_AGAIN:
                AGAIN["kept"] += 1
                break
            AGAIN["taken"] += 1
            time.sleep(PAUSE_S)
        for name, (rows, spent) in found.items():
            ((rate, p99),) = rows.values()
            sums[name]["time"] += requests / rate
            sums[name]["cpu"] += spent
            sums[name]["p99"].append(p99)
    return {
        name: {
            "rate, 1/s": turns * requests / of["time"],
            "CPU, µs per request": of["cpu"] / (turns * requests) * 1e6,
            "p99, ms": statistics.median(of["p99"]),
        }
        for name, of in sums.items()
    }


def p16():
    count, turns = (50_000, 1) if QUICK else (500_000, 4)
    figures = in_short_turns(["set", "get"], count, "-c", 50, "-P", 16, "-r", 100_000, turns=turns)
    table("p16: 50 connections, 16 requests in a pipeline, 100,000 keys", figures, [RATE_P16, CPU_P16, P99])


def pipe():
    data = records(50_000 if QUICK else 500_000)

    def measure(server):
        before = server.cpu_s()
        spent = server.send(data)
        return {"rate, 1/s": data[0] / spent, "CPU, µs per request": (server.cpu_s() - before) / data[0] * 1e6}

    table(f"pipe: {data[0]:,} SETs of 100 bytes as one pipeline through one connection", in_turns(measure), [RATE_PIPE])


def clients():
    for connections in (50, 500, 1000, 1200):
        clients_at_once(connections, 50_000, 8)


def many():
    # To connect so many takes longer than a short turn.
    clients_at_once(5000, 200_000, 2)


def clients_at_once(connections, count, turns):
    if QUICK:
        count, turns = 20_000, 1
    figures = in_short_turns(["set", "get"], count, "-c", connections, "-r", 100_000, turns=turns)
    table(f"clients: {connections} connections, no pipeline", figures, [RATE, CPU, P99])


def memory():
    data = records(50_000 if QUICK else 500_000)

    def measure(server):
        rss, used = server.rss(), server.used_memory()
        server.send(data)
        return {
            "RSS, bytes per key": (server.rss() - rss) / data[0],
            "used_memory, bytes per key": (server.used_memory() - used) / data[0],
        }

    table(f"memory: {data[0]:,} keys record:N with 100 bytes each", in_turns(measure), [("RSS", "at most", 0.85)])


def idle():
    count = 2000 if QUICK else 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 100:
        sys.exit(f"error: idle needs {count + 100} file descriptors (`ulimit -Hn`), {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def measure(server):
        before = server.rss()
        connections = []
        try:
            for _ in range(count):
                connection = server.connect()
                connections.append(connection)
                # Its first command is answered, so that everything that it costs is there.
                connection.sendall(b"PING\r\n")
                if connection.recv(64) != b"+PONG\r\n":
                    sys.exit(f"error: connection {len(connections)} got no answer")
            return {"RSS, bytes per client": (server.rss() - before) / count, "RSS in all, MiB": server.rss() / 2**20}
        finally:
            for connection in connections:
                connection.close()

    table(f"idle: {count:,} connected clients that have said PING once", in_turns(measure), [("in all", "at most", 60, "MiB"), ("RSS", "at most", 1.0)])


def scan():
    data = records(50_000 if QUICK else 500_000)

    def measure(server):
        server.send(data)
        figures = {}
        for name, walk in (("redis-cli --scan", scan_by_tool), ("COUNT 1000", scan_by_thousands)):
            before, began = server.cpu_s(), time.perf_counter()
            pages = walk(server)
            spent = time.perf_counter() - began
            # Which keys came more than once is not the server's time.
            found = len({key for page in pages for key in page if key})
            figures[f"{name}: keys per s, rate"] = found / spent
            figures[f"{name}: CPU, µs per key"] = (server.cpu_s() - before) / found * 1e6
            if found < data[0]:
                sys.exit(f"error: {name} found {found} of {data[0]} keys")
        return figures

    table(f"scan: {data[0]:,} keys", in_turns(measure), [RATE_SCAN])


def scan_by_tool(server):
    command = ["redis-cli", "-p", str(server.port), "--scan"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tool:
        return [list(tool.stdout)]


def scan_by_thousands(server):
    """The loop that counts record:*, with as little work as there can be on this side: lines are split, and no more."""
    pages, cursor = [], b"0"
    with server.connect() as connection:
        while True:
            connection.sendall(encode("SCAN", cursor, "MATCH", "record:*", "COUNT", 1000))
            # *2, $n, the cursor, *keys; then $n and the key for each.
            reply, missing = connection.recv(1 << 20), 4
            while True:
                lines = reply.split(b"\r\n")
                if len(lines) > 4:
                    missing = 4 + 2 * int(lines[3][1:])
                if len(lines) > missing:
                    break
                reply += connection.recv(1 << 20)
            cursor = lines[2]
            pages.append(lines[5::2])
            if cursor == b"0":
                return pages


def all_():
    tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin".split(",")
    tests += "lrange_100,lrange_300,lrange_500,lrange_600,mset".split(",")
    for pipeline, count, turns in ((1, 50_000, 2), (16, 250_000, 2)):
        if QUICK:
            count, turns = 5_000, 1
        figures = in_short_turns(tests, count, "-c", 50, "-P", pipeline, turns=turns)
        table(f"all: every default test, -P {pipeline}", figures, [RATE_ALL])


PARTS = {"p16": p16, "pipe": pipe, "clients": clients, "many": many, "memory": memory, "idle": idle, "scan": scan, "all": all_}


def main():
    global QUICK, ROUNDS
    parser = argparse.ArgumentParser(description="The store against redis-server, in turns.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any, every part")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of less: shows that it works, measures nothing")
    parser.add_argument("--rounds", type=int, help="rounds of each part [default: 9; 2 with --quick]")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}: there are {', '.join(PARTS)}")
    QUICK = given.quick
    ROUNDS = given.rounds or (2 if QUICK else 9)
    # Ctrl-C ends the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for part in given.parts or PARTS:
        print(part, file=sys.stderr)
        PARTS[part]()
    print("\n" + ("\n".join(["Missed:", *(f"- {line}" for line in MISSED)]) if MISSED else "Every bar is kept."))


main()
