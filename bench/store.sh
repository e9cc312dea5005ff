#!/usr/bin/env bash
# The store against redis-server, in turns, each started fresh for every run. Prints a Markdown table for each part.
#
#   bench/store.sh [--quick] [--rounds N] [PART...]        parts: p16 pipe clients many memory idle scan all
#
# RUNNER names another build, REDIS_SERVER another Redis.
set -euo pipefail
source "$(dirname "$0")/shared.sh"

need_runner
# Many connections need as many file descriptors, on both sides.
ulimit -n "$(ulimit -Hn)"
RUNNER=$runner python3 "$bench/store.py" "$@"
