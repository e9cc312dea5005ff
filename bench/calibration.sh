#!/usr/bin/env bash
# How true the reported times are: the built-in service answers after a known delay, and p50 and p99 are held against it.
# Ends with 1 where one of them is further off than the limit, in µs.
#
#   DELAYS="1 10 100" RUNS=3 RATE=173 LIMIT_US=200 bench/calibration.sh
set -euo pipefail
source "$(dirname "$0")/shared.sh"

read -ra delays <<<"${DELAYS:-10}"
runs=${RUNS:-3}
rate=${RATE:-173}
limit=${LIMIT_US:-200}
need_runner

far=0
printf '%8s  %4s  %-22s %12s %12s\n' delay run '' measured off
for delay in "${delays[@]}"; do
    for run in $(seq "$runs"); do
        folder=$work/$delay-$run
        "$runner" "$bench/calibration.yaml" --var "delay=${delay}ms" --var "rate=$rate" --out "$folder" --quiet ||
            fail "the run with $delay ms does not pass"
        for name in response_p50_us response_p99_us service_p50_us service_p99_us; do
            measured=$(column "$folder" "$name")
            off=$((measured - delay * 1000))
            mark=
            if ((off > limit || off < -limit)); then mark='  too far'; far=1; fi
            printf '%5s ms  %4s  %-22s %9s µs %9s µs%s\n' "$delay" "$run" "$name" "$measured" "$off" "$mark"
        done
    done
done
exit $far
