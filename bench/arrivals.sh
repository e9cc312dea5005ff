#!/usr/bin/env bash
# When requests really arrive: the runner against a sink that has the kernel stamp them, in turns with a bare pacer.
#
#   RATES="1000 10000" SECONDS_EACH=10 RUNS=5 bench/arrivals.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra rates <<<"${RATES:-1000 10000}"
seconds=${SECONDS_EACH:-10}
runs=${RUNS:-5}
need_runner
build_bare arrivals pace

for run in $(seq "$runs"); do
    for rate in "${rates[@]}"; do
        say "run $run of $runs, $rate/s"
        start arrivals -o "$work/bare.$rate.$run"
        "$work/pace" -p "$ports" -r "$rate" -d "$seconds" >/dev/null
        stop

        start arrivals -o "$work/ours.$rate.$run"
        load "$work/run" --set "load.stages[0].hold=$rate" --set "load.stages[0].duration=${seconds}s" \
            --set "target.addresses=[\"127.0.0.1:$ports\"]" || fail "$rate/s does not pass"
        stop
        arrived=$(wc -l <"$work/ours.$rate.$run")
        [ "$arrived" = $((rate * seconds)) ] || fail "$arrived of $((rate * seconds)) requests arrived"
    done
done
for rate in "${rates[@]}"; do
    "$bench/arrivals.py" --name 'bare pacer' --rate "$rate" "$work/bare.$rate".* | tail -n 1
    "$bench/arrivals.py" --name 'runner    ' --rate "$rate" "$work/ours.$rate".* | tail -n 1
done
