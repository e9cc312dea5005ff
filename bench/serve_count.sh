#!/usr/bin/env bash
# How long `GET /count` takes over the records of the embedded store, next to redis-cli doing the same.
#
#   RECORDS=500000 RUNS=9 bench/serve_count.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

records=${RECORDS:-500000}
runs=${RUNS:-9}
need_runner
command -v redis-cli >/dev/null || fail 'there is no redis-cli: install redis-tools'
unset RUNNER_TOKEN

mkdir "$work/scenarios"
"$runner" serve --listen 127.0.0.1:0 --scenarios "$work/scenarios" --runs "$work/runs" 2>"$work/said" &
server=$!
for turn in $(seq 100); do
    [ "$(wc -l <"$work/said")" -lt 2 ] || break
    [ "$turn" -lt 100 ] || fail 'the server does not start'
    sleep 0.05
done
url=$(sed -n 's/^serving \(.*\) until.*/\1/p' "$work/said")
port=$(sed -n 's/^records are in redis:.*:\([0-9]*\),.*/\1/p' "$work/said")
say "$(curl -sS -H 'Content-Type: application/json' -d "{\"count\": $records}" "$url/generate")"

for run in $(seq "$runs"); do
    answer=$(curl -sS -w ' %{time_total}' "$url/count")
    [ "${answer% *}" = "{\"total_records\":$records}" ] || fail "GET /count says $answer"
    echo "${answer##* }" >>"$work/ours"
    began=$EPOCHREALTIME
    counted=$(redis-cli -p "$port" --scan --pattern 'record:*' | wc -l)
    ended=$EPOCHREALTIME
    [ "$counted" = "$records" ] || fail "redis-cli counts $counted"
    awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.6f\n", b - a }' >>"$work/theirs"
done
ours=$(median <"$work/ours")
theirs=$(median <"$work/theirs")
echo "GET /count over $records records, median of $runs: $ours s; redis-cli --scan | wc -l: $theirs s; ratio $(ratio "$ours" "$theirs")"
