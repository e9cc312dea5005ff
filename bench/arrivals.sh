#!/usr/bin/env bash
# When requests really arrive: the runner against a sink that has the kernel stamp them, in turns with a bare pacer and with those of
# PEERS that are installed (they speak HTTP, and so does the sink to them).
#
#   RATES="1000 10000" SECONDS_EACH=10 RUNS=5 PEERS="oha hey" bench/arrivals.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra rates <<<"${RATES:-1000 10000}"
seconds=${SECONDS_EACH:-10}
runs=${RUNS:-5}
need_runner
build_bare arrivals pace
peers=()
for peer in ${PEERS-oha hey}; do
    if command -v "$peer" >/dev/null; then peers+=("$peer"); else say "$peer is not installed, and left out"; fi
done

# peer NAME RATE: ten connections, one global rate where the tool has one.
peer() {
    local url=http://127.0.0.1:${ports%-*}/
    case $1 in
        oha) oha --no-tui -z "${seconds}s" -c 10 -q "$2" "$url" ;;
        hey) hey -z "${seconds}s" -c 10 -q $(($2 / 10)) "$url" ;;
    esac >/dev/null
}

for run in $(seq "$runs"); do
    for rate in "${rates[@]}"; do
        say "run $run of $runs, $rate/s"
        start arrivals -o "$work/bare.$rate.$run"
        "$work/pace" -p "$ports" -r "$rate" -d "$seconds" >/dev/null
        stop

        for name in "${peers[@]}"; do
            start arrivals -H -n 1 -o "$work/$name.$rate.$run"
            peer "$name" "$rate"
            stop
        done

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
    for name in "${peers[@]}"; do
        "$bench/arrivals.py" --name "$(printf '%-10s' "$name")" --rate "$rate" "$work/$name.$rate".* | tail -n 1
    done
    "$bench/arrivals.py" --name 'runner    ' --rate "$rate" "$work/ours.$rate".* | tail -n 1
done
