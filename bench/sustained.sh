#!/usr/bin/env bash
# Sustained load on the store: 5,000 users on as many connections, who read and write for 30 seconds. Passes when not one
# request goes without its answer. Also what 50 users get out of the store and out of Debian's redis-server, in turns.
#
#   CONNECTIONS=5000 SECONDS_EACH=30 ROUNDS=5 bench/sustained.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

connections=${CONNECTIONS:-5000}
seconds=${SECONDS_EACH:-30}
rounds=${ROUNDS:-5}
need_runner

"$runner" "$tree/scenarios/store-sustained.yaml" --out "$work/sustained" --quiet \
    --set "connections.count=$connections" --set "load.duration=${seconds}s" || fail 'the sustained load does not pass'
sent=$(column "$work/sustained" sent)
matched=$(column "$work/sustained" matched)
dropped=$(column "$work/sustained" dropped)
refused=$(column "$work/sustained" error_replies)
echo "$connections connections, $seconds s: $(column "$work/sustained" rate_actual)/s, $sent sent, $matched answered, p99 $(column "$work/sustained" response_p99_us) µs"
[ "$sent" = "$matched" ] && [ "$dropped" = 0 ] && [ "$refused" = 0 ] || fail "$((sent - matched + dropped + refused)) errors"

command -v redis-server >/dev/null || { say 'no redis-server: the comparison is left out'; exit 0; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
server=$!
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.05; done
"$runner" "$tree/scenarios/store-benchmark.yaml" --out "$work/compared" --quiet \
    --set "compare_with={ target: \"redis://127.0.0.1:$port\", rounds: $rounds }" || fail 'the comparison does not pass'
cat "$work/compared/compare.csv"
