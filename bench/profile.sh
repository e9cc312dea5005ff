#!/usr/bin/env bash
# Where the processor time of a request goes: µs by thread, kernel and own code apart, and the functions of our own that take most.
#
#   bench/profile.sh bench/engine.yaml --var window=16 --var users=160
set -euo pipefail
source "$(dirname "$0")/shared.sh"

need_runner
command -v perf >/dev/null || fail "there is no perf: install Debian's linux-perf"
[ $# -gt 0 ] || fail 'usage: bench/profile.sh SCENARIO [ARGUMENT...]'
hertz=2000
perf record -q -o "$work/samples" -e cpu-clock -F "$hertz" -g "$runner" "$@" --out "$work/run" --quiet >/dev/null 2>"$work/said" ||
    fail "the run does not pass: $(tail -n 1 "$work/said")"
perf script -i "$work/samples" -F comm,ip,sym 2>/dev/null >"$work/stacks"
python3 - "$work/stacks" "$(column "$work/run" sent)" "$(rate_of "$work/run")" "$hertz" <<'PY'
import collections
import sys

path, sent, rate, hertz = sys.argv[1], *map(int, sys.argv[2:])
threads, functions = collections.Counter(), collections.Counter()
# A sample is the name of its thread, then its stack from the innermost call outwards, then an empty line.
with open(path) as stacks:
    for sample in stacks.read().split("\n\n"):
        lines = sample.strip("\n").split("\n")
        if len(lines) < 2:
            continue
        thread, (address, _, symbol) = lines[0].strip(), lines[1].strip().partition(" ")
        side = "kernel" if address.startswith("ffff") else "own"
        threads[thread, side] += 1
        if side == "own":
            functions[thread, symbol.strip()] += 1
us = 1e6 / hertz / sent
print(f"{sent:,} requests, {rate:,}/s\n\n| thread | kernel, µs a request | own |\n|---|--:|--:|")
for name in sorted({name for name, _ in threads}, key=lambda name: -threads[name, "kernel"] - threads[name, "own"]):
    print(f"| {name} | {threads[name, 'kernel'] * us:.3f} | {threads[name, 'own'] * us:.3f} |")
print(f"| all | {sum(threads.values()) * us:.3f} | |\n\n| thread | function | µs a request |\n|---|---|--:|")
for (thread, symbol), samples in functions.most_common(15):
    print(f"| {thread} | `{symbol[:90]}` | {samples * us:.3f} |")
PY
