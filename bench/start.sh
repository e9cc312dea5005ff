#!/usr/bin/env bash
# How long from the start of the program to the first byte at the target: scenarios/steady-100tps.yaml with its store embedded, against a
# sink that has the kernel's stamp of each arrival.
#
#   RUNS=15 bench/start.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

runs=${RUNS:-15}
need_runner
build_bare arrivals
sed 's/duration: [0-9]*s/duration: 1s/' "$tree/scenarios/steady-100tps.yaml" >"$work/start.yaml"

: >"$work/times"
for run in $(seq "$runs"); do
    start arrivals -o "$work/stamps"
    begun=$(python3 -c 'import time; print(time.clock_gettime_ns(time.CLOCK_REALTIME))')
    "$runner" "$work/start.yaml" --out "$work/run" --quiet --set "target.addresses=[\"127.0.0.1:$ports\"]" 2>"$work/said" ||
        fail "the run does not pass: $(tail -n 1 "$work/said")"
    rm -rf "$work/run"
    stop
    sort -n -k 2 "$work/stamps" | awk -v begun="$begun" 'NR == 1 { printf "%.1f\n", ($2 - begun) / 1e6 }' >>"$work/times"
done
sort -n "$work/times" >"$work/sorted"
printf '| start to first byte, ms | median of %s | best | worst |\n|---|--:|--:|--:|\n' "$runs"
printf '| steady-100tps | %s | %s | %s |\n' "$(median <"$work/times")" "$(head -n 1 "$work/sorted")" "$(tail -n 1 "$work/sorted")"
