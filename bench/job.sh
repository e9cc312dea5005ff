#!/usr/bin/env bash
# The whole job, closed: records from Redis, answers mapped into it. In turns: a bare program that does the same (MGET and MSET, a
# hundred at a time), ours with the same Debian's redis-server, ours with the embedded store.
#
#   WINDOWS="1 16" LIMIT=100 CONNECTIONS=10 SECONDS_EACH=4 RUNS=5 bench/job.sh
#
# `fetch` reads records and maps nothing; `map` is the whole. Ours then writes a hash of three fields for each answer and reads all of them
# back at the end (not in the time), the bare program one string. A run that loses something, or does not balance, ends the script.
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra windows <<<"${WINDOWS:-1 16}"
limit=${LIMIT:-100}
connections=${CONNECTIONS:-10}
seconds=${SECONDS_EACH:-4}
runs=${RUNS:-5}
records=100000
need_runner
command -v redis-server >/dev/null || fail 'there is no redis-server: apt-get install redis-server redis-tools'
build_bare echo_server job

redis=
end_redis() { [ -z "$redis" ] || { kill "$redis" 2>/dev/null && wait "$redis" 2>/dev/null; redis=; } || true; }
trap 'end_redis; clean_up' EXIT

# A fresh server with nothing but the records.
start_redis() {
    local turn
    redis_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >/dev/null &
    redis=$!
    for turn in $(seq 100); do
        [ "$(redis-cli -p "$redis_port" ping 2>/dev/null)" != PONG ] || break
        sleep 0.05
    done
    "$runner" records generate --redis "redis://127.0.0.1:$redis_port" --count "$records" >"$work/said" 2>&1 ||
        fail "no records: $(tail -n 1 "$work/said")"
}

# ours STORE WINDOW INTO: requests a second while it sent.
ours() {
    local words=()
    [ "$1" = embedded ] || { start_redis; words=(--redis "redis://127.0.0.1:$redis_port"); }
    "$runner" "$bench/job.yaml" --out "$work/run" --quiet "${words[@]}" --var "window=$2" --var "users=$(($2 * connections))" \
        --var "count=$connections" --var "limit=$limit" --var "seconds=${seconds}s" --var "into=$3" 2>"$work/said" ||
        fail "the run does not pass: $(tail -n 1 "$work/said")"
    end_redis
    rate_of "$work/run"
    rm -rf "$work/run"
}

# bare WINDOW MAP
bare() {
    start_redis
    start echo_server -l "$limit"
    "$work/job" -p "$ports" -r "$redis_port" -n "$records" -c "$connections" -w "$1" -l "$limit" -d "$seconds" $2 >"$work/line"
    stop
    end_redis
    field rate <"$work/line"
}

printf '| | window | bare, Redis | runner, Redis | ratio | runner, embedded | embedded/Redis |\n|---|--:|--:|--:|--:|--:|--:|\n'
for what in fetch map; do
    if [ "$what" = map ]; then into=hash flag=-m; else into=none flag=; fi
    for window in "${windows[@]}"; do
        for who in bare redis embedded; do : >"$work/$who"; done
        for run in $(seq "$runs"); do
            say "  $what, window $window: $run of $runs"
            turn=(bare redis embedded)
            ((run % 2)) || turn=(embedded redis bare)
            for who in "${turn[@]}"; do
                if [ "$who" = bare ]; then bare "$window" "$flag" >>"$work/bare"; else ours "$who" "$window" "$into" >>"$work/$who"; fi
            done
        done
        b=$(median <"$work/bare") r=$(median <"$work/redis") e=$(median <"$work/embedded")
        printf '| %s | %s | %.0f | %.0f | %s | %.0f | %s |\n' "$what" "$window" "$b" "$r" "$(ratio "$r" "$b")" "$e" "$(ratio "$e" "$r")"
    done
done
