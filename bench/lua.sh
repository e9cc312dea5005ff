#!/usr/bin/env bash
# What a Lua hook costs: one that formats three fields for each request, and none, in turns. Closed, for the highest rate; then 100,000
# a second with the hook, for the lag.
#
#   WINDOW=16 CONNECTIONS=10 SECONDS_EACH=4 RUNS=5 RATE=100000 bench/lua.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

window=${WINDOW:-16}
connections=${CONNECTIONS:-10}
seconds=${SECONDS_EACH:-4}
runs=${RUNS:-5}
rate=${RATE:-100000}
need_runner
cat >"$work/hook.lua" <<'LUA'
function request(ctx, record)
  return string.format('{"id":%d,"key":"%s","n":%d,"pad":"01234"}', record.id, record.key, record.seq)
end
LUA
{ cat "$bench/engine.yaml"; printf '\nscript: { file: hook.lua }\n'; } >"$work/hook.yaml"
cp "$bench/engine.yaml" "$work/none.yaml"

run() {
    "$runner" "$work/$1.yaml" --out "$work/run" --quiet --var "window=$window" --var "users=$((window * connections))" \
        --var "count=$connections" --var "seconds=${seconds}s" 2>"$work/said" || fail "$1: $(tail -n 1 "$work/said")"
    rate_of "$work/run"
    rm -rf "$work/run"
}

for turn in $(seq "$runs"); do
    say "  $turn of $runs"
    order=(none hook)
    ((turn % 2)) || order=(hook none)
    for what in "${order[@]}"; do run "$what" >>"$work/$what"; done
    "$runner" "$bench/hold.yaml" --out "$work/run" --quiet --set "load.stages[0].hold=$rate" --set "load.stages[0].duration=${seconds}s" \
        --set "script={file: $work/hook.lua}" 2>"$work/said" || fail "$rate/s with a hook: $(tail -n 1 "$work/said")"
    for name in lag_p99_us rate_actual; do column "$work/run" "$name" >>"$work/$name"; done
    rm -rf "$work/run"
done
none=$(median <"$work/none") hook=$(median <"$work/hook")
printf '| closed, window %s | requests/s | ratio |\n|---|--:|--:|\n| no hook | %.0f | 1 |\n| `string.format` of three fields | %.0f | %s |\n\n' \
    "$window" "$none" "$hook" "$(ratio "$hook" "$none")"
printf '| hold %s/s with the hook and mapping | value |\n|---|--:|\n| rate | %s |\n| lag p99, µs | %s |\n' \
    "$rate" "$(median <"$work/rate_actual")" "$(median <"$work/lag_p99_us")"
