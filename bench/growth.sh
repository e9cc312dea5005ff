#!/usr/bin/env bash
# How the cost of a request grows with the rate, the connections, their limit, the records, the payload and the workers. Prints
# a Markdown table and a picture (Mermaid) for each.
#
#   RUNS=3 SECONDS_EACH=4 bench/growth.sh [--quick] [PART...]     parts: rate connections limit records payload workers
#
# Needs 20,000 file descriptors (`ulimit -Hn`) and 4 GiB for the largest steps.
set -euo pipefail
source "$(dirname "$0")/shared.sh"

need_runner
ulimit -n "$(ulimit -Hn)"
RUNNER=$runner RUNS=${RUNS:-3} SECONDS_EACH=${SECONDS_EACH:-4} python3 "$bench/growth.py" "$@"
