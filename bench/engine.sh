#!/usr/bin/env bash
# The engine against the built-in service, closed, without a store, and the bare pair doing the same, in turns.
#
#   WINDOWS="1 16 100" LIMITS="0 100" CONNECTIONS=10 SECONDS_EACH=4 RUNS=7 bench/engine.sh
#
# A run in which a request is lost, or whose account does not balance, ends the script.
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra windows <<<"${WINDOWS:-1 16 100}"
read -ra limits <<<"${LIMITS:-0 100}"
connections=${CONNECTIONS:-10}
seconds=${SECONDS_EACH:-4}
runs=${RUNS:-7}
need_runner
build_bare echo_server echo_client

# Our own: the rate of the run, which ends when the last answer has come.
ours() {
    "$runner" "$bench/engine.yaml" --out "$work/run" --quiet --var "window=$1" --var "users=$(($1 * connections))" \
        --var "count=$connections" --var "limit=$2" --var "seconds=${seconds}s" 2>"$work/said" ||
        fail "the run does not pass: $(tail -n 1 "$work/said")"
    rate_of "$work/run"
    rm -rf "$work/run"
}

bare() {
    start echo_server -l "$2"
    "$work/echo_client" -p "$ports" -c "$connections" -w "$1" -l "$2" -d "$seconds" -b 64 >"$work/line"
    stop
    field rate <"$work/line"
}

printf '| window | limit | runner, requests/s | bare pair | ratio | spread of the ratio |\n|--:|--:|--:|--:|--:|---|\n'
for limit in "${limits[@]}"; do
    for window in "${windows[@]}"; do
        : >"$work/ours"
        : >"$work/bare"
        for run in $(seq "$runs"); do
            say "  window $window, limit $limit: $run of $runs"
            if ((run % 2)); then
                ours "$window" "$limit" >>"$work/ours"
                bare "$window" "$limit" >>"$work/bare"
            else
                bare "$window" "$limit" >>"$work/bare"
                ours "$window" "$limit" >>"$work/ours"
            fi
        done
        paste "$work/ours" "$work/bare" | awk '{ printf "%.3f\n", $1 / $2 }' | sort -n >"$work/ratios"
        us=$(median <"$work/ours") them=$(median <"$work/bare")
        printf '| %s | %s | %.0f | %.0f | %s | %s to %s |\n' "$window" "$limit" "$us" "$them" "$(ratio "$us" "$them")" \
            "$(head -n 1 "$work/ratios")" "$(tail -n 1 "$work/ratios")"
    done
done
