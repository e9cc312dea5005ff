# What the scripts of this folder share; read with `source`. Needs cc and python3.
# shellcheck shell=bash

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(dirname "$bench")
runner=${RUNNER:-$tree/target/release/runner}
work=$(mktemp -d)
server=
# It is the embedded store that is measured, whatever the environment names.
unset REDIS_URL

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }

# Ends what was started here, and nothing else.
clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

need_runner() {
    [ -x "$runner" ] || fail "there is no $runner: run \`cargo build --release\`, or set RUNNER"
}

# Compiles the bare programs into the scratch folder.
build_bare() {
    local name
    for name in "$@"; do
        "${CC:-cc}" -O2 -std=gnu11 -Wall -Wextra -o "$work/$name" "$bench/bare/$name.c"
    done
}

# start NAME ARGUMENT...: starts a bare server; its ports are then in $ports, its process id in $server.
start() {
    local name=$1 said=$work/$1.out turn
    shift
    : >"$said"
    "$work/$name" "$@" >"$said" &
    server=$!
    for turn in $(seq 100); do
        ports=$(head -n 1 "$said")
        [ -z "$ports" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    fail "$name does not start"
}

# Ends the server and waits until it has written what it writes.
stop() {
    kill "$server" || fail 'the bare server ended by itself'
    wait "$server" || fail 'the bare server failed'
    server=
}

# load FOLDER ARGUMENT...: runs hold.yaml; the folder then has the files of the run, the status is the runner's.
load() {
    local folder=$1
    shift
    rm -rf "$folder"
    "$runner" "$bench/hold.yaml" --out "$folder" --quiet "$@" 2>"$folder.said" || {
        local status=$?
        say "  exit $status: $(tail -n 1 "$folder.said")"
        return $status
    }
}

# column FOLDER NAME: one value of the run's summary.csv.
column() {
    local value
    value=$(awk -F, -v name="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        NR == 2 && at { print $at }' "$1/summary.csv")
    [ -n "$value" ] || fail "$1/summary.csv has no $2"
    printf '%s\n' "$value"
}

# rate_of FOLDER: answered requests a second, over the time of the run.
rate_of() {
    awk -v matched="$(column "$1" matched)" -v time="$(column "$1" duration_s)" 'BEGIN { printf "%.0f\n", matched / time }'
}

# field NAME: the value behind NAME= in a line on stdin.
field() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" | head -n 1; }

# The median of numbers, one a line on stdin.
median() { python3 -c 'import statistics, sys; print(f"{statistics.median(map(float, sys.stdin)):.6g}")'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", b ? a / b : 0 }'; }
