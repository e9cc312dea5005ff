#!/usr/bin/env bash
# Records into redis-server and into the store, beside `redis-cli --pipe` with a ready-made file, and counting them
# beside `redis-cli --scan`. In turns, each server started fresh for every round. Prints a Markdown table.
#
#   bench/records.sh [--rounds N] [--records N]
#
# RUNNER names another build, REDIS_SERVER another Redis.
set -euo pipefail
source "$(dirname "$0")/shared.sh"

need_runner
RUNNER=$runner WORK=$work python3 "$bench/records.py" "$@"
