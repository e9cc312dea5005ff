#!/usr/bin/env bash
# How late requests leave: lag at several rates on the built-in parts, median of several runs in turns.
#
#   RATES="100 1000 10000 100000" SECONDS_EACH=5 RUNS=5 bench/lag.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra rates <<<"${RATES:-100 1000 10000 100000}"
seconds=${SECONDS_EACH:-5}
runs=${RUNS:-5}
need_runner

for run in $(seq "$runs"); do
    for rate in "${rates[@]}"; do
        say "run $run of $runs, $rate/s"
        load "$work/run" --set "load.stages[0].hold=$rate" --set "load.stages[0].duration=${seconds}s" ||
            fail "$rate/s does not pass"
        for name in lag_p50_us lag_p99_us lag_max_us response_p99_us; do
            column "$work/run" "$name" >>"$work/$rate.$name"
        done
    done
done
printf '%10s %12s %12s %12s %16s   (µs, median of %s)\n' rate lag_p50 lag_p99 lag_max response_p99 "$runs"
for rate in "${rates[@]}"; do
    row=()
    for name in lag_p50_us lag_p99_us lag_max_us response_p99_us; do row+=("$(median <"$work/$rate.$name")"); done
    printf '%10s %12s %12s %12s %16s\n' "$rate" "${row[@]}"
done
