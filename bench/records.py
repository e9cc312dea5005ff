"""Records into two servers by two clients, in turns. Called by records.sh."""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNNER = os.environ["RUNNER"]
REDIS = os.environ.get("REDIS_SERVER", "redis-server")
WORK = Path(os.environ["WORK"])

# About 100 bytes with ids of six digits, and easy to write from here as well.
TEMPLATE = (
    '{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending","city":"Berlin","v":10}'
)


def value(record):
    return (
        '{"id":%d,"name":"User%d","phone":"90000000%04d","status":"pending","city":"Berlin","v":10}'
        % (record, record, record)
    )


def write_file(path, records):
    """The commands of all records as redis-cli --pipe reads them."""
    with path.open("w", newline="") as out:
        for record in range(1, records + 1):
            key, text = f"record:{record}", value(record)
            out.write(f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n${len(text)}\r\n{text}\r\n")


class Server:
    """One server on a free port, ended by its process id."""

    def __init__(self, which):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = {
            "redis": [REDIS, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            "store": [RUNNER, "store", "--port", str(self.port)],
        }[which]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=WORK)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"error: {words[0]} does not start")
                time.sleep(0.02)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def timed(words, **more):
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, **more)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"error: {words} ended with {done.returncode}: {done.stderr}")
    return seconds, done.stdout


def pipe(server, path, records):
    with path.open("rb") as commands:
        seconds, said = timed(["redis-cli", "-p", str(server.port), "--pipe"], stdin=commands)
    if f"errors: 0, replies: {records}" not in said:
        sys.exit(f"error: redis-cli --pipe: {said}")
    return seconds


def generate(server, records, *more):
    words = ["records", "generate", "--redis", server.url, "--count", str(records), "--template", TEMPLATE]
    return timed([RUNNER, *words, "--quiet", *more])[0]


def check(server, records):
    """All records are there, whoever wrote them."""
    words = ["records", "verify", "--redis", server.url, "--count", str(records), "--template", TEMPLATE]
    timed([RUNNER, *words, "--quiet"])


def count(server, records):
    seconds, said = timed([RUNNER, "records", "count", "--redis", server.url])
    if said.strip() != str(records):
        sys.exit(f"error: {said.strip()} records were counted")
    return seconds


def scan(server, records):
    words = f"redis-cli -p {server.port} --scan --pattern 'record:*' | wc -l"
    seconds, said = timed(["sh", "-c", words])
    if said.strip() != str(records):
        sys.exit(f"error: redis-cli --scan found {said.strip()}")
    return seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=500_000)
    asked = parser.parse_args()
    records = asked.records
    path = WORK / "records.resp"
    write_file(path, records)
    rows = {}

    def note(name, seconds):
        rows.setdefault(name, []).append(seconds)
        print(f"  {name}: {seconds:.3f} s", file=sys.stderr)

    ways = [
        ("redis: redis-cli --pipe", "redis", lambda server: pipe(server, path, records)),
        ("redis: records generate", "redis", lambda server: generate(server, records)),
        ("redis: records generate --existing overwrite", "redis",
         lambda server: generate(server, records, "--existing", "overwrite")),
        ("store: redis-cli --pipe", "store", lambda server: pipe(server, path, records)),
        ("store: records generate", "store", lambda server: generate(server, records)),
    ]
    for turn in range(asked.rounds):
        print(f"round {turn + 1}", file=sys.stderr)
        # Everybody is first at some time.
        for name, which, way in ways[turn % len(ways):] + ways[: turn % len(ways)]:
            with Server(which) as server:
                note(name, way(server))
                check(server, records)
                if name.endswith("records generate"):
                    for look, by in [("redis-cli --scan | wc -l", scan), ("records count", count)]:
                        note(f"{which}: {look}", by(server, records))

    medians = {name: statistics.median(all_seconds) for name, all_seconds in rows.items()}
    piped = medians["redis: redis-cli --pipe"]
    print(f"{records} records of {len(value(records))} bytes, median of {asked.rounds} rounds\n")
    print("| | seconds | per second | against |")
    print("|---|---|---|---|")
    for name, seconds in medians.items():
        which = name.split(":")[0]
        if "--scan" in name or "count" in name:
            against = f"{medians[f'{which}: redis-cli --scan | wc -l'] / seconds:.2f} × redis-cli --scan"
        else:
            against = f"{piped / seconds:.2f} × redis-cli --pipe into redis-server"
        name = name.replace("|", "\\|")
        print(f"| {name} | {seconds:.3f} | {records / seconds:,.0f} | {against} |")


main()
