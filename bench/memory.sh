#!/usr/bin/env bash
# The most memory that a run ever has: a short one against one of fifty times as many requests, at the same rate and over
# the same records, so that the embedded store, which is in the same process, holds the same.
#
#   RATE=100000 RUNS=3 bench/memory.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

rate=${RATE:-100000}
runs=${RUNS:-3}
[ $((100000 % rate)) = 0 ] || fail 'RATE divides 100000'
need_runner

# VmHWM of the finished program, from the kernel's account of it.
peak_kib() {
    python3 - "$@" <<'PY'
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
if status:
    sys.exit(f"error: {sys.argv[1]} ended with {status}")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
}

for run in $(seq "$runs"); do
    for requests in 100000 5000000; do
        say "run $run of $runs, $requests requests"
        rm -rf "$work/run"
        peak_kib "$runner" "$bench/hold.yaml" --out "$work/run" --quiet --set "load.stages[0].hold=$rate" \
            --set "load.stages[0].duration=$((requests / rate))s" >>"$work/$requests"
        [ "$(column "$work/run" mapped)" = "$requests" ] || fail "not all of $requests requests were mapped"
    done
done
short=$(median <"$work/100000")
long=$(median <"$work/5000000")
echo "peak memory at $rate/s, median of $runs: $short KiB for 100,000 requests, $long KiB for 5,000,000; ratio $(ratio "$long" "$short")"
