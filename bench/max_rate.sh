#!/usr/bin/env bash
# The highest rate that the runner keeps on this machine, everything on: records from and mappings into the embedded
# store, the built-in responder, connections that are replaced. A rate is kept when the run ends with 0, nothing is missing
# and the 99th percentile of the lag is below 10 ms. Then the same rate in turns with the bare client and server.
#
#   START=50000 SECONDS_EACH=5 CONNECTIONS=10 LIMIT=100 WINDOW=64 RUNS=5 bench/max_rate.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

start_rate=${START:-50000}
seconds=${SECONDS_EACH:-5}
connections=${CONNECTIONS:-10}
limit=${LIMIT:-100}
window=${WINDOW:-64}
runs=${RUNS:-5}
most=10000000
need_runner
build_bare echo_server echo_client

hold() {
    load "$work/run" --set "load.stages[0].hold=$1" --set "load.stages[0].duration=${seconds}s" \
        --set "connections.count=$connections" --set "connections.limit=$limit" --set "connections.window=$window"
}

# Whether the last run kept its rate.
kept() {
    local scheduled mapped lag
    scheduled=$(column "$work/run" scheduled)
    mapped=$(column "$work/run" mapped)
    lag=$(column "$work/run" lag_p99_us)
    say "  lag p99 $lag µs, scheduled $scheduled, mapped $mapped"
    [ "$scheduled" = "$mapped" ] && [ "$lag" -lt 10000 ]
}

keeps() {
    say "hold $1:"
    hold "$1" && kept
}

low=0 high=$start_rate
while [ "$high" -le $most ] && keeps "$high"; do
    low=$high
    high=$((high * 2))
done
if [ "$low" = 0 ]; then
    # Not even the first: look below it.
    while [ "$high" -ge 100 ] && ! keeps $((high / 2)); do high=$((high / 2)); done
    low=$((high / 2))
    [ "$low" -ge 50 ] || fail 'no rate is kept'
fi
# To 2 %: the machine's own noise is larger.
while [ $((high - low)) -gt $((low / 50)) ]; do
    middle=$(((low + high) / 2))
    if keeps "$middle"; then low=$middle; else high=$middle; fi
done
say "highest: $low; now in turns with the bare pair"

: >"$work/ours"
: >"$work/lags"
: >"$work/bare"
for run in $(seq "$runs"); do
    start echo_server
    "$work/echo_client" -p "$ports" -c "$connections" -w "$window" -l "$limit" -d "$seconds" >"$work/line"
    stop
    field rate <"$work/line" >>"$work/bare"
    hold "$low" || say "  run $run of $runs did not keep it"
    column "$work/run" rate_actual >>"$work/ours"
    column "$work/run" lag_p99_us >>"$work/lags"
done
ours=$(median <"$work/ours")
bare=$(median <"$work/bare")
echo "highest hold $low/s; $connections connections, limit $limit, window $window, $seconds s each, median of $runs in turns:"
echo "  runner, whole job   $ours/s, lag p99 $(median <"$work/lags") µs"
echo "  bare epoll pair     $bare/s, neither store nor mapping nor schedule"
echo "  ratio               $(ratio "$ours" "$bare")"
